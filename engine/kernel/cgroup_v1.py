"""One cgroup in the v1 hierarchies: docs.kernel.org/admin-guide/cgroup-v1."""

import errno
import os
import time

from engine.kernel.files import make_directory, read_file, write_file
from engine.kernel.libc import failure

CPU_PERIOD_US = 100_000
_NO_LIMIT_BYTES = 1 << 62  # the kernel reports "none" as the largest multiple of a page
_FREEZE_SECONDS = 2


class Tree:
    """The directories of one cgroup, the same `path` below each hierarchy's mount point."""

    def __init__(self, path: str, mounts: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        self._path = path
        self._mounts = mounts
        self.controllers = {
            controller: f"{point}{path}"
            for point, controllers in mounts
            for controller in controllers
        }

    @property
    def directories(self) -> list[str]:
        """All of them, as a walk through the mounts gives them."""
        return [f"{point}{self._path}" for point, _ in self._mounts]

    def create(self) -> None:
        """The directories exist; cpusets are filled from the top, empty ones accept nobody."""
        for point, controllers in self._mounts:
            here = point
            for name in self._path.strip("/").split("/"):
                above, here = here, f"{here}/{name}"
                make_directory(here)
                if "cpuset" in controllers:
                    _inherit_cpuset(above, here)

    def limit(self, memory_bytes: int, nano_cpus: int, pids: int) -> None:
        """The limits hold that are not 0; swap may hold as much as memory again, as in docker."""
        if memory_bytes:
            directory = self.controllers["memory"]
            write_file(f"{directory}/memory.limit_in_bytes", b"%d" % memory_bytes)
            swap = f"{directory}/memory.memsw.limit_in_bytes"
            if os.path.exists(swap):  # the kernel may run without swap accounting
                write_file(swap, b"%d" % (2 * memory_bytes))
        if nano_cpus:
            directory = self.controllers["cpu"]
            quota = nano_cpus * CPU_PERIOD_US // 1_000_000_000
            write_file(f"{directory}/cpu.cfs_period_us", b"%d" % CPU_PERIOD_US)
            write_file(f"{directory}/cpu.cfs_quota_us", b"%d" % quota)
        if pids:
            write_file(f"{self.controllers['pids']}/pids.max", b"%d" % pids)

    def limits(self) -> tuple[int, int, int]:
        """What holds now, as the kernel gives it back: memory_bytes, nano_cpus, pids."""
        memory = nano_cpus = pids = 0
        if directory := self.controllers.get("memory"):
            memory = int(read_file(f"{directory}/memory.limit_in_bytes"))
            memory = 0 if memory >= _NO_LIMIT_BYTES else memory
        if directory := self.controllers.get("cpu"):
            quota = int(read_file(f"{directory}/cpu.cfs_quota_us"))
            period = int(read_file(f"{directory}/cpu.cfs_period_us"))
            nano_cpus = quota * 1_000_000_000 // period if quota > 0 else 0
        if directory := self.controllers.get("pids"):
            text = read_file(f"{directory}/pids.max").strip()
            pids = 0 if text == b"max" else int(text)
        return memory, nano_cpus, pids

    def allow_devices(self, rules: tuple[str, ...]) -> None:
        """Only devices that one of `rules` ("c 1:3 rwm") names can be used. For a fresh cgroup."""
        directory = self.controllers["devices"]
        write_file(f"{directory}/devices.deny", b"a")
        for rule in rules:
            write_file(f"{directory}/devices.allow", rule.encode())

    def freeze(self) -> None:
        """No process of it runs when this returns. Raises OSError EBUSY when some will not stop."""
        path = f"{self.controllers['freezer']}/freezer.state"
        deadline = time.monotonic() + _FREEZE_SECONDS
        while True:
            write_file(path, b"FROZEN")
            for _ in range(20):
                if read_file(path).strip() == b"FROZEN":
                    return
                time.sleep(0.001)
            # A process may be stuck FREEZING for ever; thawed and frozen again it moves on.
            write_file(path, b"THAWED")
            if time.monotonic() > deadline:
                raise failure("write", errno.EBUSY, path)

    def thaw(self) -> None:
        """Its processes run again."""
        write_file(f"{self.controllers['freezer']}/freezer.state", b"THAWED")

    def is_frozen(self) -> bool:
        """Whether `freeze` is in effect."""
        return read_file(f"{self.controllers['freezer']}/freezer.state").strip() != b"THAWED"


def _inherit_cpuset(above: str, here: str) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read_file(f"{here}/{name}").strip():
            write_file(f"{here}/{name}", read_file(f"{above}/{name}").strip() or b"0")
