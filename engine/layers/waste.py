"""Bytes that an image stores and does not show, each with its one cause.

stored = sum of the sizes of all regular files of all layers; live = of those that are there at the
end; waste = stored - live, exactly. When a file dies, its bytes go to one cause, keyed by the layer
that brought it and the layer that hid it. (dive counts the surviving copy too, misses directories
that were removed whole, and stops counting at a whiteout that hides nothing.)
"""

from array import array
from collections.abc import Callable, Iterator, Sequence

from engine.model.layer import WasteRow
from engine.named_tuple import NamedTuple

DELETED = "deleted"
DELETED_DIRECTORY = "deleted directory"
OPAQUE_DIRECTORY = "opaque directory"
OVERWRITTEN = "overwritten"
METADATA_ONLY = "metadata only"  # the same content again, for a chmod or chown
IDENTICAL = "identical rewrite"
TYPE_CHANGED = "type changed"
DUPLICATE = "duplicate in one layer"
CAUSES = (
    DELETED, DELETED_DIRECTORY, OPAQUE_DIRECTORY, OVERWRITTEN, METADATA_ONLY, IDENTICAL,
    TYPE_CHANGED, DUPLICATE,
)  # fmt: skip


class Death(NamedTuple):
    """The bytes of one file that nobody sees any more."""

    node: int
    size_bytes: int
    compressed_bytes: int  # estimate
    brought: int  # layer
    hidden: int  # layer
    cause: str


class Waste:
    """The deaths of one image's files, added up."""

    def __init__(self, layers: int) -> None:
        self.by_layer = [0] * layers
        self.causes: dict[tuple[int, int, str], int] = {}
        """Bytes by (layer that brought them, layer that hid them, cause)."""
        self._nodes: dict[int, int] = {}
        self._written: dict[int, set[int]] = {}
        self._hidden_in: dict[int, int] = {}
        self._deaths = array("Q")  # six numbers each

    @property
    def total_bytes(self) -> int:
        return sum(self.by_layer)

    @property
    def deaths(self) -> Iterator[Death]:
        """Every one in the order of dying; their sizes add up to the total."""
        numbers = iter(self._deaths)
        for node, size, compressed, brought, hidden, cause in zip(*[numbers] * 6, strict=True):
            yield Death(node, size, compressed, brought, hidden, CAUSES[cause])

    def add(
        self,
        node: int,
        size_bytes: int,
        brought: int,
        hidden: int,
        cause: str,
        *,
        file: int | None = None,
        compressed_bytes: int = 0,
    ) -> None:
        """`node` is where it happened: the `file`, or the directory that went as a whole."""
        if not size_bytes:
            return
        self.by_layer[brought] += size_bytes
        key = (brought, hidden, cause)
        self.causes[key] = self.causes.get(key, 0) + size_bytes
        self._nodes[node] = self._nodes.get(node, 0) + size_bytes
        self._written.setdefault(node, set()).add(brought)
        self._hidden_in[node] = hidden
        self._deaths.extend(
            (
                node if file is None else file, size_bytes, compressed_bytes, brought, hidden,
                CAUSES.index(cause),
            )
        )  # fmt: skip

    def rows(self, path: Callable[[int], str], owners: Sequence[int]) -> list[WasteRow]:
        """Most bytes first. `owners` has the layer of what is at each node at the end, -1 where
        nothing is."""
        rows: list[WasteRow] = []
        for node, size_bytes in self._nodes.items():
            written, owner = self._written[node], owners[node]
            removed_in = self._hidden_in[node] if owner < 0 else -1
            if owner >= 0:
                written = written | {owner}
            rows.append(WasteRow(path(node), size_bytes, tuple(sorted(written)), removed_in))
        rows.sort(key=lambda row: (-row.waste_bytes, row.path))
        return rows
