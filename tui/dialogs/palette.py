"""Go or do: everything that can be chosen here, by a few letters of its name."""

from typing import TYPE_CHECKING

from textual.geometry import Region

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import Canvas
from tui.widgets.prompt import Line
from tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tui.app import ConsoleApp

WIDTH, HEIGHT = 84, 16


class Entry(NamedTuple):
    """One line: subject, title, a note, its key; `value` is the answer."""

    subject: str
    title: str
    note: str
    key: str
    value: object


def match(query: str, title: str) -> tuple[int, list[int]] | None:
    """How well `title` fits (less is better) and which letters did; None when it does not."""
    if not query:
        return 0, []
    low, needle = title.lower(), query.lower()
    at = low.find(needle)
    if at >= 0:
        start = at == 0 or not low[at - 1].isalnum()
        return (0 if at == 0 else 1 if start else 2), list(range(at, at + len(needle)))
    found: list[int] = []
    at = -1
    for letter in needle:
        if letter == " ":
            continue
        at = low.find(letter, at + 1)
        if at < 0:
            return None
        found.append(at)
    return 3 + found[-1] - found[0], found


def entries(console: "ConsoleApp") -> list[Entry]:
    """The verbs for the selection first, then the list's, the console's, and the rows to go to."""
    pane, registry = console.pane, console.registry
    subject = pane.title_of(pane.key) if pane.key else ""
    found = []
    for action, owner in console.commands():
        on = {pane.SCOPE: subject, "app": "console"}.get(action.scope, "list")
        note = action.enabled(owner) or action.note
        title = action.title.capitalize()
        found.append(Entry(on, title, note, registry.key(action), (action, owner)))
    rows = pane.list.rows
    return found + [Entry(pane.NOUN[0], pane.title_of(r.key), "", "", r.key) for r in rows]


class Palette(Sheet[object]):
    """The chosen entry's value. Entries come in their order; better matches go before."""

    title = "go or do"

    def __init__(self, entries: list[Entry]) -> None:
        super().__init__()
        self._entries = entries
        self._line = Line()
        self._cursor = 0
        self._found: list[tuple[Entry, list[int]]] = []
        self._search()

    def place(self, width: int, height: int, detail: Region) -> Region:
        return self.centred(width, height, WIDTH, HEIGHT, None if width < 100 else 5)

    def _search(self) -> None:
        found = []
        for n, entry in enumerate(self._entries):
            fit = match(self._line.text, entry.title)
            if fit is not None:
                found.append((fit[0], n, entry, fit[1]))
        found.sort(key=lambda hit: hit[:2])
        self._found = [(entry, letters) for _, _, entry, letters in found]
        self._cursor = 0

    def fill(self, canvas: Canvas) -> None:
        room = canvas.height - 7
        canvas.spans(3, 2, [("› ", "accent bold"), *self._line.parts("strong")])
        found = "1 match" if len(self._found) == 1 else f"{len(self._found)} matches"
        canvas.right(canvas.width - 3, 2, found, "faint")
        top = max(0, self._cursor - room + 1)
        for y, (entry, letters) in enumerate(self._found[top : top + room], 4):
            here = y - 4 + top == self._cursor
            canvas.put(3, y, entry.subject, "faint", 14)
            end = canvas.put(15, y, entry.title, "strong bold" if here else "text")
            for letter in letters:
                canvas.ink(15 + letter, y, 1, "accent bold")
            note = max(end + 2, 44)
            canvas.put(note, y, entry.note, "faint", canvas.width - 4 - len(entry.key))
            canvas.right(canvas.width - 3, y, entry.key, "dim")
            if here:
                canvas.put(0 if not self.air else 1, y, "▌", "accent")
                canvas.ground(0, y, canvas.width, "selection")
        foot = [("enter", "text bold"), (" do   ", "dim"), ("tab", "text bold")]
        foot += [(" fill in   ", "dim"), (":", "text bold"), (" type the command instead", "dim")]
        canvas.spans(3, canvas.height - 2, foot)

    def paste(self, text: str) -> None:
        self._line.insert(text)
        self._search()
        self.redraw()

    def press(self, key: str, character: str | None) -> None:
        if key in ("down", "^n", "up", "^p"):
            step = 1 if key in ("down", "^n") else -1
            self._cursor = max(0, min(len(self._found) - 1, self._cursor + step))
        elif key == "enter":
            if self._found:
                self.answer(self._found[self._cursor][0].value)
        elif key == "tab":
            if self._found:
                self._line.set(self._found[self._cursor][0].title)
                self._search()
        elif key == ":" and not self._line.text:
            self.answer(":")
        elif self._line.press(key, character):
            self._search()
        self.redraw()
