"""The child host: root tests never touch the machine that they run on.

`enter()` moves the test process into namespaces of its own (net, mount, uts, ipc) with an empty
/run and a cgroup parent of its own, and makes it the reaper of everything that it starts, so that
whatever a test leaves behind is found by `Traces`.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_CHILD_SUBREAPER = 36
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

CGROUP_PARENT = f"/pydock-test-{os.getpid()}"


def enter() -> None:
    """From here on this process and its children live in the child host."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *args: object) -> None:
        if getattr(libc, name)(*args) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)

    call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call("mount", b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755")
    # The old /sys shows the machine's links; a new one shows ours. Its cgroup trees are the same.
    os.makedirs("/run/lock", exist_ok=True)
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with socket.socket() as probe:
        ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    os.environ["PYDOCK_CGROUP_PARENT"] = CGROUP_PARENT


class Traces(NamedTuple):
    """What the kernel holds on our behalf at one moment."""

    mounts: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]
    namespaces: frozenset[str]

    @classmethod
    def now(cls) -> "Traces":
        return cls(
            frozenset(_mounts()),
            frozenset(name for _, name in socket.if_nameindex()),
            frozenset(_cgroups()),
            frozenset(_descendants()),
            frozenset(str(path) for path in Path("/run").glob("**/netns/*")),
        )

    def left_since(self, before: "Traces") -> list[str]:
        """One line for each thing that is here now and was not before."""
        return [
            f"{kind[:-1]}: {name}"
            for kind, now, then in zip(self._fields, self, before, strict=True)
            for name in sorted(now - then)
        ]


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _cgroups() -> Iterator[str]:
    """Cgroups of containers: the parents (a root's, its monitors') may stay."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            parent = Path(left.split()[4] + CGROUP_PARENT)
            for path in parent.glob("*/*"):
                if path.is_dir() and path.name != "monitors":
                    yield str(path)


def _descendants() -> Iterator[str]:
    """Processes below this one, ended ones reaped first."""
    parents: dict[int, list[tuple[int, str, str]]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        parents.setdefault(int(parent), []).append((int(entry.name), name, state))
    stack = [os.getpid()]
    while stack:
        for process, name, state in parents.get(stack.pop(), ()):
            if state != "Z":
                yield f"{process} {name}"
            stack.append(process)


def reap(before: Traces) -> None:
    """Collect the exit status of orphans that ended since `before` (we are their reaper)."""
    known = {int(line.split()[0]) for line in before.processes}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) not in known:
            try:
                text = Path(entry.path, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent = text[text.rindex(")") + 2 :].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(int(entry.name), 0)


def remove_cgroups() -> None:
    """The cgroup parent goes with the session."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            top = Path(left.split()[4] + CGROUP_PARENT)
            for path in sorted(top.glob("**/"), key=lambda path: -len(path.parts)):
                if path.is_dir():
                    path.rmdir()
