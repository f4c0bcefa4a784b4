"""In a worker: what is at a path becomes a tar, or a tar goes to a path; here or in a container.

The rules are those of docker's cp. Both sides are a root and a path in it, which openat2(2)
resolves in that root at every step: a link that a container exchanges meanwhile leads to another
place of its own. A container that runs is seen through its first process, mounts and all. One that
does not is mounted, with its volumes and host directories, in a mount namespace of the worker.

github.com/docker/cli/blob/master/cli/command/container/cp.go, github.com/moby/go-archive/copy.go
"""

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import Conflict, Corrupt, EngineError, InvalidInput, NotFound, Unavailable
from engine.kernel.files import create_in_root, file_system_magic, open_in_root
from engine.kernel.mount import (
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from engine.kernel.namespaces import CLONE_NEWNS, unshare
from engine.kernel.overlay import mount_overlay
from engine.named_tuple import NamedTuple
from engine.storage.tar_diff import TarOut, TarTree
from engine.storage.tar_extract import Owner, Place, TreeWriter
from engine.storage.tar_read import DIRECTORY, TarReader
from engine.storage.upper import Item

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_PLACE = os.O_PATH | os.O_DIRECTORY
_CHUNK_BYTES = 1 << 20
_MAX_LINKS = 10  # docker's
# linux/magic.h: proc, sysfs, cgroup, cgroup2, mqueue, devpts, debugfs, tracefs, bpf, securityfs.
_KERNEL = (
    0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x19800202, 0x1CD1, 0x64626720, 0x74726163,
    0xCAFE4A11, 0x73636673,
)  # fmt: skip


class View(NamedTuple):
    """A file system to copy from or to: an open root, or one that is still to be mounted at
    `place`; without `upper` the one directory in `lower` is all of it. `container` is its name, ""
    for this host."""

    container: str
    root: int = -1
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    place: str = ""
    mounts: tuple[tuple[str, str, bool], ...] = ()  # source, target, read-only
    read_only: bool = False

    def said(self, path: bytes) -> str:
        """A path in it, as people write it."""
        text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
        return f"{self.container}:{text}" if self.container else text


class Status(NamedTuple):
    """What is at a path that was looked at."""

    path: bytes
    mode: int  # st_mode
    size_bytes: int
    mtime_ns: int
    link: bytes


# -- from a path


def pack(argument: Any, report: Callable[[int], None]) -> int:
    """Bytes of the tar that is in the pipe `target`: of what is at `path` in a view, under its last
    name, or of what is in it, for a path that ends in `/.`. A link is followed where `follow` says
    so, or a slash ends the path. Raises NotFound, InvalidInput, Unavailable; BrokenPipeError."""
    fields, path, follow, target = argument
    view = View(*fields)
    name = b"" if is_content(path) else _split(path)[1]
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_opened(view))
        out = TarOut(target, 0, report, hashed=False)
        tree = TarTree(out, None, merged=True)
        try:
            top = stack.enter_context(_source(root, path, follow))
            if file_system_magic(top.directory) in _KERNEL:
                raise InvalidInput(
                    f"{view.said(path)}: it is the kernel's, not a file of its own",
                    "pydock exec CONTAINER cat shows what it says",
                )
            if not stat.S_ISDIR(top.info.st_mode):
                tree.add(top._replace(path=name))
            else:
                inside = _open(top.directory, top.name, _DIRECTORY)
                stack.callback(os.close, inside)
                tree.add(_item(inside, b".")._replace(path=name or b"."))
                for item in _below(inside):
                    with contextlib.suppress(FileNotFoundError):  # it has just been removed
                        tree.add(item._replace(path=name + b"/" + item.path if name else item.path))
            out.finish()
        except Unavailable as error:
            if isinstance(error.__cause__, BrokenPipeError):
                return out.total  # whoever reads it says why
            raise
        except OSError as error:
            raise _unreadable(view, path, error) from error
    return out.total


def _below(root: int) -> Iterator[Item]:
    """Everything below an open directory, directories before what is in them, names sorted; no
    link is followed, and nothing shown of file systems that are the kernel's own."""
    places = [b""]
    while places:
        place = places.pop()
        try:
            directory = open_in_root(root, place, _DIRECTORY, links=False)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a container that runs has just removed it
        inner = []
        try:
            names = os.listdir(directory) if file_system_magic(directory) not in _KERNEL else ()
            for name in sorted(map(os.fsencode, names)):
                try:
                    item = _item(directory, name)
                except FileNotFoundError:
                    continue
                path = place + b"/" + name if place else name
                yield item._replace(path=path)
                if stat.S_ISDIR(item.info.st_mode):
                    inner.append(path)
        finally:
            os.close(directory)
        places += reversed(inner)


def look(argument: Any, report: Callable[[int], None]) -> tuple[Any, ...]:
    """The Status (as a tuple) of `path` in a view; a link itself, unless a slash ends it. Raises
    as `pack`."""
    fields, path = argument
    view = View(*fields)
    with _opened(view) as root:
        try:
            with _source(root, path, follow=False) as item:
                link = b""
                if stat.S_ISLNK(item.info.st_mode):
                    link = os.readlink(item.name, dir_fd=item.directory)
        except OSError as error:
            raise _unreadable(view, path, error) from error
    return (path, item.info.st_mode, item.info.st_size, item.info.st_mtime_ns, link)


@contextlib.contextmanager
def _source(root: int, path: bytes, follow: bool) -> Iterator[Item]:
    """What is at `path`, relative to an open directory."""
    for _ in range(_MAX_LINKS + 1):
        above, name = _split(path)
        if _wants_directory(path):
            above, name = path, b"."
        directory = open_in_root(root, above, _PLACE)
        try:
            item = _item(directory, name)
            if not follow or not stat.S_ISLNK(item.info.st_mode):
                yield item
                return
            path = os.path.join(above, os.readlink(name, dir_fd=directory))
        finally:
            os.close(directory)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _item(directory: int, name: bytes) -> Item:
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return Item(b"", directory, name, info, None, [], False, False, False)


def _unreadable(view: View, path: bytes, error: OSError) -> EngineError:
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOENT:
        return _missing(view, path)
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return InvalidInput(f"{view.said(path)}: {reason}", "look at what is on the way to it")
    return Unavailable(f"{view.said(path)}: {reason}", "look at what is there")


def _missing(view: View, path: bytes) -> NotFound:
    if not view.container:
        return NotFound(f"{view.said(path)}: no such file or directory", "ls shows what is there")
    text = view.said(path).removeprefix(f"{view.container}:")
    return NotFound(
        f"could not find the file {text} in container {view.container}",
        f"pydock exec {view.container} ls shows what is there",
    )


# -- to a path


def unpack(argument: Any, report: Callable[[int], None]) -> int:
    """Bytes of files that were written: the tar in the pipe `source` is at `path` in a view, by
    docker's rules of what gets which name; or, where it must be `into` a directory, in that.
    `owner` is whose they are, None: as the tar says. Raises NotFound, Conflict, InvalidInput,
    Corrupt, Unavailable."""
    fields, path, source, owner, into = argument
    view = View(*fields)
    try:
        with _opened(view) as root:
            return _unpack(view, root, path, source, owner, into)
    except (InvalidInput, Corrupt) as error:
        if not error.message.startswith("layer"):
            raise
        hint = error.hint or "tar -tv shows what is in it"
        raise type(error)(f"archive{error.message[5:]}", hint) from error


def _unpack(view: View, root: int, path: bytes, source: int, owner: Any, into: bool) -> int:
    reader = TarReader(_chunks(source))
    entries = iter(reader)
    first = next(entries, None)
    if first is None and not into:
        return 0  # whoever should have written it says why
    is_directory = into or (first is not None and first.type == DIRECTORY)
    place, name = _target(view, root, path, is_directory=is_directory, into=into)
    try:
        _check_writable(view, root, place.base)
        if first is None:
            return 0
        old = first.path if name is not None else b""
        writer = TreeWriter(
            place, old, old if name is None else name, Owner(*owner) if owner else None
        )
        writer.apply(itertools.chain([first], entries), reader)
        return writer.written_bytes
    finally:
        os.close(place.base)


def _target(
    view: View, root: int, path: bytes, *, is_directory: bool, into: bool
) -> tuple[Place, bytes | None]:
    """The directory that they go into, and what the topmost is called there; None: as it is."""
    asked = path
    try:
        for _ in range(_MAX_LINKS + 1):
            there = _mode(root, path)
            if there is None or not stat.S_ISLNK(there):
                break
            above, name = _split(path)
            directory = open_in_root(root, above, _PLACE)
            try:
                path = os.path.join(above, os.readlink(name, dir_fd=directory))
            finally:
                os.close(directory)
        else:
            raise InvalidInput(f"too many symlinks in {view.said(asked)}", "name its target")
    except OSError as error:
        raise _unreadable(view, asked, error) from error
    if there is not None and stat.S_ISDIR(there):
        return _place(view, root, path), None
    if into:
        if there is None:
            raise _missing(view, asked)
        raise InvalidInput(f'destination "{view.said(asked)}" must be a directory', "name one")
    if there is not None and stat.S_IFMT(there) in (stat.S_IFCHR, stat.S_IFBLK):
        what = "destination" if view.container else "invalid output path:"
        raise InvalidInput(
            f'{what} "{view.said(asked)}" must be a directory or a regular file: got a device',
            "name another path",
        )
    if there is not None and is_directory:
        raise Conflict("cannot copy directory", f"{view.said(asked)} is a file: name a directory")
    if there is None and not is_directory and _wants_directory(path):
        raise NotFound("no such directory", f"make {view.said(asked)} first, or drop the slash")
    above, name = _split(path)
    return _place(view, root, above), name


def _mode(root: int, path: bytes) -> int | None:
    """Of what is there, links not followed unless a slash ends the path; None: nothing."""
    try:
        with _source(root, path, follow=False) as item:
            return item.info.st_mode
    except FileNotFoundError:
        return None


def _place(view: View, root: int, path: bytes) -> Place:
    try:
        base = open_in_root(root, path, _DIRECTORY)
    except OSError as error:
        if error.errno == errno.ENOENT and not view.container:
            raise NotFound(
                f'invalid output path: directory "{view.said(path)}" does not exist',
                "make it first",
            ) from error
        raise _unreadable(view, path, error) from error
    return Place(root, path, base, bool(view.container), view.said(path))


def _check_writable(view: View, root: int, base: int) -> None:
    if file_system_magic(base) in _KERNEL:
        raise Conflict("files of the kernel's own cannot be made", "copy into another directory")
    if not os.fstatvfs(base).f_flag & os.ST_RDONLY:
        return
    if not view.container:
        raise Unavailable("read-only file system", "copy to another place")
    if os.fstat(root).st_dev == os.fstat(base).st_dev:
        raise Conflict("container rootfs is marked read-only", "copy into one of its volumes")
    raise Conflict("mounted volume is marked read-only", "copy into another directory")


def _chunks(source: int) -> Iterator[bytes]:
    while data := os.read(source, _CHUNK_BYTES):
        yield data


# -- paths and roots


def is_content(path: bytes) -> bool:
    """Whether not the directory is meant, but what is in it."""
    return path.endswith(b"/.") or path == b"/"


def _wants_directory(path: bytes) -> bool:
    return path.endswith((b"/", b"/."))


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The directory of a path, and the last name in it."""
    path = path.removesuffix(b"/.").rstrip(b"/")
    above, _, name = path.rpartition(b"/")
    return above or b"/", name


def _open(directory: int, name: bytes, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


@contextlib.contextmanager
def _opened(view: View) -> Iterator[int]:
    """A descriptor of its root."""
    root = view.root
    if root < 0:
        try:
            root = _mount(view)
        except OSError as error:
            raise Unavailable(
                f"container {view.container}: its files could not be mounted: "
                f"{os.fsdecode(error.filename or view.upper)}: {(error.strerror or '').lower()}",
                "start it, then copy",
            ) from error
    try:
        yield root
    finally:
        os.close(root)


def _bind(source: str, place: str) -> None:
    """A driver other than overlay2 has made the whole root."""
    tree, point = open_tree(source), os.open(place, _PLACE | os.O_CLOEXEC)
    try:
        move_mount(tree, point)
    finally:
        os.close(tree)
        os.close(point)


def _mount(view: View) -> int:
    """As its next start would have it, in a mount namespace of this process alone."""
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    trees = [
        (target, open_tree(source, recursive=True), read_only)
        for source, target, read_only in view.mounts
    ]
    if view.upper:
        mount_overlay(list(view.lower), view.upper, view.work, view.place)
    else:
        _bind(view.lower[0], view.place)
    root = os.open(view.place, _PLACE | os.O_CLOEXEC)
    for target, tree, read_only in sorted(trees, key=lambda each: each[0].count("/")):
        if read_only:
            mount_setattr(tree, set_=MOUNT_ATTR_RDONLY, recursive=True)
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        point = create_in_root(root, os.fsencode(target), directory=is_directory)
        try:
            move_mount(tree, point)
        finally:
            os.close(point)
            os.close(tree)
    if view.read_only:
        mount_setattr(root, set_=MOUNT_ATTR_RDONLY)
    return root
