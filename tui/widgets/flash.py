"""The message row: what failed or was done, what is marked. No toast ever covers text."""

from collections.abc import Callable

from tui.widgets.canvas import EDGE, Canvas, Part
from tui.widgets.drawn import Sketch

DONE_SECONDS = 10.0


class FlashRow(Sketch):
    """One message. A failure stays until a key is pressed; what was done leaves by itself. With
    nothing to say it shows the work that goes on, which `work(width)` gives."""

    def __init__(self, work: Callable[[int], list[Part]]) -> None:
        super().__init__()
        self._work = work
        self.lasting: tuple[Part, ...] = ()  # what stands there while nothing is said
        self._said: tuple[Part, ...] = ()
        self._number = 0

    def say(self, *parts: Part) -> None:
        """Something went well, or is worth knowing."""
        self._show(parts)
        number = self._number
        self.set_timer(DONE_SECONDS, lambda: self._expire(number))

    def fail(self, what: str, why: str, *hints: Part) -> None:
        """Subject and verb; then the cause; then the key that helps."""
        cause = ((f": {why}  " if why else "  ", "text"),)
        self._show((("× ", "bad bold"), (what, "bad bold"), *cause, *hints))

    def clear(self) -> None:
        """Nothing is said any more."""
        if self._said:
            self._show(())

    def _show(self, parts: tuple[Part, ...]) -> None:
        self._number += 1
        self._said = parts
        self.redraw()

    def _expire(self, number: int) -> None:
        if number == self._number:
            self.clear()

    def draw(self, canvas: Canvas) -> None:
        canvas.spans(
            EDGE, 0, self._said or self.lasting or self._work(canvas.width), canvas.width - 1
        )
