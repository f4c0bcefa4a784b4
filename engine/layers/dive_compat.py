"""dive's own numbers, its faults included, for gates that were set by them.

Only leaves of a layer's tree count: files, links, whiteouts, directories without children. For each
path dive adds up the sizes that it had in all layers, and keeps the smallest:

    efficiency = sum of the smallest / sum of all; wasted = sums of paths that came more than once

Known faults, kept: the copy that stays is counted as waste; a whiteout of nothing ends the layer;
a removed directory is not waste, but raises the efficiency; opaque directories hide nothing; the
bottom layer alone is the base.

https://github.com/wagoodman/dive/blob/v0.13.1/dive/filetree/efficiency.go
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from engine.layers.merge import Merged
from engine.model.analysis import DiveFile, DiveNumbers
from engine.model.layer import DIRECTORY
from engine.storage.layer_index import IMPLIED, WHITEOUT, LayerIndex

_WHITEOUT = b".wh."


def measure(merged: Merged, layers: Sequence[LayerIndex]) -> DiveNumbers:
    """What dive says of an image of `layers`, bottom first, which are `merged`. A path that a layer
    both removes and writes counts as written."""
    uses = _Uses(len(merged.keys))
    state = _State(merged)
    for layer, nodes in zip(layers, merged.nodes, strict=True):
        marks = bytes(layer.mark)
        order = _order(merged, nodes, marks)
        uses.add_layer(layer, nodes, order, marks, state)
        state.stack(layer, nodes, order, marks)

    sizes = [
        layer.facts.size_bytes + sum(size for _, size in layer.facts.shadowed) for layer in layers
    ]
    total, wasted, user = sum(uses.total), uses.wasted, sum(sizes[1:])
    files = [
        DiveFile(uses.count[node], uses.total[node], f"/{merged.path(node)}")
        for node in reversed(uses.repeated)
    ]
    files.sort(key=lambda file: -file.size_bytes)
    return DiveNumbers(
        efficiency=uses.least_bytes / total if total else 1.0,
        size_bytes=sum(sizes),
        user_size_bytes=user,
        wasted_bytes=wasted,
        wasted_user_share=wasted / user if user else 0.0,
        files=tuple(files),
    )


class _State:
    """What the layers so far have, by node. A file over a directory keeps what is below it."""

    def __init__(self, merged: Merged) -> None:
        count = len(merged.keys)
        self._end = merged.end
        self._there = bytearray(count)
        self._directory = bytearray(count)
        self._size = array("Q", bytes(8 * count))

    def hidden_bytes(self, node: int) -> int:
        """What a whiteout of `node` is charged with; -1 where there is nothing."""
        if not self._there[node]:
            return -1
        return sum(self._size[node : self._end[node]]) if self._directory[node] else 0

    def stack(
        self, layer: LayerIndex, nodes: Sequence[int], order: Iterable[int], marks: bytes
    ) -> None:
        sizes, kinds = layer.size.tolist(), bytes(layer.kind)
        there, directory, size = self._there, self._directory, self._size
        for row in order:
            node = nodes[row]
            if marks[row] & WHITEOUT:
                end = self._end[node]
                there[node:end] = bytes(end - node)
                size[node:end] = array("Q", bytes(8 * (end - node)))
            else:
                there[node] = 1
                size[node] = sizes[row]
                directory[node] = kinds[row] == DIRECTORY and not marks[row] & IMPLIED


class _Uses:
    """What each path cost in all layers, by node."""

    def __init__(self, count: int) -> None:
        self.total = array("Q", bytes(8 * count))
        self.count = array("H", bytes(2 * count))
        self.repeated: list[int] = []
        self._least = array("q", bytes(8 * count))
        self._seen = bytearray(count)

    @property
    def least_bytes(self) -> int:
        return sum(self._least)

    @property
    def wasted(self) -> int:
        return sum(self.total[node] for node in self.repeated)

    def add_layer(
        self,
        layer: LayerIndex,
        nodes: Sequence[int],
        order: Iterable[int],
        marks: bytes,
        state: _State,
    ) -> None:
        """Its leaves in dive's order, up to a whiteout of nothing."""
        sizes, end = layer.size.tolist(), layer.end.tolist()
        seen, least, total, count = self._seen, self._least, self.total, self.count
        for row in order:
            if end[row] != row + 1:
                continue
            node, size = nodes[row], sizes[row]
            if not seen[node]:
                # It is in the map before its size is asked for, even if that fails.
                seen[node] = 1
                least[node] = -1
            if marks[row] & WHITEOUT:
                size = state.hidden_bytes(node)
                if size < 0:
                    return  # dive gives up on this layer
            total[node] += size
            least[node] = size if least[node] < 0 else min(least[node], size)
            count[node] += 1
            if count[node] == 2:
                self.repeated.append(node)


def _order(merged: Merged, nodes: Sequence[int], marks: bytes) -> Sequence[int]:
    """Rows without the root as dive visits them: by name, where a whiteout's begins with .wh."""
    rows = range(1, len(nodes))
    if not any(mark & WHITEOUT for mark in marks):
        return rows

    def key(row: int) -> bytes:
        path = merged.keys[nodes[row]]
        if not marks[row] & WHITEOUT:
            return path
        parent, _, name = path.rpartition(b"\0")
        return parent + b"\0" + _WHITEOUT + name

    return sorted(rows, key=key)
