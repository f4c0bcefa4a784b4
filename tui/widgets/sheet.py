"""A sheet: the one box that a screen may have. Palette, help, questions."""

from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from textual.geometry import Region

from tui.widgets.canvas import Canvas
from tui.widgets.drawn import Sketch

AIR = 2
T = TypeVar("T")


class Sheet(Sketch, Generic[T]):
    """Open one with `answer = await console.open(sheet)`: None when it was left by esc.

    A subclass draws with `fill` and takes keys with `press`; `answer(value)` closes it. `region`
    says where it stands, given the screen's size and the place of the detail.
    """

    GROUND: ClassVar[str] = "surface"
    TITLE_INK: ClassVar[str] = "strong bold"

    title = ""
    note = "esc closes"
    closed: Callable[[T | None], None]  # told the answer; the console sets it
    air = 0  # cells at both sides that are left empty

    def place(self, width: int, height: int, detail: Region) -> Region:
        """Where it stands on a screen of this size."""
        raise NotImplementedError

    def fill(self, canvas: Canvas) -> None:
        """Draw what is in it: text from column 3 on, from row 1 on."""
        raise NotImplementedError

    def press(self, key: str, character: str | None) -> None:
        """A key, but for esc."""

    def paste(self, text: str) -> None:
        """Text from the clipboard."""

    def answer(self, value: T | None) -> None:
        """Close it."""
        self.active = False
        self.closed(value)

    def centred(self, width: int, height: int, wide: int, high: int, top: int | None) -> Region:
        """In the middle with air at both sides; the full width below 100 columns, so that no
        clipped words stand beside it."""
        if width < 100:
            self.air = 0
            top = 2 if top is None else top
            return Region(0, top, width, min(high, height - top))
        self.air = AIR
        wide, high = min(wide, width - 2 * AIR), min(high, height - 3)
        top = max(2, (height - high) // 2) if top is None else top
        return Region((width - wide) // 2 - AIR, top, wide + 2 * AIR, high)

    def draw(self, canvas: Canvas) -> None:
        air, inner = self.air, Canvas(canvas.width - 2 * self.air, canvas.height, self.GROUND)
        edge, surface = self.look.values["edge"], self.look.values["surface"]
        if edge != surface or edge == "default":  # else the ground alone tells where it is
            inner.box(0, 0, inner.width, inner.height, "edge")
        inner.put(2, 0, f" {self.title} ", self.TITLE_INK, inner.width - 3)
        inner.right(inner.width - 2, 0, f" {self.note} ", "faint")
        self.fill(inner)
        canvas.paste(air, 0, inner)
        for y in range(canvas.height):
            canvas.ground(0, y, air, "ground")
            canvas.ground(canvas.width - air, y, air, "ground")

    def take(self, key: str, character: str | None) -> None:
        """A key: while it is open the console gives it every one."""
        if key in ("esc", "^c"):
            self.answer(None)
        else:
            self.press(key, character)
