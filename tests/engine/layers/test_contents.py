"""Files read out of layers, packed or not."""

import os
from pathlib import Path
from typing import Any

import pytest

from engine.layers.cache import IndexCache
from engine.layers.contents import BlobContents, Contents, Ends, UnpackedContents, read
from engine.layers.files import Files
from engine.layers.source import open_source
from engine.layers.tree import open_layers
from tests.support.images import compress, make_image, write_layout

BIG = os.urandom(700_000)
LAYERS = (
    {"a": b"first", "big": BIG, "z": b"last", "link": b"away"},
    {"d": None, "d/b": b"second" * 100, "a": b"newer"},
)


def contents_of(tmp_path: Path, compression: str) -> tuple[Files, Contents]:
    write_layout(tmp_path / "l", {"x:1": make_image(LAYERS, compression=compression)})  # type: ignore[arg-type]
    found = open_source(str(tmp_path / "l"), scratch=str(tmp_path))
    paths = IndexCache(str(tmp_path)).indexes(found.layers)
    view = open_layers("x:1", "", paths, ())
    offsets = [index.data_offset for index in view.indexes]
    return Files(view.merged, view.indexes), BlobContents(found.layers, offsets)


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_blob_is_read_whatever_its_codec(tmp_path: Path, compression: str) -> None:
    files, contents = contents_of(tmp_path, compression)
    texts = read(contents, files.live)
    assert {file.path: texts[file.node] for file in files.live} == {
        b"a": b"newer", b"big": BIG, b"z": b"last", b"link": b"away", b"d/b": b"second" * 100,
    }  # fmt: skip
    ends = dict(contents.ends(files.live, 10, 20))
    assert ends[files.by_path[b"big"].node] == Ends(BIG[:10], BIG[-20:])
    assert ends[files.by_path[b"z"].node] == Ends(b"last", b"")


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    files, contents = contents_of(tmp_path, "gzip")
    for path in (tmp_path / "l/blobs/sha256").iterdir():
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            path.write_bytes(data[: len(data) // 2])
    assert files.by_path[b"z"].node not in read(contents, [files.by_path[b"z"]])


def test_an_unpacked_layer_is_read_and_nothing_outside(tmp_path: Path) -> None:
    files, _ = contents_of(tmp_path, "")
    for number, layer in enumerate(LAYERS):
        place = tmp_path / f"diff{number}"
        (place / "d").mkdir(parents=True)
        for name, data in layer.items():
            if isinstance(data, bytes):
                (place / name).write_bytes(data)
    (tmp_path / "diff0/link").unlink()
    os.symlink("/etc/passwd", tmp_path / "diff0/link")
    contents = UnpackedContents([str(tmp_path / f"diff{number}") for number in range(2)])
    texts: Any = read(contents, files.live)
    assert texts[files.by_path[b"a"].node] == b"newer"
    assert texts[files.by_path[b"big"].node] == BIG
    assert files.by_path[b"link"].node not in texts
    assert dict(contents.ends(files.live, 3, 2))[files.by_path[b"z"].node] == Ends(b"las", b"t")


def test_nothing_is_inflated_when_nothing_is_wanted(tmp_path: Path) -> None:
    _, contents = contents_of(tmp_path, "gzip")
    assert list(contents.ends([], 10)) == []
    assert compress(b"", "gzip")
