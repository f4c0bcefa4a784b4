"""Another process in a running container: `exec`, made by the container's single-threaded monitor.

It joins the namespaces of the first process by one setns(2) on its pidfd, and from there takes the
same last steps as init did. Lean on purpose: monitors import this.
"""

from __future__ import annotations

import errno
import marshal
import os
from _socket import socket

from engine.kernel.capabilities import last_capability
from engine.kernel.cgroup import Cgroup
from engine.kernel.libc import failure
from engine.kernel.namespaces import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWPID, setns
from engine.kernel.process import pidfd_open
from engine.runtime import init
from engine.runtime.create import Created, await_ready, spawn
from engine.runtime.failure import StepError, Where

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a lean process more than all of its mounts
    from typing import Any, NoReturn

    Plan = dict[str, Any]  # engine.runtime.plan says what is in it
    Process = dict[str, Any]


def make_process(
    plan: Plan,
    args: list[str],
    *,
    env: list[str],
    cwd: str = "",
    user: str | None = None,
    privileged: bool = False,
    terminal: bool = False,
    size: tuple[int, int] = (0, 0),
) -> Process:
    """What `enter` runs: the container's own process with another program, `env` ("NAME=value")
    added, and another directory and user if given. Filter and limits stay, and so do capabilities,
    but that a `privileged` one has all of them."""
    process = dict(plan["process"])
    added = dict(os.fsencode(each).partition(b"=")[::2] for each in env)
    process["args"] = [os.fsencode(each) for each in args]
    process["env"] = {**process["env"], **added}
    process["cwd"] = os.fsencode(cwd) or process["cwd"]
    process["terminal"] = terminal
    process["init"] = False  # the container has one
    process["size"] = size
    if user is not None:
        process["user"] = user
    if privileged:
        every = (1 << last_capability() + 1) - 1
        process["capabilities"] = (every, every, every, *process["capabilities"][3:])
    return process


def enter(
    pid: int,
    plan: Plan,
    process: Process,
    stdio: tuple[int, int, int],
    *,
    console: bool,
) -> Created:
    """A process that is prepared inside the container of process `pid` and waits for `start`.

    `stdio` are its descriptors 0 to 2; with `console` it gets a terminal of its own instead. Raises
    StepError; a paused container is refused (EBUSY).
    """
    where = Where()
    where.at("namespace", f"/proc/{pid}")
    opened: list[int] = []
    try:
        pidfd = pidfd_open(pid)
        opened.append(pidfd)
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.append(root)
        namespace = -1
        if _flags(plan) & CLONE_NEWPID:
            namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            opened.append(namespace)
        cgroup = Cgroup(*plan["cgroup"]) if plan["cgroup"] else None
        if cgroup and cgroup.is_frozen():
            where.at("cgroup", cgroup.path)
            raise failure("write", errno.EBUSY, cgroup.path)
        where.at("clone")
        created = spawn(
            lambda channel: _run(plan, process, channel, stdio, pidfd, root, console),
            0,
            namespace,
            cgroup,
        )
    except OSError as error:
        raise StepError(*where.describe(error)) from error
    finally:
        for each in opened:
            os.close(each)
    await_ready(created, cgroup, plan["oom_score_adj"])
    return created


def _flags(plan: Plan) -> int:
    """The kinds of namespaces that the container does not share with its monitor."""
    flags: int = plan["namespaces"] | (CLONE_NEWCGROUP if plan["cgroup_namespace"] else 0)
    for flag, _ in plan["joins"]:
        flags |= flag
    return flags | CLONE_NEWNS


def _run(
    plan: Plan,
    process: Process,
    channel: socket,
    stdio: tuple[int, int, int],
    pidfd: int,
    root: int,
    console: bool,
) -> NoReturn:
    where = Where()
    try:
        init.begin(plan, channel, stdio, [pidfd, root], where)
        where.at("namespace")
        setns(pidfd, _flags(plan) & ~CLONE_NEWPID)  # the parent has joined that one for us
        os.close(pidfd)
        # setns(2) leaves us at the root of the mount namespace. On a host that itself is chrooted,
        # that is not where the container has pivoted to.
        os.fchdir(root)
        os.chroot(".")
        master = init.open_console(root, process, where, bind=False) if console else -1
        identity = init.prepare(root, process, where)
        init.announce(channel, master)
        init.wait_for(channel, init.START)
        init.become(process, plan["last_capability"], identity, where)
    except BaseException as error:
        os.write(channel.fileno(), marshal.dumps(where.describe(error)))
    os._exit(127)
