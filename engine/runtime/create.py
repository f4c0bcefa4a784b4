"""A container's first process, made by its single-threaded parent: the monitor or pydock-oci.

`create` returns when everything is prepared in it and only the program is missing; `start` returns
when the program runs. Both raise StepError and leave nothing. Lean: monitors import this.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import struct
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    socket,
    socketpair,
)

from engine.kernel.cgroup import Cgroup
from engine.kernel.files import write_file
from engine.kernel.mount import mount_setattr, open_tree
from engine.kernel.namespaces import CLONE_NEWPID, open_namespace, setns
from engine.kernel.process import clone3, pidfd_send_signal
from engine.runtime import init
from engine.runtime.failure import StepError, Where
from engine.runtime.plan_version import PLAN_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and collections cost a lean process more than all of its mounts
    from collections.abc import Callable
    from typing import Any, NoReturn

    Plan = dict[str, Any]  # engine.runtime.plan says what is in it

_SIGKILL = 9
_MESSAGE_BYTES = 1 << 16


class Created:
    """A prepared process: its `pid`, `pidfd`, and `console_fd`, its terminal's master or -1."""

    __slots__ = ("channel", "console_fd", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, channel: socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel
        self.console_fd = -1

    def collect(self) -> int | None:
        """The wait status, None while it lives. It is reaped."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None


def create(
    plan: Plan,
    stdio: tuple[int, int, int],
    *,
    console: bool,
    fifo: str = "",
) -> Created:
    """A process that is prepared up to its program and waits for `start`.

    `stdio` are its descriptors 0 to 2; with `console` it gets a terminal of its own instead. With
    `fifo`, a named pipe, the child does not wait for the caller but for `start_by_fifo`. Raises
    StepError.
    """
    where = Where()
    where.at("plan")
    if plan["version"] != PLAN_VERSION:
        raise StepError("plan", errno.EPROTO, "", "", f"version {plan['version']}")
    trees: dict[int, int] = {}
    joins: dict[int, int] = {}
    pipe = -1
    try:
        for index, entry in enumerate(plan["mounts"]):
            if entry["kind"] == "bind":
                where.at("mount", entry["target"])
                trees[index] = _open_source(entry)
        for flag, path in plan["joins"]:
            where.at("namespace", path)
            joins[flag] = open_namespace(path, flag)
        if fifo:
            where.at("start", fifo)
            pipe = os.open(fifo, os.O_PATH | os.O_CLOEXEC)
        cgroup = Cgroup(*plan["cgroup"]) if plan["cgroup"] else None
        pid_namespace = joins.pop(CLONE_NEWPID, -1)
        where.at("clone")
        created = spawn(
            lambda channel: init.run(plan, channel, stdio, trees, joins, pipe, console=console),
            plan["namespaces"],
            pid_namespace,
            cgroup,
        )
    except OSError as error:
        raise StepError(*where.describe(error)) from error
    finally:
        for each in (*trees.values(), *joins.values(), pipe):
            if each >= 0:
                os.close(each)
    await_ready(created, cgroup, plan["oom_score_adj"])
    return created


def _open_source(entry: dict[str, Any]) -> int:
    """A detached copy of what is to be bound, with its attributes: it is never writable for a
    moment, and exchanging its path later has no effect."""
    source, recursive = entry["source"], entry["recursive"]
    try:
        tree = open_tree(source, recursive=recursive)
    except OSError as error:
        if error.errno != errno.EINVAL or not _is_foreign(source):
            raise
        from engine.runtime.foreign import open_foreign_tree

        tree = open_foreign_tree(source, recursive=recursive)
    try:
        mount_setattr(tree, propagation=entry["propagation"], recursive=True)
        for attributes, clear, recursive in entry["changes"]:
            mount_setattr(tree, set_=attributes, clear=clear, recursive=recursive)
    except OSError:
        os.close(tree)
        raise
    return tree


def _is_foreign(path: str) -> bool:
    """Whether it is "/proc/PID/root/…", in the mount namespace of another process."""
    parts = path.split("/", 4)
    return len(parts) > 4 and parts[1] == "proc" and parts[2].isdecimal() and parts[3] == "root"


def spawn(
    child: Callable[[socket], NoReturn],
    flags: int,
    pid_namespace: int,
    cgroup: Cgroup | None,
) -> Created:
    """A new process that runs `child` with its end of a channel, in new namespaces by `flags`, in
    the pid namespace that descriptor `pid_namespace` names (-1: the caller's or a new one).

    It is in `cgroup` already if that needs no `join` (v2).
    """
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    opened = [theirs.fileno()]
    try:
        into = cgroup.clone_descriptor() if cgroup else None
        if into is not None:
            opened.append(into)
        if pid_namespace >= 0:
            home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            opened.append(home)
            setns(pid_namespace, CLONE_NEWPID)
        try:
            pid, pidfd = clone3(flags, cgroup=into)
            if pid == 0:
                try:
                    child(theirs)
                finally:
                    os._exit(
                        127
                    )  # whatever happens, the child never returns into the parent's code
        finally:
            if pid_namespace >= 0:
                setns(home, CLONE_NEWPID)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.detach()
        for each in opened:
            os.close(each)
    return Created(pid, pidfd, ours)


def await_ready(created: Created, cgroup: Cgroup | None, oom_score_adj: int | None) -> None:
    """The process has done all but the program. Raises StepError; the process is gone then."""
    where = Where()
    try:
        if cgroup is not None:
            where.at("cgroup", cgroup.path)
            if cgroup.needs_join:
                cgroup.join(created.pid)
        if oom_score_adj is not None:
            where.at("oom_score_adj", str(oom_score_adj))
            write_file(f"/proc/{created.pid}/oom_score_adj", b"%d" % oom_score_adj)
        where.at("start")
        created.channel.send(init.GO)
        _receive(created)
    except (OSError, StepError) as error:
        destroy(created)
        raise StepError(*where.describe(error)) from error


def _receive(created: Created) -> None:
    data, control, _, _ = created.channel.recvmsg(_MESSAGE_BYTES, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
    for _, _, payload in control:
        (created.console_fd,) = struct.unpack("i", payload)
    if data != init.READY:
        raise _failure(data)


def start(created: Created) -> None:
    """The program runs. Raises StepError when it could not be executed; the process is gone then.

    The descriptors in `created` stay the caller's.
    """
    try:
        created.channel.send(init.START)
        data = created.channel.recv(_MESSAGE_BYTES)  # execve closes the other end without a word
    except OSError:
        data = b""
    if data:
        destroy(created)
        raise _failure(data)
    created.channel.close()


def start_by_fifo(fifo: str, pidfd: int) -> None:
    """The program of a process that was created with `fifo` runs. Raises StepError."""
    pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)  # says nothing until the other side has opened it
        poll.register(pidfd, select.POLLIN)
        poll.poll()
        data = os.read(pipe, _MESSAGE_BYTES)
    finally:
        os.close(pipe)
    if data:
        raise _failure(data)


def _failure(data: bytes) -> StepError:
    """What the child has reported; without a report it was killed."""
    if not data:
        return StepError("start", 0, "", "", "its init was killed; is the memory limit too low?")
    return StepError(*marshal.loads(data))


def destroy(created: Created) -> None:
    """The process is dead and reaped, and every descriptor of it closed."""
    pidfd_send_signal(created.pidfd, _SIGKILL)  # no error for a zombie, and nobody else reaps it
    os.waitpid(created.pid, 0)
    created.channel.close()
    os.close(created.pidfd)
    if created.console_fd >= 0:
        os.close(created.console_fd)
