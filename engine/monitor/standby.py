"""A monitor's interpreter that boots before anybody knows what it will run.

Booting takes longer than everything else in a start, and needs to know nothing: who means to start
a container begins with this, and makes ready meanwhile. The starter is a thread of a console or a
command, so it never forks: `posix_spawn` of a fresh `-I -S` interpreter. Lean: it stands first on
the path of `pydock run`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
from _socket import (
    AF_UNIX,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)

from engine.kernel.cgroup import Cgroup, Limits, find_hierarchies
from engine.kernel.mount import readonly_clone
from engine.monitor.protocol import GO, LAUNCHER_FD
from engine.runtime.failure import StepError, Where

_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry.py")
_FIRST_SPARE = 64  # above everything that dup2 puts into the monitor
_COMPLAINT_BYTES = 1 << 16


def interpreter() -> str:
    """The base interpreter's real path: monitors need nothing of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


class Standby:
    """A process that waits for `go`, or for the end of its maker, which is its own end too.

    It is moved to `cgroup_path`, made if need be, where nobody freezes or kills it, by a thread: on
    a host at rest the first migration waits 5 ms for the kernel; the container's own, soon after,
    0.3.
    """

    def __init__(self, cgroup_path: str) -> None:
        python = interpreter()
        with contextlib.ExitStack() as opened:

            def high(descriptor: int) -> int:
                opened.callback(os.close, descriptor)
                copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE)
                opened.callback(os.close, copy)
                return copy

            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
            opened.callback(theirs.close)
            null = high(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
            self._errors = os.memfd_create("pydock-errors", os.MFD_CLOEXEC)
            self.channel = ours
            try:
                # A container may keep its parent's /proc/<pid>/exe open and write to it later;
                # through a read-only copy of the mount it cannot (CVE-2019-5736).
                program = high(readonly_clone(python))
                self.pid = os.posix_spawn(
                    f"/proc/self/fd/{program}",
                    [python, "-I", "-S", "-E", _ENTRY],
                    {},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, null, 0),
                        (os.POSIX_SPAWN_DUP2, null, 1),
                        (os.POSIX_SPAWN_DUP2, high(os.dup(self._errors)), 2),
                        (os.POSIX_SPAWN_DUP2, high(os.dup(theirs.fileno())), LAUNCHER_FD),
                    ],
                    setsid=True,
                    setsigmask=(),
                )
            except OSError:
                self.release()
                raise
        self._trouble: StepError | None = None
        self._settling = threading.Thread(target=self._settle, args=(cgroup_path,))
        self._settling.start()

    def _settle(self, path: str) -> None:
        where = Where()
        where.at("cgroup", path)
        try:
            hierarchies = find_hierarchies()
            if not any(hierarchies):
                return
            cgroup = Cgroup(path, hierarchies)
            if not all(map(os.path.isdir, cgroup.directories)):
                try:
                    cgroup.create(Limits())
                except OSError as error:
                    if error.errno != errno.EBUSY:  # another launcher was faster
                        raise
            cgroup.join(self.pid)
        except OSError as error:
            self._trouble = StepError(*where.describe(error))

    def go(self, descriptors: list[int]) -> None:
        """It goes to work with `descriptors` (`protocol.PLACES`). Raises ConnectionError when it
        has ended, StepError when it could not be moved."""
        self._settling.join()
        if self._trouble is not None:
            raise self._trouble
        rights = b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors)
        self.channel.sendmsg([GO], [(SOL_SOCKET, SCM_RIGHTS, rights)])

    def complaint(self) -> str:
        """The last line of what it wrote to stderr before it got one of its own."""
        text = os.pread(self._errors, _COMPLAINT_BYTES, 0).decode(errors="replace")
        return text.strip().rpartition("\n")[2]

    def kill(self) -> None:
        """There is no such process."""
        self._settling.join()  # before the number is free for others
        os.kill(self.pid, 9)  # our child, not reaped yet: the number is its own
        os.waitpid(self.pid, 0)
        self.release()

    def release(self) -> None:
        """It is on its own: nothing of it is open here any more."""
        self.channel.close()
        os.close(self._errors)
