"""From a container's files to images and back, with real processes in it."""

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import APPLETS, IMAGE
from tests.support import images
from tests.support.images import Entry, File, Symlink, layout_tar

pytestmark = pytest.mark.root

BIN = Path(sys.executable).parent
Pydock = Callable[..., subprocess.CompletedProcess[bytes]]
MORE = ("chmod", "ln", "ls", "mkdir", "rm", "touch")


@pytest.fixture
def pydock(roots: tuple[str, str]) -> Pydock:
    def run(
        *args: str, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run([BIN / "pydock", *args], capture_output=True, timeout=60, input=input)
        if check and done.returncode:
            raise AssertionError(f"pydock {' '.join(args)}: {done.returncode}\n{done.stderr!r}")
        return done

    return run


@pytest.fixture
def image(pydock: Pydock, tmp_path: Path) -> str:
    """Busybox, with no place for the mounts of a start."""
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True)
    base: dict[str, Entry] = {"bin": None}
    base["bin/busybox"] = File(Path(busybox.stdout.strip()).read_bytes())
    base |= {f"bin/{applet}": Symlink("busybox") for applet in (*APPLETS, *MORE)}
    base |= {"etc": None, "etc/motd": b"old\n", "usr": None, "usr/junk": b"x" * 5000}
    made = images.make_image([base], config={"Cmd": ["sh"], "Env": ["PATH=/bin"]})
    pydock("load", input=layout_tar(tmp_path / "layout", {IMAGE: made}))
    return IMAGE


WRITE = """
    echo newer >/etc/motd; rm /usr/junk; mkdir -p /srv/deep; echo data >/srv/deep/file
    ln /srv/deep/file /srv/link; ln -s /etc/motd /srv/way; chmod 750 /srv/deep; exec sleep 1000
"""
CHANGES = """\
C /etc
C /etc/motd
A /srv
A /srv/deep
A /srv/deep/file
A /srv/link
A /srv/way
C /usr
D /usr/junk
"""


def test_what_a_container_wrote_becomes_an_image(image: str, pydock: Pydock) -> None:
    idle = pydock("create", "--name", "idle", image).stdout
    assert idle
    assert pydock("run", "--name", "quiet", image, "true").stdout == b""
    assert pydock("diff", "quiet").stdout == b""
    pydock("run", "-d", "--name", "box", "-v", "/tmp:/mnt/tmp", image, "sh", "-c", WRITE)
    pydock(
        "exec", "box", "sh", "-c", "while [ ! -h /srv/way ]; do sleep 0.01; done; chmod 1777 /srv"
    )
    assert pydock("diff", "box").stdout.decode() == CHANGES
    identity = pydock("commit", "-m", "made", "-c", 'CMD ["cat", "/srv/way"]', "box", "made:1")
    assert b" Up " in pydock("ps").stdout  # and it goes on
    assert pydock("history", "-q", "--no-trunc", "made:1").stdout.splitlines()[0] == (
        identity.stdout.strip()
    )
    assert pydock("run", "--rm", "--network", "none", "made:1").stdout == b"newer\n"
    pydock("run", "--name", "second", "made:1", "sh", "-c", "rm -r /srv/deep; echo 2 >/two")
    pydock("commit", "second", "made:2")
    seen = pydock("run", "--rm", "made:2", "sh", "-c", "ls -a /srv; ls /usr; cat /srv/link /two")
    assert seen.stdout.split() == [b".", b"..", b"link", b"way", b"data", b"2"]
    pydock("commit", "quiet", "same:1")
    assert pydock("rm", "-f", "box", "second", "quiet", "idle").returncode == 0
    assert b"Deleted: sha256:" in pydock("rmi", "made:1").stdout
    assert pydock("run", "--rm", "made:2", "cat", "/etc/motd").stdout == b"newer\n"
    assert pydock("fsck").returncode == 0


def test_a_whole_file_system_goes_out_and_comes_in(image: str, pydock: Pydock) -> None:
    pydock("run", "-d", "--name", "box", image, "sh", "-c", WRITE)
    pydock("exec", "box", "sh", "-c", "while [ ! -h /srv/way ]; do sleep 0.01; done")
    running = pydock("export", "box").stdout
    pydock("rm", "-f", "box")
    with tarfile.open(fileobj=io.BytesIO(running)) as tar:
        members = {info.name: info for info in tar}
    assert members["srv/link"].linkname == "srv/deep/file" or members["srv/link"].isreg()
    assert {members["srv/link"].type, members["srv/deep/file"].type} == {
        tarfile.LNKTYPE, tarfile.REGTYPE
    }  # fmt: skip
    assert "usr/junk" not in members
    pydock("import", "-c", "ENV PATH=/bin", "-", "flat:1", input=running)
    seen = pydock("run", "--name", "flat", "flat:1", "cat", "/srv/way", "/srv/link")
    assert seen.stdout == b"newer\ndata\n"
    stopped = pydock("export", "flat").stdout
    with tarfile.open(fileobj=io.BytesIO(stopped)) as tar:
        found = {info.name: (info.type, info.size, info.mtime) for info in tar if info.isreg()}
    for name, facts in found.items():
        if name.startswith(("srv/", "bin/", "etc/motd")):
            info = members[name]
            assert facts == (info.type, info.size, info.mtime)


def test_a_commit_is_the_same_each_time_when_the_time_is_given(
    image: str, pydock: Pydock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydock("run", "--name", "box", image, "sh", "-c", "echo 1 >/one; mkdir /dir")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert pydock("commit", "box").stdout == pydock("commit", "box").stdout
    assert (
        b"2023-11-14T22:13:20"
        in pydock("image", "inspect", pydock("commit", "box").stdout.decode().strip()).stdout
    )


def test_a_reader_that_goes_ends_an_export(image: str, pydock: Pydock) -> None:
    pydock("create", "--name", "box", image)
    done = subprocess.run(
        ["sh", "-c", f"{BIN}/pydock export box | head -c 100 | wc -c"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == (b"100", b"")


def test_a_killed_commit_leaves_nothing_and_nobody_asleep(
    image: str, pydock: Pydock, roots: tuple[str, str]
) -> None:
    still = Path(roots[1], "still")
    pydock("run", "-d", "--name", "box", image, "sh", "-c", "seq 300000 >/data; exec sleep 1000")
    before = pydock("images", "-q").stdout
    layers = sorted(os.listdir(f"{roots[0]}/layers"))
    for later_seconds in (0, 0.03, 0.1):
        process = subprocess.Popen(
            [BIN / "pydock", "commit", "box", "made:1"], stdout=subprocess.DEVNULL
        )
        while not still.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(later_seconds)
        process.kill()
        process.wait()
        assert b"Paused" not in pydock("ps").stdout
        assert not still.exists()
        if pydock("images", "-q").stdout != before:
            pydock("rmi", "made:1")  # it was done before it was killed
    assert os.listdir(f"{roots[0]}/staging") == []
    assert pydock("exec", "box", "true").returncode == 0
    pydock("commit", "box", "made:1")
    pydock("rmi", "made:1")
    assert sorted(os.listdir(f"{roots[0]}/layers")) == layers
    assert pydock("fsck").returncode == 0
