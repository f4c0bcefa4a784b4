"""An image opened for looking inside: its layers, their trees, and what they waste.

Reads the `layer.pdl` files through mmap; nothing is unpacked or walked. 200,000 paths are merged
once, when the view opens; a tree is then made column by column.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress
from operator import sub
from typing import TYPE_CHECKING

from engine.errors import Corrupt, NotFound, Unavailable
from engine.layers.life import file_at, life_of
from engine.layers.merge import Merged
from engine.model.analysis import Loss
from engine.model.image import HistoryEntry
from engine.model.layer import (
    DEVICE,
    FILE,
    GONE,
    HARDLINK,
    SYMLINK,
    FileTree,
    LayerInfo,
    LifeStep,
    WasteRow,
)
from engine.storage.layer_index import LayerIndex

if TYPE_CHECKING:
    from engine.layers.contents import Contents

_KEPT_TREES = 4


def open_layers(
    reference: str,
    image_id: str,
    index_paths: Sequence[str],
    history: Sequence[HistoryEntry],
    shared_with: Sequence[tuple[str, ...]] = (),
) -> ImageLayers:
    """A LayerView of the layers whose indexes lie at `index_paths`, bottom first.

    `history` is the image's, oldest first; its entries without a layer are left out. Raises
    Corrupt when an index is damaged, OSError when one is missing.
    """
    indexes: list[LayerIndex] = []
    try:
        for path in index_paths:
            indexes.append(LayerIndex(path))
        return ImageLayers(reference, image_id, indexes, history, shared_with)
    except BaseException as error:
        for index in indexes:
            index.close()
        if isinstance(error, (KeyError, IndexError, ValueError)):
            raise Corrupt(
                f"image {reference or image_id}: an index of its layers is damaged",
                "pull the image again",
            ) from error
        raise


def waste_of(index_paths: Sequence[str]) -> int:
    """Bytes that the image of these layers stores and does not show."""
    view = open_layers("", "", index_paths, ())
    try:
        return view.waste_bytes
    finally:
        view.close()


class ImageLayers:
    """A `LayerView`. Trees are shared values: do not change them."""

    def __init__(
        self,
        reference: str,
        image_id: str,
        indexes: Sequence[LayerIndex],
        history: Sequence[HistoryEntry],
        shared_with: Sequence[tuple[str, ...]],
    ) -> None:
        self.reference = reference
        self.image_id = image_id
        self.indexes = list(indexes)
        self.merged = Merged(indexes)
        self._lock = threading.Lock()
        self._state = _State(self.merged, indexes)
        self._trees: dict[tuple[int, bool], FileTree] = {}
        self._waste: list[WasteRow] | None = None
        waste = self.merged.waste
        commands = [entry for entry in history if not entry.empty_layer]
        if len(commands) != len(indexes):
            commands = []  # it does not say which belongs to which
        sizes = [
            index.facts.size_bytes + sum(size for _, size in index.facts.shadowed)
            for index in indexes
        ]
        self.layers = tuple(
            LayerInfo(
                position, index.facts.diff_id, index.facts.blob,
                commands[position].created_by if commands else "",
                commands[position].created_ns if commands else 0,
                sizes[position], index.facts.blob_bytes, step.added, step.changed, step.gone,
                waste.by_layer[position],
                shared_with[position] if position < len(shared_with) else (),
            )
            for position, (index, step) in enumerate(zip(indexes, self.merged.steps, strict=True))
        )  # fmt: skip
        self.size_bytes = sum(sizes)
        self.waste_bytes = waste.total_bytes
        self.contents: Contents | None = None
        """Where files are read from; whoever opens the image knows."""
        self.efficiency = 1 - self.waste_bytes / self.size_bytes if self.size_bytes else 1.0

    @property
    def causes(self) -> dict[tuple[int, int, str], int]:
        """Wasted bytes by (layer that brought them, layer that hid them, cause)."""
        return self.merged.waste.causes

    def tree(self, layer: int, *, aggregated: bool) -> FileTree:
        with self._lock:
            tree = self._trees.pop((layer, aggregated), None)
            if tree is None:
                self._state.go_to(layer)
                tree = self._state.tree(layer, aggregated)
                if len(self._trees) >= _KEPT_TREES:
                    del self._trees[next(iter(self._trees))]
            self._trees[layer, aggregated] = tree
            return tree

    def waste(self) -> list[WasteRow]:
        with self._lock:
            if self._waste is None:
                self._waste = self.merged.waste.rows(self.merged.path, self.merged.owner)
            return self._waste

    def losses(self) -> list[Loss]:
        losses = [Loss(*key, size) for key, size in self.causes.items()]
        return sorted(losses, key=lambda loss: (-loss.size_bytes, loss))

    def life(self, path: str) -> list[LifeStep]:
        with self._lock:
            return list(life_of(self.merged, self.indexes, path))

    def read(self, layer: int, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        with self._lock:
            file = file_at(self.merged, self.indexes, layer, path)
            if file is None:
                raise NotFound(f"layer {layer}: it has no file {path[:200]!r}")
            found = dict(self.contents.ends([file], limit_bytes)) if self.contents else {}
        if file.node not in found:
            raise Unavailable(
                f"layer {layer}: {path[:200]!r} cannot be read any more",
                "open the image again, from where it lies",
            )
        return found[file.node].head

    def close(self) -> None:
        with self._lock:
            for index in self.indexes:
                index.close()
            self.indexes = []


class _State:
    """The columns of every node as they are after one layer; hidden ones keep their last values."""

    def __init__(self, merged: Merged, indexes: Sequence[LayerIndex]) -> None:
        self._merged = merged
        self._indexes = indexes
        self._reset()

    def _reset(self) -> None:
        count = len(self._merged.keys)
        self._position = -1
        self._alive = bytearray(count)
        self._layer = array("H", bytes(2 * count))
        self._row = array("I", bytes(4 * count))
        self._kind = bytearray(count)
        self._mode = array("H", bytes(2 * count))
        self._uid = array("I", bytes(4 * count))
        self._gid = array("I", bytes(4 * count))
        self._size = array("Q", bytes(8 * count))
        self._mtime = array("q", bytes(8 * count))

    def go_to(self, layer: int) -> None:
        """The state is the one after `layer`."""
        if not 0 <= layer < len(self._indexes):
            raise IndexError(f"layer {layer} of {len(self._indexes)}")
        if layer < self._position:
            self._reset()
        while self._position < layer:
            self._position += 1
            self._step(self._position)

    def _step(self, position: int) -> None:
        step, index = self._merged.steps[position], self._indexes[position]
        nodes, rows = step.nodes, step.rows
        for node in step.hidden:
            self._alive[node] = 0
        alive, layer, row_of = self._alive, self._layer, self._row
        for node, row in zip(nodes, rows, strict=True):
            alive[node] = 1
            layer[node] = position
            row_of[node] = row
        _scatter(self._kind, nodes, rows, index.kind.tolist())
        _scatter(self._mode, nodes, rows, index.mode.tolist())
        _scatter(self._uid, nodes, rows, index.uid.tolist())
        _scatter(self._gid, nodes, rows, index.gid.tolist())
        _scatter(self._size, nodes, rows, index.size.tolist())
        seconds = [time_ns // 1_000_000_000 for time_ns in index.mtime_ns]
        _scatter(self._mtime, nodes, rows, seconds)
        for node, row in step.heirs.items():
            self._kind[node] = FILE
            self._size[node] = self._indexes[layer[node]].size[row]

    def tree(self, layer: int, aggregated: bool) -> FileTree:
        """The tree after `layer` (the state's own), or only what that layer does."""
        merged, step = self._merged, self._merged.steps[layer]
        count = len(merged.keys)
        gone = [node for node, change in step.changes.items() if change == GONE]
        if aggregated:
            mask = bytearray(self._alive)
            own = [size if alive else 0 for size, alive in zip(self._size, mask, strict=True)]
        else:
            mask, own = bytearray(count), [0] * count
            for node in step.nodes:
                mask[node] = 1
                own[node] = self._size[node]
        for node in gone:
            mask[node] = 1
        mask[0] = 1
        if not aggregated:
            parent = merged.parent
            for node in (*step.nodes, *gone):
                above = parent[node]
                while not mask[above]:
                    mask[above] = 1
                    above = parent[above]
        return self._columns(mask, _sums(own, merged.end), gone, step.changes)

    def _columns(
        self, mask: bytearray, sums: list[int], gone: list[int], changes: dict[int, int]
    ) -> FileTree:
        merged = self._merged
        if gone:  # what they had, apart from the sums of what is there
            lost = [0] * len(sums)
            for node in gone:
                lost[node] = self._size[node]
            lost_sums = _sums(lost, merged.end)
            for node in gone:
                sums[node] = lost_sums[node]
        before = array("I", [0, *accumulate(mask)])  # nodes in the tree in front of this one
        tree = FileTree()
        tree.parent = array("I", map(before.__getitem__, compress(merged.parent, mask)))
        tree.end = array("I", map(before.__getitem__, compress(merged.end, mask)))
        tree.depth = array("H", compress(merged.depth, mask))
        tree.size_bytes = array("Q", compress(sums, mask))
        tree.kind = array("B", compress(self._kind, mask))
        tree.layer = array("H", compress(self._layer, mask))
        tree.mode = array("H", compress(self._mode, mask))
        tree.uid = array("I", compress(self._uid, mask))
        tree.gid = array("I", compress(self._gid, mask))
        tree.mtime_seconds = array("q", compress(self._mtime, mask))
        change = bytearray(len(mask))
        for node, what in changes.items():
            change[node] = what
        tree.change = array("B", compress(change, mask))
        names = list(compress(merged.names, mask))
        tree.name_blob = bytearray(b"".join(names))
        tree.name_offset = array("I", [0, *accumulate(map(len, names))])
        nodes = compress(range(len(mask)), mask)
        for number, (node, kind) in enumerate(zip(nodes, tree.kind, strict=True)):
            if kind in (SYMLINK, HARDLINK, DEVICE):
                link = self._indexes[self._layer[node]].link(self._row[node])
                tree.link[number] = link.decode("utf-8", "surrogateescape")
        return tree


def _scatter(
    column: array[int] | bytearray, nodes: Iterable[int], rows: Iterable[int], values: list[int]
) -> None:
    for node, row in zip(nodes, rows, strict=True):
        column[node] = values[row]


def _sums(own: list[int], end: Sequence[int]) -> list[int]:
    """For each node the sum over its subtree, itself included."""
    total = [0, *accumulate(own)]
    return list(map(sub, map(total.__getitem__, end), total))
