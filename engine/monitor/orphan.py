"""A container's first process whose monitor was killed: it lives on as somebody else's child.

Lean: monitors import this.
"""

import os

from engine.kernel.process import exit_status, pidfd_open, start_time, zombie_status


class Orphan:
    """As `create.Created`, for a process that a successor of its monitor has to do with."""

    __slots__ = ("console_fd", "pid", "pidfd")

    def __init__(self, pid: int, started: int) -> None:
        """Raises ProcessLookupError unless `pid` is the process that started then."""
        self.pidfd = pidfd_open(pid)
        self.pid = pid
        self.console_fd = -1  # its master died with the monitor
        try:
            is_it = start_time(pid) == started
        except ProcessLookupError:
            is_it = False
        if not is_it:
            os.close(self.pidfd)
            raise ProcessLookupError(f"process {pid} is another one")

    def collect(self) -> int:
        """The wait status, once `pidfd` says that it has ended. Raises ChildProcessError when
        nobody can tell: its parent has reaped it and the kernel is older than 6.15."""
        # The zombie first: the kernel keeps the status before it lets the zombie go, and until
        # then it would tell none.
        status = zombie_status(self.pid)
        if status is None:
            try:
                status = exit_status(self.pidfd)
            except OSError:
                status = None
        if status is None:
            raise ChildProcessError(f"process {self.pid}: the kernel does not know its end")
        return status
