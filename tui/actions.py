"""Everything that a key, the palette or the `:` line can do: one list feeds them all.

A class that offers verbs has a tuple `ACTIONS`; the registry is made of these. The scope of an
action is its id up to the dot: `containers.stop` acts while the containers pane is open,
`table.mark` while a table has the focus, `app.quit` always.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple


def always(owner: Any) -> str:
    """No reason against it."""
    return ""


def nothing(owner: Any) -> str:
    """An empty line to begin with."""
    return ""


class Action(NamedTuple):
    """One thing that can be done.

    `run` takes the object that has the verb (a pane, a widget, the application); what it gives back
    is awaited if it can be. `enabled` gives the reason why it cannot be done now, "" if it can.
    """

    id: str
    title: str  # a word or two, lower case: "stop"
    run: Callable[..., Any]
    note: str = ""  # what the title leaves open
    enabled: Callable[[Any], str] = always
    hint: bool = False  # worth a place in the footer
    danger: bool = False  # something may be lost
    takes: str = ""  # what `run` wants as a second argument: it is asked for in the `:` line
    begin: Callable[[Any], str] = nothing  # what stands there already
    asks: bool = False  # `run` asks for it in a sheet of its own, where it is ""

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def word(self) -> str:
        """What the `:` line calls it."""
        return self.title.replace(" ", "-")


class Registry:
    """The actions and the keys that lead to them."""

    def __init__(self, actions: Iterable[Action], keymap: Mapping[str, Sequence[str]]) -> None:
        self.actions: dict[str, Action] = {}
        self._keys: dict[tuple[str, str], Action] = {}
        self._keymap = keymap
        for action in actions:
            if action.id in self.actions:
                raise InvalidInput(f"action {action.id}: there are two of them")
            self.actions[action.id] = action
            for key in keymap.get(action.id, ()):
                other = self._keys.setdefault((action.scope, key), action)
                if other is not action:
                    raise InvalidInput(f"key {key}: both {other.id} and {action.id}")
        for name in keymap:
            if name not in self.actions:
                raise InvalidInput(f"keymap: {name}: no such action")

    def find(self, key: str, scopes: Iterable[str]) -> Action | None:
        """What `key` does in these scopes, nearest first."""
        for scope in scopes:
            if action := self._keys.get((scope, key)):
                return action
        return None

    def keys(self, action: Action) -> tuple[str, ...]:
        """Every key that leads to it, the best first."""
        return tuple(self._keymap.get(action.id, ()))

    def key(self, action: Action) -> str:
        """The key to show, "" where it has none."""
        return next(iter(self.keys(action)), "")

    def of(self, scopes: Iterable[str]) -> list[Action]:
        """The actions of these scopes, in the order of scopes and of declaration."""
        return [a for scope in scopes for a in self.actions.values() if a.scope == scope]
