"""The second row: the panes, their numbers and how much is in them."""

from collections.abc import Callable

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import EDGE, Canvas, Part, width_of
from tui.widgets.drawn import Sketch


class Tab(NamedTuple):
    """One pane as the row names it."""

    number: int
    title: str
    amount: str = ""


class TabRow(Sketch):
    """Asks `tabs` for what to show, and `aside` for what stands at the right (jobs)."""

    def __init__(self, tabs: Callable[[], list[Tab]], aside: Callable[[], list[Part]]) -> None:
        super().__init__()
        self._tabs = tabs
        self._aside = aside
        self.chosen = 1

    def extent(self, width: int) -> tuple[int, int]:
        """Columns of the heavy rule under the active tab: one cell over on each side."""
        x = EDGE
        for tab in self._tabs():
            stop = x + width_of(_label(tab))
            if tab.number == self.chosen:
                return x - 1, stop + 1
            x = stop + _gap(width)
        return 0, 0

    def draw(self, canvas: Canvas) -> None:
        x = EDGE
        for tab in self._tabs():
            on = tab.number == self.chosen
            x = canvas.put(x, 0, f"{tab.number} ", "accent" if on else "faint")
            x = canvas.put(x, 0, tab.title, "strong bold" if on else "dim")
            if tab.amount:
                x = canvas.put(x, 0, f" {tab.amount}", "dim" if on else "faint")
            x += _gap(canvas.width)
        aside = self._aside()
        wide = sum(width_of(text) for text, _ in aside)
        if x + wide < canvas.width - 2:
            canvas.spans(canvas.width - 2 - wide, 0, aside)


def _gap(width: int) -> int:
    return 3 if width < 100 else 4


def _label(tab: Tab) -> str:
    return f"{tab.number} {tab.title}" + (f" {tab.amount}" if tab.amount else "")
