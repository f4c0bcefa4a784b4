"""Every key that works here, from the registry."""

from typing import TYPE_CHECKING

from textual.geometry import Region

from tui.widgets.canvas import Canvas
from tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tui.app import ConsoleApp

Group = tuple[str, list[tuple[str, str]]]  # name; keys and what they do
KEY = 9
SCOPES = {"move": "move", "table": "list", "log": "logs", "tree": "files", "app": "console"}


def groups(console: "ConsoleApp") -> list[Group]:
    """The actions that have a key here, by scope."""
    registry, found = console.registry, []
    for scope in (console.pane.SCOPE, *SCOPES):
        keys = []
        for action in registry.of([scope]):
            if action.id.startswith("app.pane-"):  # one line for all of them
                if action.id == "app.pane-1":
                    keys.append((f"1 … {len(console.panes)}", "panes"))
            elif registry.key(action):
                text = f"{action.title} {action.note}" if scope == "move" else action.title
                keys.append((" ".join(registry.keys(action)[:2]), text))
        if keys:
            found.append((SCOPES.get(scope, scope), keys))
    return found


class Help(Sheet[None]):
    """Groups in 2, 3 or 4 columns; it scrolls where they are too long."""

    def __init__(self, title: str, groups: list[Group]) -> None:
        super().__init__()
        self.title = title
        self._groups = groups
        self._top = 0
        self._longest = 0

    def place(self, width: int, height: int, detail: Region) -> Region:
        columns = _columns(width)
        if columns == 2:
            return self.centred(width, height, 108, height - 2, 2)
        high = max(len(stack) for stack in self._stacks(columns)) + 4
        return self.centred(width, height, 150 if columns == 4 else 108, high, None)

    def _stacks(self, columns: int) -> list[list[tuple[str, str]]]:
        """The groups as lines, one after the other into the column that is shortest."""
        stacks: list[list[tuple[str, str]]] = [[] for _ in range(columns)]
        for name, keys in sorted(self._groups, key=lambda group: -len(group[1])):
            stack = min(stacks, key=len)
            if stack:
                stack.append(("", ""))
            stack.append((name, "\0"))
            stack += keys
        return stacks

    def fill(self, canvas: Canvas) -> None:
        columns = _columns(canvas.width + 2 * self.air)
        stacks = self._stacks(columns)
        wide, room = (canvas.width - 6) // columns, canvas.height - 3
        self._longest = max(len(stack) for stack in stacks)
        self._top = max(0, min(self._top, self._longest - room))
        for n, stack in enumerate(stacks):
            x = 3 + n * wide
            for y, (key, word) in enumerate(stack[self._top : self._top + room], 2):
                if word == "\0":
                    canvas.put(x, y, key, "accent bold", x + wide - 1)
                else:
                    after = canvas.put(x, y, key, "text bold")
                    canvas.put(max(x + KEY, after + 1), y, word, "dim", x + wide - 1)

    def press(self, key: str, character: str | None) -> None:
        if key in ("j", "down", "k", "up", "pgdn", "pgup"):
            self._top = max(0, self._top + (1 if key in ("j", "down", "pgdn") else -1))
            self.redraw()
        elif key in ("?", "q", "enter"):
            self.answer(None)


def _columns(width: int) -> int:
    return 4 if width >= 150 else 3 if width >= 110 else 2
