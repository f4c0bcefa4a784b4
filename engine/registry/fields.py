"""Fields of settings files, by type; what is of another one is told with the file's name."""

from __future__ import annotations

from typing import Any

from engine.errors import InvalidInput


def read_toml(path: str) -> dict[str, Any] | None:
    """The document; None when there is no such file. Raises InvalidInput."""
    try:
        with open(path, "rb") as file:
            import tomllib  # most machines have no such file

            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}", "repair it, or move it away") from error


class Fields:
    """A table of a settings file, `where` in it."""

    def __init__(self, table: Any, where: str) -> None:
        if not isinstance(table, dict):
            raise InvalidInput(f"{where}: expected a table")
        self.where = where
        self._table = table

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; one text is a list of itself."""
        value = self._table.get(key, [])
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(key, "a list of texts")
        return value

    def entries(self, key: str) -> list[Any]:
        value = self._table.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def table(self, key: str) -> Fields:
        return Fields(self._table.get(key, {}), f"{self.where}: {key}")

    def tables(self, key: str) -> list[tuple[str, Fields]]:
        """The tables below `key`, by name, in the file's order."""
        outer = self.table(key)
        return [
            (name, Fields(outer._table[name], f"{outer.where}.{name!r}")) for name in outer._table
        ]

    def array(self, key: str) -> list[Fields]:
        """The tables of `[[key]]`."""
        value = self._table.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "tables")
        return [Fields(each, f"{self.where}: {key}") for each in value]

    def names(self) -> list[str]:
        return list(self._table)

    def _wrong(self, key: str, expected: str) -> InvalidInput:
        return InvalidInput(f"{self.where}: {key}: expected {expected}")
