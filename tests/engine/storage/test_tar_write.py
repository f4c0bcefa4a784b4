"""Headers: what they say is what readers find, ours and others'."""

import io
import tarfile

import pytest

from engine.storage.tar_read import CHARACTER, DIRECTORY, FILE, HARDLINK, SYMLINK, TarReader
from engine.storage.tar_write import END, header, padding

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"path": b"a", "type": FILE, "mode": 0o4755, "uid": 7, "gid": 8, "mtime_ns": 5 * SECOND_NS},
        {"path": b"a/" * 49 + b"bc", "type": FILE},
        {"path": b"d" * 99 + b"/" + b"n" * 100, "type": FILE},
        {"path": b"d" * 155 + b"/" + b"n" * 100, "type": FILE},
        {"path": b"d" * 155 + b"/" + b"n" * 101, "type": FILE},
        {"path": b"/".join([b"d" * 200] * 15), "type": DIRECTORY},
        {"path": "schön/名".encode(), "type": FILE},
        {"path": b"no utf-8 \xff\xfe", "type": FILE},
        {"path": b"late", "type": FILE, "mtime_ns": 1_700_000_000_123_456_789},
        {"path": b"far", "type": FILE, "mtime_ns": 9_000_000_000 * SECOND_NS},
        {"path": b"owner", "type": FILE, "uid": 2**32 - 2, "gid": 0o7777777},
        {"path": b"link", "type": SYMLINK, "link": b"../x", "mode": 0o777},
        {"path": b"long", "type": SYMLINK, "link": b"t" * 101, "mode": 0o777},
        {"path": b"hard", "type": HARDLINK, "link": b"deep/" * 30 + b"file"},
        {"path": b"tty", "type": CHARACTER, "device": (5 << 8) | 1},
        {"path": b"cap", "type": FILE, "xattrs": ((b"security.capability", b"\1\0=\n"),)},
        {"path": b"two", "type": FILE, "xattrs": ((b"user.a", b"1"), (b"user.b", b"2" * 300))},
    ],
    ids=lambda fields: fields["path"][:12].decode("utf-8", "backslashreplace"),
)
def test_a_reader_finds_what_was_written(fields: dict[str, object]) -> None:
    written = header(**fields) + END  # type: ignore[arg-type]
    assert len(written) % 512 == 0
    (entry,) = TarReader(iter([written]))
    for name, value in fields.items():
        assert getattr(entry, name) == value


def test_a_size_beyond_the_field_is_kept() -> None:
    written = header(b"big", size=9 << 30)
    with tarfile.open(fileobj=io.BytesIO(written)) as tar:
        info = tar.next()
        assert info is not None
        assert info.size == 9 << 30


def test_a_time_before_1970_is_written_as_it_is() -> None:
    with tarfile.open(fileobj=io.BytesIO(header(b"old", mtime_ns=-1_500_000_000) + END)) as tar:
        assert tar.getmembers()[0].mtime == -1.5


def test_payloads_are_padded_to_blocks() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


def test_plain_facts_need_one_block() -> None:
    assert len(header(b"a/b", size=7, mtime_ns=SECOND_NS)) == 512
    assert header(b"x", mtime_ns=5) == header(b"x", mtime_ns=5)
