"""An image of the double, opened: the trees and the waste, computed the plain way."""

import io
import tarfile
from collections.abc import Sequence

from engine.errors import NotFound
from engine.model.analysis import Loss
from engine.model.layer import (
    ADDED,
    CHANGED,
    DIRECTORY,
    FILE,
    GONE,
    SAME,
    FileTree,
    LayerInfo,
    LifeStep,
    WasteRow,
)
from tests.support.double_world import Entry, StoredImage

State = dict[str, tuple[Entry, int]]  # path → what is there, and the layer that wrote it
ROOT = Entry(0, DIRECTORY, 0o755)


class DoubleLayerView:
    """A LayerView. Implicit parents are made by whoever makes the layer."""

    def __init__(self, reference: str, image: StoredImage, tars: Sequence[bytes] = ()) -> None:
        """`tars` are the layers as they came in, if they did."""
        self._tars = tars
        self._losses: dict[tuple[int, int, str], int] = {}
        self.reference = reference
        self.image_id = image.id
        self._image = image
        self._states: list[State] = []
        self._changes: list[dict[str, int]] = []
        self._waste: dict[str, tuple[int, set[int], int]] = {}
        wasted = [0] * len(image.layers)
        state: State = {}
        for position, layer in enumerate(image.layers):
            state, changes = dict(state), {}
            for path, entry in layer.entries.items():
                hidden = [path] if path in state else []
                if entry is None or entry.kind != DIRECTORY:
                    hidden += [each for each in state if each.startswith(f"{path}/")]
                for each in hidden:
                    old, writer = state[each]
                    wasted[writer] += old.size_bytes
                    self._lose(writer, position, old.size_bytes, state, path, entry is None)
                    self._waste_at(each, old.size_bytes, writer, position if entry is None else -1)
                    if each != path or entry is None:
                        del state[each]
                        changes[each] = GONE
                if entry is None:
                    continue
                same = hidden[:1] == [path] and entry.kind == DIRECTORY
                changes[path] = SAME if same else CHANGED if hidden[:1] == [path] else ADDED
                state[path] = (entry, position)
            self._states.append(state)
            self._changes.append(changes)
        for path, (size, written, gone) in self._waste.items():
            if path in state:
                self._waste[path] = (size, written | {state[path][1]}, -1)
            else:
                self._waste[path] = (size, written, gone)
        self.layers = tuple(
            LayerInfo(
                position, layer.diff_id, layer.digest, layer.command, layer.created_ns,
                layer.size_bytes, layer.blob_bytes,
                self._count(position, ADDED), self._count(position, CHANGED),
                self._count(position, GONE),
                wasted[position], (),
            )
            for position, layer in enumerate(image.layers)
        )  # fmt: skip
        self.size_bytes = sum(layer.size_bytes for layer in image.layers)
        self.waste_bytes = sum(wasted)
        self.efficiency = 1 - self.waste_bytes / self.size_bytes if self.size_bytes else 1.0

    def share(self, diff_id: str, references: tuple[str, ...]) -> None:
        self.layers = tuple(
            layer._replace(shared_with=references) if layer.diff_id == diff_id else layer
            for layer in self.layers
        )

    def _waste_at(self, path: str, size: int, writer: int, gone: int) -> None:
        if size:
            before, written, _ = self._waste.get(path, (0, set(), -1))
            self._waste[path] = (before + size, written | {writer}, gone)

    def _count(self, position: int, change: int) -> int:
        before = self._states[position - 1] if position else {}
        return sum(
            what == change
            and (self._states[position].get(path) or before[path])[0].kind != DIRECTORY
            for path, what in self._changes[position].items()
        )

    def tree(self, layer: int, *, aggregated: bool) -> FileTree:
        state, changes = self._states[layer], self._changes[layer]
        before = self._states[layer - 1] if layer else {}
        shown = {
            path: (*found, changes.get(path, SAME))
            for path, found in state.items()
            if aggregated or found[1] == layer
        }
        shown |= {path: (*before[path], GONE) for path, change in changes.items() if change == GONE}
        for path in list(shown):
            while path := path.rpartition("/")[0]:
                shown.setdefault(path, (*state.get(path, (ROOT, 0)), SAME))
        children: dict[str, list[str]] = {}
        for path in sorted(shown):
            children.setdefault(path.rpartition("/")[0], []).append(path)
        return _Builder(shown, children).tree

    def waste(self) -> list[WasteRow]:
        rows = [
            WasteRow(path, size, tuple(sorted(written)), gone)
            for path, (size, written, gone) in self._waste.items()
        ]
        return sorted(rows, key=lambda row: (-row.waste_bytes, row.path))

    def _lose(
        self, writer: int, position: int, size: int, state: State, path: str, removed: bool
    ) -> None:
        whole = path in state and state[path][0].kind == DIRECTORY
        cause = "deleted directory" if whole else "deleted" if removed else "overwritten"
        if size:
            key = (writer, position, cause)
            self._losses[key] = self._losses.get(key, 0) + size

    def losses(self) -> list[Loss]:
        losses = [Loss(*key, size) for key, size in self._losses.items()]
        return sorted(losses, key=lambda loss: (-loss.size_bytes, loss))

    def life(self, path: str) -> list[LifeStep]:
        steps = []
        for position, changes in enumerate(self._changes):
            change = changes.get(path.strip("/"), SAME)
            state = self._states[position - 1 if change == GONE else position]
            entry, writer = state.get(path.strip("/"), (ROOT, -1))
            if change == GONE or writer == position:
                content = change in (ADDED, CHANGED) and entry.kind != DIRECTORY
                steps.append(
                    LifeStep(
                        position, change, content or change == ADDED, entry.kind,
                        entry.size_bytes, entry.mode, entry.uid, entry.gid, entry.mtime_seconds,
                        entry.link,
                    )
                )  # fmt: skip
        return steps

    def read(self, layer: int, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Of a layer that never was a tar the content is NULs."""
        name = path.strip("/")
        entry = self._image.layers[layer].entries.get(name)
        if entry is None or entry.kind != FILE:
            raise NotFound(f"layer {layer}: it has no file {path!r}")
        if not self._tars:
            return bytes(min(entry.size_bytes, limit_bytes))
        with tarfile.open(fileobj=io.BytesIO(self._tars[layer])) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read(limit_bytes)

    def close(self) -> None:
        pass


class _Builder:
    def __init__(
        self, shown: dict[str, tuple[Entry, int, int]], children: dict[str, list[str]]
    ) -> None:
        self.tree = FileTree()
        self._shown = shown
        self._children = children
        self._add("", 0, 0)
        self.tree.name_offset.append(len(self.tree.name_blob))

    def _add(self, path: str, parent: int, depth: int) -> int:
        """Bytes of it and of what is below it that are there."""
        tree, node = self.tree, len(self.tree)
        entry, layer, change = self._shown.get(path, (ROOT, 0, SAME))
        tree.name_offset.append(len(tree.name_blob))
        tree.name_blob += path.rpartition("/")[2].encode("utf-8", "surrogateescape")
        for column, value in (
            (tree.parent, parent), (tree.end, 0), (tree.depth, depth),
            (tree.size_bytes, entry.size_bytes), (tree.kind, entry.kind), (tree.change, change),
            (tree.layer, layer), (tree.mode, entry.mode), (tree.uid, entry.uid),
            (tree.gid, entry.gid), (tree.mtime_seconds, entry.mtime_seconds),
        ):  # fmt: skip
            column.append(value)
        if entry.link:
            tree.link[node] = entry.link
        below = sum(self._add(child, node, depth + 1) for child in self._children.get(path, ()))
        tree.end[node] = len(tree)
        tree.size_bytes[node] = entry.size_bytes + below
        return 0 if change == GONE else entry.size_bytes + below
