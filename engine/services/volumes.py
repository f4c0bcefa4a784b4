"""Named directories that outlive containers."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine import journal
from engine.errors import Conflict, Corrupt, EngineError, InvalidInput, NotFound, Unavailable
from engine.model.volume import Usage, VolumeSummary
from engine.storage.trash import remove_tree

if TYPE_CHECKING:
    from engine.home import Home
    from engine.oci.digest import ChainID
    from engine.storage.snapshots import Snapshots
    from engine.storage.volume_store import VolumeRow, VolumeStore

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"


def check_name(name: str) -> None:
    """Raises InvalidInput in docker's words."""
    if len(name) == 1:
        raise InvalidInput(
            "volume name is too short, names should be at least two alphanumeric characters",
            "for a host directory use its absolute path",
        )
    if not re.fullmatch(_NAME, name):
        raise InvalidInput(
            f"{name!r} includes invalid characters for a local volume name",
            "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; for a host directory use its "
            "absolute path",
        )


class VolumeService:
    """The face's `volumes`."""

    def __init__(self, home: Home, store: VolumeStore, snapshots: Snapshots) -> None:
        self._home = home
        self._store = store
        self._snapshots = snapshots

    def list(self) -> list[VolumeSummary]:
        return [self._summary(row) for row in self._store.list_()]

    def inspect(self, name: str) -> VolumeSummary:
        return self._summary(self._store.get(name))

    def create(self, name: str | None = None, *, labels: Sequence[tuple[str, str]] = ()) -> str:
        """Its name; one that is there already is left as it is, as docker does."""
        if name is not None:
            check_name(name)
        anonymous = name is None
        name = name or os.urandom(32).hex()
        self.ensure(name, anonymous=anonymous, labels=labels)
        return name

    def ensure(
        self, name: str, *, anonymous: bool = False, labels: Sequence[tuple[str, str]] = ()
    ) -> bool:
        """Volume `name` is there, and whole, when this returns; whether it was this call that made
        it. Raises InvalidInput, Unavailable, Corrupt."""
        if self._store.find(name) is None:
            try:
                os.makedirs(self.path(name), mode=0o755, exist_ok=True)
            except OSError as error:
                raise _explain(error, name) from error
            with contextlib.suppress(Conflict):  # another process was faster
                self._store.create(name, time.time_ns(), anonymous=anonymous, labels=dict(labels))
                journal.append(self._home.events_path, "volume", "create", name, name)
                return True
        self._settle(name)
        return False

    def _settle(self, name: str) -> None:
        """Nobody was killed while he filled it, or it does not show any more."""
        try:
            if os.listdir(self._directory(name)) != ["_data"]:
                from engine.services.volume_seed import settle

                settle(self._directory(name))
        except OSError as error:
            raise Corrupt(
                f"volume {name}: {error.filename or self._directory(name)}: {error.strerror}",
                "pydock system fsck --repair",
            ) from error

    def seed(self, name: str, chain_id: ChainID, target: str) -> None:
        """The volume has what the image has at `target`, if it was empty. Raises InvalidInput when
        that is a file, Unavailable."""
        with os.scandir(self.path(name)) as entries:
            if next(entries, None) is not None:
                return
        from engine.services.volume_seed import may_hold

        lower = self._snapshots.lower(chain_id)
        if not may_hold(lower, target):
            return
        from engine.workers import Worker, WorkerDied

        sync = os.environ.get("PYDOCK_SYNC") != "off"
        argument = (self._directory(name), lower, target, sync)
        try:
            Worker("engine.services.volume_seed:seed", argument).run()
        except WorkerDied as death:
            raise Unavailable(
                f"volume {name}: the process that fills it from the image died: {death}",
                "see the kernel's log (dmesg): memory may have run out",
            ) from death

    def source(self, mount: Mapping[str, Any]) -> str:
        """What is mounted for a `mount` of a container's row; a volume is there, and whole. Raises
        as `ensure`."""
        if mount["type"] != "volume":
            return str(mount["source"])
        self.ensure(mount["source"])
        return self.path(mount["source"])

    def path(self, name: str) -> str:
        """What is mounted of it."""
        return f"{self._directory(name)}/_data"

    def _directory(self, name: str) -> str:
        return f"{self._home.root}/volumes/{name}"

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
        os.rename(self._directory(name), trash)
        with contextlib.suppress(OSError):
            remove_tree(trash)
        journal.append(self._home.events_path, "volume", "destroy", name, name)

    def measure(self, name: str) -> Usage:
        """Blocks on the disk, hard links once; remembered for later lists."""
        from engine.storage.usage import Measure

        self._store.get(name)
        measure = Measure(self._home)
        place = self._directory(name)
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


def _explain(error: OSError, name: str) -> EngineError:
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInput(f"volume {name[:20]}…: name of {len(name)} bytes", "255 are the most")
    return Unavailable(
        f"volume {name}: {error.filename}: {error.strerror}", "check the disk and its free space"
    )
