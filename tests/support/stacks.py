"""Layers for tests without a disk: streams to indexes."""

from collections.abc import Sequence
from pathlib import Path

from engine.layers.scan import scan_stream
from engine.layers.tree import ImageLayers, open_layers
from engine.model.image import HistoryEntry
from engine.storage.layer_index import Facts, IndexBuilder, write_index
from tests.support.tarball import END


def index_of(path: Path, stream: bytes, number: int = 0) -> str:
    """The index of one layer is at `path`."""
    builder = IndexBuilder()
    scan_stream(iter([stream + END]), builder)
    size = sum(row.size for row in builder.rows.values())
    facts = Facts(
        f"sha256:{number:064x}", f"sha256:b{number:063x}", "", len(stream), len(stream) // 2, size,
        0, len(builder.rows), tuple(builder.shadowed),
    )  # fmt: skip
    write_index(str(path), builder, facts)
    return str(path)


def indexes_of(directory: Path, streams: Sequence[bytes]) -> list[str]:
    start = len(list(directory.iterdir()))
    return [
        index_of(directory / f"{number}.pdl", stream, number)
        for number, stream in enumerate(streams, start)
    ]


def view_of(directory: Path, *streams: bytes, commands: Sequence[str] = ()) -> ImageLayers:
    history = [HistoryEntry(0, command, "", False) for command in commands]
    return open_layers("x:1", "sha256:0", indexes_of(directory, streams), history)
