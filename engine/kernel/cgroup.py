"""One container's cgroup, on hosts with v1 hierarchies, the v2 tree, or both (hybrid).

On hybrid hosts a limit is set where its controller lives; the same path in the v2 tree serves for
freezing and killing, which need no controller there. Lean on purpose: monitors import this.
"""

import errno
import os
import time

from engine.kernel import cgroup_v1, cgroup_v2
from engine.kernel.files import read_file, write_file
from engine.kernel.libc import failure
from engine.kernel.process import pidfd_open, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Mount points of the v1 hierarchies with their controllers, and that of the v2 tree or "".
# Tuples of strings only, so that they travel in a plan.
Hierarchies = tuple[tuple[tuple[str, tuple[str, ...]], ...], str]

# What docker lets a container do with devices: make any node, use these.
# github.com/opencontainers/runc/blob/main/libcontainer/specconv/spec_linux.go, AllowedDevices
DEVICES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",  # null
    "c 1:5 rwm",  # zero
    "c 1:7 rwm",  # full
    "c 1:8 rwm",  # random
    "c 1:9 rwm",  # urandom
    "c 5:0 rwm",  # tty
    "c 5:1 rwm",  # console
    "c 5:2 rwm",  # ptmx
    "c 136:* rwm",  # pts
)

_V1_CONTROLLERS = (
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
)
_SIGKILL = 9
_SECONDS = 1.0  # for the kernel to let go of processes that ended


class Limits:
    """What a container may use; 0 means no limit of its own. A value: compared by its fields."""

    __slots__ = ("memory_bytes", "nano_cpus", "pids")

    def __init__(self, memory_bytes: int = 0, nano_cpus: int = 0, pids: int = 0) -> None:
        self.memory_bytes = memory_bytes
        self.nano_cpus = nano_cpus  # 1_000_000_000 is one CPU
        self.pids = pids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return "Limits(memory_bytes={}, nano_cpus={}, pids={})".format(*self._fields())

    def _fields(self) -> tuple[int, int, int]:
        return self.memory_bytes, self.nano_cpus, self.pids


def find_hierarchies(mountinfo: str = "/proc/self/mountinfo") -> Hierarchies:
    """Where this host has its cgroups mounted. Source: proc_pid_mountinfo(5)."""
    v1: list[tuple[str, tuple[str, ...]]] = []
    v2 = ""
    seen: set[tuple[str, ...]] = set()
    for line in read_file(mountinfo).decode("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        point = left.split(" ")[4].replace("\\040", " ")
        if kind == "cgroup2" and not v2:
            v2 = point
        elif kind == "cgroup":
            controllers = tuple(
                each
                for each in options.split(",")
                if each in _V1_CONTROLLERS or each.startswith("name=")
            )
            if controllers and controllers not in seen:
                seen.add(controllers)
                v1.append((point, controllers))
    return tuple(v1), v2


def open_cgroup(path: str, hierarchies: Hierarchies | None = None) -> "Cgroup":
    """The cgroup `path` ("/pydock/…"), which need not exist yet, below each mount point.

    Raises OSError ENOENT when the host has no cgroups mounted.
    """
    if hierarchies is None:
        hierarchies = find_hierarchies()
    if not path.startswith("/") or path == "/" or ".." in path.split("/"):
        raise failure("mkdir", errno.EINVAL, path)
    if not hierarchies[0] and not hierarchies[1]:
        raise failure("mkdir", errno.ENOENT, "/sys/fs/cgroup")
    return Cgroup(path, hierarchies)


class Cgroup:
    """One cgroup; nothing is kept open, so it may be used from any process at any time."""

    def __init__(self, path: str, hierarchies: Hierarchies) -> None:
        v1, v2 = hierarchies
        self.path = path
        self.hierarchies = hierarchies
        self._v1 = cgroup_v1.Tree(path, v1)
        self._v2 = cgroup_v2.Tree(path, v2) if v2 else None

    @property
    def directories(self) -> list[str]:
        """Its directory in every hierarchy, the v2 tree last."""
        return self._v1.directories + ([self._v2.directory] if self._v2 else [])

    def directory(self, controller: str) -> tuple[int, str] | None:
        """The version (1 or 2) and the directory where `controller` has its files, if anywhere."""
        if controller in self._v1.controllers:
            return 1, self._v1.controllers[controller]
        if self._v2 and controller in self._v2.available():
            return 2, self._v2.directory
        return None

    def create(
        self,
        limits: Limits,
        devices: tuple[str, ...] = DEVICES,
        settings: "dict[str, Any] | None" = None,
    ) -> None:
        """It exists, empty, with `limits` and the finer `settings` (engine.kernel.cgroup_settings);
        only `devices` (rules of the v1 form) can be used.

        Raises OSError: EBUSY when it exists with processes, EOPNOTSUPP when a limit is asked for
        whose controller the host lacks. What was made is removed again then.
        """
        if any(os.path.isdir(each) for each in self.directories) and self.pids():
            raise failure("mkdir", errno.EBUSY, self.path)
        try:
            self._v1.create()
            if self._v2:
                self._v2.create()
            self._limit(limits)
            if settings:
                self._set(settings)
            if "devices" in self._v1.controllers:
                self._v1.allow_devices(devices)
            elif self._v2:
                self._v2.allow_devices(devices)
        except OSError:
            self.remove()
            raise

    def _limit(self, limits: Limits) -> None:
        v2 = self._v2.available() if self._v2 else ()
        for controller, memory, cpus, pids in (
            ("memory", limits.memory_bytes, 0, 0),
            ("cpu", 0, limits.nano_cpus, 0),
            ("pids", 0, 0, limits.pids),
        ):
            if not memory | cpus | pids:
                continue
            if controller in self._v1.controllers:
                self._v1.limit(memory, cpus, pids)
            elif self._v2 and controller in v2:
                self._v2.limit(memory, cpus, pids)
            else:
                raise failure("mkdir", errno.EOPNOTSUPP, controller)

    def _set(self, settings: "dict[str, Any]") -> None:
        from engine.kernel import cgroup_settings  # most containers have none

        for controller in sorted(cgroup_settings.controllers(settings)):
            version, directory = self.ready(controller)
            cgroup_settings.apply(settings, version, controller, directory)

    def ready(self, controller: str) -> tuple[int, str]:
        """The version and the directory where v2's `controller` can be set. Raises OSError
        EOPNOTSUPP when the host lacks it."""
        found = self.directory("blkio") if controller == "io" else None
        found = found or self.directory(controller)
        if found is None:
            raise failure("mkdir", errno.EOPNOTSUPP, controller)
        if found[0] == 2 and self._v2:
            self._v2.enable(controller)
        return found

    def limits(self) -> Limits:
        """What holds now, as the kernel gives it back."""
        found = self._v1.limits()
        if self._v2:
            found2 = self._v2.limits()
            found = (found[0] or found2[0], found[1] or found2[1], found[2] or found2[2])
        return Limits(*found)

    def join(self, pid: int) -> None:
        """Process `pid` (0: the caller) and its later children are in it, in every hierarchy."""
        for directory in self.directories:
            write_file(f"{directory}/cgroup.procs", b"%d" % pid)

    @property
    def needs_join(self) -> bool:
        """Whether a process must be moved into it; else it can be born there."""
        return self._v2 is None or bool(self._v1.directories)

    def clone_descriptor(self) -> int | None:
        """A descriptor for clone3's CLONE_INTO_CGROUP; None where v1 hierarchies need `join`."""
        if self._v2 is None or self.needs_join:
            return None
        return os.open(self._v2.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """The processes in it and in cgroups below it, in numeric order."""
        found: set[int] = set()
        for directory in self._walk(self.directories[-1]):
            try:
                found.update(map(int, read_file(f"{directory}/cgroup.procs").split()))
            except FileNotFoundError:
                pass  # removed meanwhile
            except OSError as error:
                if error.errno != errno.ENODEV:  # the same, while it was being read
                    raise
        return sorted(found)

    def freeze(self) -> None:
        """Its processes stand still when this returns. Raises OSError EBUSY if some would not."""
        (self._v2 or self._v1).freeze()

    def thaw(self) -> None:
        """Its processes run again."""
        (self._v2 or self._v1).thaw()

    def is_frozen(self) -> bool:
        """Whether `freeze` is in effect; not, when the cgroup is gone."""
        try:
            return (self._v2 or self._v1).is_frozen()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return False
            raise

    def kill(self, signal: int = _SIGKILL) -> None:
        """`signal` was sent to every process in it; with SIGKILL all are ending, new ones too."""
        if signal == _SIGKILL and self._v2 and self._v2.can_kill():
            self._v2.kill()
            return
        deadline = time.monotonic() + _SECONDS
        while pids := self.pids():
            # Frozen processes cannot fork while the list is worked through.
            frozen = signal == _SIGKILL and not self.is_frozen()
            if frozen:
                self.freeze()
                pids = self.pids()
            try:
                for pid in pids:
                    _send(pid, signal)
            finally:
                if signal == _SIGKILL:
                    self.thaw()
            if signal != _SIGKILL or time.monotonic() > deadline:
                return
            time.sleep(0.002)

    def remove(self) -> None:
        """It is gone, with all cgroups below it; no error when it was not there.

        Raises OSError EBUSY when after a second there still are processes in it.
        """
        deadline = time.monotonic() + _SECONDS
        for top in self.directories:
            while True:
                try:
                    for directory in reversed(self._walk(top)):
                        os.rmdir(directory)
                    break
                except FileNotFoundError:
                    if not os.path.isdir(top):
                        break
                except OSError as error:
                    # The kernel holds on to a cgroup until its zombies are buried.
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.002)

    def _walk(self, top: str) -> list[str]:
        """`top` and the directories below it, parents first; empty when it is not there."""
        try:
            names = [each.name for each in os.scandir(top) if each.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [top]
        for name in names:
            found += self._walk(f"{top}/{name}")
        return found


def _send(pid: int, signal: int) -> None:
    try:
        descriptor = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        pidfd_send_signal(descriptor, signal)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
