"""The files of an image, to be asked about: what is alive at the end, where it came from, what it
takes raw and compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from engine.layers.merge import Merged
from engine.layers.waste import Death
from engine.model.layer import FILE, HARDLINK
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
        merged, indexes = self.merged, self.indexes
        for node, key in enumerate(merged.keys):
            layer, row = merged.bytes_of(node)
            if layer < 0:
                continue
            index = indexes[layer]
            path = key[1:].replace(b"\0", b"/")
            yield LiveFile(node, path, layer, row, index.size[row], index.compressed[row])

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
        groups: dict[tuple[int, bytes], list[LiveFile]] = {}
        for file in self.live:
            if file.size_bytes >= least_bytes:
                digest = self.hash(file)
                if digest != NO_HASH:
                    groups.setdefault((file.size_bytes, digest), []).append(file)
        found = [group for group in groups.values() if len(group) > 1]
        found.sort(key=lambda group: (-group[0].size_bytes * (len(group) - 1), group[0].path))
        return found

    def set_id(self) -> Iterator[tuple[str, bytes, int, int]]:
        """(kind, path, layer, size) of the programs that run as another user or group."""
        merged = self.merged
        for node, key in enumerate(merged.keys):
            layer, row = merged.entry_of(node)
            if layer < 0 or self.indexes[layer].kind[row] not in (FILE, HARDLINK):
                continue
            index = self.indexes[layer]
            mode = index.mode[row]
            path = key[1:].replace(b"\0", b"/")
            if mode & SETUID:
                yield "setuid", path, layer, index.size[row]
            elif mode & SETGID and mode & GROUP_EXECUTE:
                yield "setgid", path, layer, index.size[row]

    def all_files(self) -> Iterator[tuple[bytes, int, int, bool]]:
        """(path, layer, row, gone) of every regular file of every layer, hidden ones too."""
        merged = self.merged
        for layer, index in enumerate(self.indexes):
            for row, path in enumerate(index.paths()):
                if index.kind[row] == FILE and not index.mark[row] & WHITEOUT:
                    node = merged.node(path)
                    yield path, layer, row, merged.entry_of(node) != (layer, row)
