"""Rows of volumes."""

from __future__ import annotations

import contextlib
import json
from _sqlite3 import IntegrityError
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, NotFound, Unavailable
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.storage.metadata import Database


class VolumeRow(NamedTuple):
    """A volume as it is stored. Sizes are -1 until measured."""

    name: str
    created_ns: int
    anonymous: bool
    labels: dict[str, str]
    size_bytes: int
    files: int
    written_ns: int
    used_by: tuple[str, ...]  # names of containers


_SELECT = """
    SELECT volume.name, volume.created_ns, anonymous, volume.labels, size_bytes, files, written_ns,
        (SELECT json_group_array(container.name) FROM volume_use JOIN container ON id=container_id
         WHERE volume=volume.name)
    FROM volume
"""


class VolumeStore:
    """Volumes by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, created_ns: int, *, anonymous: bool, labels: dict[str, str]
    ) -> None:
        """Raises Conflict when it is there."""
        try:
            with self._database.transaction(publish=True) as cursor:
                cursor.execute(
                    "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES(?,?,?,?)",
                    (name, created_ns, anonymous, json.dumps(labels)),
                )
        except IntegrityError as error:
            raise Conflict(f"volume {name}: exists already", "choose another name") from error

    def get(self, name: str) -> VolumeRow:
        """Raises NotFound."""
        row = self.find(name)
        if row is None:
            raise NotFound(f"no such volume: {name[:200]}", "pydock volume ls lists them")
        return row

    def find(self, name: str) -> VolumeRow | None:
        """As `get`, None when there is none."""
        found = self._database.first(_SELECT + "WHERE volume.name=?", (name,))
        return _row(found) if found else None

    def list_(self) -> list[VolumeRow]:
        """All, by name."""
        return [_row(found) for found in self._database.query(_SELECT + "ORDER BY volume.name")]

    def set_usages(self, usages: Mapping[str, tuple[int, int, int]]) -> None:
        """Remember measurements (bytes, files, newest mtime) by name, if there is room for them:
        people ask when the disk is full."""
        if not usages:
            return
        with contextlib.suppress(Unavailable), self._database.transaction() as cursor:
            cursor.executemany(
                "UPDATE volume SET size_bytes=?, files=?, written_ns=? WHERE name=?",
                [(*usage, name) for name, usage in usages.items()],
            )

    def anonymous_of(self, container_id: str) -> list[str]:
        """Anonymous volumes that this container uses and no other."""
        return [
            name
            for (name,) in self._database.query(
                """
                SELECT volume FROM volume_use JOIN volume ON name=volume WHERE anonymous
                GROUP BY volume HAVING count(*)=1 AND max(container_id)=?
                """,
                (container_id,),
            )
        ]

    def remove(self, name: str) -> None:
        """Raises Conflict while a container, running or not, uses it."""
        row = self.get(name)
        self._database.make_room()
        try:
            with self._database.transaction(publish=True) as cursor:
                cursor.execute("DELETE FROM volume WHERE name=?", (name,))
        except IntegrityError as error:
            users = ", ".join(row.used_by) or "a container"
            raise Conflict(
                f"volume {name}: is in use by {users}", "remove the container first"
            ) from error


def _row(found: tuple[Any, ...]) -> VolumeRow:
    name, created_ns, anonymous, labels, size_bytes, files, written_ns, users = found
    return VolumeRow(
        name,
        created_ns,
        bool(anonymous),
        json.loads(labels),
        size_bytes,
        files,
        written_ns,
        tuple(sorted(json.loads(users))),
    )
