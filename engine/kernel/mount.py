"""Mounts: mount(2), umount2(2), pivot_root(2), and the calls that work on descriptors.

The latter (open_tree, move_mount, mount_setattr, fsopen, fsmount; Linux 5.2 to 5.12) make detached
mounts, which nobody else sees, and attach them to a descriptor, which nobody can exchange.
"""

import os
import struct

from engine.kernel.libc import encode, syscall

# sys/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25
MNT_DETACH = 2

# linux/mount.h
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6


def mount(
    source: str | bytes | None,
    target: str | bytes,
    kind: str | bytes | None = None,
    flags: int = 0,
    data: bytes | None = None,
) -> None:
    """`source` is mounted on `target`, or an existing mount changed, as mount(2) says."""
    syscall(
        "mount",
        None if source is None else encode(source),
        encode(target),
        None if kind is None else encode(kind),
        flags,
        data,
        path=target,
    )


def umount(target: str | bytes, flags: int = 0) -> None:
    """The topmost mount on `target` is gone; with MNT_DETACH at least out of sight."""
    syscall("umount2", encode(target), flags, path=target)


def pivot_root(new_root: str | bytes, put_old: str | bytes) -> None:
    """`new_root` is this mount namespace's root, the old one is mounted at `put_old`."""
    syscall("pivot_root", encode(new_root), encode(put_old), path=new_root)


def open_tree(path: str | bytes | int, *, recursive: bool = False) -> int:
    """A detached copy of the mount at `path` (or at an open descriptor): a bind mount to be
    attached by `move_mount`. It is gone when the descriptor is closed before that."""
    directory, name = (path, b"") if isinstance(path, int) else (_AT_FDCWD, encode(path))
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    flags |= _AT_EMPTY_PATH if name == b"" else 0
    flags |= _AT_RECURSIVE if recursive else 0
    return syscall("open_tree", directory, name, flags, path=name)


def move_mount(tree: int, target: int) -> None:
    """The detached mount `tree` is attached on the file or directory that `target` names."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", tree, b"", target, b"", flags)


def mount_setattr(
    tree: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
) -> None:
    """The mount that descriptor `tree` is the root of has other attributes (MOUNT_ATTR_*) and
    `propagation` (MS_PRIVATE, MS_SLAVE, MS_SHARED); with `recursive` those below it too."""
    if set_ & MOUNT_ATTR__ATIME:
        clear |= MOUNT_ATTR__ATIME  # the access time modes are one field, not bits
    attributes = struct.pack("QQQQ", set_, clear, propagation, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", tree, b"", flags, attributes, len(attributes))


def fsopen(kind: str) -> int:
    """A descriptor on which a new file system of type `kind` is configured."""
    return syscall("fsopen", encode(kind), _FSOPEN_CLOEXEC, path=kind)


def fsconfig(context: int, key: str, value: str | bytes | None = None) -> None:
    """Option `key` of the file system being configured, a flag without `value`."""
    if value is None:
        syscall("fsconfig", context, _FSCONFIG_SET_FLAG, encode(key), None, 0, path=key)
    else:
        text = encode(value)
        syscall("fsconfig", context, _FSCONFIG_SET_STRING, encode(key), text, 0, path=value)


def fsmount(context: int, attributes: int = 0) -> int:
    """A detached mount of the configured file system.

    `context` is closed in any case. A failure carries, as its last note, what the kernel wrote.
    """
    try:
        syscall("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, _FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        if text := _messages(context):
            error.add_note(text)
        raise
    finally:
        os.close(context)


def _messages(context: int) -> str:
    """What the kernel said about the last failure on an fsopen descriptor; empty if nothing."""
    try:
        return os.read(context, 1024).decode("utf-8", "replace").partition(" ")[2].strip()
    except OSError:  # ENODATA: nothing to say
        return ""


def readonly_clone(path: str) -> int:
    """A detached read-only bind mount of `path`: nobody writes through it, not by /proc either.

    For programs that a container meets as /proc/<pid>/exe of our processes, and could overwrite
    when they have ended (CVE-2019-5736): execute /proc/self/fd/<descriptor> instead of `path`.
    """
    tree = open_tree(path)
    try:
        mount_setattr(tree, set_=MOUNT_ATTR_RDONLY)
    except OSError:
        os.close(tree)
        raise
    return tree
