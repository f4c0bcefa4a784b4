"""The index: what the builder remembers, what comes back from the file."""

from pathlib import Path

import pytest

from engine.errors import Corrupt
from engine.model.layer import DIRECTORY, FILE, HARDLINK, SYMLINK
from engine.storage.layer_index import (
    IMPLIED,
    IMPLIED_DIRECTORY,
    NO_HASH,
    OPAQUE,
    Facts,
    IndexBuilder,
    LayerIndex,
    Marks,
    Row,
    Rows,
    hash_of,
    write_index,
    xattrs_hash,
)

FACTS = Facts("sha256:d", "sha256:b", "sha256:p", 5000, 900, 7, 8192, 3, ((b"\xff x", 9),))


def row(kind: int = FILE, size: int = 0, link: bytes = b"", digest: bytes = NO_HASH) -> Row:
    return Row(kind, 0, 0o640, 1, 2, size, 5 * 10**9 + 1, link, digest, 7, 512, 1024, size)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    builder = IndexBuilder()
    builder.put(b"d", IMPLIED_DIRECTORY)
    builder.put(b"d/f", row(FILE, 7, digest=hash_of(b"content")))
    builder.put(b"d!", row(SYMLINK, link=b"d/\xff"))
    builder.put(b"d/h", row(HARDLINK, link=b"d/f"))
    marks = Marks()
    marks.add(5000, 900)
    builder.estimate(marks)
    path = str(tmp_path / "layer.pdl")
    write_index(path, builder, FACTS)
    index = LayerIndex(path)
    assert index.facts == FACTS
    assert list(index.paths()) == [b"", b"d", b"d/f", b"d/h", b"d!"]
    assert list(index.parent) == [0, 0, 1, 1, 0]
    assert list(index.end) == [5, 4, 3, 4, 5]
    assert list(index.kind) == [DIRECTORY, DIRECTORY, FILE, HARDLINK, SYMLINK]
    assert (index.mode[2], index.uid[2], index.gid[2], index.size[2]) == (0o640, 1, 2, 7)
    assert (index.mtime_ns[2], index.xattrs[2]) == (5 * 10**9 + 1, 7)
    assert index.hash(2) == hash_of(b"content")
    assert (index.link(4), index.link(3), index.name(4)) == (b"d/\xff", b"d/f", b"d!")
    again = index.builder()
    index.close()
    plain = {"stored": 0, "compressed": 0}  # the estimate is in the bytes, below
    assert {path: each._replace(**plain) for path, each in builder.rows.items()} == {
        path: each._replace(**plain) for path, each in again.rows.items()
    }
    write_index(path + "2", again, FACTS)
    assert Path(path + "2").read_bytes() == Path(path).read_bytes()


def test_every_cut_is_seen(tmp_path: Path) -> None:
    builder = IndexBuilder()
    builder.put(b"f", row(FILE, 7))
    path = tmp_path / "layer.pdl"
    write_index(str(path), builder, FACTS)
    whole = path.read_bytes().rstrip(b"\0")
    for length in range(0, len(whole) - 8, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(Corrupt):
            LayerIndex(str(path))


def test_removing_a_directory_takes_what_is_below(tmp_path: Path) -> None:
    builder = IndexBuilder()
    for name in (b"d", b"d/e"):
        builder.put(name, IMPLIED_DIRECTORY)
    builder.put(b"d/e/f", row(FILE, 3))
    builder.put(b"d0", row(FILE, 4))
    builder.put(b"h", row(HARDLINK, link=b"d/e/f"))
    builder.remove(b"d")
    assert set(builder.rows) == {b"", b"d0", b"h"}
    assert builder.rows[b"h"].size == 3, "the bytes live on under the other name"
    assert builder.shadowed == []
    builder.remove(b"h")
    assert builder.shadowed == [(b"h", 3)]


def test_moving_a_directory_takes_links_along() -> None:
    builder = IndexBuilder()
    builder.put(b"bin", IMPLIED_DIRECTORY)
    builder.put(b"bin/a", row(FILE, 3))
    builder.put(b"bin2", row(HARDLINK, link=b"bin/a"))
    builder.move(b"bin", b"usr/bin")
    assert set(builder.rows) == {b"", b"usr/bin", b"usr/bin/a", b"bin2"}
    assert builder.rows[b"bin2"].link == b"usr/bin/a"


def test_estimates_lie_between_the_marks() -> None:
    marks = Marks()
    marks.add(1000, 100)
    marks.add(2000, 1100)
    assert marks.between(0, 500) == 50
    assert marks.between(500, 1500) == 550
    assert marks.between(0, 9999) == 1100


def test_attributes_hash_apart() -> None:
    assert xattrs_hash(()) == 0
    one, two = (b"a", b"bc"), (b"ab", b"c")
    assert xattrs_hash([one]) != xattrs_hash([two]) != 0
    assert xattrs_hash([one, two]) == xattrs_hash([two, one])


def test_rows_come_out_as_they_went_in() -> None:
    """With the largest numbers that an entry may have."""
    largest = Row(
        DIRECTORY, OPAQUE | IMPLIED, 0o7777, 2**32 - 2, 2**32 - 2, 2**63 - 1, 2**63 - 1, b"to",
        bytes(range(16)), 2**64 - 1, 2**40, 2**40 + 512, 2**63 - 1, -1,
    )  # fmt: skip
    rows = Rows()
    rows[b"d"] = largest
    rows[b"f"] = plain = largest._replace(kind=FILE, mark=0, link=b"")
    assert (rows[b"d"], rows.get(b"f"), rows.get(b"x")) == (largest, plain, None)
    assert list(rows.items()) == [(b"d", largest), (b"f", plain)]
    assert ([path for path, _ in rows.of_kind(FILE)], rows.marked(OPAQUE)) == ([b"f"], [b"d"])
    assert rows.pop(b"d") == largest
    assert list(rows) == [b"f"]
