"""Named directories that outlive containers."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import journal
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.volume import Usage, VolumeSummary
from engine.storage.trash import remove_tree

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.volume_store import VolumeRow, VolumeStore

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"


class VolumeService:
    """The face's `volumes`."""

    def __init__(self, home: Home, store: VolumeStore) -> None:
        self._home = home
        self._store = store

    def list(self) -> list[VolumeSummary]:
        return [self._summary(row) for row in self._store.list_()]

    def inspect(self, name: str) -> VolumeSummary:
        return self._summary(self._store.get(name))

    def create(self, name: str | None = None, *, labels: Sequence[tuple[str, str]] = ()) -> str:
        """Its name; one that is there already is left as it is, as docker does."""
        if name is not None and not re.fullmatch(_NAME, name):
            raise InvalidInput(
                f"{name!r} includes invalid characters for a local volume name",
                "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; for a host directory use its "
                "absolute path",
            )
        anonymous = name is None
        name = name or os.urandom(32).hex()
        self.ensure(name, anonymous=anonymous, labels=labels)
        return name

    def ensure(
        self, name: str, *, anonymous: bool = False, labels: Sequence[tuple[str, str]] = ()
    ) -> str:
        """The directory of volume `name`, which exists when this returns."""
        path = self.path(name)
        if self._store.find(name) is None:
            os.makedirs(path, mode=0o755, exist_ok=True)
            try:
                self._store.create(name, time.time_ns(), anonymous=anonymous, labels=dict(labels))
            except Conflict:  # another process was faster
                return path
            journal.append(self._home.events_path, "volume", "create", name, name)
        return path

    def path(self, name: str) -> str:
        return f"{self._home.root}/volumes/{name}/_data"

    def remove(self, name: str, *, force: bool = False) -> None:
        """Raises Conflict while a container, running or not, uses it."""
        row = self._store.find(name)
        if row is None:
            if force:
                return
            raise NotFound(f"no such volume: {name}", "pydock volume ls")
        self._store.remove(name)
        # Out of sight first: a killed removal leaves garbage in trash/, never half a volume.
        trash = f"{self._home.root}/trash/volume-{os.urandom(8).hex()}"
        os.rename(f"{self._home.root}/volumes/{name}", trash)
        with contextlib.suppress(OSError):
            remove_tree(trash)
        journal.append(self._home.events_path, "volume", "destroy", name, name)

    def measure(self, name: str) -> Usage:
        """Blocks on the disk, hard links once; remembered for later lists."""
        from engine.storage.usage import Measure

        self._store.get(name)
        measure = Measure(self._home)
        place = f"{self._home.root}/volumes/{name}"
        measure.add(place)
        measure.run()
        usage = Usage(*measure.amount(place))
        self._store.set_usages({name: usage})
        return usage

    def _summary(self, row: VolumeRow) -> VolumeSummary:
        return VolumeSummary(
            name=row.name,
            driver="local",
            mountpoint=self.path(row.name),
            created_ns=row.created_ns,
            size_bytes=row.size_bytes,
            files=row.files,
            written_ns=row.written_ns,
            used_by=row.used_by,
            anonymous=row.anonymous,
            labels=tuple(row.labels.items()),
        )
