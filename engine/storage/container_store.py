"""Rows of containers."""

from __future__ import annotations

import json
from _sqlite3 import IntegrityError
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, NotFound
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.storage.metadata import Database


class ContainerRow(NamedTuple):
    """A container as it is stored; `config` is all that `start` needs (plain JSON values)."""

    id: str
    name: str
    image: str  # as it was typed
    image_id: str
    chain_id: str | None
    created_ns: int
    config: dict[str, Any]
    state: str = "created"
    pid: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    auto_remove: bool = False


_COLUMNS = ", ".join(ContainerRow._fields)
_STATE_COLUMNS = frozenset(
    ("state", "pid", "started_ns", "finished_ns", "exit_code", "error", "oom_killed")
)


class ContainerStore:
    """Containers by id, name, or a unique beginning of an id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, row: ContainerRow) -> None:
        """Raises Conflict when the name is taken, NotFound when the image or one of the volumes has
        just gone."""
        values = row._replace(config=json.dumps(row.config))  # type: ignore[arg-type]
        marks = ",".join("?" * len(ContainerRow._fields))
        try:
            with self._database.transaction() as cursor:
                cursor.execute(f"INSERT INTO container({_COLUMNS}) VALUES({marks})", values)
                cursor.executemany(
                    "INSERT OR IGNORE INTO volume_use VALUES(?,?)",
                    [
                        (mount["source"], row.id)
                        for mount in row.config["mounts"]
                        if mount["type"] == "volume"
                    ],
                )
        except IntegrityError as error:
            if "container.name" in str(error):
                other = self.find(row.name)
                raise _taken(row.name, other.id if other else "unknown") from error
            if self._database.first("SELECT 1 FROM image WHERE id=?", (row.image_id,)) is None:
                raise NotFound(
                    f"image {row.image}: it was removed meanwhile", f"pydock pull {row.image}"
                ) from error
            raise NotFound(
                f"container {row.name}: one of its volumes was removed meanwhile", "try again"
            ) from error

    def check_free(self, name: str) -> None:
        """Raises Conflict when the name is taken."""
        other = self._database.first("SELECT id FROM container WHERE name=?", (name,))
        if other is not None:
            raise _taken(name, other[0])

    def get(self, ref: str) -> ContainerRow:
        """Raises NotFound, Conflict (ambiguous)."""
        row = self.find(ref)
        if row is None:
            raise NotFound(f"no such container: {ref[:200]}", "pydock ps -a lists them")
        return row

    def find(self, ref: str) -> ContainerRow | None:
        """As `get`, None when there is none."""
        name = ref.removeprefix("/")
        found = self._database.first(
            f"SELECT {_COLUMNS} FROM container WHERE id=?1 OR name=?2 ORDER BY id<>?1", (ref, name)
        )
        if found is None and ref and all(digit in "0123456789abcdef" for digit in ref):
            rows = self._database.query(
                f"SELECT {_COLUMNS} FROM container WHERE id >= ? AND id < ? LIMIT 2",
                (ref, ref + "g"),
            )
            if len(rows) > 1:
                raise Conflict(
                    f"container id {ref}: more than one container begins so", "give more digits"
                )
            found = rows[0] if rows else None
        return _row(found) if found else None

    def list_(self, states: tuple[str, ...] = ()) -> list[ContainerRow]:
        """All, or those in one of `states`; newest first."""
        where = f"WHERE state IN ({','.join('?' * len(states))})" if states else ""
        return [
            _row(found)
            for found in self._database.query(
                f"SELECT {_COLUMNS} FROM container {where} ORDER BY created_ns DESC, id", states
            )
        ]

    def ids(self) -> set[str]:
        """Of all."""
        return {container for (container,) in self._database.query("SELECT id FROM container")}

    def users(self) -> dict[str, list[str]]:
        """Names of containers by the id of their image."""
        users: dict[str, list[str]] = {}
        for image, name in self._database.query(
            "SELECT image_id, name FROM container ORDER BY name"
        ):
            users.setdefault(image, []).append(name)
        return users

    def set_state(self, container_id: str, **columns: Any) -> None:
        """Changes columns of the state; nothing happens when the container has gone."""
        unknown = columns.keys() - _STATE_COLUMNS
        if unknown:
            raise TypeError(f"not a column of the state: {', '.join(sorted(unknown))}")
        text = ", ".join(f"{name}=?" for name in columns)
        with self._database.transaction() as cursor:
            cursor.execute(
                f"UPDATE container SET {text} WHERE id=?", (*columns.values(), container_id)
            )

    def set_config(self, container_id: str, config: dict[str, Any]) -> None:
        """Another one; nothing happens when the container has gone."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "UPDATE container SET config=? WHERE id=?", (json.dumps(config), container_id)
            )

    def rename(self, container_id: str, name: str) -> None:
        """Raises Conflict when the name is taken."""
        try:
            with self._database.transaction() as cursor:
                cursor.execute("UPDATE container SET name=? WHERE id=?", (name, container_id))
        except IntegrityError as error:
            raise Conflict(
                f'the container name "/{name}" is already in use', "choose another one"
            ) from error

    def remove(self, container_id: str) -> None:
        """The row and its uses of volumes are gone."""
        self._database.make_room()
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM container WHERE id=?", (container_id,))


def _taken(name: str, by: str) -> Conflict:
    return Conflict(
        f'the container name "/{name}" is already in use by container "{by}"',
        f"remove or rename it: pydock rm {name}",
    )


def _row(found: tuple[Any, ...]) -> ContainerRow:
    row = ContainerRow(*found)
    return row._replace(
        config=json.loads(found[6]),
        oom_killed=bool(row.oom_killed),
        auto_remove=bool(row.auto_remove),
    )
