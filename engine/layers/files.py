"""The files of an image, to be asked about: what is alive at the end, where it came from, what it
takes raw and compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from engine.layers.merge import Merged
from engine.layers.waste import Death
from engine.model.layer import FILE, HARDLINK
from engine.named_tuple import NamedTuple
from engine.storage.layer_index import NO_HASH, WHITEOUT, LayerIndex

SETUID, SETGID, GROUP_EXECUTE = 0o4000, 0o2000, 0o010


class LiveFile(NamedTuple):
    """A regular file that is there at the end. Of several names of one file the one that pays."""

    node: int
    path: bytes
    layer: int
    row: int  # in the layer's index
    size_bytes: int
    compressed_bytes: int  # estimate


class Files:
    """What rules and queries look at. Valid as long as the indexes are open."""

    def __init__(self, merged: Merged, indexes: Sequence[LayerIndex]) -> None:
        self.merged = merged
        self.indexes = indexes

    @cached_property
    def live(self) -> list[LiveFile]:
        """In order of path."""
        return list(self._live())

    def _live(self) -> Iterator[LiveFile]:
        keys = self.merged.keys
        sizes = [index.size.tolist() for index in self.indexes]
        packed = [index.compressed.tolist() for index in self.indexes]
        for node, layer, row in self.merged.paying():
            path = keys[node][1:].replace(b"\0", b"/")
            yield LiveFile(node, path, layer, row, sizes[layer][row], packed[layer][row])

    @cached_property
    def by_path(self) -> dict[bytes, LiveFile]:
        return {file.path: file for file in self.live}

    @cached_property
    def deaths(self) -> list[Death]:
        return list(self.merged.waste.deaths)

    @cached_property
    def live_bytes(self) -> int:
        return sum(file.size_bytes for file in self.live)

    @cached_property
    def compressed_bytes(self) -> int:
        """Of all layers, as a registry stores them."""
        return sum(index.facts.blob_bytes for index in self.indexes)

    def hash(self, file: LiveFile) -> bytes:
        return self.indexes[file.layer].hash(file.row)

    def mode(self, file: LiveFile) -> int:
        return int(self.indexes[file.layer].mode[file.row])

    def duplicates(self, least_bytes: int = 4096) -> list[list[LiveFile]]:
        """Groups of live files with one content, most wasted bytes first."""
        keys, indexes = self.merged.keys, self.indexes
        groups: dict[tuple[int, bytes], list[tuple[int, int, int]]] = {}
        for place in self.merged.paying():
            _, layer, row = place
            size = indexes[layer].size[row]
            if size >= least_bytes and (digest := indexes[layer].hash(row)) != NO_HASH:
                groups.setdefault((size, digest), []).append(place)
        found = [
            [
                LiveFile(
                    node, keys[node][1:].replace(b"\0", b"/"), layer, row, size,
                    indexes[layer].compressed[row],
                )
                for node, layer, row in group
            ]
            for (size, _), group in groups.items()
            if len(group) > 1
        ]  # fmt: skip
        found.sort(key=lambda group: (-group[0].size_bytes * (len(group) - 1), group[0].path))
        return found

    def set_id(self) -> Iterator[tuple[str, bytes, int, int]]:
        """(kind, path, layer, size) of the programs that run as another user or group."""
        merged = self.merged
        for layer, index in enumerate(self.indexes):
            for row, mode in enumerate(index.mode):
                if not mode & (SETUID | SETGID) or index.kind[row] not in (FILE, HARDLINK):
                    continue
                node = merged.nodes[layer][row]
                if merged.entry_of(node) != (layer, row):
                    continue
                path = merged.keys[node][1:].replace(b"\0", b"/")
                if mode & SETUID:
                    yield "setuid", path, layer, index.size[row]
                elif mode & GROUP_EXECUTE:
                    yield "setgid", path, layer, index.size[row]

    def all_paths(self) -> Iterator[bytes]:
        """Of every regular file of every layer, hidden ones too; once for each layer."""
        for index in self.indexes:
            kinds, marks = bytes(index.kind), bytes(index.mark)
            for row, path in enumerate(index.paths()):
                if kinds[row] == FILE and not marks[row] & WHITEOUT:
                    yield path
