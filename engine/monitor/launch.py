"""Starting a container: its monitor, in a process of its own, and the wait until it runs.

The monitor is a process that boots (`standby`) while what it will have to do is made ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import threading
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from collections.abc import Callable
from typing import Any

from engine.errors import Conflict, Unavailable
from engine.home import Home
from engine.kernel.cgroup import Cgroup
from engine.kernel.process import pidfd_open
from engine.monitor import client
from engine.monitor.client import MonitorSession
from engine.monitor.protocol import FAILED
from engine.monitor.standby import Standby, interpreter
from engine.named_tuple import NamedTuple
from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup

_EXIT_COMMAND = os.path.join(  # a path: it stands on a higher floor
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "exit_command.py"
)
_LOCK_TRIES, _LOCK_SECONDS = 20, 0.01
_ANSWER_BYTES = 1 << 16
_FILES = ("state.json", "exit.json", "ctl.sock", "out", "err", "monitor.err")


class LaunchSpec(NamedTuple):
    """One start. `plan` is runtime.plan's; the exit command has no other environment."""

    id: str
    name: str
    plan: dict[str, Any]
    open_stdin: bool
    attributes: dict[str, str]  # of its events
    exit_command: tuple[str, ...]
    exit_environment: dict[str, str]
    log_limits: tuple[int, int] | None = None  # bytes of a file, files; no files: no log


def exit_command(home: Home, container_id: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """What runs at a container's end, and its whole environment."""
    names = ("PYDOCK_CGROUP_PARENT",)
    return (
        (
            interpreter(), "-I", "-S", "-E", _EXIT_COMMAND,
            home.root, home.run_root, container_id,
        ),
        {name: os.environ[name] for name in names if name in os.environ},
    )  # fmt: skip


class Launched(NamedTuple):
    """A running container; `session` for who asked to be attached."""

    pid: int
    started_ns: int
    session: MonitorSession | None


def launch(
    home: Home,
    container_id: str,
    specify: Callable[[], LaunchSpec],
    *,
    attach: bool = False,
    stdin: bool = False,
    cleans: bool = False,
    standby: Standby | None = None,
) -> Launched:
    """The container's program runs when this returns. Raises EngineError, and nothing is left.

    `specify` decides what is started, while the monitor's interpreter boots, if it is not on
    `standby` already; whatever it raises is raised here. With `attach` there is a session that
    misses no byte, and whose end, with `stdin`, is the end of the container's input; with `cleans`
    its holder does at the end what the exit command would (`MonitorSession.on_clean`).
    """
    directory = home.run_dir(container_id)
    try:
        monitor = _Monitor(standby or Standby(home.cgroup_path("monitors")), directory)
        with contextlib.ExitStack() as opened:
            try:
                lock = monitor.lock()
                opened.callback(os.close, lock)
                _clear(directory)
                spec = specify()
                work = client.memory_file(
                    _work(
                        home, spec, directory,
                        client=attach, client_stdin=stdin, client_cleans=cleans,
                    )
                )  # fmt: skip
                opened.callback(os.close, work)
                descriptors = [work, lock]
                if attach:
                    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
                    opened.callback(theirs.close)
                    opened.callback(ours.close)
                    descriptors.append(theirs.fileno())
                monitor.prepare(spec.plan)
                pid, started_ns = monitor.go(descriptors)
            except BaseException:
                monitor.undo()
                raise
            session = None
            if attach:
                terminal = spec.plan["process"]["terminal"]
                session = MonitorSession(socket(fileno=ours.detach()), tty=terminal)
    except StepError as error:
        raise explain(*error.fields) from error
    except OSError as error:
        raise _no_monitor(container_id, error) from error
    reap(monitor.release())
    return Launched(pid, started_ns, session)


def adopt(home: Home, spec: LaunchSpec, pid: int, start_time: int, started_ns: int) -> None:
    """A container that runs although its monitor was killed has a new one when this returns.
    Raises EngineError, and it runs on as before."""
    directory = home.run_dir(spec.id)
    try:
        monitor = _Monitor(Standby(home.cgroup_path("monitors")), directory)
        with contextlib.ExitStack() as opened:
            try:
                lock = _lock(directory)
                opened.callback(os.close, lock)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/ctl.sock")
                work = client.memory_file(
                    _work(home, spec, directory, orphan=(pid, start_time), started_ns=started_ns)
                )
                opened.callback(os.close, work)
                monitor.go([work, lock])
            except BaseException:
                monitor.undo()
                raise
    except StepError as error:
        raise explain(*error.fields) from error
    except OSError as error:
        raise _no_monitor(spec.id, error) from error
    reap(monitor.release())


def _no_monitor(container_id: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"container {container_id[:12]}: {error.strerror}: {error.filename or 'its monitor'}",
        "pydock info shows what this host has",
        exit_code=125,
    )


class _Monitor:
    """The process that is being made."""

    def __init__(self, standby: Standby, directory: str) -> None:
        self._standby = standby
        self._directory = directory
        self._cgroup: Cgroup | None = None
        self._owns_directory = False

    def lock(self) -> int:
        """The directory's lock; from here on its content goes with `undo`. Raises Conflict."""
        lock = _lock(self._directory)
        self._owns_directory = True
        return lock

    def prepare(self, plan: dict[str, Any]) -> None:
        """The container's cgroup exists. Raises StepError."""
        self._cgroup = create_cgroup(plan)

    def go(self, descriptors: list[int]) -> tuple[int, int]:
        """The container's pid and when it started. Raises StepError."""
        try:
            self._standby.go(descriptors)
            answer = self._standby.channel.recv(_ANSWER_BYTES)
        except ConnectionError:
            answer = b""
        if not answer:
            raise StepError("monitor", 0, "", "", self._last_words() or "it ended without a word")
        result = marshal.loads(answer)
        if result[0] == FAILED:
            raise StepError(*result[1])
        return result[1], result[2]

    def _last_words(self) -> str:
        try:
            with open(f"{self._directory}/monitor.err", errors="replace") as file:
                return file.read().strip().rpartition("\n")[2]
        except FileNotFoundError:
            return self._standby.complaint()

    def release(self) -> int:
        """The pid of a monitor that is on its own now."""
        self._standby.release()
        return self._standby.pid

    def undo(self) -> None:
        """It and what it may have made is gone, before the lock is."""
        self._standby.kill()
        if self._cgroup is not None:
            with contextlib.suppress(OSError):
                self._cgroup.kill()
                self._cgroup.remove()
        if not self._owns_directory:
            return
        import shutil  # with its compressors, for failures alone

        shutil.rmtree(self._directory, ignore_errors=True)


def _lock(directory: str) -> int:
    """The lock that a live monitor holds. Raises Conflict."""
    for _ in range(_LOCK_TRIES):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            lock = os.open(
                f"{directory}/monitor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except FileNotFoundError:  # removed under us
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:  # else it was removed while we waited
                return lock
            os.close(lock)
        except BlockingIOError:  # somebody may just be looking whether it is free
            os.close(lock)
            time.sleep(_LOCK_SECONDS)
    raise Conflict(
        f"container {os.path.basename(directory)[:12]}: its monitor is still at work",
        "try again in a moment",
    )


def _clear(directory: str) -> None:
    """What the last run has left is gone, the FIFOs are there."""
    for name in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")
    for name in ("out", "err"):
        os.mkfifo(f"{directory}/{name}", 0o600)
        # The directory keeps strangers out; a user of the container reopens /dev/stdout.
        os.chmod(f"{directory}/{name}", 0o666)


def _work(home: Home, spec: LaunchSpec, directory: str, **more: Any) -> bytes:
    """Everything that the monitor has to know: of a new container, or of an orphan."""
    work = {
        "id": spec.id,
        "name": spec.name,
        "plan": spec.plan,
        "run_dir": directory,
        "log_path": f"{home.container_dir(spec.id)}/log",
        "log_limits": spec.log_limits,
        "events_path": home.events_path,
        "attributes": spec.attributes,
        "open_stdin": spec.open_stdin,
        "client": False,
        "client_stdin": False,
        "client_cleans": False,
        "orphan": None,
        "exit_command": list(spec.exit_command),
        "exit_environment": spec.exit_environment,
        **more,
    }
    return marshal.dumps(work)


def reap(pid: int) -> None:
    """The child `pid` is collected when it ends, if this process, a console perhaps, lives on."""
    _reaper.adopt(pid)


class _Reaper:
    """Collects monitors that end while their launcher lives on, a console for hours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._pids: dict[int, int] = {}

    def adopt(self, pid: int) -> None:
        descriptor = pidfd_open(pid)
        with self._lock:
            if self._poll is None:
                self._poll = select.epoll()
                threading.Thread(target=self._run, args=(self._poll,), daemon=True).start()
            self._pids[descriptor] = pid
            self._poll.register(descriptor, select.EPOLLIN)

    def _run(self, poll: select.epoll) -> None:
        while True:
            for descriptor, _ in poll.poll():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(self._pids.pop(descriptor), 0)
                poll.unregister(descriptor)
                os.close(descriptor)


_reaper = _Reaper()
