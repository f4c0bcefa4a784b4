"""What pydock-oci remembers of a container between its commands (runtime-spec, runtime.md, State).

Only facts that do not change are kept; whether the container runs is asked of the kernel.
"""

import json
import os
import re
from typing import Any

from engine.errors import Conflict, InvalidInput, NotFound
from engine.kernel.cgroup import Cgroup, Hierarchies, open_cgroup
from engine.kernel.process import is_alive
from engine.named_tuple import NamedTuple

OCI_VERSION = "1.2.0"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,254}")


class State(NamedTuple):
    """A container that was created below the directory `root` of all states."""

    root: str
    id: str
    pid: int
    started: int  # clock ticks since boot: with the pid, the process' identity
    boot_id: str
    bundle: str
    rootfs: str
    created: str  # RFC 3339
    annotations: dict[str, str]
    cgroup_path: str
    hierarchies: Any

    @property
    def directory(self) -> str:
        return f"{self.root}/{self.id}"

    @property
    def fifo(self) -> str:
        """The named pipe that the init of a created container waits on; gone once started."""
        return f"{self.directory}/exec.fifo"

    @property
    def cgroup(self) -> Cgroup | None:
        if not self.cgroup_path:
            return None
        v1, v2 = self.hierarchies
        hierarchies: Hierarchies = (tuple((point, tuple(each)) for point, each in v1), v2)
        return open_cgroup(self.cgroup_path, hierarchies)

    def status(self) -> str:
        """created, running, paused or stopped, as the kernel has it now."""
        if self.boot_id != boot_id() or not is_alive(self.pid, self.started):
            return "stopped"
        if os.path.exists(self.fifo):
            return "created"
        cgroup = self.cgroup
        return "paused" if cgroup and cgroup.is_frozen() else "running"

    def document(self) -> dict[str, Any]:
        """The state as the specification words it."""
        status = self.status()
        return {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "annotations": self.annotations,
            "owner": "",
        }


def reserve(root: str, id: str) -> str:
    """The new directory of container `id`, the caller's own. Raises Conflict, InvalidInput."""
    if not _ID.fullmatch(id):
        raise InvalidInput(f"invalid container ID {id!r}", "letters, digits, and _ . + -")
    directory = f"{root}/{id}"
    os.makedirs(root, mode=0o700, exist_ok=True)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError as error:
        raise Conflict(f"container with id {id} exists already", "choose another ID") from error
    return directory


def save(state: State) -> None:
    """The state is on its place, whole: it appears by rename."""
    temporary = f"{state.directory}/state.json.new"
    with open(temporary, "x") as file:
        json.dump(state._asdict(), file)
    os.rename(temporary, f"{state.directory}/state.json")


def load(root: str, id: str) -> State:
    """The state of container `id`. Raises NotFound."""
    try:
        if not _ID.fullmatch(id):
            raise FileNotFoundError(id)
        with open(f"{root}/{id}/state.json") as file:
            return State(**json.load(file) | {"root": root})
    except FileNotFoundError as error:
        raise NotFound(f"container {id} does not exist") from error


def remove(root: str, id: str) -> None:
    """Nothing is remembered of the container."""
    for entry in os.scandir(f"{root}/{id}"):  # flat; shutil would import four compressors
        os.unlink(entry.path)
    os.rmdir(f"{root}/{id}")


def boot_id() -> str:
    """Random, and another one after each boot: pids before it mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
