"""The last row: the keys that matter here, from the registry; as many as there is room for."""

from collections.abc import Callable

from tui.widgets.canvas import EDGE, Canvas, Part, width_of
from tui.widgets.drawn import Sketch

Hint = tuple[str, str]  # key, word


class Footer(Sketch):
    """Asks `hints` for (key, word) pairs, the most used first."""

    def __init__(self, hints: Callable[[], list[Hint]], always: list[Hint]) -> None:
        super().__init__()
        self._hints = hints
        self._always = always

    def draw(self, canvas: Canvas) -> None:
        always = self._always
        if canvas.width < 100:
            always = always[:1] + always[-1:]
        tail: list[Part] = []
        for key, word in always:
            tail += [(key, "text bold"), (f" {word}  ", "dim")]
        tail[-1] = (tail[-1][0].rstrip(), "dim")
        end = canvas.width - 2 - sum(width_of(text) for text, _ in tail)
        x = EDGE
        for key, word in self._hints():
            if x + width_of(key) + width_of(word) + 1 > end - 2:
                break
            x = canvas.spans(x, 0, [(key, "text bold"), (f" {word}", "dim")]) + 2
        canvas.spans(end, 0, tail)
