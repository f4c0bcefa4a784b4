"""JSON documents from strangers: what two readers could understand differently is refused.

Duplicate keys, NaN, deep nesting and lone surrogates are where parsers disagree; a document that
is verified by one reader and used by another must not mean two things (CVE-2021-41190).
"""

import json
from typing import Any, NoReturn

from engine.errors import InvalidInput

MAX_DEPTH = 32
MAX_SIZE = 1 << 53  # beyond it, other readers round


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`; `what` names it in errors. Raises InvalidInput."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise InvalidInput(f"{what}: nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidInput(f"{what}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{what}: expected an object, got {_name(value)}")
    _check_depth(value, what)
    if b"\\u" in data:
        _check_text(value, what)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key[:80]!r} is there twice")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any, what: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise InvalidInput(f"{what}: nested deeper than {MAX_DEPTH}")


def _check_text(value: Any, what: str) -> None:
    """An escape like \\ud800 makes a string that cannot be written anywhere."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what}: half a surrogate pair in a string") from error


def _name(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def get_text(document: dict[str, Any], key: str, what: str) -> str:
    """The string at `key`; "" when absent or null."""
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{what}: {key}: expected a string, got {_name(value)}")
    return value


def get_object(document: dict[str, Any], key: str, what: str) -> dict[str, Any] | None:
    """The object at `key`; None when absent or null."""
    value = document.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise InvalidInput(f"{what}: {key}: expected an object, got {_name(value)}")


def get_list(document: dict[str, Any], key: str, what: str) -> list[Any] | None:
    """The list at `key`; None when absent or null."""
    value = document.get(key)
    if value is None or isinstance(value, list):
        return value
    raise InvalidInput(f"{what}: {key}: expected a list, got {_name(value)}")


def get_texts(document: dict[str, Any], key: str, what: str) -> tuple[str, ...]:
    """The list of strings at `key`; empty when absent or null."""
    values = get_list(document, key, what) or []
    for value in values:
        if not isinstance(value, str):
            raise InvalidInput(f"{what}: {key}: expected strings, got {_name(value)}")
    return tuple(values)


def get_pairs(document: dict[str, Any], key: str, what: str) -> tuple[tuple[str, str], ...]:
    """The object of strings at `key` as pairs, in its order; empty when absent or null."""
    values = get_object(document, key, what) or {}
    for name, value in values.items():
        if not isinstance(value, str):
            raise InvalidInput(
                f"{what}: {key}: {name[:80]!r}: expected a string, got {_name(value)}"
            )
    return tuple(values.items())


def get_size(document: dict[str, Any], key: str, what: str) -> int:
    """The size at `key`, 0 … 2^53 bytes."""
    value = document.get(key)
    if type(value) is not int:  # a bool is an int
        raise InvalidInput(f"{what}: {key}: expected a size, got {_name(value)}")
    if not 0 <= value <= MAX_SIZE:
        raise InvalidInput(f"{what}: {key}: {value} is out of range")
    return value
