"""The index of a tar is the index of the same tar unpacked."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from engine.errors import Corrupt, InvalidInput
from engine.layers.scan import scan, scan_stream
from engine.storage.layer_index import IndexBuilder, LayerIndex, Row
from engine.storage.tar_apply import LayerWriter
from engine.storage.tar_read import TarReader
from tests.support.images import compress
from tests.support.tarball import END, directory, file, hardlink, header, symlink


def scanned(stream: bytes) -> IndexBuilder:
    builder = IndexBuilder()
    scan_stream(iter([stream + END]), builder)
    return builder


def unpacked(tmp_path: Path, stream: bytes) -> IndexBuilder:
    target = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    target.mkdir()
    root = os.open(target, os.O_RDONLY)
    builder = IndexBuilder()
    try:
        LayerWriter(root, builder).apply(TarReader(iter([stream + END])))
    finally:
        os.close(root)
    return builder


def told(builder: IndexBuilder) -> dict[bytes, Row]:
    return {path: row._replace(compressed=0) for path, row in builder.rows.items()}


STREAMS = {
    "plain": directory(b"a") + file(b"a/f", b"123") + symlink(b"l", b"a") + file(b"b/c/d", b"1"),
    "through a link": symlink(b"lib", b"usr/lib") + directory(b"usr/lib") + file(b"lib/x", b"12"),
    "through an absolute link": symlink(b"lib", b"/usr/lib") + file(b"lib/x", b"12"),
    "again": file(b"f", b"1") + file(b"f", b"22") + symlink(b"f", b"x") + directory(b"f"),
    "a directory gives way": file(b"d/e/f", b"1") + file(b"d", b"2"),
    "hard links": file(b"a", b"123") + hardlink(b"b", b"a") + hardlink(b"c", b"b"),
    "a hard link before its file": hardlink(b"b", b"a") + hardlink(b"c", b"b") + file(b"a", b"12"),
    "the first name goes": file(b"a", b"123") + hardlink(b"b", b"a") + file(b"a", b"4"),
    "whiteouts": file(b".wh.a") + file(b"d/.wh.b") + file(b"d/.wh..wh..opq") + file(b"d/c", b"1"),
    "a whiteout and its file": file(b".wh.a")
    + file(b"a", b"1")
    + file(b"b", b"1")
    + file(b".wh.b"),
    "a whiteout and its directory": file(b".wh.a") + directory(b"a") + file(b"a/f", b"1"),
    "a directory and its whiteout": directory(b"a") + file(b"a/f", b"1") + file(b".wh.a"),
    "an implied directory and its whiteout": file(b"a/f", b"1") + file(b".wh.a"),
    "below what is hidden": file(b".wh.a") + file(b"a/b/c", b"1"),
    "aufs": directory(b".wh..wh.plnk") + file(b".wh..wh.plnk/1", b"1") + file(b".wh..wh.aufs"),
    "devices": header(b"n", b"3", device=(1, 3)) + header(b"p", b"6") + header(b"w", b"3"),
    "the root": directory(b"./", mode=0o700) + file(b"./.wh..wh..opq") + file(b"a", b"1"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacking needs root")
@pytest.mark.parametrize("name", STREAMS)
def test_it_is_what_unpacking_says(name: str, tmp_path: Path) -> None:
    one, other = scanned(STREAMS[name]), unpacked(tmp_path, STREAMS[name])
    assert told(one) == told(other)
    assert sorted(one.shadowed) == sorted(other.shadowed)


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacking needs root")
def test_random_layers_are_what_unpacking_says(tmp_path: Path) -> None:
    chance = random.Random(5)
    for number in range(150):
        stream = b""
        for _ in range(chance.randrange(1, 12)):
            path = b"/".join(
                chance.choice([b"a", b"b", b"c"]) for _ in range(chance.randrange(1, 4))
            )
            parent, _, name = path.rpartition(b"/")
            hide = (parent + b"/" if parent else b"") + b".wh." + name
            opaque = (parent + b"/" if parent else b"") + b".wh..wh..opq"
            stream += chance.choice(
                [file(path, b"x" * chance.randrange(1, 9)), directory(path), file(hide),
                 file(opaque), file(path, b"1")]
            )  # fmt: skip
        try:
            other = unpacked(tmp_path, stream)
        except InvalidInput:
            with pytest.raises(InvalidInput):
                scanned(stream)
            continue
        assert told(scanned(stream)) == told(other), number


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_part_of_a_file_is_indexed_whatever_its_codec(tmp_path: Path, compression: str) -> None:
    raw = directory(b"a") + file(b"a/f", b"abc" * 5000) + file(b"a/g", os.urandom(3000)) + END
    blob = compress(raw, compression)  # type: ignore[arg-type]
    path = tmp_path / "archive"
    path.write_bytes(b"before" + blob + b"behind")
    diff_id = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    with open(path, "rb") as file_:
        task = (file_.fileno(), 6, len(blob), "", diff_id, str(tmp_path / "i.pdl"))
        assert scan(task, lambda done: None) == diff_id
    index = LayerIndex(str(tmp_path / "i.pdl"))
    assert (index.facts.raw_bytes, index.facts.blob_bytes) == (len(raw), len(blob))
    assert index.facts.size_bytes == 18_000
    assert sum(index.compressed) <= len(blob) + 2
    index.close()


def test_a_layer_that_is_not_what_the_image_says_leaves_no_index(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(file(b"a", b"1") + END)
    with open(path, "rb") as file_:
        task = (file_.fileno(), 0, 1536 + 512, "sha256:ab", "sha256:00", str(tmp_path / "i.pdl"))
        with pytest.raises(Corrupt, match="layer sha256:ab: diff_id differs"):
            scan(task, lambda done: None)
    assert not (tmp_path / "i.pdl").exists()


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (symlink(b"a", b"b") + symlink(b"b", b"a") + file(b"a/f"), "too many levels"),
        (file(b"a", b"1") + file(b"a/f"), "used as a directory"),
        (directory(b"a") + hardlink(b"b", b"a"), "a directory"),
        (file(b".wh.a/f"), "a whiteout is used as a directory"),
        (file(b".wh.."), "whiteout of '.'"),
    ],
)
def test_a_bad_layer_is_told(stream: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        scanned(stream)
