"""Overlay mounts of up to 500 layers, on kernels that take them one by one and on older ones.

docs.kernel.org/filesystems/overlayfs.html; `lowerdir+` is Linux 6.8. mount(2)'s options are one
page, which 41 ordinary paths fill; so older kernels get short names of open directories instead.
"""

import errno
import os

from engine.kernel.libc import failure
from engine.kernel.mount import fsconfig, fsmount, fsopen, mount, move_mount, readonly_clone

_PAGE_BYTES = 4096
# Their defaults differ by kernel build; a layer must mean the same on all of them.
OPTIONS = (("index", "off"), ("metacopy", "off"), ("redirect_dir", "off"))


def mount_overlay(
    lower: list[str],
    upper: str,
    work: str,
    target: str,
    *,
    source: str = "overlay",
    attributes: int = 0,
    volatile: bool = False,
    one_by_one: bool = True,
) -> None:
    """`lower` (top first) and over them `upper` are mounted on directory `target`.

    With an empty `upper` the mount is read-only. `source` is what mountinfo shows, `attributes` are
    mount_setattr(2)'s; neither counts for a single layer alone. A `volatile` one never syncs what
    is written (Linux 5.10), and leaves work/work/incompat/volatile, with which the next mount is
    refused. `one_by_one=False` takes the way of kernels without `lowerdir+`, which is otherwise
    chosen when the kernel refuses it. Raises OSError.
    """
    for path in (*lower, *([upper, work] if upper else [])):
        if not os.path.isdir(path):  # overlayfs would say ENOENT without a name
            raise failure("mount", errno.ENOENT, path)
    directory = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if len(lower) == 1 and not upper:
            tree = readonly_clone(lower[0])  # overlayfs refuses a single layer
        elif one_by_one:
            tree = _configure(lower, upper, work, source, attributes, volatile)
        else:
            tree = -1
        if tree < 0:
            _mount_by_descriptors(lower, upper, work, directory, source, attributes, volatile)
            return
        try:
            move_mount(tree, directory)
        finally:
            os.close(tree)
    finally:
        os.close(directory)


def is_mountable(lower: str, upper: str, work: str) -> bool:
    """Whether the kernel makes an overlay of these, which nobody sees and which is gone again.
    False also where it cannot be told so (before Linux 6.8)."""
    try:
        tree = _configure([lower], upper, work, "overlay", 0, False)
    except OSError:
        return False
    if tree >= 0:
        os.close(tree)
    return tree >= 0


def _configure(
    lower: list[str], upper: str, work: str, source: str, attributes: int, volatile: bool
) -> int:
    """A detached mount; -1 when this kernel cannot take the layers one by one."""
    context = fsopen("overlay")
    try:
        fsconfig(context, "source", source)
        for path in lower:
            fsconfig(context, "lowerdir+", path)
        if upper:
            fsconfig(context, "upperdir", upper)
            fsconfig(context, "workdir", work)
        for key, value in OPTIONS:
            fsconfig(context, key, value)
        if volatile:
            fsconfig(context, "volatile")
    except OSError as error:
        os.close(context)
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return -1
        raise
    return fsmount(context, attributes)


def _mount_by_descriptors(
    lower: list[str],
    upper: str,
    work: str,
    directory: int,
    source: str,
    attributes: int,
    volatile: bool,
) -> None:
    """The same by mount(2): the layers are named by descriptors of ours, relative to their list."""
    home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    descriptors: list[int] = []
    try:
        for path in lower:
            descriptors.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        # The working directory is the process', not the thread's: only single-threaded callers
        # (a container's init, a worker) come here.
        os.chdir("/proc/self/fd")
        options = "lowerdir=" + ":".join(str(each) for each in descriptors)
        if upper:
            for path in (upper, work):
                descriptors.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            options += ",upperdir={},workdir={}".format(*descriptors[-2:])
        options += "".join(f",{key}={value}" for key, value in OPTIONS)
        options += ",volatile" if volatile else ""
        if len(options) >= _PAGE_BYTES:
            raise failure("mount", errno.E2BIG, lower[0])
        # The attributes used are the same bits as mount(2)'s flags.
        mount(source, f"/proc/self/fd/{directory}", "overlay", attributes, options.encode())
    finally:
        for each in descriptors:
            os.close(each)
        os.fchdir(home)
        os.close(home)
