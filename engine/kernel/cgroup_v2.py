"""One cgroup in the v2 tree: docs.kernel.org/admin-guide/cgroup-v2."""

import errno
import os
import time

from engine.kernel.files import make_directory, read_file, write_file
from engine.kernel.libc import failure

CPU_PERIOD_US = 100_000
_USED = ("cpu", "io", "memory", "pids")  # for limits and statistics
_FREEZE_SECONDS = 2


class Tree:
    """The directory of one cgroup: `path` below the mount point."""

    def __init__(self, path: str, mount: str) -> None:
        self._path = path
        self._mount = mount
        self.directory = f"{mount}{path}"

    def available(self) -> tuple[str, ...]:
        """The controllers that this tree has to give; on hybrid hosts v1 owns most of them."""
        return tuple(read_file(f"{self._mount}/cgroup.controllers").decode().split())

    def create(self) -> None:
        """The directory exists, and its parents hand down the controllers that we use."""
        wanted = [each for each in self.available() if each in _USED]
        here = self._mount
        for name in self._path.strip("/").split("/"):
            if wanted:
                # Inner nodes may not hold processes; EBUSY here means that one does.
                enable = " ".join(f"+{each}" for each in wanted).encode()
                write_file(f"{here}/cgroup.subtree_control", enable)
            here = f"{here}/{name}"
            make_directory(here)

    def enable(self, controller: str) -> None:
        """The parents hand down one more."""
        here = self._mount
        for name in self._path.strip("/").split("/"):
            write_file(f"{here}/cgroup.subtree_control", f"+{controller}".encode())
            here = f"{here}/{name}"

    def limit(self, memory_bytes: int, nano_cpus: int, pids: int) -> None:
        """The limits hold that are not 0; swap may hold as much as memory again, as in docker."""
        if memory_bytes:
            write_file(f"{self.directory}/memory.max", b"%d" % memory_bytes)
            swap = f"{self.directory}/memory.swap.max"
            if os.path.exists(swap):
                write_file(swap, b"%d" % memory_bytes)
        if nano_cpus:
            quota = nano_cpus * CPU_PERIOD_US // 1_000_000_000
            write_file(f"{self.directory}/cpu.max", b"%d %d" % (quota, CPU_PERIOD_US))
        if pids:
            write_file(f"{self.directory}/pids.max", b"%d" % pids)

    def limits(self) -> tuple[int, int, int]:
        """What holds now, as the kernel gives it back: memory_bytes, nano_cpus, pids."""
        quota, _, period = self._read("cpu.max").partition(" ")
        nano_cpus = int(quota) * 1_000_000_000 // int(period) if quota not in ("", "max") else 0
        memory, pids = self._read("memory.max"), self._read("pids.max")
        return (
            int(memory) if memory not in ("", "max") else 0,
            nano_cpus,
            int(pids) if pids not in ("", "max") else 0,
        )

    def _read(self, name: str) -> str:
        """The file's text, empty when its controller is not here."""
        try:
            return read_file(f"{self.directory}/{name}").decode().strip()
        except FileNotFoundError:
            return ""

    def allow_devices(self, rules: tuple[str, ...]) -> None:
        """Only devices that one of `rules` ("c 1:3 rwm") names can be used. For a fresh cgroup."""
        # Only pure v2 hosts need a program for it, so only they load the module that makes it.
        from engine.kernel.bpf import allow_devices

        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            allow_devices(descriptor, rules)
        finally:
            os.close(descriptor)

    def freeze(self) -> None:
        """No process of it runs when this returns. Raises OSError EBUSY when some will not stop."""
        write_file(f"{self.directory}/cgroup.freeze", b"1")
        deadline = time.monotonic() + _FREEZE_SECONDS
        while not self._is("frozen"):
            if time.monotonic() > deadline:
                self.thaw()
                raise failure("write", errno.EBUSY, f"{self.directory}/cgroup.freeze")
            time.sleep(0.001)

    def thaw(self) -> None:
        """Its processes run again."""
        write_file(f"{self.directory}/cgroup.freeze", b"0")

    def is_frozen(self) -> bool:
        """Whether `freeze` is in effect."""
        return read_file(f"{self.directory}/cgroup.freeze").strip() == b"1"

    def can_kill(self) -> bool:
        """Whether the kernel has cgroup.kill (Linux 5.14)."""
        return os.path.exists(f"{self.directory}/cgroup.kill")

    def kill(self) -> None:
        """Every process of it, and those being forked, got SIGKILL."""
        write_file(f"{self.directory}/cgroup.kill", b"1")

    def _is(self, key: str) -> bool:
        return f"{key} 1" in self._read("cgroup.events").splitlines()
