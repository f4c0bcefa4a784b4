"""All layers of an image in one tree: which paths there are, and what each layer does to them.

Every path of any layer has a node, numbered in pre-order with children by name, so a subtree is a
range. Layers are applied bottom up: first what they hide, then what they write. What happens is
kept as short lists per layer, from which the state after any layer is made again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain

from engine.layers import waste
from engine.layers.waste import Waste
from engine.model.layer import ADDED, CHANGED, DIRECTORY, FILE, GONE, HARDLINK, SAME
from engine.named_tuple import NamedTuple
from engine.storage.layer_index import IMPLIED, OPAQUE, WHITEOUT, LayerIndex

_NONE = -1


class Step(NamedTuple):
    """What one layer does."""

    hidden: array[int]  # nodes that were there before and are hidden, whatever comes after
    nodes: array[int]  # nodes that it writes …
    rows: array[int]  # … and the row in its index that says what
    heirs: dict[int, int]  # node of a hard link → row of the file whose bytes are its own now
    changes: dict[int, int]  # node → ADDED, CHANGED, GONE; directories on the way CHANGED
    added: int
    changed: int
    gone: int  # counts without directories


class Merged:
    """The nodes and the steps."""

    def __init__(self, layers: Sequence[LayerIndex]) -> None:
        self._layers = layers
        keys = [list(_keys(layer)) for layer in layers]
        # Each layer's keys are in order already, and sorting finds such runs.
        distinct = list(dict.fromkeys(sorted([b"", *chain.from_iterable(keys)])))
        self.keys = distinct
        """Paths with a NUL in front of each component: they sort in pre-order."""
        number = {key: node for node, key in enumerate(distinct)}
        split = [key.rpartition(b"\0") for key in distinct]
        self.names = [name for _, _, name in split]
        self.parent = array("I", [number[above] for above, _, _ in split])
        self.depth = array("H", [key.count(b"\0") for key in distinct])
        self.end = _ends(self.depth)
        self.nodes = [array("I", map(number.__getitem__, each)) for each in keys]
        """The node of each row, by layer; in ascending order, as both are in order of path."""
        del number, split, keys
        self.waste = Waste(len(layers))
        self.owner = array("h", [_NONE]) * len(distinct)
        """The layer that wrote what is there at the end; -1 where nothing is."""
        self._row = array("I", [0]) * len(distinct)
        self._heirs: dict[tuple[int, int], list[int]] = {}  # (layer, row of file) → nodes of links
        self._promoted: dict[int, int] = {}  # node of a hard link → row of its layer's file
        self._table: tuple[int, dict[bytes, int]] = (_NONE, {})
        self.steps = [self._apply(position) for position in range(len(layers))]

    def path(self, node: int) -> str:
        """Below the root, without a leading slash."""
        return self.keys[node][1:].replace(b"\0", b"/").decode("utf-8", "surrogateescape")

    def bytes_of(self, node: int) -> tuple[int, int]:
        """(layer, row) of the regular file whose bytes `node` keeps alive at the end; (-1, 0) where
        there is none: nothing is there, or it is no file, or the bytes are another name's."""
        layer = self.owner[node]
        if layer == _NONE:
            return _NONE, 0
        row = self._promoted.get(node, self._row[node])
        return (layer, row) if self._layers[layer].kind[row] == FILE else (_NONE, 0)

    def paying(self) -> Iterator[tuple[int, int, int]]:
        """(node, layer, row) of every file that `bytes_of` has, in order."""
        kinds = [bytes(layer.kind) for layer in self._layers]
        promoted = self._promoted
        for node, (layer, row) in enumerate(zip(self.owner, self._row, strict=True)):
            if layer != _NONE:
                row = promoted.get(node, row) if promoted else row
                if kinds[layer][row] == FILE:
                    yield node, layer, row

    def rows_of(self, node: int) -> Iterator[tuple[int, int]]:
        """(layer, row) of everything that layers have at `node`."""
        for layer, nodes in enumerate(self.nodes):
            row = bisect_left(nodes, node)
            if row < len(nodes) and nodes[row] == node:
                yield layer, row

    def entry_of(self, node: int) -> tuple[int, int]:
        """(layer, row) of what is at `node` at the end; (-1, 0) where nothing is."""
        return self.owner[node], self._row[node]

    def _apply(self, position: int) -> Step:
        layer, nodes = self._layers[position], self.nodes[position]
        owner, row_of, end = self.owner, self._row, self.end
        before: dict[int, tuple[int, int]] = {}  # what hidden nodes were
        heirs: dict[int, int] = {}
        marks = bytes(layer.mark)
        for row, mark in enumerate(marks):
            node = nodes[row]
            if mark & WHITEOUT:
                if owner[node] != _NONE:
                    whole = self._kind(node) == DIRECTORY
                    cause = waste.DELETED_DIRECTORY if whole else waste.DELETED
                    self._hide(node, end[node], node, position, cause, before, heirs)
            elif mark & OPAQUE:
                cause = waste.OPAQUE_DIRECTORY
                self._hide(node + 1, end[node], node, position, cause, before, heirs)
        for path, size_bytes in layer.facts.shadowed:
            self.waste.add(self._node(path), size_bytes, position, position, waste.DUPLICATE)

        changes: dict[int, int] = {}
        written, rows = array("I"), array("I")
        kinds = bytes(layer.kind)
        for row, node in enumerate(nodes):
            mark = marks[row]
            if mark & WHITEOUT:
                continue
            below = owner[node]
            if below == _NONE:
                old = before.get(node)
                change = ADDED if old is None else self._compare(old, position, row)
            elif mark & IMPLIED and self._kind(node) == DIRECTORY:
                continue  # it only stands for what is there already
            else:
                change = self._compare((below, row_of[node]), position, row)
                self._replace(node, position, row, change, before, heirs)
            if change != SAME:
                changes[node] = change
            written.append(node)
            rows.append(row)
            owner[node] = position
            row_of[node] = row
            if kinds[row] == HARDLINK:
                self._heirs.setdefault((position, self._origin(position, row)), []).append(node)
        for node in before:
            if owner[node] == _NONE:
                changes[node] = GONE
        counts = [0, 0, 0, 0]
        for node, change in changes.items():
            kind = self._kind(node) if change != GONE else self._kind_of(*before[node])
            counts[change] += kind != DIRECTORY
        self._mark_parents(changes)
        heirs = {node: row for node, row in heirs.items() if self._promoted.get(node) == row}
        hidden = array("I", sorted(before))
        return Step(
            hidden, written, rows, heirs, changes, counts[ADDED], counts[CHANGED], counts[GONE]
        )

    def find(self, path: bytes) -> int | None:
        """The node of a path, if any layer has it."""
        key = b"\0" + path.replace(b"/", b"\0") if path else b""
        node = bisect_left(self.keys, key)
        return node if node < len(self.keys) and self.keys[node] == key else None

    def _node(self, path: bytes) -> int:
        """The node of a path that some layer has; its nearest parent's else."""
        while (node := self.find(path)) is None:
            path = path.rpartition(b"/")[0]
        return node

    def _hide(
        self,
        start: int,
        stop: int,
        where: int,
        position: int,
        cause: str,
        before: dict[int, tuple[int, int]],
        heirs: dict[int, int],
    ) -> None:
        """Whatever is alive from `start` to `stop` is hidden by layer `position`."""
        owner = self.owner
        for node in range(start, stop):
            if owner[node] != _NONE:
                before[node] = owner[node], self._row[node]
                self._die(node, where, position, cause, heirs)
                owner[node] = _NONE

    def _replace(
        self,
        node: int,
        position: int,
        row: int,
        change: int,
        before: dict[int, tuple[int, int]],
        heirs: dict[int, int],
    ) -> None:
        """What is at `node` gives way to `row` of layer `position`."""
        old_kind, new_kind = self._kind(node), self._layers[position].kind[row]
        if old_kind == DIRECTORY:
            if new_kind != DIRECTORY:
                cause = waste.DELETED_DIRECTORY
                self._hide(node + 1, self.end[node], node, position, cause, before, heirs)
            return
        if new_kind == DIRECTORY or _class(old_kind) != _class(new_kind):
            cause = waste.TYPE_CHANGED
        elif change == SAME:
            cause = waste.IDENTICAL
        elif self.same_content((self.owner[node], self._row[node]), position, row):
            cause = waste.METADATA_ONLY
        else:
            cause = waste.OVERWRITTEN
        self._die(node, node, position, cause, heirs)

    def _die(self, node: int, where: int, position: int, cause: str, heirs: dict[int, int]) -> None:
        """The bytes of `node` are wasted, or live on under another name of the same file."""
        brought = self.owner[node]
        promoted = self._promoted.pop(node, None)
        row = self._row[node] if promoted is None else promoted
        layer = self._layers[brought]
        if layer.kind[row] != FILE:
            return
        for heir in self._heirs.get((brought, row), ()):
            if heir != node and self.owner[heir] == brought and heir not in self._promoted:
                self._promoted[heir] = heirs[heir] = row
                return
        self.waste.add(
            where, layer.size[row], brought, position, cause,
            file=node, compressed_bytes=layer.compressed[row],
        )  # fmt: skip

    def _origin(self, position: int, row: int) -> int:
        """The row of the file that hard link `row` is another name of."""
        layer = self._layers[position]
        key = b"\0" + layer.link(row).replace(b"/", b"\0")
        return self._rows_by_key(position).get(key, row)

    def _rows_by_key(self, position: int) -> dict[bytes, int]:
        if self._table[0] != position:
            keys = self.keys
            table = {keys[node]: row for row, node in enumerate(self.nodes[position])}
            self._table = position, table
        return self._table[1]

    def _kind(self, node: int) -> int:
        return self._kind_of(self.owner[node], self._row[node])

    def _kind_of(self, position: int, row: int) -> int:
        return self._layers[position].kind[row]

    def _compare(self, old: tuple[int, int], position: int, row: int) -> int:
        """SAME or CHANGED: type, content, target, owner, mode, attributes. Times do not count."""
        before, after = self._layers[old[0]], self._layers[position]
        was = old[1]
        same = (
            before.mode[was] == after.mode[row]
            and before.uid[was] == after.uid[row]
            and before.gid[was] == after.gid[row]
            and before.xattrs[was] == after.xattrs[row]
            and _class(before.kind[was]) == _class(after.kind[row])
            and (after.kind[row] == DIRECTORY or self.same_content(old, position, row))
        )
        return SAME if same else CHANGED

    def same_content(self, old: tuple[int, int], position: int, row: int) -> bool:
        """Whether (layer, row) `old` and `row` of layer `position` hold the same, or lead there."""
        before, after = self._layers[old[0]], self._layers[position]
        was = old[1]
        if _class(after.kind[row]) == FILE:
            if before.hash_name != after.hash_name:  # made where a library was missing
                return before.size[was] == after.size[row] and (
                    before.mtime_ns[was] == after.mtime_ns[row]
                )
            return before.hash(was) == after.hash(row)
        return before.link(was) == after.link(row)

    def _mark_parents(self, changes: dict[int, int]) -> None:
        """A directory with changes below it is changed itself, up to the root."""
        parent = self.parent
        for node in list(changes):
            above = parent[node]
            while above not in changes:
                changes[above] = CHANGED
                above = parent[above]


def _class(kind: int) -> int:
    """A hard link is a file by another name."""
    return FILE if kind == HARDLINK else kind


def _keys(layer: LayerIndex) -> Iterator[bytes]:
    names, offset = bytes(layer.names), layer.name_offset.tolist()
    parents, kinds = layer.parent.tolist(), bytes(layer.kind)
    prefixes: dict[int, bytes] = {0: b"\0"}
    yield b""
    for row in range(1, len(parents)):
        key = prefixes[parents[row]] + names[offset[row] : offset[row + 1]]
        if kinds[row] == DIRECTORY:
            prefixes[row] = key + b"\0"
        yield key


def _ends(depth: Sequence[int]) -> array[int]:
    """Where each node's subtree ends, from the depths in pre-order."""
    count = len(depth)
    end = array("I", [count]) * count
    stack: list[int] = []
    for node, here in enumerate(depth):
        while len(stack) > here:
            end[stack.pop()] = node
        stack.append(node)
    return end
