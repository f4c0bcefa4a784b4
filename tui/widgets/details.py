"""Text to read: facts, JSON. It scrolls; it is not edited."""

from typing import ClassVar

from textual.strip import Strip

from tui.widgets.canvas import EDGE, Canvas, Part
from tui.widgets.drawn import Movable

SIDE_STEP = 16
Line = tuple[Part, ...]


class Details(Movable):
    """Lines of parts. Other lines of the same thing keep the place where one reads."""

    LABEL: ClassVar[int] = 9

    def __init__(self) -> None:
        super().__init__()
        self._text: list[Line] = []
        self._top = 0
        self._left = 0

    def put(self, lines: list[Line], *, again: bool = False) -> None:
        """Show these; from their top, unless it is the same text `again`."""
        self._text = lines
        if not again:
            self._top = self._left = 0
        self.redraw()

    def fact(self, label: str, *parts: Part) -> Line:
        """A line with a label before it."""
        return ((f"{label:<{self.LABEL}}", "faint"), *parts)

    def move(self, rows: int) -> None:
        self._top += rows
        self.redraw()

    def sideways(self, direction: int) -> None:
        self._left = max(0, self._left + direction * SIDE_STEP)
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        self._top = max(0, min(self._top, len(self._text) - height))
        canvas = Canvas(width, height)
        for y, line in enumerate(self._text[self._top : self._top + height]):
            inner = Canvas(width + self._left, 1) if self._left else canvas
            if inner is canvas:
                canvas.spans(EDGE, y, line, width - 1)
            else:
                inner.spans(0, 0, line)
                canvas.window(EDGE, y, inner, self._left, width - EDGE - 1)
        if len(self._text) > height > 1:
            long = max(1, height * height // len(self._text))
            start = (height - long) * self._top // (len(self._text) - height)
            for y in range(start, start + long):
                canvas.put(width - 1, y, "▐", "faint")
        return canvas.strips(self.look)
