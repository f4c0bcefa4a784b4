"""Namespaces: setns(2), unshare(2), and network namespaces that outlive their processes."""

import errno
import os
from fcntl import ioctl

from engine.kernel.libc import failure, syscall
from engine.kernel.mount import MNT_DETACH, MS_BIND, mount, umount

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# The OCI runtime specification's names for them (config-linux.md, namespaces).
FLAGS = {
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "user": CLONE_NEWUSER,
    "uts": CLONE_NEWUTS,
}

_NS_GET_NSTYPE = 0xB703


def setns(descriptor: int, flags: int) -> None:
    """This thread is in the namespace that `descriptor` names (a /proc/<pid>/ns file), or in those
    of a process (a pidfd) that `flags` choose. CLONE_NEWPID counts for later children only."""
    syscall("setns", descriptor, flags)


def unshare(flags: int) -> None:
    """This thread is in new namespaces of the kinds that `flags` (CLONE_NEW*) name."""
    syscall("unshare", flags)


def kind(descriptor: int) -> int:
    """The CLONE_NEW* flag of the namespace that `descriptor` names; OSError for other files."""
    return ioctl(descriptor, _NS_GET_NSTYPE)


def open_namespace(path: str, flag: int) -> int:
    """A descriptor of the namespace at `path`, which is of kind `flag`; else EINVAL."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if kind(descriptor) == flag:
            return descriptor
    except OSError:
        pass  # no namespace at all
    os.close(descriptor)
    raise failure("setns", errno.EINVAL, path)


class inside:
    """Within the block this thread, and no other, is in the network namespace `namespace`."""

    def __init__(self, namespace: str | int) -> None:
        self._namespace = namespace

    def __enter__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if isinstance(self._namespace, int):
                setns(self._namespace, CLONE_NEWNET)
                return
            descriptor = open_namespace(self._namespace, CLONE_NEWNET)
            try:
                setns(descriptor, CLONE_NEWNET)
            finally:
                os.close(descriptor)
        except OSError:
            os.close(self._home)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            setns(self._home, CLONE_NEWNET)
        finally:
            os.close(self._home)


def netns_create(path: str) -> None:
    """A new network namespace is bound at `path`, which must not exist (FileExistsError).

    It lives until `netns_remove`. As ip-netns(8) does it, but in this thread alone.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        try:
            mount("/proc/thread-self/ns/net", path, flags=MS_BIND)
        finally:
            setns(home, CLONE_NEWNET)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(home)


def netns_remove(path: str) -> None:
    """The network namespace at `path` is unbound and the file gone; nothing happens if it is not
    there. Its links vanish when the last process in it has ended."""
    try:
        umount(path, MNT_DETACH)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:  # not mounted: a crash came in between
            raise
    os.unlink(path)
