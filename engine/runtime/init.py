"""What a new container process does between clone3 and execve; it never returns.

The order is the security: each step says why it stands where it stands. Everything was decided
before (engine.runtime.plan); here it is only done. From `pivot` on nothing may be imported and no
codec, locale or user database looked up: that would be read from the image, as root of the host.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import marshal
import os
import resource
import stat
import struct
from _socket import SOL_SOCKET, socket

from engine.kernel import capabilities, seccomp, tty
from engine.kernel.files import close_range, create_in_root
from engine.kernel.libc import syscall
from engine.kernel.mount import move_mount, open_tree
from engine.kernel.namespaces import CLONE_NEWCGROUP, setns, unshare
from engine.kernel.process import reset_signals, set_dumpable, set_no_new_privs
from engine.runtime import rootfs, users
from engine.runtime.failure import StepError, Where

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a lean process more than all of its mounts
    from typing import Any, NoReturn

    Plan = dict[str, Any]  # engine.runtime.plan says what is in it
    Process = dict[str, Any]  # plan["process"], or another one for `exec`
    # uid, gid, supplementary groups, environment, file to execute
    Identity = tuple[int, int, list[int], dict[bytes, bytes], bytes]

GO, START = b"go", b"start"  # from the parent
READY = b"ready"  # to the parent; the master of the console comes with it

_SCM_RIGHTS = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_AF_INET, _SOCK_DGRAM = 2, 2


def run(
    plan: Plan,
    channel: socket,
    stdio: tuple[int, int, int],
    trees: dict[int, int],
    joins: dict[int, int],
    fifo: int,
    *,
    console: bool,
) -> NoReturn:
    """This process becomes the container's first program, or reports the failing step and ends.

    `trees` are opened bind mounts by their place in the plan, `joins` opened namespaces by their
    flag; with `console` it gets a terminal of its own. The program is started when the parent says
    so, or, if `fifo` is a descriptor, when somebody opens that named pipe for reading; failures
    from then on are reported there.
    """
    where = Where()
    report = channel.fileno()
    try:
        begin(plan, channel, stdio, [*trees.values(), *joins.values(), fifo], where)
        for flag, descriptor in joins.items():
            where.at("namespace")
            setns(descriptor, flag)
            os.close(descriptor)
        if plan["cgroup_namespace"]:
            where.at("cgroup namespace")
            unshare(CLONE_NEWCGROUP)  # its root is the cgroup that the parent has put us in
        process = plan["process"]
        if process["init"]:
            from engine.runtime import reaper  # noqa: F401  while this still is the host's root
        rootfs.build(plan, trees, where)
        root = rootfs.pivot(where)
        master = open_console(root, process, where, bind=True) if console else -1
        proc = rootfs.file_system("proc", "proc", 0, ())  # nothing of the image can cover this one
        rootfs.set_sysctls(proc, plan["sysctls"], where)
        rootfs.protect(root, plan, where)
        _name_host(plan, where)
        if plan["loopback"]:
            _raise_loopback(where)
        identity = prepare(root, process, where)
        announce(channel, master)
        if fifo < 0:
            wait_for(channel, START)
        else:
            where.at("start")
            report = os.open(b"self/fd/%d" % fifo, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        become(process, plan["last_capability"], identity, where)
    except BaseException as error:
        os.write(report, marshal.dumps(where.describe(error)))
    os._exit(127)


def begin(
    plan: Plan,
    channel: socket,
    stdio: tuple[int, int, int],
    kept: list[int],
    where: Where,
) -> None:
    """The process is its parent's in nothing but memory: signals, descriptors, session, CPUs.

    Returns when the parent has put it in its cgroup, with which everything it does is accounted.
    """
    where.at("start")
    # Until execve nobody may look at the host through /proc/<pid> (CVE-2016-9962).
    set_dumpable(False)
    gc.disable()  # the parent's forgotten files would be closed here, under numbers that are ours
    reset_signals()
    copies = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 3) for each in stdio]
    for number, each in enumerate(copies):
        os.dup2(each, number)
    _close_all_but({*kept, channel.fileno()})
    wait_for(channel, GO)
    os.setsid()
    os.umask(0o022)
    # The caller may be bound to some CPUs; the container's share is its cpuset's matter.
    os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
    try:
        syscall("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, plan["keyring"])
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):  # kernels and hosts without keyrings
            raise


def _close_all_but(kept: set[int]) -> None:
    first = 3
    for descriptor in sorted(each for each in kept if each >= first):
        if descriptor > first:
            close_range(first, descriptor - 1)
        first = descriptor + 1
    close_range(first)


def wait_for(channel: socket, word: bytes) -> None:
    """The parent has said `word`; if it is gone, so is this process."""
    if channel.recv(16) != word:
        os._exit(127)


def announce(channel: socket, master: int) -> None:
    """The parent knows that all is prepared, and has the console's `master` if it is not -1."""
    if master < 0:
        channel.send(READY)
        return
    channel.sendmsg([READY], [(SOL_SOCKET, _SCM_RIGHTS, struct.pack("i", master))])
    os.close(master)


def open_console(root: int, process: Process, where: Where, *, bind: bool) -> int:
    """The master of a new terminal of the container, which is now 0 to 2 and controls the session.

    With `bind` it also is /dev/console.
    """
    where.at("console", "/dev/pts/ptmx")
    master, terminal = tty.open_pair(root)
    rows, columns = process["size"]
    if rows and columns:
        tty.set_size(master, rows, columns)
    if bind:
        where.at("console", "/dev/console")
        target = create_in_root(root, b"dev/console", directory=False, links=False)
        tree = open_tree(terminal)
        move_mount(tree, target)
        os.close(tree)
        os.close(target)
    for number in range(3):
        os.dup2(terminal, number)
    os.close(terminal)
    tty.make_controlling(0)
    return master


def _name_host(plan: Plan, where: Where) -> None:
    for call, name in (
        ("sethostname", plan["hostname"]),
        ("setdomainname", plan["domainname"]),
    ):
        if name:
            where.at("hostname", name)
            syscall(call, name, len(name))


def _raise_loopback(where: Where) -> None:
    where.at("loopback", "lo")
    link = socket(_AF_INET, _SOCK_DGRAM)
    request = fcntl.ioctl(link.fileno(), _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
    (flags,) = struct.unpack_from("h", request, 16)
    fcntl.ioctl(link.fileno(), _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    link.close()


def prepare(root: int, process: Process, where: Where) -> Identity:
    """Who the program will be and which file it is: uid, gid, groups, environment, executable.

    The working directory is the process' own, made if it was missing.
    """
    where.at("user", process["user"] or "")
    if process["user"] is None:
        uid, gid, groups = process["uid"], process["gid"], list(process["groups"])
        home = users.home_of(root, uid)
    else:
        uid, gid, groups, home = users.resolve(root, process["user"])
    if process["added_groups"]:
        groups = sorted({*groups, *users.groups_of(root, process["added_groups"])})
    env = dict(process["env"])
    if not env.get(b"HOME"):
        env[b"HOME"] = home
    where.at("working directory", process["cwd"])
    # Found in the root by descriptor: no link of /proc leads to a directory of the host that some
    # forgotten descriptor holds open (CVE-2024-21626).
    directory = create_in_root(root, process["cwd"], directory=True)
    os.fchdir(directory)
    os.close(directory)
    return uid, gid, groups, env, _find_program(process["args"][0], env.get(b"PATH", b""), where)


def _find_program(name: bytes, search_path: bytes, where: Where) -> bytes:
    """The file to execute for `name`; the rules and the texts are Go's exec.LookPath."""
    where.at("command", name)
    if b"/" in name:
        _check_program(name, where)
        return name
    for directory in search_path.split(b":"):
        candidate = (directory or b".") + b"/" + name
        try:
            _check_program(candidate, where)
        except StepError:
            continue
        return candidate
    raise StepError("command", errno.ENOENT, "stat", where.path, "PATH")


def _check_program(path: bytes, where: Where) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        number = error.errno or errno.ENOENT
        raise StepError("command", number, "stat", where.path, "stat") from error
    if stat.S_ISDIR(mode):
        raise StepError("command", errno.EISDIR, "stat", where.path)
    if not os.access(path, os.X_OK):
        raise StepError("command", errno.EACCES, "access", where.path)


def become(process: Process, last_capability: int, identity: Identity, where: Where) -> NoReturn:
    """The program runs in place of this one, with its identity, limits, capabilities and filter."""
    uid, gid, groups, env, program = identity
    for number, soft, hard in process["rlimits"]:
        where.at("rlimit", f"{number}: soft {soft}, hard {hard}")
        resource.setrlimit(number, (soft, hard))
    if uid:
        where.at("stdio")
        _give_stdio(uid, gid)
    os.umask(process["umask"])
    filter_: bytes = process["seccomp"]
    if filter_ and not process["no_new_privs"]:
        where.at("seccomp")
        seccomp.install(filter_, process["seccomp_flags"])  # needs CAP_SYS_ADMIN, gone below
    where.at("capabilities")
    bounding, effective, permitted, inheritable, ambient = process["capabilities"]
    _, ours, _ = capabilities.get()
    permitted &= ours  # an engine that lacks a capability cannot give it
    if uid and process["user"] is not None:
        # docker leaves other users of an image nothing, as execve(2) would; so they are not asked
        # for less than a user's rights when the program is opened, either.
        permitted &= ambient
    capabilities.limit_bounding(bounding, last_capability)  # needs CAP_SETPCAP
    capabilities.keep_on_setuid(True)
    where.at("user", str(uid))
    os.setgroups(groups)  # these three need CAP_SETGID and CAP_SETUID, in this order
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    where.at("capabilities")
    capabilities.keep_on_setuid(False)
    capabilities.set_(effective & permitted, permitted, inheritable & ours)
    capabilities.set_ambient(ambient & permitted & inheritable, last_capability)
    if process["no_new_privs"]:
        set_no_new_privs()
    close_range(3, on_exec=True)
    if filter_ and process["no_new_privs"]:
        where.at("seccomp")
        seccomp.install(filter_, process["seccomp_flags"])
    if process["init"]:
        where.at("init")
        from engine.runtime.reaper import split

        split()
    where.at("command", program)
    try:
        os.execve(program, process["args"], env)
    except OSError as error:
        number = error.errno or errno.ENOEXEC
        raise StepError("command", number, "execve", where.path, "execve") from error


def _give_stdio(uid: int, gid: int) -> None:
    """Pipes and the console belong to the user, who may open /dev/stdout again; files of the host
    and its /dev/null stay as they are."""
    for number in range(3):
        status = os.fstat(number)
        if stat.S_ISFIFO(status.st_mode):
            os.fchown(number, uid, gid)
        elif os.isatty(number):
            os.fchown(number, uid, -1)  # devpts has given it its group
