"""Files beneath a root that is not trusted: openat2(2), and what else is done by descriptor.

A root file system may hold symbolic links to anywhere, and another process may exchange a directory
for a link at any time. So no path inside one is ever joined to the root's path: it is resolved by
the kernel, in that root, to a descriptor, and the work is done on the descriptor.
"""

import ctypes
import errno
import os
import stat
import struct

from engine.kernel.libc import failure, syscall

# linux/openat2.h
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

_MAXIMUM_LINKS = 40  # as path_resolution(7)
_MAXIMUM_RETRIES = 64

# linux/magic.h
DEVPTS_SUPER_MAGIC = 0x1CD1

CLOSE_RANGE_CLOEXEC = 4


def open_in_root(root: int, path: bytes, flags: int, mode: int = 0, *, links: bool = True) -> int:
    """A close-on-exec descriptor of `path` as a process chrooted to `root` would find it.

    Absolute links and `..` stay inside; links of procfs are refused, and all links if not `links`
    (ELOOP). Source: openat2(2).
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    path = path or b"."
    for attempt in range(_MAXIMUM_RETRIES):
        try:
            return syscall("openat2", root, path, how, len(how), path=path)
        except OSError as error:
            # EAGAIN: something was renamed or mounted on the way; the kernel asks for another try.
            if error.errno != errno.EAGAIN or attempt == _MAXIMUM_RETRIES - 1:
                raise
    raise AssertionError("unreachable")


def create_in_root(
    root: int, path: bytes, *, directory: bool, mode: int = 0o755, links: bool = True
) -> int:
    """An O_PATH descriptor of `path` inside `root`, which exists when this returns.

    What is missing is made, one component after the other, each relative to a descriptor: parents
    (and the last one if `directory`) as directories with `mode`, else an empty regular file. Links
    are followed inside the root, dangling ones too (an image's /etc/resolv.conf often is one),
    unless not `links` (ELOOP). An existing file is given back as it is.
    """
    try:
        return open_in_root(root, path, os.O_PATH, links=links)
    except FileNotFoundError:
        pass
    here: list[bytes] = []  # the resolved part: no links, no dots
    rest = _components(path)
    followed = 0
    while rest:
        name = rest.pop(0)
        if name == b"..":
            del here[-1:]
            continue
        parent = open_in_root(root, b"/".join(here), os.O_PATH | os.O_DIRECTORY, links=False)
        try:
            found = _find(parent, name)
            if found is None:
                _make(parent, name, directory or bool(rest), mode)
            elif found[0]:
                followed += 1
                if not links or followed > _MAXIMUM_LINKS:
                    raise failure("openat2", errno.ELOOP, path)
                if found[1].startswith(b"/"):
                    here = []
                rest = _components(found[1]) + rest
                continue
        finally:
            os.close(parent)
        here.append(name)
    return open_in_root(root, b"/".join(here), os.O_PATH, links=False)


def _components(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _find(parent: int, name: bytes) -> tuple[bool, bytes] | None:
    """Whether `name` is a link and where it points; None when there is nothing."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return True, os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        return None
    return False, b""


def _make(parent: int, name: bytes, directory: bool, mode: int) -> None:
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, mode, dir_fd=parent))
    except FileExistsError:
        pass  # somebody else made it meanwhile: the next step looks at what it is


def read_in_root(root: int, path: bytes, limit_bytes: int) -> bytes | None:
    """The content of a regular file inside `root`; None when it is missing or no regular file.

    Raises OSError EFBIG above `limit_bytes`.
    """
    try:
        descriptor = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        parts: list[bytes] = []
        size = 0
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise failure("read", errno.EFBIG, path)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def make_directory(path: str) -> bool:
    """The directory exists; whether it was this call that made it (0755)."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def write_file(path: str | bytes, data: bytes, *, directory: int | None = None) -> None:
    """`data` is written by one write(2) to a file that exists (procfs, sysfs, cgroup files)."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        # write(2) itself knows no path, and a cgroup file's name is half of the message.
        raise failure("write", error.errno or errno.EIO, path) from error


def read_file(path: str | bytes, *, directory: int | None = None) -> bytes:
    """All of a small file of procfs, sysfs or cgroups."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        parts: list[bytes] = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def file_system_magic(descriptor: int) -> int:
    """The type of the file system that holds `descriptor` (statfs(2), f_type)."""
    buffer = (ctypes.c_long * 15)()
    syscall("fstatfs", descriptor, ctypes.byref(buffer))
    return buffer[0]


def syncfs(descriptor: int) -> None:
    """Everything written to the file system of `descriptor` is on the disk; errors of write-back
    are raised (Linux 5.8)."""
    syscall("syncfs", descriptor, blocking=True)


def close_range(first: int, last: int = 0xFFFFFFFF, *, on_exec: bool = False) -> None:
    """Descriptors `first` to `last` are closed, now or by the next execve."""
    syscall("close_range", first, last, CLOSE_RANGE_CLOEXEC if on_exec else 0)
