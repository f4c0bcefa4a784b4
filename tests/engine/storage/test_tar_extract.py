"""A stream's files in a directory that is in use: what is replaced, and what leads nowhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, EngineError
from engine.storage.tar_extract import Owner, Place, TreeWriter
from engine.storage.tar_read import TarReader
from tests.support.tarball import END, directory, file, hardlink, symlink

pytestmark = pytest.mark.root


def put(target: Path, *parts: bytes, old: bytes = b"", new: bytes = b"") -> int:
    base = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        reader = TarReader(iter([b"".join([*parts, END])]))
        place = Place(base, b"/", base, False, str(target))
        writer = TreeWriter(place, old, new, Owner(os.geteuid(), os.getegid()))
        writer.apply(iter(reader), reader)
        return writer.written_bytes
    finally:
        os.close(base)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "key").write_bytes(b"kept")
    yield place
    assert [path.name for path in place.iterdir()] == ["key"]
    assert (place / "key").read_bytes() == b"kept"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    place = tmp_path / "target"
    place.mkdir()
    return place


def test_what_is_there_is_replaced_or_merged(target: Path) -> None:
    (target / "dir").mkdir(0o700)
    (target / "dir" / "kept").touch()
    (target / "file").write_bytes(b"longer than what comes")
    (target / "link").symlink_to("file")
    parts = (
        directory(b"dir/", 0o751, mtime=1_600_000_000), file(b"dir/new", b"new"),
        file(b"file", b"short"), file(b"link", b"no link"),
    )  # fmt: skip
    assert put(target, *parts) == 15
    assert sorted(os.listdir(target / "dir")) == ["kept", "new"]
    assert (target / "dir").stat().st_mode & 0o7777 == 0o751
    assert (target / "dir").stat().st_mtime_ns == 1_600_000_000 * 10**9
    assert (target / "file").read_bytes() == b"short"
    assert not (target / "link").is_symlink()


def test_the_topmost_gets_another_name_and_so_do_links_to_it(target: Path) -> None:
    parts = (directory(b"a/"), file(b"a/x", b"1"), hardlink(b"a/y", b"a/x"), file(b"ab", b"2"))
    put(target, *parts, old=b"a", new=b"b")
    assert (target / "b" / "x").samefile(target / "b" / "y")
    assert (target / "ab").exists()
    put(target, file(b"x", b"1"), old=b"", new=b"under")
    assert (target / "under" / "x").read_bytes() == b"1"


def test_a_directory_and_a_file_do_not_take_each_others_place(target: Path) -> None:
    (target / "dir").mkdir()
    (target / "file").touch()
    with pytest.raises(Conflict, match=r'cannot overwrite directory ".*/dir" with non-directory'):
        put(target, file(b"dir", b"x"))
    with pytest.raises(Conflict, match=r'cannot overwrite non-directory ".*/file" with directory'):
        put(target, directory(b"file/"))


def test_nothing_goes_through_a_link_of_the_stream_or_of_the_place(
    target: Path, outside: Path
) -> None:
    link = os.fsencode(outside)
    (target / "there").symlink_to(outside)
    for parts in (
        (symlink(b"l", link), file(b"l/key", b"x")),
        (symlink(b"l", link), directory(b"l/"), file(b"l/key", b"x")),
        (symlink(b"l", link), file(b"l/deep/key", b"x")),
        (symlink(b"l", b"../outside"), file(b"l/new", b"x")),
        (file(b"there/key", b"x"),),
        (symlink(b"l", link), hardlink(b"mine", b"l/key")),
    ):
        with pytest.raises(EngineError) as caught:
            put(target, *parts)
        assert caught.value.hint
    put(target, symlink(b"l", link + b"/key"), file(b"l", b"x"))  # the link goes
    assert (target / "l").read_bytes() == b"x"


def test_what_cannot_be_written_is_said_with_its_place(target: Path) -> None:
    with pytest.raises(EngineError, match=r'"/.*/target/gone": no such file or directory'):
        put(target, hardlink(b"gone", b"never"))
