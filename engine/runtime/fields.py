"""Fields of a JSON document, each checked for its type: what is missing or null is empty.

Raises InvalidInput that names the field and what was found in it.
"""

import os
from typing import Any, TypeVar

from engine.errors import InvalidInput

_T = TypeVar("_T")
_NAMES: dict[type, str] = {dict: "objects", str: "texts"}


def object_of(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The object in `key`."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{key}: expected an object, found {type(value).__name__}")
    return value


def list_of(document: dict[str, Any], key: str, kind: type[_T]) -> list[_T]:
    """The list in `key`, every item of it a `kind`."""
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise InvalidInput(f"{key}: expected a list of {_NAMES[kind]}")
    if kind is str and not _is_c_string("".join(value)):
        for each in value:
            _check_text(key, each)
    return value


def text_of(document: dict[str, Any], key: str) -> str:
    """The text in `key`, which can be given to the kernel."""
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{key}: expected a text, found {value!r}")
    _check_text(key, value)
    return value


def number_of(document: dict[str, Any], key: str, lowest: int, highest: int) -> int | None:
    """The whole number in `key`, from `lowest` to `highest`; None when it is missing."""
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidInput(f"{key}: expected a number from {lowest} to {highest}, found {value!r}")
    return value


def _check_text(key: str, value: str) -> None:
    if not _is_c_string(value):
        raise InvalidInput(f"{key}: {value!r} cannot be passed to the kernel")


def _is_c_string(value: str) -> bool:
    """JSON knows zero bytes and halves of characters, the kernel does not."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False
