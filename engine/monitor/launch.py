"""Starting a container: its monitor, in a process of its own, and the wait until it runs.

The launcher is a thread of a console or a command, so it never forks: `posix_spawn` of a fresh
`-I -S` interpreter. While that boots, its cgroup is made and it is moved in (a first migration
after idle takes 4.6 ms), so that the container is born there.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import shutil
import sys
import time
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from typing import Any, NamedTuple

from engine.errors import Conflict, EngineError, Unavailable, Unsupported
from engine.home import Home
from engine.kernel.cgroup import Cgroup, Limits
from engine.kernel.mount import readonly_clone
from engine.monitor.client import MonitorSession
from engine.monitor.main import CLIENT, FAILED, GO, LAUNCHER, LOCK, WORK
from engine.runtime.failure import explain

_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry.py")
_FIRST_SPARE = 64  # above everything that dup2 puts into the monitor
_LOCK_TRIES = 20
_CLOEXEC_COPY = fcntl.F_DUPFD_CLOEXEC


class LaunchSpec(NamedTuple):
    """One start. `plan` is runtime.plan's; the exit command has no other environment."""

    id: str
    name: str
    plan: dict[str, Any]
    open_stdin: bool
    attributes: dict[str, str]  # of its events
    exit_command: tuple[str, ...]
    exit_environment: dict[str, str]


class Launched(NamedTuple):
    """A running container; `session` for who asked to be attached."""

    pid: int
    started_ns: int
    session: MonitorSession | None


def interpreter() -> str:
    """The base interpreter's real path: monitors need nothing of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def launch(
    home: Home,
    spec: LaunchSpec,
    *,
    attach: bool = False,
    stdin: bool = False,
    cleans: bool = False,
) -> Launched:
    """The container's program runs when this returns. Raises EngineError, and nothing is left.

    With `attach` there is a session that misses no byte; with `cleans` the one who holds it does
    at the end what the exit command would (`MonitorSession.cleaned`).
    """
    directory = home.run_dir(spec.id)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = _lock(directory)
    opened = [lock]
    cgroup = Cgroup(*spec.plan["cgroup"]) if spec.plan["cgroup"] else None
    pid = 0
    ours_client: socket | None = None
    try:
        for name in ("state.json", "exit.json", "ctl.sock", "out", "err"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{name}")
        for name in ("out", "err"):
            os.mkfifo(f"{directory}/{name}", 0o600)
            # The directory keeps strangers out; a user of the container reopens /dev/stdout.
            os.chmod(f"{directory}/{name}", 0o666)
        launcher, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        opened += [launcher.detach(), theirs.detach()]
        places = {LAUNCHER: opened[2], LOCK: lock}
        channel = socket(fileno=opened[1])
        opened.remove(channel.fileno())
        if attach:
            ours_client, their_client = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
            places[CLIENT] = their_client.detach()
            opened.append(places[CLIENT])
        places[WORK] = _work(home, spec, directory, attach=attach, stdin=stdin, cleans=cleans)
        opened.append(places[WORK])
        with channel:
            pid = _spawn(directory, places)
            if cgroup is not None:
                _prepare(cgroup, spec, pid)
            result = _hear(channel)
        if result[0] == FAILED:
            raise explain(*result[1])
        session = None
        if ours_client is not None:
            session = MonitorSession(ours_client, tty=spec.plan["process"]["terminal"])
            ours_client = None
        return Launched(result[1], result[2], session)
    except BaseException as error:
        if ours_client is not None:
            ours_client.close()
        _undo(directory, pid, cgroup)
        if isinstance(error, OSError):
            raise Unavailable(
                f"container {spec.name}: could not be launched: {error.strerror}: "
                f"{error.filename or directory}",
                "pydock info shows what this host has",
            ) from error
        raise
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _lock(directory: str) -> int:
    """The lock that a live monitor holds. Raises Conflict."""
    lock = os.open(f"{directory}/monitor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody may just be looking whether it is free
            time.sleep(0.01)
        else:
            return lock
    os.close(lock)
    raise Conflict(
        f"container {os.path.basename(directory)[:12]}: its monitor is still at work",
        "try again in a moment",
    )


def _work(
    home: Home, spec: LaunchSpec, directory: str, *, attach: bool, stdin: bool, cleans: bool
) -> int:
    """A memory file with everything that the monitor has to know."""
    work = {
        "id": spec.id,
        "name": spec.name,
        "plan": spec.plan,
        "run_dir": directory,
        "log_path": f"{home.container_dir(spec.id)}/log",
        "events_path": home.events_path,
        "attributes": spec.attributes,
        "open_stdin": spec.open_stdin,
        "client": attach,
        "client_stdin": stdin,
        "client_cleans": cleans,
        "exit_command": list(spec.exit_command),
        "exit_environment": spec.exit_environment,
    }
    descriptor = os.memfd_create("pydock-work", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        marshal.dump(work, file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _spawn(directory: str, places: dict[int, int]) -> int:
    """The monitor's pid: a new session, no environment, our descriptors at their places."""
    python = interpreter()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    complaints = os.open(
        f"{directory}/monitor.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
    )
    # A container may keep its parent's /proc/<pid>/exe open and write to it later; through a
    # read-only copy of the mount it cannot (CVE-2019-5736).
    program = readonly_clone(python)
    copies = {to: fcntl.fcntl(each, _CLOEXEC_COPY, _FIRST_SPARE) for to, each in places.items()}
    high = fcntl.fcntl(program, _CLOEXEC_COPY, _FIRST_SPARE)
    try:
        return os.posix_spawn(
            f"/proc/self/fd/{high}",
            [python, "-I", "-S", "-E", _ENTRY],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, complaints, 2),
                *((os.POSIX_SPAWN_DUP2, each, to) for to, each in copies.items()),
            ],
            setsid=True,
        )
    finally:
        for descriptor in (null, complaints, program, high, *copies.values()):
            os.close(descriptor)


def _prepare(cgroup: Cgroup, spec: LaunchSpec, pid: int) -> None:
    try:
        cgroup.create(Limits(*spec.plan["limits"]), spec.plan["device_rules"])
        if cgroup.needs_join:
            cgroup.join(pid)
    except OSError as error:
        raise Unsupported(
            f"cgroup {cgroup.path}: {error.strerror}: {error.filename}",
            "pydock info shows the cgroups of this host",
        ) from error


def _hear(channel: socket) -> Any:
    """What became of it."""
    channel.send(GO.encode())
    answer = channel.recv(1 << 16)
    if not answer:
        raise EngineError("monitor: it ended without a word; monitor.err may say why")
    return marshal.loads(answer)


def _undo(directory: str, pid: int, cgroup: Cgroup | None) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)  # our child, not reaped yet: the number is its own
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    if cgroup is not None:
        with contextlib.suppress(OSError):
            cgroup.kill()
            cgroup.remove()
    shutil.rmtree(directory, ignore_errors=True)
