"""A question before something is lost: what goes, what stops, what stays."""

from textual.geometry import Region

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import Canvas, Part, middle
from tui.widgets.prompt import Line
from tui.widgets.sheet import Sheet

LABEL = 8


class Item(NamedTuple):
    """One thing that would go: its name, its size, and what else is worth knowing of it."""

    name: str
    size: str = ""
    text: str = ""


class Confirm(Sheet[bool]):
    """True when the verb itself was chosen. It covers the detail, never the list: what is about to
    go stays in sight. Cancel has the focus first. With a `word`, that is typed instead: for what
    nobody can make again."""

    TITLE_INK = "bad bold"
    note = "esc cancels"

    def __init__(
        self,
        question: str,
        verb: str,
        items: list[Item],
        facts: list[tuple[str, tuple[Part, ...]]],
    ) -> None:
        super().__init__()
        self.title = question
        self._verb = verb
        self._items = items
        self._facts = facts
        self._go = False
        self._word = ""
        self._typed = Line()

    def place(self, width: int, height: int, detail: Region) -> Region:
        needed = len(self._facts) + min(len(self._items), 6) + 8
        if detail.x:
            return Region(detail.x, detail.y, detail.width, min(needed + 1, detail.height))
        high = min(max(14 if height < 30 else 16, needed), height - 3)
        return Region(0, height - high, width, high)

    def fill(self, canvas: Canvas) -> None:
        left, end, bottom = 3, canvas.width - 2, canvas.height - 2
        y = 1 if canvas.height < 16 else 2
        room = max(1, bottom - y - len(self._facts) - 4)
        shown = self._items if len(self._items) <= room else self._items[: room - 1]
        names = max((len(item.name) for item in shown), default=0)
        names = min(names, 28)
        sizes = max((len(item.size) for item in shown), default=0)
        for item in shown:
            canvas.put(left, y, middle(item.name, names), "strong")
            x = left + names + 2
            if sizes:
                canvas.right(x + sizes, y, item.size)
                x += sizes + 3
            canvas.put(x, y, item.text, "dim", end)
            y += 1
        if len(shown) < len(self._items):
            canvas.put(left, y, f"{len(self._items) - len(shown)} more", "dim")
            y += 1
        y += 1
        for label, parts in self._facts:
            canvas.put(left, y, label, "faint")
            canvas.spans(left + LABEL, y, parts, end)
            y += 1
        y = min(y + 1, bottom - 1)
        if self._word:
            ask: list[Part] = [("type ", "dim"), (self._word, "bad bold"), (" and enter   ", "dim")]
            canvas.spans(left, y, [*ask, *self._typed.parts("strong")], end)
            return
        verb = f"  {self._verb}  "
        x = canvas.put(left, y, "  Cancel  ", "faint" if self._go else "accent reverse")
        canvas.put(x + 1, y, verb, "bad reverse" if self._go else "faint")
        canvas.right(canvas.width - 3, y, "tab moves   enter does", "faint")

    def press(self, key: str, character: str | None) -> None:
        if self._word:
            if key != "enter":
                self._typed.press(key, character)
            elif self._typed.text in ("", self._word):
                self.answer(bool(self._typed.text))
                return
            self.redraw()
        elif key in ("tab", "s-tab", "left", "right", "h", "l"):
            self._go = not self._go
            self.redraw()
        elif key == "enter":
            self.answer(self._go)
        elif key in ("y", "n"):
            self.answer(key == "y")
