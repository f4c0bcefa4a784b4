"""Paths whose bytes an image stores for nothing, and in which layers: LOOK, part 8."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.strip import Strip

from engine.model.layer import WasteRow
from tui import format
from tui.actions import Action
from tui.widgets.canvas import EDGE, Canvas, middle
from tui.widgets.drawn import Movable

STEP = 3  # cells a layer
LEAST_PATH = 24
HEAVY_BYTES = 10 * format.M
LEGEND = (
    ("●", "added"),
    (" written   ", "faint"),
    ("●", "modified"),
    (" copied again   ", "faint"),
    ("×", "removed"),
    (" removed later, still stored", "faint"),
)


def draw_waste(
    canvas: Canvas, x: int, y: int, width: int, rows: Sequence[WasteRow], layers: int
) -> None:
    """A title row and the rows: paths down, layers across; what lies between the first and the last
    knot was paid for. Where the layers take too much room, their numbers are written."""
    left = x + EDGE
    canvas.right(left + 6, y, "WASTE", "text")
    grid = left + 9
    across = grid + STEP * layers + 2
    if across + LEAST_PATH > x + width:
        across = 0
    path = across or grid + 22
    if across:
        for number in range(1, layers + 1):
            canvas.right(grid + STEP * number - 1, y, str(number), "faint")
    else:
        canvas.put(grid, y, "LAYERS", "faint")
    canvas.put(path, y, "PATH", "faint")
    for line, row in enumerate(rows, y + 1):
        heavy = row.waste_bytes > HEAVY_BYTES
        canvas.right(left + 6, line, format.size(row.waste_bytes), "warn" if heavy else "text")
        if across:
            _life(canvas, grid, line, row, layers)
        else:
            canvas.put(grid, line, middle(_words(row), 20), "dim")
        canvas.put(path, line, middle(f"/{row.path}", x + width - 2 - path))


def _life(canvas: Canvas, x: int, y: int, row: WasteRow, layers: int) -> None:
    knots = dict.fromkeys(row.written_in, ("●", "modified"))
    knots[min(row.written_in)] = ("●", "added")
    if row.removed_in >= 0:
        knots[row.removed_in] = ("×", "removed")
    first, last = min(knots), max(knots)
    for number in range(layers):
        at = x + STEP * number + 1
        if number in knots:
            canvas.put(at, y, *knots[number])
        elif first < number < last:
            canvas.put(at, y, "─", "dim")
        else:
            canvas.put(at, y, "·", "line")
        if first <= number < last:
            canvas.put(at + 1, y, "──", "dim")


def _words(row: WasteRow) -> str:
    written = " ".join(str(number + 1) for number in row.written_in)
    return f"{written} × {row.removed_in + 1}" if row.removed_in >= 0 else written


class WasteView(Movable):
    """All of them, most bytes first. `show(row)` goes to the file itself."""

    SCOPES = ("waste", "move")
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self, show: Callable[[WasteRow], None]) -> None:
        super().__init__()
        self._show = show
        self._rows: list[WasteRow] = []
        self._layers = 0
        self._cursor = 0
        self._top = 0

    def put(self, rows: list[WasteRow], layers: int) -> None:
        """Show these, of an image with so many layers."""
        self._rows, self._layers = rows, layers
        self._cursor = self._top = 0
        self.redraw()

    def move(self, rows: int) -> None:
        self._cursor = max(0, min(len(self._rows) - 1, self._cursor + rows))
        self.redraw()

    def open_file(self) -> None:
        """Go to the file under the cursor."""
        if self._rows:
            self._show(self._rows[self._cursor])

    def lines(self, width: int, height: int) -> list[Strip]:
        canvas, room = Canvas(width, height), max(1, height - 1)
        if not self._rows:
            canvas.put(EDGE, 0, "Nothing is stored twice or hidden.", "dim")
            return canvas.strips(self.look)
        self._top = max(min(self._top, self._cursor), self._cursor - room + 1)
        self._top = max(0, min(self._top, len(self._rows) - room))
        draw_waste(canvas, 0, 0, width, self._rows[self._top : self._top + room], self._layers)
        y, focused = 1 + self._cursor - self._top, self.active
        canvas.put(0, y, "▌" if focused else "▏", "accent" if focused else "dim")
        if focused:
            canvas.ground(0, y, width, "selection")
        return canvas.strips(self.look)


WasteView.ACTIONS = (Action("waste.open", "open", WasteView.open_file, "the file itself"),)
