"""A text to read: an error with all of its words."""

import textwrap

from textual.geometry import Region

from tui.widgets.canvas import Canvas
from tui.widgets.sheet import Sheet


class TextSheet(Sheet[None]):
    """Lines, wrapped to the sheet."""

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self.title = title
        self._lines = lines

    def _wrapped(self, width: int) -> list[str]:
        return [part for line in self._lines for part in textwrap.wrap(line, width) or [""]]

    def place(self, width: int, height: int, detail: Region) -> Region:
        wide = min(100, width)
        return self.centred(width, height, wide, len(self._wrapped(wide - 8)) + 4, None)

    def fill(self, canvas: Canvas) -> None:
        for y, line in enumerate(self._wrapped(canvas.width - 6)[: canvas.height - 3], 2):
            canvas.put(3, y, line)

    def press(self, key: str, character: str | None) -> None:
        if key in ("enter", "q", "e"):
            self.answer(None)
