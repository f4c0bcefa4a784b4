"""An image that the console looks into: what its layers hold, read in threads, closed once."""

import threading

from engine.engine import Engine
from engine.errors import NotFound
from engine.model.layer import FileTree, LayerInfo, WasteRow
from engine.named_tuple import NamedTuple
from tui.file_filter import matching

FEW = 3  # so many files of a directory are one row
EVERY = "/**"


class Files(NamedTuple):
    """A tree to show: which directories are open in it from the start, and how many files match
    the filter (-1: there is none)."""

    tree: FileTree
    opened: frozenset[int]
    found: int


def grouped(rows: list[WasteRow]) -> list[WasteRow]:
    """The rows with one for all files of a directory that have the same life: `lib/**`."""
    groups: dict[tuple[object, ...], list[WasteRow]] = {}
    for row in rows:
        directory = row.path.rpartition("/")[0]
        groups.setdefault((directory, row.written_in, row.removed_in), []).append(row)
    found: list[WasteRow] = []
    for group in groups.values():
        if len(group) < FEW:
            found += group
        else:
            waste = sum(row.waste_bytes for row in group)
            directory = group[0].path.rpartition("/")[0]
            found.append(group[0]._replace(path=f"{directory}{EVERY}", waste_bytes=waste))
    return sorted(found, key=lambda row: (-row.waste_bytes, row.path))


class OpenedImage:
    """Everything here blocks: call it by `offload`. The view may be closed while a thread reads."""

    def __init__(self, engine: Engine, ref: str) -> None:
        self._lock = threading.Lock()
        self._view = view = engine.layers.open(ref)
        self._closed = False
        self.reference = view.reference
        self.image_id = view.image_id
        self.layers: tuple[LayerInfo, ...] = view.layers
        self.size_bytes, self.waste_bytes = view.size_bytes, view.waste_bytes
        self.efficiency = view.efficiency
        rows = view.waste()
        self.waste = grouped(rows)
        self.waste_at = {row.path: row for row in rows}

    def files(self, layer: int, *, aggregated: bool, text: str = "") -> Files:
        """The files of a layer, or all files after it; of them those that `text` keeps. The view
        keeps the trees that were asked for last. Raises NotFound when it is closed."""
        with self._lock:
            if self._closed:
                raise NotFound(f"{self.reference} is no longer open", "open it again")
            tree = self._view.tree(layer, aggregated=aggregated)
        if not text:
            return Files(tree, frozenset(), -1)
        picked, opened, found = matching(tree, text)
        return Files(picked, frozenset(opened), found)

    def close(self) -> None:
        """Give the files back."""
        with self._lock:
            self._closed = True
            self._view.close()
