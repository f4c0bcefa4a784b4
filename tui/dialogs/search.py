"""What a registry has: a word, and the repositories that it finds."""

from textual.geometry import Region

from engine.aio import offload
from engine.engine import Cancel, Registries
from engine.errors import Cancelled, EngineError
from engine.model.registry import SearchResult
from tui import format
from tui.widgets.canvas import Canvas, middle
from tui.widgets.prompt import Line
from tui.widgets.sheet import Sheet

NAME, STARS = 40, 6


class Search(Sheet[str]):
    """The name of the repository that was chosen. Enter asks; then it chooses."""

    title = "search for an image"

    def __init__(self, registries: Registries, term: str = "") -> None:
        super().__init__()
        self._registries = registries
        self._line = Line(term)
        self._asked = ""  # the word of the rows that are shown, or on their way
        self._cancel = Cancel()
        self._rows: list[SearchResult] = []
        self._said = "Type a word; registry/word asks that registry instead of Docker Hub."
        self._cursor = 0

    def on_mount(self) -> None:
        if self._line.text:
            self._ask()

    def on_unmount(self) -> None:
        self._cancel.cancel()

    def place(self, width: int, height: int, detail: Region) -> Region:
        return self.centred(width, height, 100, height - 6, None if width < 100 else 3)

    def _ask(self) -> None:
        self._cancel.cancel()
        self._cancel, self._asked = Cancel(), self._line.text.strip()
        self._rows, self._said = [], "asking …"
        self.work(self._read, self._asked, self._cancel, exclusive=True)

    async def _read(self, term: str, cancel: Cancel) -> None:
        try:
            found = await offload(self._registries.search, term, limit=100, cancel=cancel)
        except Cancelled:
            return
        except EngineError as error:
            self._said = error.message
        else:
            self._rows, self._cursor = list(found), 0
            self._said = "" if found else f"Nothing is called {term}."
        self.redraw()

    def fill(self, canvas: Canvas) -> None:
        end, room = canvas.width - 3, canvas.height - 7
        canvas.spans(3, 2, [("› ", "accent bold"), *self._line.parts("strong")], end)
        if self._rows:
            count = "1 repository" if len(self._rows) == 1 else f"{len(self._rows)} repositories"
            canvas.right(end, 2, count, "faint")
        else:
            canvas.put(3, 4, self._said, "dim", end)
        name = min(NAME, canvas.width * 2 // 5)
        top = max(0, self._cursor - room + 1)
        for y, row in enumerate(self._rows[top : top + room], 4):
            here = y - 4 + top == self._cursor
            canvas.put(3, y, middle(row.name, name), "strong bold" if here else "text")
            x = 3 + name + 1
            canvas.right(x + STARS, y, format.count(row.stars) if row.stars else "", "dim")
            if row.is_official:
                canvas.put(x + STARS + 2, y, "official", "ok")
            canvas.put(x + STARS + 12, y, row.description, "faint", end)
            if here:
                canvas.put(0 if not self.air else 1, y, "▌", "accent")
                canvas.ground(0, y, canvas.width, "selection")
        word = " pulls it" if self._is_answered else " asks"
        canvas.spans(3, canvas.height - 2, [("enter", "text bold"), (word, "dim")])

    @property
    def _is_answered(self) -> bool:
        return bool(self._rows) and self._asked == self._line.text.strip()

    def paste(self, text: str) -> None:
        self._line.insert(text)
        self.redraw()

    def press(self, key: str, character: str | None) -> None:
        if key in ("down", "^n", "up", "^p"):
            step = 1 if key in ("down", "^n") else -1
            self._cursor = max(0, min(len(self._rows) - 1, self._cursor + step))
        elif key == "enter":
            if self._is_answered:
                self.answer(self._rows[self._cursor].name)
                return
            if self._line.text.strip():
                self._ask()
        else:
            self._line.press(key, character)
        self.redraw()
