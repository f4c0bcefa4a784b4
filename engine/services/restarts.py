"""Starting containers again, as their policies say: whether, when, and who sees to it.

The rules are docker's: after 100 ms, twice as long each time up to a minute, from the beginning
again after a run of ten seconds; not after `stop`, nor after `kill` with a signal that stops
(moby's daemon/internal/restartmanager). There is no daemon to wait: whoever folds the end starts a
process that does, the exit command once more. It holds the lock `restart.lock` in the container's
run directory while it waits, and it ends when that file is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.kernel.inotify import IN_DELETE, Watch
from engine.monitor.launch import exit_command, reap
from engine.monitor.protocol import LOCK_FD
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.home import Home
    from engine.services.lifecycle import Lifecycle
    from engine.storage.container_store import ContainerRow, ContainerStore

FIRST_SECONDS, LAST_SECONDS, LONG_RUN_SECONDS = 0.1, 60.0, 10.0
AGAIN = "again"  # the exit command's word for it


class Tally(NamedTuple):
    """What is known of a container's restarts since a person started it."""

    times: int = 0
    delay_seconds: float = 0.0  # before the last one
    final: bool = False  # it was told to stop
    stopped: bool = False  # or had any other signal from a person, which counts for unless-stopped


class Restarts:
    """Of containers with a policy. The container's lock is held by the caller of all but `tally`
    and `wait`."""

    def __init__(self, home: Home, store: ContainerStore) -> None:
        self._home = home
        self._store = store

    def tally(self, container_id: str) -> Tally:
        """A fresh one when nothing is known."""
        try:
            with open(self._tally_path(container_id)) as file:
                return Tally(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):
            return Tally()

    def is_wanted(self, row: ContainerRow, exit_code: int, finished_ns: int) -> bool:
        """Whether it shall start again after this end; when is noted."""
        tally = self.tally(row.id)
        lasted_seconds = (finished_ns - row.started_ns) / 1e9
        delay_seconds = next_delay(row.config["restart"], tally, exit_code, lasted_seconds)
        if delay_seconds is None:
            return False
        self._keep(row, tally._replace(delay_seconds=delay_seconds))
        return True

    def note_start(self, row: ContainerRow, *, again: bool) -> None:
        """It is about to start: by itself, or because a person wants it, which begins anew."""
        tally = self.tally(row.id)
        self._keep(row, tally._replace(times=tally.times + 1) if again else Tally())

    def is_wanted_at_boot(self, row: ContainerRow) -> bool:
        """Whether it, which has ended, shall run on a host that has just booted."""
        if "restart" not in row.config or not row.started_ns:
            return False
        tally = self.tally(row.id)._replace(final=False)
        return next_delay(row.config["restart"], tally, row.exit_code, 0.0) is not None

    def hold(self, row: ContainerRow, *, final: bool, by_person: bool) -> bool:
        """It is about to have a signal, from a person or because the host goes down; a `final` one
        means that it does not start again by itself. Whether it just waited for that, and has ended
        for good now."""
        tally = self.tally(row.id)
        self._keep(
            row, tally._replace(stopped=tally.stopped or by_person, final=tally.final or final)
        )
        found = self._store.find(row.id)
        if not final or found is None or found.state != "restarting":
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._lock_path(row.id))
        self._store.set_state(row.id, state="exited")
        # Whoever follows its log looks now whether that was all.
        with contextlib.suppress(FileNotFoundError):
            log = f"{self._home.container_dir(row.id)}/log"
            os.close(os.open(log, os.O_WRONLY | os.O_CLOEXEC))
        return True

    def is_awaited(self, container_id: str) -> bool:
        """Whether a process waits to start it again."""
        try:
            lock = os.open(self._lock_path(container_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def begin(self, row: ContainerRow) -> None:
        """A process waits to start it again. If none can be made, whoever looks next tries."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            os.makedirs(self._home.run_dir(row.id), mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            lock = os.open(self._lock_path(row.id), flags, 0o600)
            opened.callback(os.close, lock)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, null)
            fcntl.flock(lock, fcntl.LOCK_EX)
            argv, environment = exit_command(self._home, row.id)
            pid = os.posix_spawn(
                argv[0],
                [*argv, AGAIN],
                environment,
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, null, standard) for standard in (0, 1, 2)),
                    (os.POSIX_SPAWN_DUP2, lock, LOCK_FD),
                ],
                setsid=True,
                setsigmask=(),
            )
            reap(pid)

    def wait(self, container_id: str, lifecycle: Lifecycle) -> None:
        """What that process does: it has started the container when its time came, unless somebody
        said no before. It holds the lock, as descriptor LOCK_FD."""
        row = self._store.find(container_id)
        if row is None:
            return
        with contextlib.suppress(FileNotFoundError):
            watch = Watch(self._home.run_dir(container_id), IN_DELETE)
            # The time of day may have been set since.
            passed = max(0.0, (time.time_ns() - row.finished_ns) / 1e9)
            due = time.monotonic() + self.tally(container_id).delay_seconds - passed
            while _stands() and (left := due - time.monotonic()) > 0:
                watch.wait(left)
            watch.release()
        with lifecycle.locked(container_id):
            row = self._store.find(container_id)
            if row is None or row.state != "restarting" or not _stands():
                return
            with contextlib.suppress(EngineError):  # the row says why; docker does not go on either
                lifecycle.start(row, again=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._lock_path(container_id))

    def _keep(self, row: ContainerRow, tally: Tally) -> None:
        path = self._tally_path(row.id)
        with open(f"{path}.new", "w") as file:
            json.dump(tally._asdict(), file)
        os.rename(f"{path}.new", path)

    def _tally_path(self, container_id: str) -> str:
        return f"{self._home.container_dir(container_id)}/restarts.json"

    def _lock_path(self, container_id: str) -> str:
        return f"{self._home.run_dir(container_id)}/restart.lock"


def next_delay(
    policy: tuple[str, int], tally: Tally, exit_code: int, lasted_seconds: float
) -> float | None:
    """Seconds from an end to the next start; None when there shall be none. `policy` is a name and
    how often at most."""
    name, maximum = policy
    wanted = {
        "always": True,
        "unless-stopped": not tally.stopped,
        "on-failure": exit_code != 0 and (not maximum or tally.times < maximum),
    }
    if tally.final or not wanted[name]:
        return None
    last = 0.0 if lasted_seconds >= LONG_RUN_SECONDS else tally.delay_seconds
    return min(max(FIRST_SECONDS, 2 * last), LAST_SECONDS)


def _stands() -> bool:
    return os.fstat(LOCK_FD).st_nlink > 0
