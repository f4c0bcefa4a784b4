"""A login to a registry: three lines, of which one is not shown."""

from textual.geometry import Region

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import Canvas, Part
from tui.widgets.prompt import Line
from tui.widgets.sheet import Sheet

LABELS = ("registry", "user", "password")
LABEL = 11
PASSWORD = 2


class Credential(NamedTuple):
    """What was typed."""

    server: str
    user: str
    password: str


class Login(Sheet[Credential]):
    """A credential, once its three lines are filled in."""

    title = "log in to a registry"
    note = "esc cancels"

    def __init__(self, server: str, user: str) -> None:
        super().__init__()
        self._lines = [Line(server), Line(user), Line()]
        self._at = PASSWORD if user else 1 if server else 0

    def place(self, width: int, height: int, detail: Region) -> Region:
        return self.centred(width, height, 72, 9, None if width < 100 else 5)

    def fill(self, canvas: Canvas) -> None:
        end = canvas.width - 3
        for n, (label, line) in enumerate(zip(LABELS, self._lines, strict=True)):
            here = n == self._at
            canvas.put(3, n + 2, label, "strong bold" if here else "faint")
            shown = line
            if n == PASSWORD:
                shown = Line("•" * len(line.text))
                shown.at = line.at
            parts: list[Part] = shown.parts("strong") if here else [(shown.text, "text")]
            if not n and not line.text and not here:
                parts = [("docker.io", "faint")]
            canvas.spans(3 + LABEL, n + 2, parts, end)
        foot = [("tab", "text bold"), (" next   ", "dim"), ("enter", "text bold")]
        canvas.spans(
            3, 6, [*foot, (" logs in; the credential is kept as docker keeps it", "dim")], end
        )

    def paste(self, text: str) -> None:
        self._lines[self._at].insert(text)
        self.redraw()

    def press(self, key: str, character: str | None) -> None:
        if key in ("tab", "down", "s-tab", "up"):
            step = 1 if key in ("tab", "down") else -1
            self._at = (self._at + step) % len(self._lines)
        elif key == "enter":
            server, user, password = (line.text for line in self._lines)
            if self._at == PASSWORD and user and password:
                self.answer(Credential(server.strip(), user.strip(), password))
                return
            self._at = 1 if not user else PASSWORD
        else:
            self._lines[self._at].press(key, character)
        self.redraw()
