"""What a container wrote: its upper directory read against the layers below it.

Nothing is mounted and no symbolic link followed: every directory is opened beneath the upper one's
descriptor, every name looked at relative to its directory. Overlayfs marks more than it means: a
new directory is opaque though nothing is below it, parents are copied up for the sake of a child,
and an empty file or directory is left wherever something was mounted. What of it says nothing is
not told.

https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from engine.errors import Corrupt
from engine.kernel import xattr
from engine.kernel.files import open_in_root
from engine.named_tuple import NamedTuple
from engine.storage.layer_fixup import Found, Stack

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOREIGN = (b"trusted.overlay.redirect", b"trusted.overlay.metacopy")
# Beside the attribute, fuse-overlayfs leaves a file in a directory that is opaque, and a whiteout.
FUSE_OPAQUE = b".wh..wh..opq"
_FUSE_MARKS = {FUSE_OPAQUE, b".wh..opq"}


class Item(NamedTuple):
    """Something in the upper directory. `directory` is open while this is the current one."""

    path: bytes
    directory: int
    name: bytes
    info: os.stat_result
    lower: Found | None  # what the layers have there
    below: list[bytes]  # their directories there, top first, when that is one
    hidden: bool  # an opaque directory above hides what they have
    whiteout: bool  # the name is gone
    opaque: bool  # a directory that is not merged with the layers'

    @property
    def link(self) -> bytes:
        """A path that leads to it, whatever lies on the way: its last component is not followed."""
        return b"/proc/self/fd/%d/%s" % (self.directory, self.name)


class Place(NamedTuple):
    path: bytes
    below: list[bytes]
    hidden: bool


class Upper:
    """The upper directory `root` over `lower` (diff directories, top first). `mounts` are paths in
    the container where something was mounted. Without `lower`, any directory as it is seen.
    `fuse` says that fuse-overlayfs wrote it."""

    def __init__(
        self, root: int, lower: list[bytes], mounts: Iterable[bytes] = (), *, fuse: bool = False
    ) -> None:
        self._root = root
        self._unmeant = _FUSE_MARKS if fuse else set()
        self._stack = Stack(lower)
        whole = Stack([b"/proc/self/fd/%d/." % root, *lower])
        targets = {whole.resolve(path) for path in mounts} - {b""}
        self._above = {parent for path in targets for parent in parents_of(path)}
        self._targets = targets

    def walk(self) -> Iterator[Item]:
        """Everything that says something, directories before what is in them, names sorted."""
        hidden = xattr.is_opaque(b"/proc/self/fd/%d/." % self._root)
        places = [Place(b"", self._stack.layers, hidden)]
        while places:
            place = places.pop()
            try:
                descriptor = open_in_root(self._root, place.path, _DIRECTORY, links=False)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a container that runs has just removed it
            inner: list[Place] = []
            try:
                for name in sorted({*map(os.fsencode, os.listdir(descriptor))} - self._unmeant):
                    try:
                        item = self._look(place, descriptor, name)
                    except FileNotFoundError:
                        continue
                    if item.path in self._targets | self._above and self._is_idle(item):
                        continue
                    yield item
                    if stat.S_ISDIR(item.info.st_mode):
                        inner.append(below_of(item))
            finally:
                os.close(descriptor)
            places += reversed(inner)

    def _look(self, place: Place, directory: int, name: bytes) -> Item:
        path = place.path + b"/" + name if place.path else name
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        lower, below = self._stack.step(place.below, name)
        whiteout = stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
        item = Item(path, directory, name, info, lower, below, place.hidden, whiteout, False)
        if not self._stack.layers or stat.S_IFMT(info.st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
            return item
        for key in os.listxattr(item.link, follow_symlinks=False):
            if os.fsencode(key) in _FOREIGN:
                raise Corrupt(
                    f"upper directory: {os.fsdecode(path)!r} has {key}: its content is in a layer "
                    "under another name",
                    "mount it without metacopy and redirect_dir",
                )
        return item._replace(opaque=stat.S_ISDIR(info.st_mode) and xattr.is_opaque(item.link))

    def _is_idle(self, item: Item) -> bool:
        """Whether this is there for a mount's sake alone: an empty place for it, or a directory
        that has only such in it and looks as the layers have it."""
        info, lower = item.info, item.lower
        if item.whiteout or (item.opaque and item.below):
            return False
        if not stat.S_ISDIR(info.st_mode):
            return lower is None and stat.S_ISREG(info.st_mode) and not info.st_size
        if lower is not None:
            theirs = lower.info
            mine = (info.st_mode, info.st_uid, info.st_gid)
            if mine != (theirs.st_mode, theirs.st_uid, theirs.st_gid):
                return False
        elif (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (0o755, 0, 0):
            return False
        descriptor = open_in_root(self._root, item.path, _DIRECTORY, links=False)
        try:
            for name in {*map(os.fsencode, os.listdir(descriptor))} - self._unmeant:
                child = self._look(below_of(item), descriptor, name)
                if child.path not in self._targets | self._above or not self._is_idle(child):
                    return False
        finally:
            os.close(descriptor)
        return True


def below_of(item: Item) -> Place:
    return Place(item.path, item.below, item.hidden or item.opaque)


def parents_of(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path


def list_changes(argument: Any, report: Callable[[Any], None]) -> list[tuple[str, bytes]]:
    """In a worker: ("A" | "C" | "D", path) of everything that the container changed, sorted.
    `argument` is what `copied.written` is made of."""
    from engine.storage.copied import written

    changes: dict[bytes, str] = {}
    for item in written(*argument).walk():
        changes.update(_changes_of(item))
    for path in list(changes):
        for parent in parents_of(path):
            changes.setdefault(parent, "C")
    return [(kind, path) for path, kind in sorted(changes.items())]


def _changes_of(item: Item) -> Iterator[tuple[bytes, str]]:
    lower, info = item.lower, item.info
    if lower is None:
        if not item.whiteout:
            yield item.path, "A"
    elif item.whiteout:
        yield item.path, "D"
    elif not stat.S_ISDIR(info.st_mode) or _facts(info) != _facts(lower.info):
        yield item.path, "C"
    if item.below and (item.opaque or item.hidden) and stat.S_ISDIR(info.st_mode):
        present = set(os.listdir(item.link))
        for name in {name for layer in item.below for name in os.listdir(layer)} - present:
            if Stack.step(item.below, name)[0] is not None:
                yield item.path + b"/" + name, "D"


def _facts(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns
