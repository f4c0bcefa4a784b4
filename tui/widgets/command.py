"""The `:` line, in the place of the message row."""

from collections.abc import Callable

from tui.widgets.prompt import Prompt


class CommandLine(Prompt):
    """Opened with `open`; tab fills in the word that can only be meant."""

    def __init__(self, words: Callable[[], list[str]]) -> None:
        super().__init__(":")
        self._words = words
        self.is_open = False

    def open(self, text: str) -> None:
        """Begin with this text."""
        self.is_open = True
        self.line.set(text)
        self.refresh(layout=True)
        self.focus()

    def close(self) -> None:
        """Give the row back."""
        self.is_open = False
        self.refresh(layout=True)

    def complete(self) -> None:
        text = self.line.text
        if " " in text:
            return
        fitting = [word for word in self._words() if word.startswith(text)]
        if fitting:
            common = fitting[0]
            for word in fitting:
                while not word.startswith(common):
                    common = common[:-1]
            self.line.set(common + (" " if len(fitting) == 1 else ""))
            self.redraw()
