"""One registry: no key leads to two places, no place is without a name."""

import pytest

from engine.errors import InvalidInput
from tui.actions import Action, Registry
from tui.app import PANES, ConsoleApp
from tui.keymap import DEFAULT
from tui.widgets.drawn import Movable
from tui.widgets.log import LogView
from tui.widgets.table import ListTable
from tui.widgets.tree import TreeView


def nothing(owner: object) -> None:
    """Does nothing."""


def every_action() -> list[Action]:
    owners = [ConsoleApp, Movable, ListTable, TreeView, LogView, *PANES]
    return [action for owner in owners for action in owner.ACTIONS]


def test_default_keys_are_without_clash_in_any_pane() -> None:
    registry = Registry(every_action(), DEFAULT)
    for pane in PANES:
        for widget in (ListTable, TreeView, LogView):
            scopes = [*widget.SCOPES, pane.SCOPE, "app"]
            keys = [
                (key, action.id)
                for action in registry.of(scopes)
                for key in registry.keys(action)
                if registry.find(key, scopes) is not action
            ]
            # Only what is meant to come first in a widget may hide a key of what lies behind it.
            assert {key for key, _ in keys} <= {"enter", "o", "space", "tab"}, keys


def test_remove_is_ctrl_d_and_delete_and_nothing_else_is() -> None:
    assert DEFAULT["containers.remove"] == ("^d", "delete")
    assert not any("^d" in keys for name, keys in DEFAULT.items() if not name.endswith("remove"))


def test_two_actions_on_one_key_are_refused() -> None:
    actions = [Action("a.one", "one", nothing), Action("a.two", "two", nothing)]
    with pytest.raises(InvalidInput, match=r"key x: both a\.one and a\.two"):
        Registry(actions, {"a.one": ("x",), "a.two": ("x",)})


def test_a_key_for_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"keymap: a\.two: no such action"):
        Registry([Action("a.one", "one", nothing)], {"a.two": ("x",)})


def test_nearest_scope_wins() -> None:
    near, far = Action("list.go", "go", nothing), Action("app.go", "go", nothing)
    registry = Registry([far, near], {"list.go": ("x",), "app.go": ("x", "y")})
    assert registry.find("x", ["list", "app"]) is near
    assert registry.find("y", ["list", "app"]) is far
    assert registry.find("z", ["list", "app"]) is None
