import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel import tty
from engine.kernel.files import create_in_root
from engine.kernel.mount import mount, umount

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A directory with a devpts of its own at dev/pts."""
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    os.close(create_in_root(descriptor, b"dev/pts", directory=True))
    mount("devpts", tmp_path / "dev/pts", "devpts", 0, b"newinstance,ptmxmode=0666,mode=0620")
    yield descriptor
    umount(str(tmp_path / "dev/pts"))
    os.close(descriptor)


def read_line(master: int) -> bytes:
    """A line; what the terminal makes of its end comes apart from it sometimes."""
    found = b""
    while not found.endswith(b"\n"):
        found += os.read(master, 100)
    return found


def test_pair_is_of_that_devpts(root: int, tmp_path: Path) -> None:
    master, terminal = tty.open_pair(root)
    assert os.fstat(terminal).st_dev == os.stat(tmp_path / "dev/pts").st_dev
    os.write(terminal, b"hello\n")
    assert read_line(master) == b"hello\r\n"
    os.close(master)
    os.close(terminal)


def test_size_is_what_was_set(root: int) -> None:
    master, terminal = tty.open_pair(root)
    tty.set_size(master, 24, 80)
    assert tty.get_size(terminal) == (24, 80)
    os.close(master)
    os.close(terminal)


def test_something_else_at_ptmx_is_refused(tmp_path: Path) -> None:
    """CVE-2025-52565: the container replaces what the runtime opens."""
    (tmp_path / "dev/pts/pts").mkdir(parents=True)
    # With this beside it the kernel opens a ptmx node on any file system.
    mount("devpts", tmp_path / "dev/pts/pts", "devpts", 0, b"newinstance,ptmxmode=0666")
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    for make in (
        lambda path: path.write_text(""),
        lambda path: os.mknod(path, 0o20666, os.makedev(5, 2)),  # right number, wrong file system
        lambda path: os.mknod(path, 0o20666, os.makedev(1, 3)),
        lambda path: path.symlink_to("/dev/pts/ptmx"),
    ):
        ptmx = tmp_path / "dev/pts/ptmx"
        make(ptmx)
        with pytest.raises(OSError):  # noqa: PT011 - each has another errno
            tty.open_pair(descriptor)
        ptmx.unlink()
    os.close(descriptor)
    umount(str(tmp_path / "dev/pts/pts"))


def test_terminal_controls_the_session(root: int) -> None:
    master, terminal = tty.open_pair(root)

    def lead() -> None:
        os.setsid()
        tty.make_controlling(terminal)

    process = subprocess.Popen(
        ["sh", "-c", "test -t 0 && echo >/dev/tty yes"], stdin=terminal, preexec_fn=lead
    )
    assert process.wait() == 0
    assert read_line(master) == b"yes\r\n"
    os.close(master)
    os.close(terminal)
