import ctypes
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel import files

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    descriptor = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_absolute_link_stays_inside_the_root(root: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's")
    (tmp_path / "root/link").symlink_to(tmp_path / "secret")
    with pytest.raises(FileNotFoundError):
        files.open_in_root(root, b"link", os.O_RDONLY)


@pytest.mark.parametrize("path", [b"../secret", b"a/../../secret", b"/../../secret", b"up/secret"])
def test_dots_do_not_leave_the_root(root: int, tmp_path: Path, path: bytes) -> None:
    (tmp_path / "secret").write_text("the host's")
    (tmp_path / "root/a").mkdir()
    (tmp_path / "root/up").symlink_to("../..")
    with pytest.raises(FileNotFoundError):
        files.open_in_root(root, path, os.O_RDONLY)


def test_links_of_proc_are_refused(root: int) -> None:
    inside = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="symbolic links") as caught:
        files.open_in_root(inside, b"self/root/etc/passwd", os.O_RDONLY)
    os.close(inside)
    assert caught.value.errno == errno.ELOOP


def test_descriptor_is_closed_on_exec(root: int) -> None:
    descriptor = files.open_in_root(root, b"/", os.O_PATH)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_exchanging_a_directory_for_a_link_never_leads_out(root: int, tmp_path: Path) -> None:
    """CVE-2021-30465: between the check of a path and its use a component becomes a link."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "root/dir").mkdir()
    (tmp_path / "root/spare").symlink_to(tmp_path / "secret")
    exchange = ctypes.CDLL(None).renameat2
    names = bytes(tmp_path / "root/dir"), bytes(tmp_path / "root/spare")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(1000):
            try:
                os.close(files.create_in_root(root, b"dir/%d" % number, directory=False))
            except OSError:
                continue  # it may be a link to nowhere just now
    finally:
        stop.set()
        thread.join()
    assert list((tmp_path / "secret").iterdir()) == []


def test_create_makes_missing_parents_and_an_empty_file(root: int, tmp_path: Path) -> None:
    os.close(files.create_in_root(root, b"/a/b/c", directory=False))
    assert stat.S_ISREG((tmp_path / "root/a/b/c").stat().st_mode)


def test_create_follows_a_dangling_link_inside_the_root(root: int, tmp_path: Path) -> None:
    """As systemd's /etc/resolv.conf, in an image that never ran it."""
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/resolv.conf").symlink_to("../run/systemd/stub.conf")
    os.close(files.create_in_root(root, b"etc/resolv.conf", directory=False))
    assert (tmp_path / "root/run/systemd/stub.conf").is_file()


def test_create_follows_absolute_links_inside_the_root(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/var").symlink_to("/data/../other")
    os.close(files.create_in_root(root, b"var/lib", directory=True))
    assert (tmp_path / "root/other/lib").is_dir()


def test_create_refuses_links_when_told_so(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/proc").symlink_to("tmp")
    for path in (b"proc", b"proc/new"):
        with pytest.raises(OSError, match="symbolic links"):
            files.create_in_root(root, path, directory=True, links=False)


def test_create_gives_up_on_a_loop(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/a").symlink_to("b/x")
    (tmp_path / "root/b").symlink_to("a/x")
    with pytest.raises(OSError, match="symbolic links"):
        files.create_in_root(root, b"a", directory=True)


def test_create_under_a_file_is_an_error(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/file").write_text("")
    with pytest.raises(NotADirectoryError):
        files.create_in_root(root, b"file/below", directory=True)


def test_read_takes_regular_files_only(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/pipe")  # would block for ever
    (tmp_path / "root/passwd").write_text("x" * 10)
    assert files.read_in_root(root, b"pipe", 100) is None
    assert files.read_in_root(root, b"missing", 100) is None
    assert files.read_in_root(root, b"passwd", 10) == b"x" * 10
    with pytest.raises(OSError, match="large"):
        files.read_in_root(root, b"passwd", 9)


def test_close_range_on_exec_keeps_descriptors_until_then() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    files.close_range(reader, reader, on_exec=True)
    assert not os.get_inheritable(reader)
    files.close_range(reader, reader)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(reader)
    os.close(writer)


def test_syncfs_and_magic_take_any_descriptor(tmp_path: Path) -> None:
    proc = os.open("/proc", os.O_RDONLY)
    assert files.file_system_magic(proc) == 0x9FA0  # PROC_SUPER_MAGIC
    os.close(proc)
    directory = os.open(tmp_path, os.O_RDONLY)
    files.syncfs(directory)
    os.close(directory)


def test_failed_write_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        files.write_file("/proc/self/oom_score_adj", b"nonsense")
    assert caught.value.filename == "/proc/self/oom_score_adj"
