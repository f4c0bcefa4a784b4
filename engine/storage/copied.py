"""What a container wrote into its own copy of its image's files: the copy against the layers.

There are no whiteouts in a copy, and everything is in it; so it is compared. What looks as in the
layers and has not been touched since it was copied (ctime, which nobody can set) is the same; what
has been touched is read.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from engine.kernel import xattr
from engine.kernel.files import open_in_root
from engine.storage.layer_fixup import Found
from engine.storage.snapshots import FUSE, OVERLAY, VFS
from engine.storage.upper import Item, Place, Upper, below_of, parents_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READ_BYTES = 1 << 20
_GONE = os.stat_result((stat.S_IFCHR, *[0] * 9))  # as overlayfs says it


def written(
    root: int,
    lower: list[bytes],
    mounts: Iterable[bytes],
    driver: str = OVERLAY,
    stamp_ns: int = 0,
) -> Upper:
    """What the container wrote, whose directory is behind `root`: made by `driver`, of the layers
    `lower` (top first). `mounts` are paths where something was mounted; a copy was finished at
    `stamp_ns`."""
    if driver == VFS:
        return Copied(root, lower, mounts, stamp_ns)
    return Upper(root, lower, mounts, fuse=driver == FUSE)


class Copied(Upper):
    """The directory `root`, a copy of `lower` that was finished at `stamp_ns`, and then changed."""

    def __init__(
        self, root: int, lower: list[bytes], mounts: Iterable[bytes], stamp_ns: int
    ) -> None:
        super().__init__(root, lower, mounts)
        self._stamp_ns = stamp_ns

    def walk(self) -> Iterator[Item]:
        """As of an upper directory that overlayfs wrote: what changed, what is gone, and the
        directories that these are in."""
        changed = {item.path for item in self._everything() if self._is_changed(item)}
        changed |= {parent for path in changed for parent in parents_of(path)}
        for item in self._everything():
            if item.path in changed:
                yield item

    def _everything(self) -> Iterator[Item]:
        places = [Place(b"", self._stack.layers, False)]
        while places:
            place = places.pop()
            try:
                descriptor = open_in_root(self._root, place.path, _DIRECTORY, links=False)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a container that runs has just removed it
            inner: list[Place] = []
            try:
                names = set(map(os.fsencode, os.listdir(descriptor)))
                below = {name for layer in place.below for name in os.listdir(layer)}
                for name in sorted(names | below):
                    try:
                        item = self._look(place, descriptor, name)._replace(opaque=False)
                    except FileNotFoundError:
                        item = self._gone(place, descriptor, name)
                    if item.whiteout and item.lower is None:
                        continue
                    yield item
                    if stat.S_ISDIR(item.info.st_mode):
                        inner.append(below_of(item))
            finally:
                os.close(descriptor)
            places += reversed(inner)

    def _gone(self, place: Place, directory: int, name: bytes) -> Item:
        path = place.path + b"/" + name if place.path else name
        lower, below = self._stack.step(place.below, name)
        return Item(path, directory, name, _GONE, lower, below, False, True, False)

    def _is_changed(self, item: Item) -> bool:
        if item.lower is None:
            return not (item.path in self._targets | self._above and self._is_idle(item))
        if item.whiteout:
            return True
        info, theirs = item.info, item.lower.info
        facts = _facts(info), _facts(theirs)
        if facts[0][:3] != facts[1][:3]:
            return True
        if facts[0] != facts[1] and item.path not in self._above:  # a mount made a place there
            return True
        return info.st_ctime_ns >= self._stamp_ns and not _is_same(item, item.lower)


def _facts(info: os.stat_result) -> tuple[int, int, int, int, int, int]:
    is_directory = stat.S_ISDIR(info.st_mode)
    size = 0 if is_directory else info.st_size
    return info.st_mode, info.st_uid, info.st_gid, info.st_rdev, size, info.st_mtime_ns


def _is_same(item: Item, lower: Found) -> bool:
    """Whether content and attributes are what they are in the layers."""
    if xattr.all_of(item.link) != xattr.all_of(lower.path):
        return False
    if stat.S_ISLNK(item.info.st_mode):
        return os.readlink(item.name, dir_fd=item.directory) == os.readlink(lower.path)
    if not stat.S_ISREG(item.info.st_mode):
        return True
    mine = os.open(item.name, _OPEN, dir_fd=item.directory)
    try:
        with open(lower.path, "rb", buffering=0) as theirs:
            while data := os.read(mine, _READ_BYTES):
                if theirs.read(len(data)) != data:
                    return False
            return not theirs.read(1)
    finally:
        os.close(mine)
