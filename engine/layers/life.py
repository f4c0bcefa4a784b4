"""The life of one path through all layers, and the file that a layer has there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.layers.files import LiveFile
from engine.layers.merge import Merged
from engine.model.layer import ADDED, CHANGED, FILE, GONE, HARDLINK, SAME, LifeStep
from engine.storage.layer_index import IMPLIED, WHITEOUT, LayerIndex


def life_of(merged: Merged, indexes: Sequence[LayerIndex], path: str) -> Iterator[LifeStep]:
    """What each layer did to `path`, bottom first."""
    node = _node(merged, path)
    if node is None:
        return
    written = dict(merged.rows_of(node))
    last: tuple[int, int] | None = None
    for layer, step in enumerate(merged.steps):
        change = step.changes.get(node, SAME)
        if change == GONE:
            if last is not None:
                yield _step(indexes, layer, change, False, *last)
            last = None
            continue
        row = written.get(layer)
        if row is None or indexes[layer].mark[row] & WHITEOUT:
            continue
        if indexes[layer].mark[row] & IMPLIED and last is not None:
            continue  # it only stands for what was there
        content = change == ADDED or (
            change == CHANGED and last is not None and not merged.same_content(last, layer, row)
        )
        last = layer, row
        yield _step(indexes, layer, change, content, layer, row)


def file_at(
    merged: Merged, indexes: Sequence[LayerIndex], layer: int, path: str
) -> LiveFile | None:
    """The regular file that `layer` wrote at `path`, be it alive or not; a hard link's is that of
    its first name."""
    node = _node(merged, path)
    row = None if node is None else dict(merged.rows_of(node)).get(layer)
    if node is None or row is None:
        return None
    index = indexes[layer]
    if index.mark[row] & WHITEOUT or index.kind[row] not in (FILE, HARDLINK):
        return None
    name = _bytes(path)
    if index.kind[row] == HARDLINK:
        name = index.link(row)
        first = merged.find(name)
        row = None if first is None else dict(merged.rows_of(first)).get(layer)
        if row is None or index.kind[row] != FILE:
            return None  # a lower layer has it
    return LiveFile(node, name, layer, row, index.size[row], index.compressed[row])


def _step(
    indexes: Sequence[LayerIndex], layer: int, change: int, content: bool, where: int, row: int
) -> LifeStep:
    index = indexes[where]
    return LifeStep(
        layer, change, content, index.kind[row], index.size[row], index.mode[row], index.uid[row],
        index.gid[row], index.mtime_ns[row] // 10**9,
        index.link(row).decode("utf-8", "surrogateescape"),
    )  # fmt: skip


def _node(merged: Merged, path: str) -> int | None:
    return merged.find(_bytes(path))


def _bytes(path: str) -> bytes:
    return path.strip("/").encode("utf-8", "surrogateescape")
