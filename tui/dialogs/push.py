"""What is pushed where: a reference, a compression, one tag or all of them."""

from textual.geometry import Region

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import Canvas, Part
from tui.widgets.prompt import Line
from tui.widgets.sheet import Sheet

LABELS = ("to", "compression", "all tags")
LABEL = 14
TARGET, COMPRESSION, ALL_TAGS = range(3)
CODECS = (None, "gzip", "zstd")


class PushOrder(NamedTuple):
    """What was chosen."""

    target: str
    compression: str | None  # of layers that have none yet; None: the engine's choice
    all_tags: bool


class Push(Sheet[PushOrder]):
    """An order with a reference in it."""

    title = "push"
    note = "esc cancels"

    def __init__(self, title: str, target: str) -> None:
        super().__init__()
        self.title = f"push {title}"
        self._line = Line(target)
        self._codec = 0
        self._all_tags = False
        self._at = TARGET

    def place(self, width: int, height: int, detail: Region) -> Region:
        return self.centred(width, height, 84, 9, None if width < 100 else 5)

    def fill(self, canvas: Canvas) -> None:
        end = canvas.width - 3
        target: list[Part] = self._line.parts("strong")
        if self._at != TARGET:
            target = [(self._line.text, "text")]
        codec = CODECS[self._codec] or "as it is"
        mark: Part = ("✓", "accent") if self._all_tags else ("–", "faint")
        every = " every tag of it that is here" if self._all_tags else " this one only"
        values: tuple[list[Part], ...] = (
            target,
            [(f"{codec:<10}", self._ink(COMPRESSION)), ("of layers that have none yet", "faint")],
            [mark, (every, self._ink(ALL_TAGS))],
        )
        for n, (label, parts) in enumerate(zip(LABELS, values, strict=True)):
            canvas.put(3, n + 2, label, "strong bold" if n == self._at else "faint")
            canvas.spans(3 + LABEL, n + 2, parts, end)
        foot = [("tab", "text bold"), (" next   ", "dim"), ("space", "text bold")]
        foot += [(" changes   ", "dim"), ("enter", "text bold"), (" pushes", "dim")]
        canvas.spans(3, 6, foot, end)

    def _ink(self, row: int) -> str:
        return "strong bold" if row == self._at else "text"

    def paste(self, text: str) -> None:
        if self._at == TARGET:
            self._line.insert(text)
            self.redraw()

    def press(self, key: str, character: str | None) -> None:
        if key in ("tab", "down", "s-tab", "up"):
            step = 1 if key in ("tab", "down") else -1
            self._at = (self._at + step) % len(LABELS)
        elif key == "enter":
            target = self._line.text.strip()
            if target:
                self.answer(PushOrder(target, CODECS[self._codec], self._all_tags))
                return
            self._at = TARGET
        elif self._at == TARGET:
            self._line.press(key, character)
        elif key in ("space", "left", "right", "h", "l"):
            if self._at == ALL_TAGS:
                self._all_tags = not self._all_tags
            else:
                step = -1 if key in ("left", "h") else 1
                self._codec = (self._codec + step) % len(CODECS)
        self.redraw()
