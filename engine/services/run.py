"""One run of a container, from outside: its first process, and the lock of its monitor.

What is opened belongs to this run for good: a container that ends and is started again meanwhile
is neither touched by who meant the run before, nor waited for. That is why each run has a lock file
of its own (`retire`), and `state.json` while it is on, which goes when its end is in the row.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled
from engine.kernel import process as processes
from engine.kernel.cgroup import open_cgroup

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.home import Home

_SIGKILL = 9
_LOOK_SECONDS = 0.1


class Run:
    """A context: the last run that has begun, if its end is not folded yet."""

    def __init__(self, home: Home, container_id: str) -> None:
        self._directory = home.run_dir(container_id)
        self._cgroup_path = home.cgroup_path(container_id)
        self._lock = self._process = -1
        while not self._open():
            self.close()

    def _open(self) -> bool:
        """Whether lock and process are of the same run. The lock first: a start retires the old
        state before it makes a new lock."""
        with contextlib.suppress(FileNotFoundError):
            self._lock = os.open(f"{self._directory}/monitor.lock", os.O_RDONLY | os.O_CLOEXEC)
        state = read_state(self._directory)
        if not state:
            self.close()
            return True
        try:
            self._process = processes.pidfd_open(state["pid"])
        except ProcessLookupError:
            return True
        if not processes.is_alive(state["pid"], state["start_time"]):
            os.close(self._process)
            self._process = -1
            return True
        try:
            now = os.stat(f"{self._directory}/monitor.lock")
        except FileNotFoundError:
            return self._lock < 0
        return self._lock >= 0 and os.path.samestat(now, os.fstat(self._lock))

    def close(self) -> None:
        for descriptor in (self._lock, self._process):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._process = -1

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lives(self) -> bool:
        """Whether its first process had not ended when this was opened."""
        return self._process >= 0

    def signal(self, number: int) -> None:
        """Its first process, which lived, has the signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            processes.pidfd_send_signal(self._process, number)

    def kill(self) -> None:
        """Everything in it has SIGKILL."""
        self.signal(_SIGKILL)
        with contextlib.suppress(OSError):
            open_cgroup(self._cgroup_path).kill()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether its first process ended in time; a negative time is for ever."""
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        return bool(poll.poll(None if timeout_seconds < 0 else timeout_seconds * 1000))

    def outlive(self, cancel: Cancel | None) -> None:
        """Its first process has ended. Raises Cancelled."""
        while not self.wait(-1 if cancel is None else _LOOK_SECONDS):
            if cancel is not None and cancel.cancelled:
                raise Cancelled("wait: cancelled")

    def wait_folded(self) -> None:
        """Its monitor has done all that its end asks for, or is dead."""
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_SH)


def read_state(directory: str) -> dict[str, Any]:
    """What the monitor wrote when it had made the first process: pid, start_time, started_ns …;
    empty when there is no run."""
    return _read(f"{directory}/state.json")


def read_exit(directory: str) -> dict[str, Any]:
    """What the monitor wrote at the end; empty when it could not."""
    return _read(f"{directory}/exit.json")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path) as file:
            document: dict[str, Any] = json.load(file)
            return document
    except (FileNotFoundError, ValueError):
        return {}


def end_state(directory: str) -> None:
    """The run's end is in the row."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/state.json")


def retire(directory: str) -> None:
    """The next run is another one: nobody who waits for the last will wait for it."""
    end_state(directory)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/monitor.lock")
