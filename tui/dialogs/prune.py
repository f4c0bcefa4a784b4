"""What is unused, before it goes: exactly these, and how many bytes come free."""

from engine.model.prune import Doomed, Preview
from engine.named_tuple import NamedTuple
from tui import format
from tui.dialogs.confirm import Confirm, Item
from tui.widgets.canvas import Part


class Choice(NamedTuple):
    """One extent of a prune: its preview, what it is called, and the way back."""

    preview: Preview
    title: str  # "images without a name"
    noun: tuple[str, str]
    undo: str
    word: str = ""  # to be typed: they had names, and somebody meant to keep them


class Prune(Confirm):
    """The preview that was agreed to. `a` shows the other choice, where there are two."""

    def __init__(self, choices: list[Choice], start: int = 0) -> None:
        self._choices = choices
        self._at = start
        super().__init__("", "Prune", [], [])
        self._show()

    @property
    def preview(self) -> Preview:
        """What is shown."""
        return self._choices[self._at].preview

    def _show(self) -> None:
        choice = self._choices[self._at]
        items, noun = choice.preview.items, choice.noun
        self._word = choice.word if items else ""
        self._typed.set("")
        count = f"{len(items)} {noun[0] if len(items) == 1 else noun[1]}"
        self.title = f"Prune {count}?" if items else f"Nothing to prune: no {choice.title}"
        self._items = [_item(doomed) for doomed in items]
        self._facts = [("takes", ((choice.title, "text"),))]
        if items:
            freed = choice.preview.freed_bytes
            size: Part = (format.size(freed), "ok bold" if freed else "dim")
            self._facts += [("frees", (size,)), ("undo", ((choice.undo, "dim"),))]
        if choice.preview.kept:
            names = ", ".join(kept.name for kept in choice.preview.kept)
            self._facts.insert(-1, ("keeps", ((names, "dim"),)))
        if len(self._choices) > 1:
            other = self._choices[1 - self._at].title
            self._facts.append(("", (("a", "text bold"), (f"  {other} instead", "dim"))))

    def press(self, key: str, character: str | None) -> None:
        if key == "a" and len(self._choices) > 1 and not self._typed.text:
            self._at = 1 - self._at
            self._go = False
            self._show()
            self.refresh(layout=True)
            self.redraw()
        elif self.preview.items:
            super().press(key, character)
        elif key in ("enter", "n"):
            self.answer(False)


def _item(doomed: Doomed) -> Item:
    more = [name for name in doomed.references if name != doomed.name]
    text = f"also {', '.join(more)}" if more else ""
    if doomed.users:
        text = f"of {', '.join(doomed.users)}"
    return Item(doomed.name, format.size(doomed.freed_bytes) if doomed.freed_bytes else "", text)
