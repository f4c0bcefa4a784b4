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

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.model.analysis import DiveFile, DiveNumbers
from engine.model.layer import DIRECTORY
from engine.storage.layer_index import IMPLIED, WHITEOUT, LayerIndex

_WHITEOUT = b".wh."


class _Node:
    """What the layers so far have at a path. A file over a directory keeps what is below it."""

    __slots__ = ("children", "is_directory", "size")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.size = 0
        self.is_directory = False

    def find(self, path: bytes) -> _Node | None:
        node: _Node | None = self
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if node else None
        return node

    def make(self, path: bytes) -> _Node:
        node = self
        for name in path.split(b"/"):
            node = node.children.setdefault(name, _Node())
        return node

    def total(self) -> int:
        size, left = 0, [self]
        while left:
            node = left.pop()
            size += node.size
            left += node.children.values()
        return size


class _Entry(NamedTuple):
    path: bytes  # without the prefix of a whiteout
    size: int
    whiteout: bool
    is_directory: bool
    is_leaf: bool


class _Uses:
    """What one path cost in all layers."""

    __slots__ = ("count", "least", "total")

    def __init__(self) -> None:
        self.total = self.count = 0
        self.least = -1

    def add(self, size: int) -> None:
        self.total += size
        self.least = size if self.least < 0 else min(self.least, size)
        self.count += 1


def measure(layers: Sequence[LayerIndex]) -> DiveNumbers:
    """What dive says of an image of `layers`, bottom first. A path that a layer both removes and
    writes counts as written."""
    uses: dict[bytes, _Uses] = {}
    repeated: list[bytes] = []
    state = _Node()
    for layer in layers:
        entries = _entries(layer)
        for entry in entries:
            if not entry.is_leaf:
                continue
            # The path is in the map before its size is asked for, even if that fails.
            use = uses.setdefault(entry.path, _Uses())
            size = entry.size
            if entry.whiteout:
                hidden = state.find(entry.path)
                if hidden is None:
                    break  # dive gives up on this layer
                size = hidden.total() if hidden.is_directory else 0
            use.add(size)
            if use.count == 2:
                repeated.append(entry.path)
        _stack(state, entries)

    total = sum(use.total for use in uses.values())
    least = sum(use.least for use in uses.values())  # -1 where the size could not be asked for
    sizes = [
        layer.facts.size_bytes + sum(size for _, size in layer.facts.shadowed) for layer in layers
    ]
    wasted, user = sum(uses[path].total for path in repeated), sum(sizes[1:])
    files = [
        DiveFile(uses[path].count, uses[path].total, "/" + path.decode("utf-8", "surrogateescape"))
        for path in reversed(repeated)
    ]
    files.sort(key=lambda file: -file.size_bytes)
    return DiveNumbers(
        efficiency=least / total if total else 1.0,
        size_bytes=sum(sizes),
        user_size_bytes=user,
        wasted_bytes=wasted,
        wasted_user_share=wasted / user if user else 0.0,
        files=tuple(files),
    )


def _entries(layer: LayerIndex) -> list[_Entry]:
    """In dive's order: by name, where a whiteout's begins with .wh."""
    entries = list(_read(layer))
    if any(entry.whiteout for entry in entries):
        entries.sort(key=_sort_key)
    return entries


def _read(layer: LayerIndex) -> Iterator[_Entry]:
    paths = layer.paths()
    next(paths)  # the root
    for row, path in enumerate(paths, 1):
        mark = layer.mark[row]
        yield _Entry(
            path,
            layer.size[row],
            bool(mark & WHITEOUT),
            layer.kind[row] == DIRECTORY and not mark & IMPLIED,
            layer.end[row] == row + 1,
        )


def _sort_key(entry: _Entry) -> bytes:
    parent, slash, name = entry.path.rpartition(b"/")
    path = parent + slash + _WHITEOUT + name if entry.whiteout else entry.path
    return path.replace(b"/", b"\0")


def _stack(state: _Node, entries: Sequence[_Entry]) -> None:
    for entry in entries:
        if entry.whiteout:
            parent, _, name = entry.path.rpartition(b"/")
            above = state.find(parent)
            if above is not None:
                above.children.pop(name, None)
        else:
            node = state.make(entry.path)
            node.size, node.is_directory = entry.size, entry.is_directory
