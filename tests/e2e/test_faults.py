"""What goes wrong around a pull: said in one line, with the next step, and nothing is left."""

import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import File, MadeImage, make_image
from tests.support.registry import Registry
from tests.support.small_disk import small_disk
from tests.support.terminal import Terminal
from tests.support.waiting import until

pytestmark = pytest.mark.root

PYDOCK = str(Path(sys.executable).with_name("pydock"))
Done = subprocess.CompletedProcess[str]


def pydock(*args: str, before: tuple[str, ...] = ()) -> Done:
    """The command on this test's roots, with `before` in front of it."""
    return subprocess.run(
        [*before, PYDOCK, *args], capture_output=True, text=True, timeout=120, check=False
    )


def refused(done: Done, exit_code: int = 1) -> str:
    """What it said: one line, beside it a hint, and this exit code."""
    assert done.returncode == exit_code, done
    message, hint = done.stderr.splitlines()
    assert message.startswith("pydock: "), message
    assert hint.startswith("hint: "), hint
    assert not message.endswith(".")
    return message


def nothing_is_left(root: str, *options: str) -> None:
    """No image, nothing half unpacked, and a store without damage."""
    assert pydock(*options, "images", "-q").stdout == ""
    assert list(Path(root, "staging").iterdir()) == []
    assert list(Path(root, "layers").iterdir()) == []
    assert_whole(*options)


def assert_whole(*options: str) -> None:
    done = pydock(*options, "system", "fsck")
    assert (done.returncode, done.stdout) == (0, "no damage found\n"), done


def noise(seed: int, size_bytes: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size_bytes)


@pytest.fixture(scope="module")
def image() -> MadeImage:
    """Three layers with enough in them that a pull takes a while."""
    return make_image(
        [
            {f"layer{n}/{k}": File(noise(n * 1000 + k, 20_000), 0o644) for k in range(200)}
            for n in range(3)
        ]
    )


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def test_an_image_that_is_not_there(roots: tuple[str, str], registry: Registry) -> None:
    assert "none:1" in refused(pydock("pull", f"{registry.host}/none:1"))
    nothing_is_left(roots[0])


def test_a_registry_that_does_not_answer(roots: tuple[str, str]) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else gets this port
        taken.bind(("127.0.0.1", 0))
        host = f"localhost:{taken.getsockname()[1]}"
        assert host in refused(pydock("pull", f"{host}/some:1"))
    nothing_is_left(roots[0])


def test_bytes_that_are_not_what_their_digest_says(
    roots: tuple[str, str], server: FaultServer, image: MadeImage
) -> None:
    reference = images.serve(server, "liar", "1", image)
    wrong = image.layers[1]
    server.documents[f"/v2/liar/blobs/{wrong.digest}"] = (
        "application/octet-stream",
        wrong.data[:-1] + bytes([wrong.data[-1] ^ 1]),
        wrong.digest,
    )
    assert wrong.digest[7:19] in refused(pydock("pull", reference))
    nothing_is_left(roots[0])


def test_a_blob_that_rots_on_the_registrys_disk(
    roots: tuple[str, str], registry: Registry, image: MadeImage
) -> None:
    reference = images.push(registry, "rotten", "1", image)
    rotten = image.layers[1].digest
    place = f"docker/registry/v2/blobs/sha256/{rotten[7:9]}/{rotten[7:]}/data"
    blob = registry.directory / "store" / place
    whole = blob.read_bytes()
    blob.write_bytes(whole[:70_000] + b"rust" + whole[70_004:])
    try:
        message = refused(pydock("pull", reference))
        assert message.startswith(f"pydock: layer {rotten}: the registry sent wrong bytes twice")
        nothing_is_left(roots[0])
        assert not list(Path(roots[0], "ingest").glob(f"{rotten[7:]}*"))
    finally:
        blob.write_bytes(whole)
    assert pydock("pull", reference).returncode == 0
    assert_whole()


@pytest.mark.parametrize("size_mb", [8, 18])  # too small for the blobs; for the layers
def test_a_full_disk(
    roots: tuple[str, str], server: FaultServer, image: MadeImage, tmp_path: Path, size_mb: int
) -> None:
    reference = images.serve(server, "large", "1", image)
    with small_disk(tmp_path, size_mb << 20) as disk:
        options = ("--root", str(disk / "root"))
        assert "disk full" in refused(pydock(*options, "pull", reference))
        nothing_is_left(str(disk / "root"), *options)


def test_a_store_on_overlayfs(roots: tuple[str, str], tmp_path: Path) -> None:
    base, mount = tmp_path / "base", tmp_path / "overlay"
    base.mkdir()
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", base], check=True)
    try:
        for name in ("lower", "upper", "work"):
            (base / name).mkdir()
        layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, mount], check=True)
        try:
            message = refused(pydock("--root", str(mount / "root"), "pull", "debian"))
            assert "overlay file system" in message
            assert list((mount / "root").glob("*")) == []
        finally:
            subprocess.run(["umount", mount], check=True)
    finally:
        subprocess.run(["umount", base], check=True)


def test_somebody_who_is_not_root(roots: tuple[str, str]) -> None:
    # Wherever Python lies, it can be read: that is not what is tested.
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    somebody = ("setpriv", "--reuid=1000", "--clear-groups", *reading, "--")
    assert "needs root" in refused(pydock("pull", "debian", before=somebody))
    assert "needs root" in refused(pydock("ps", before=somebody))
    run = pydock("run", "debian", "true", before=somebody)
    assert "needs root" in refused(run, 125)  # as docker's run
    assert not Path(roots[0]).exists()


def killed_pulls(registry: Registry, image: MadeImage, count: int, tmp_path: Path) -> None:
    """`count` pulls, each killed at a random moment; after every one the store is whole."""
    reference = images.push(registry, "killed", "1", image)
    other = ("--root", str(tmp_path / "other"), "--run-root", str(tmp_path / "other-run"))
    begin = time.monotonic()
    assert pydock(*other, "pull", reference).returncode == 0
    whole_seconds = time.monotonic() - begin
    moments = random.Random(count)
    for _ in range(count):
        pull = subprocess.Popen(
            [PYDOCK, "pull", reference], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(moments.uniform(0, whole_seconds))
        pull.kill()
        assert pull.communicate()[1] == b""
        if pydock("images", "-q").stdout:  # it was done already
            assert pydock("rmi", reference).returncode == 0
        assert_whole()
    assert pydock("pull", reference).returncode == 0
    assert_whole()
    assert pydock("images", "--format", "{{.Repository}}").stdout == f"{registry.host}/killed\n"
    assert pydock("rmi", reference).returncode == 0
    assert list(Path(tmp_path, "root", "layers").iterdir()) == []


def test_pulls_that_are_killed(
    roots: tuple[str, str], registry: Registry, image: MadeImage, tmp_path: Path
) -> None:
    killed_pulls(registry, image, 5, tmp_path)


@pytest.mark.long
def test_three_hundred_pulls_that_are_killed(
    roots: tuple[str, str], registry: Registry, image: MadeImage, tmp_path: Path
) -> None:
    killed_pulls(registry, image, 300, tmp_path)


def test_eight_pulls_of_one_image(
    roots: tuple[str, str], server: FaultServer, image: MadeImage, tmp_path: Path
) -> None:
    reference = images.serve(server, "shared", "1", image)
    digests = [layer.digest for layer in image.layers]
    outputs = [(tmp_path / f"said{number}").open("w+") for number in range(8)]

    def one_waits() -> bool:
        return any(": Waiting\n" in Path(output.name).read_text() for output in outputs)

    def hold(exchange: Exchange) -> bool:
        if exchange.path.rpartition("/")[2] in digests:
            until(one_waits)
        return False

    server.script = hold
    pulls = [subprocess.Popen([PYDOCK, "pull", reference], stdout=output) for output in outputs]
    assert [pull.wait() for pull in pulls] == [0] * 8
    for output in outputs:
        output.close()
    for digest in digests:
        assert server.count("GET", f"/v2/shared/blobs/{digest}") == 1
    assert_whole()


def test_ctrl_c_ends_a_pull(roots: tuple[str, str], server: FaultServer, image: MadeImage) -> None:
    reference = images.serve(server, "slow", "1", image)
    slow = image.layers[2]

    def stall(exchange: Exchange) -> bool:
        if slow.digest not in exchange.path:
            return False
        exchange.send_head(200, None, len(slow.data))
        exchange.wfile.write(slow.data[: len(slow.data) // 2])
        exchange.stall()
        return True

    server.script = stall
    with Terminal([PYDOCK, "pull", reference], columns=120) as terminal:
        terminal.until(f"{image.layers[0].digest[7:19]}: Pull complete")
        terminal.until(f"{slow.digest[7:19]}: Downloading")
        terminal.type("\x03")
        assert terminal.wait() == 128 + signal.SIGINT
        assert b"Traceback" not in terminal.data
    nothing_is_left(roots[0])
    server.script = lambda exchange: False
    assert pydock("pull", reference).returncode == 0
    assert_whole()
    ranges = [r.headers["Range"] for r in server.requests if slow.digest in r.path]
    assert ranges == [None, f"bytes={len(slow.data) // 2}-"]


def test_five_planted_damages_are_found_and_mended(
    roots: tuple[str, str], registry: Registry, image: MadeImage
) -> None:
    reference = images.push(registry, "damaged", "1", image)
    assert pydock("pull", reference).returncode == 0
    assert_whole()
    root = Path(roots[0])
    blobs = {layer.digest: root / "blobs/sha256" / layer.digest[7:] for layer in image.layers}
    layers = {next(path.glob("diff/*")).name: path for path in (root / "layers").iterdir()}
    with blobs[image.layers[0].digest].open("r+b") as blob:
        blob.seek(1000)
        blob.write(b"\0\0\0\0")
    (layers["layer1"] / "diff/layer1/7").unlink()
    (layers["layer2"] / "layer.pdl").unlink()
    (root / "l" / "1").unlink()
    database = sqlite3.connect(root / "db.sqlite")
    with database:
        database.execute("PRAGMA foreign_keys=OFF")
        database.execute("INSERT INTO reference VALUES('x', 'sha256:0', '', 0)")
    database.close()
    found = pydock("system", "fsck")
    assert found.returncode == 1
    kinds = [line.split()[0] for line in found.stdout.splitlines()]
    assert sorted(kinds) == ["blob", "index", "layer", "link", "row"]
    assert re.fullmatch(r"hint: .*--repair.*\n", found.stderr)
    assert pydock("system", "fsck", "--repair").returncode == 0
    assert_whole()
