"""A line to type into: the filter, the `:` line, the palette's query."""

from collections.abc import Callable

from tui.widgets.canvas import EDGE, Canvas, Part
from tui.widgets.drawn import Sketch


class Line:
    """The text of a prompt and the cursor in it."""

    def __init__(self, text: str = "") -> None:
        self.set(text)

    def set(self, text: str) -> None:
        """Another text, the cursor at its end."""
        self.text = text
        self.at = len(text)

    def insert(self, text: str) -> None:
        """Type or paste; control characters are not text."""
        text = "".join(char for char in text if char.isprintable())
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)

    def press(self, key: str, character: str | None) -> bool:
        """Edit; False when the key means nothing here."""
        text, at = self.text, self.at
        if key == "back":
            self.text, self.at = text[: max(0, at - 1)] + text[at:], max(0, at - 1)
        elif key == "delete":
            self.text = text[:at] + text[at + 1 :]
        elif key == "^u":
            self.text, self.at = text[at:], 0
        elif key == "^w":
            start = text[:at].rstrip().rfind(" ") + 1
            self.text, self.at = text[:start] + text[at:], start
        elif key in ("left", "right"):
            self.at = max(0, min(len(text), at + (1 if key == "right" else -1)))
        elif key in ("home", "^a", "end", "^e"):
            self.at = 0 if key in ("home", "^a") else len(text)
        elif character and character.isprintable():
            self.insert(character)
        else:
            return False
        return True

    def parts(self, ink: str = "text") -> list[Part]:
        """The text with its cursor."""
        return [(self.text[: self.at], ink), ("▏", "accent"), (self.text[self.at :], ink)]


class Prompt(Sketch):
    """`label` and what is typed. While it is active the console gives it every key.

    `changed(text)` comes with each edit, `done(text)` with enter, `left()` with esc; by then it is
    no longer active.
    """

    def __init__(
        self,
        label: str,
        *,
        done: Callable[[str], None],
        left: Callable[[], None],
        changed: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__()
        self.label = label
        self.line = Line()
        self.note: tuple[Part, ...] = ()  # what stands behind it
        self._changed, self._done, self._left = changed, done, left

    def take(self, key: str, character: str | None) -> None:
        """A key."""
        if key == "enter":
            self.activate(False)
            self._done(self.line.text)
        elif key in ("esc", "^c"):
            self.activate(False)
            self._left()
        elif key == "tab":
            self.complete()
        elif self.line.press(key, character):
            self._changed(self.line.text)
            self.redraw()

    def paste(self, text: str) -> None:
        """Text from the clipboard."""
        self.line.insert(text)
        self._changed(self.line.text)
        self.redraw()

    def complete(self) -> None:
        """Tab: fill in what can only be meant."""

    def draw(self, canvas: Canvas) -> None:
        typed = self.line.parts() if self.active else [(self.line.text, "text")]
        parts: list[Part] = [(f"{self.label} ", "accent"), *typed, ("   ", "text"), *self.note]
        canvas.spans(EDGE, 0, parts, canvas.width - 1)
