"""The root file system of a container, made by its init in a mount namespace of its own.

Steps 13 to 22 of a start: propagation, root, mounts, /dev, pivot_root, read-only and masked paths.
Everything is mounted on descriptors that were resolved inside the root (engine.kernel.files); no
path of the image is ever joined to a path of the host. Runs single-threaded, before execve.
"""

from __future__ import annotations

import errno
import os
import stat

from engine.kernel.files import create_in_root, open_in_root, write_file
from engine.kernel.libc import failure
from engine.kernel.mount import (
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    MS_SLAVE,
    fsconfig,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount,
)
from engine.kernel.overlay import mount_overlay
from engine.runtime.failure import Where

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a lean process more than all of its mounts
    from typing import Any

    Plan = dict[str, Any]  # engine.runtime.plan says what is in it

# Docker's: github.com/opencontainers/runc/blob/main/libcontainer/specconv/spec_linux.go
_NODES = (
    (b"null", 1, 3),
    (b"zero", 1, 5),
    (b"full", 1, 7),
    (b"random", 1, 8),
    (b"urandom", 1, 9),
    (b"tty", 5, 0),
)
_LINKS = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
    (b"ptmx", b"pts/ptmx"),
)
_NULL = os.makedev(1, 3)
_HARMLESS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def build(plan: Plan, trees: dict[int, int], where: Where) -> None:
    """The working directory is the container's root with all its mounts; the host's is still there.

    `trees` holds, by the index of their mount, the bind mounts that the parent has opened.
    """
    where.at("propagation", "/")
    # Mounts of ours never reach the host; its unmounts reach us, so we hold nothing busy there.
    mount(None, "/", None, MS_REC | MS_SLAVE)
    root = _mount_root(plan, where)
    try:
        for index, entry in enumerate(plan["mounts"]):
            where.at("mount", entry["target"])
            if entry["kind"] == "cgroup":
                _mount_cgroups(root, entry, plan)
            else:
                _mount(root, entry, trees.get(index))
        if plan["make_dev"]:
            _make_dev(root, plan["devices"], where)
    finally:
        os.close(root)


def _mount_root(plan: Plan, where: Where) -> int:
    """A descriptor of the root directory: a mount of its own, and the working directory."""
    path: str = plan["rootfs"]
    where.at("rootfs", path)
    if plan["overlay"]:
        lower, upper, work = plan["overlay"]
        mount_overlay(list(lower), upper, work, path, volatile=plan.get("volatile", False))
    else:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        tree = open_tree(directory, recursive=True)  # pivot_root(2) wants a mount point
        move_mount(tree, directory)
        os.close(tree)
        os.close(directory)
    os.chdir(path)
    return os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def file_system(kind: str, source: str, attributes: int, options: Any) -> int:
    """A detached mount of a new file system; `options` are pairs, the value None for a flag."""
    context = fsopen(kind)
    try:
        fsconfig(context, "source", source)
        for key, value in options:
            fsconfig(context, key, value)
    except OSError:
        os.close(context)
        raise
    return fsmount(context, attributes)


def _mount(root: int, entry: dict[str, Any], tree: int | None) -> None:
    """One mount of the plan: a bind mount `tree`, or a new file system."""
    options = list(entry["options"])
    if tree is None:
        # A container's /proc and /sys on a link's target would cover something else
        # (CVE-2019-19921, CVE-2023-27561); so would its /dev.
        links = entry["kind"] not in ("proc", "sysfs") and entry["target"] != b"dev"
        if entry["kind"] == "tmpfs" and all(key != "mode" for key, _ in options):
            options += _mode_of(root, entry["target"])
        target = create_in_root(root, entry["target"], directory=True, links=links)
        tree = file_system(entry["kind"], entry["source"], entry["attributes"], options)
    else:
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = create_in_root(root, entry["target"], directory=directory)
    try:
        if stat.S_ISDIR(os.fstat(tree).st_mode) != stat.S_ISDIR(os.fstat(target).st_mode):
            raise failure("move_mount", errno.ENOTDIR, entry["target"])  # the kernel says EINVAL
        move_mount(tree, target)
        if entry["propagation"] and entry["kind"] != "bind":
            mount_setattr(tree, propagation=entry["propagation"])
    finally:
        os.close(tree)
        os.close(target)


def _mode_of(root: int, target: bytes) -> list[tuple[str, str]]:
    """A tmpfs keeps the mode of the directory that it covers: /tmp stays 1777."""
    try:
        directory = open_in_root(root, target, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return [("mode", f"{stat.S_IMODE(os.fstat(directory).st_mode):o}")]
    finally:
        os.close(directory)


def _mount_cgroups(root: int, entry: dict[str, Any], plan: Plan) -> None:
    """/sys/fs/cgroup: the v2 tree, or a small directory with one mount for each v1 hierarchy.

    In a cgroup namespace of its own the container sees its cgroup as the root of each; else it gets
    a bind mount of its own directory.
    """
    path, (v1, v2) = plan["cgroup"]
    private: bool = plan["cgroup_namespace"]
    attributes: int = entry["attributes"]
    directory = create_in_root(root, entry["target"], directory=True)
    if not v1:
        tree = file_system("cgroup2", "cgroup", 0, ()) if private else open_tree(v2 + path)
        _attach(tree, directory, attributes)
        return
    top = file_system("tmpfs", "cgroup", _HARMLESS, (("mode", "755"), ("size", "64k")))
    _attach(os.dup(top), directory, 0)
    for point, controllers in v1:
        name = ",".join(each.removeprefix("name=") for each in controllers).encode()
        os.mkdir(name, 0o755, dir_fd=top)
        directory = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        tree = _v1_hierarchy(controllers) if private else open_tree(point + path)
        _attach(tree, directory, attributes)
        if len(controllers) > 1:
            for each in controllers:
                os.symlink(name, each.encode(), dir_fd=top)
    mount_setattr(top, set_=attributes)
    os.close(top)


def _attach(tree: int, target: int, attributes: int) -> None:
    """The detached mount is on `target` and has `attributes`; both descriptors are closed."""
    mount_setattr(tree, set_=attributes)
    move_mount(tree, target)
    os.close(tree)
    os.close(target)


def _v1_hierarchy(controllers: tuple[str, ...]) -> int:
    """A detached mount of the hierarchy that the host has these controllers in."""
    options: list[tuple[str, str | None]] = []
    for each in controllers:
        key, _, value = each.partition("=")
        if value:
            options.append(("none", None))  # named hierarchies have no controller
        options.append((key, value or None))
    return file_system("cgroup", "cgroup", 0, options)


def _make_dev(root: int, devices: Any, where: Where) -> None:
    """/dev has the nodes and links of every container, and those of the plan."""
    where.at("devices", "/dev")
    directory = create_in_root(root, b"dev", directory=True, links=False)
    old = os.umask(0)
    try:
        for name, major, minor in _NODES:
            _make_node(directory, name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for name, to in _LINKS:
            try:
                os.symlink(to, name, dir_fd=directory)
            except FileExistsError:
                continue  # in a root without a /dev of its own they may be there from before
        for path, mode, device, uid, gid in devices:
            where.at("devices", path)
            above, _, name = path.rpartition(b"/")
            parent = create_in_root(root, above, directory=True)
            _make_node(parent, name, mode, device)
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
            os.close(parent)
    finally:
        os.umask(old)
        os.close(directory)


def _make_node(directory: int, name: bytes, mode: int, device: int) -> None:
    try:
        os.mknod(name, mode, device, dir_fd=directory)
    except FileExistsError:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_IFMT(found.st_mode) != stat.S_IFMT(mode) or found.st_rdev != device:
            raise failure("mknodat", errno.EEXIST, name) from None


def pivot(where: Where) -> int:
    """The working directory is "/", the host's tree is out of reach; a descriptor of the root."""
    where.at("pivot_root", "/")
    old = os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    pivot_root(b".", b".")  # the old root is stacked on the new one …
    os.fchdir(old)  # mount(2) would take "." for the new one, whose mounts may be shared
    os.close(old)
    mount(None, b".", None, MS_REC | MS_SLAVE)
    umount(b".", MNT_DETACH)  # … and taken off; pivot_root(2), NOTES
    os.chdir(b"/")
    return os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def set_sysctls(proc: int, sysctls: Any, where: Where) -> None:
    """Kernel parameters of this container's own namespaces, written through `proc`, a procfs that
    the image's mounts cannot cover (CVE-2025-52881)."""
    for name, value in sysctls:
        where.at("sysctl", name)
        write_file(b"sys/" + name, value, directory=proc)


def protect(root: int, plan: Plan, where: Where) -> None:
    """Some paths of the root are read-only, some hidden; at last, if asked, all of it read-only."""
    for path in plan["readonly_paths"]:
        where.at("read-only path", path)
        _cover_with_itself(root, path)
    _mask(root, plan["masked_paths"], where)
    if plan["root_propagation"]:
        where.at("propagation", "/")
        mount(None, b"/", None, plan["root_propagation"])
    if plan["root_readonly"]:
        where.at("rootfs", "/")
        tree = os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount_setattr(tree, set_=MOUNT_ATTR_RDONLY)
        os.close(tree)


def _cover_with_itself(root: int, path: bytes) -> None:
    target = _open_existing(root, path)
    if target is None:
        return
    tree = open_tree(target, recursive=True)
    mount_setattr(tree, set_=MOUNT_ATTR_RDONLY, recursive=True)
    move_mount(tree, target)
    os.close(tree)
    os.close(target)


def _mask(root: int, paths: Any, where: Where) -> None:
    """Files are covered with /dev/null, directories with one empty tmpfs that they share."""
    if not paths:
        return
    where.at("masked path", "/dev/null")
    null = open_in_root(root, b"dev/null", os.O_PATH | os.O_NOFOLLOW)
    status = os.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        # A link here would make the "mask" a writable mount of what it points to (CVE-2025-31133).
        raise failure("open", errno.EINVAL, "/dev/null")
    empty = -1
    for path in paths:
        where.at("masked path", path)
        target = _open_existing(root, path)
        if target is None:
            continue
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            tree = open_tree(null)
        elif empty >= 0:
            tree = open_tree(empty)  # only what is attached can be copied before Linux 6.15
        else:
            options = (("nr_inodes", "2"), ("size", "4k"), ("mode", "555"))
            tree = file_system("tmpfs", "tmpfs", _HARMLESS | MOUNT_ATTR_RDONLY, options)
            empty = os.dup(tree)
        move_mount(tree, target)
        os.close(tree)
        os.close(target)
    if empty >= 0:
        os.close(empty)
    os.close(null)


def _open_existing(root: int, path: bytes) -> int | None:
    """`path` in the root, None when the kernel or the image does not have it."""
    try:
        return open_in_root(root, path, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
