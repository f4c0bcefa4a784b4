"""The `:` line, in the place of the message row."""

from collections.abc import Callable

from tui.widgets.prompt import Prompt


class CommandLine(Prompt):
    """Opened with `open`; tab fills in the word that can only be meant."""

    def __init__(self, words: Callable[[], list[str]], done: Callable[[str], None]) -> None:
        super().__init__(":", done=done, left=lambda: None)
        self._words = words

    def open(self, text: str) -> None:
        """Begin with this text."""
        self.line.set(text)
        self.activate(True)

    def activate(self, active: bool) -> None:
        super().activate(active)
        self.refresh(layout=True)  # it takes the row, or gives it back

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
