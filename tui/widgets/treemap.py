"""What is in a directory, as an area: LOOK, part 8. Squarified after Bruls, Huizing, van Wijk."""

from collections.abc import Sequence

from engine.model.layer import DIRECTORY, GONE, FileTree
from engine.named_tuple import NamedTuple
from tui import format
from tui.widgets.canvas import EDGE, Canvas, middle
from tui.widgets.drawn import Sketch

MOST = 10  # tiles; the last one stands for the rest


class Tile(NamedTuple):
    """A part of the whole: its number in the order of sizes, and where it stands."""

    number: int
    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], width: float, height: float) -> list[Tile]:
    """A tile for each of `sizes` (largest first, none of them 0), as square as may be where a cell
    is twice as high as wide. Together they fill the area."""
    tiles: list[Tile] = []
    x = y = 0.0
    first = 0
    while first < len(sizes):
        total = sum(sizes[first:])
        across = width >= height * 2
        side = height * 2 if across else width
        scale = width * height * 2 / total
        count, best = 0, float("inf")
        for end in range(first + 1, len(sizes) + 1):
            worst = _worst(sizes[first:end], scale, side)
            if worst > best:
                break
            count, best = end - first, worst
        row = sizes[first : first + count]
        share = sum(row) / total
        at = 0.0
        for n, size in enumerate(row):
            part = size / sum(row)
            if across:
                tiles.append(Tile(first + n, x, y + at, width * share, height * part))
                at += height * part
            else:
                tiles.append(Tile(first + n, x + at, y, width * part, height * share))
                at += width * part
        if across:
            x, width = x + width * share, width * (1 - share)
        else:
            y, height = y + height * share, height * (1 - share)
        first += count
    return tiles


def _worst(row: Sequence[float], scale: float, side: float) -> float:
    """The worst ratio of sides among tiles that share one side of the area."""
    whole = sum(row) * scale
    largest, least = max(row) * scale, min(row) * scale
    return max(side * side * largest / whole**2, whole**2 / (side * side * least))


class TreeMap(Sketch):
    """The children of a node's directory; the tile of the node itself is the chosen one."""

    def __init__(self) -> None:
        super().__init__()
        self._files: FileTree | None = None
        self._node = -1
        self._children: list[int] = []  # of the directory, those that take room, largest first

    def show(self, files: FileTree | None, node: int) -> None:
        """Show where this node stands."""
        before = self._files, self.directory
        self._files, self._node = files, node
        if (files, self.directory) != before:
            self._children = _largest(files, self.directory) if files is not None else []
        self.redraw()

    @property
    def directory(self) -> int:
        """The node whose children are shown, -1 when there is none."""
        if self._files is None or self._node < 0:
            return -1
        return self._files.parent[self._node] if self._node else 0

    def heading(self) -> tuple[str, str]:
        """The path of the directory, and its size."""
        if self._files is None or self.directory < 0:
            return "", ""
        path = self._files.path(self.directory)
        size = format.size(self._files.size_bytes[self.directory])
        return (f"/{path}/" if path else "/"), size

    def draw(self, canvas: Canvas) -> None:
        files, children = self._files, self._children
        if files is None or self._node < 0:
            return
        if not children or canvas.width < EDGE + 12 or canvas.height < 4:
            canvas.put(EDGE, 0, "Nothing in it takes room.", "dim")
            return
        sizes = files.size_bytes
        shown = children if len(children) <= MOST else children[: MOST - 1]
        parts = [float(sizes[child]) for child in shown]
        rest = sum(sizes[child] for child in children[len(shown) :])
        if rest:
            parts.append(float(rest))
        # The rest may be larger than some: tiles go by size, whatever they are.
        order = sorted(range(len(parts)), key=parts.__getitem__, reverse=True)
        x, width, height = EDGE - 1, canvas.width - EDGE - 1, canvas.height - 1
        for tile in squarify([parts[n] for n in order], width, height):
            number = order[tile.number]
            node = shown[number] if number < len(shown) else -1
            label = f"{len(children) - len(shown)} more"
            if node >= 0:
                slash = "/" if files.kind[node] == DIRECTORY else ""
                label = files.name(node) + slash
            self._tile(canvas, x, tile, label, parts[number], node)

    def _tile(self, canvas: Canvas, x: int, tile: Tile, label: str, size: float, node: int) -> None:
        left, right = x + round(tile.x), x + round(tile.x + tile.width)
        top, bottom = round(tile.y), round(tile.y + tile.height)
        chosen = node >= 0 and node == self._node
        if chosen:
            for y in range(top + 1, bottom):
                canvas.ground(left + 1, y, right - left - 1, "selection")
        canvas.box(left, top, right - left + 1, bottom - top + 1)
        room = right - left - 3
        if bottom - top > 1 and room > 3:
            ink = "strong bold" if chosen else "text" if node >= 0 else "dim"
            canvas.put(left + 2, top + 1, middle(label, room), ink, right)
        if bottom - top > 2 and room > 3:
            canvas.put(left + 2, top + 2, format.size(size), "dim", right)


def _largest(files: FileTree, directory: int) -> list[int]:
    sizes = files.size_bytes
    children = files.children(directory) if directory >= 0 else []
    children = [child for child in children if sizes[child] and files.change[child] != GONE]
    return sorted(children, key=sizes.__getitem__, reverse=True)
