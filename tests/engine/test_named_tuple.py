"""The lean NamedTuple: what typing makes of the same body, and what it does not do on the way."""

from __future__ import annotations

import builtins
import pickle
import typing
from typing import Any

import pytest

from engine.named_tuple import NamedTuple


class Lean(NamedTuple):
    """A place."""

    name: str
    parts: tuple[str, ...] = ()
    size_bytes: int | None = None

    @property
    def shown(self) -> str:
        return f"{self.name}:{self.size_bytes}"


class Usual(typing.NamedTuple):
    """A place."""

    name: str
    parts: tuple[str, ...] = ()
    size_bytes: int | None = None

    @property
    def shown(self) -> str:
        return f"{self.name}:{self.size_bytes}"


def what_is_seen(kind: Any) -> list[Any]:
    value = kind("a", size_bytes=3)
    return [
        value,
        value._replace(name="b"),
        value.shown,
        repr(value).partition("(")[2],
        kind._fields,
        kind._field_defaults,
        kind.__doc__,
        kind.__module__,
        kind.__mro__[1:],
        typing.get_type_hints(kind),
    ]


def test_it_is_what_typing_makes_of_the_same_body() -> None:
    assert what_is_seen(Lean) == what_is_seen(Usual)
    value = Lean("a")
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(AttributeError):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        value.other = "b"  # type: ignore[attr-defined]


def test_a_class_without_fields_is_an_empty_tuple() -> None:
    class Nothing(NamedTuple):
        pass

    assert Nothing() == ()


def test_no_annotation_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    genuine = builtins.compile
    monkeypatch.setattr(
        builtins,
        "compile",
        lambda *words, **more: compiled.append(words) or genuine(*words, **more),
    )

    class Made(NamedTuple):
        name: str
        parts: tuple[str, ...]

    assert Made("a", ()) == ("a", ())
    assert compiled == []
