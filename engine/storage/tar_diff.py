"""A container's files become a tar, in a worker: what it wrote as a layer, or all that it sees.

A layer says what is gone by `.wh.NAME`, and by `.wh..wh..opq` that a directory hides the one below.
The same files give the same bytes: names are sorted, owners numeric, times those of the content
alone. Attributes of overlayfs and of the host's policy stay here; sockets do, as with everybody.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import InvalidInput, Unavailable, Unsupported
from engine.kernel import xattr
from engine.kernel.mount import MS_REC, MS_SLAVE, mount
from engine.kernel.namespaces import CLONE_NEWNS, unshare
from engine.kernel.overlay import mount_overlay
from engine.oci.digest import hasher
from engine.storage.copied import written
from engine.storage.layer_fixup import Stack
from engine.storage.merged import Merged
from engine.storage.tar_read import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
)
from engine.storage.tar_write import END, header, padding
from engine.storage.upper import Item, Upper

_CHUNK_BYTES = 1 << 20
_REPORT_BYTES = 8 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TYPES = {
    stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO,
    stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK,
}  # fmt: skip


def write_layer(argument: Any, report: Callable[[int], None]) -> tuple[str, int, int]:
    """Digest, bytes and entries of the layer that is now in the file `target`.

    `argument`: the descriptor of `target`, the largest size in bytes and the latest time in
    nanoseconds (None: any) that may be in it, and what `copied.written` is made of, the container's
    directory first (-1: it was never made). Raises InvalidInput (too large), Unsupported (a name
    that means a removal), Corrupt, Unavailable (disk full).
    """
    target, limit_bytes, latest_ns, root, lower, *other = argument
    out = TarOut(target, limit_bytes, report, hashed=True)
    tar = TarTree(out, latest_ns, merged=False)
    if root >= 0:
        tar.add_root(root, lower)
        for item in written(root, lower, *other).walk():
            tar.add(item)
    out.finish()
    return out.digest, out.written, tar.entries


def write_tree(argument: Any, report: Callable[[int], None]) -> int:
    """All that the layers (directories, top first) show together is in the file or pipe `target`;
    how many entries that are. They are mounted in a mount namespace of this process, at `place`,
    which is any directory; with "" they are read without a mount. Raises Unavailable,
    BrokenPipeError."""
    layers, place, target = argument
    items: Iterator[Item]
    if place:
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_SLAVE)
        mount_overlay(list(layers), "", "", place)
        items = Upper(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), []).walk()
    else:
        items = Merged([os.fsencode(layer) for layer in layers]).walk()
    out = TarOut(target, 0, report, hashed=False)
    tar = TarTree(out, None, merged=True)
    for item in items:
        tar.add(item)
    out.finish()
    return tar.entries


class TarOut:
    """A descriptor that bytes go to, in large pieces."""

    def __init__(
        self, target: int, limit_bytes: int, report: Callable[[int], None], *, hashed: bool
    ) -> None:
        self._target = target
        self._limit_bytes = limit_bytes
        self._report = report
        self._reported = 0
        self._hash = hasher("sha256") if hashed else None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.written = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}" if self._hash else ""

    def expect(self, size: int, path: bytes) -> None:
        """That many bytes come next. Raises InvalidInput when they are too many."""
        total = self.total + size
        if self._limit_bytes and total > self._limit_bytes:
            raise InvalidInput(
                f"{os.fsdecode(path)!r}: with its {size} bytes the layer has more than "
                f"{self._limit_bytes >> 30} GiB",
                "remove it, or keep such files in a volume; a sparse file counts with its holes",
            )

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _CHUNK_BYTES:
            self._flush()

    @property
    def total(self) -> int:
        """Bytes that were given to it."""
        return self.written + self._waiting_bytes

    def finish(self) -> None:
        """The end of the archive is written, and all is out."""
        self.write(END)
        self._flush()

    def _flush(self) -> None:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._hash:
            self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._target, view) :]
        except OSError as error:
            raise Unavailable(
                f"layer: {(error.strerror or '').lower()}", "free some space, then try again"
            ) from error
        self.written += len(data)
        if self.written - self._reported >= _REPORT_BYTES:
            self._reported = self.written
            self._report(self.written)


class TarTree:
    """Entries of one archive."""

    def __init__(self, out: TarOut, latest_ns: int | None, *, merged: bool) -> None:
        self._out = out
        self._latest_ns = latest_ns
        self._merged = merged
        self._links: dict[tuple[int, int], bytes] = {}  # first path of a file with several
        self.entries = 0

    def add_root(self, root: int, lower: list[bytes]) -> None:
        """An entry for the root itself, where the container has changed more than its time."""
        info, below = os.fstat(root), Stack(lower).lookup(b"")
        path = b"/proc/self/fd/%d/." % root
        mine = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, self._xattrs(path))
        if below is not None:
            theirs = below.info
            known = (stat.S_IMODE(theirs.st_mode), theirs.st_uid, theirs.st_gid)
            if mine == (*known, self._xattrs(below.path)):
                return
        self._header(b"./", DIRECTORY, info, xattrs=mine[3])

    def add(self, item: Item) -> None:
        info, path = item.info, item.path
        if item.whiteout:
            if item.lower is not None and not item.hidden:
                parent, _, name = path.rpartition(b"/")
                self._marker(parent, b".wh." + name)
            return
        if item.name.startswith(b".wh.") and not self._merged:
            raise Unsupported(
                f"{os.fsdecode(path)!r}: in a layer such a name says that another file is gone",
                "remove or rename it in the container",
            )
        kind = _TYPES.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return  # a socket is nothing without its process
        if kind != DIRECTORY and info.st_nlink > 1:
            first = self._links.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                self._header(path, HARDLINK, info, link=first)
                return
        if kind == FILE:
            self._file(item)
        elif kind == DIRECTORY:
            self._header(path + b"/", DIRECTORY, info, xattrs=self._xattrs(item.link))
            if item.opaque and item.below and not item.hidden:
                self._marker(path, b".wh..wh..opq")
        elif kind == SYMLINK:
            target = os.readlink(item.name, dir_fd=item.directory)
            self._header(path, SYMLINK, info, link=target, xattrs=self._xattrs(item.link))
        else:
            device = 0 if kind == FIFO else info.st_rdev
            self._header(path, kind, info, device=device, xattrs=self._xattrs(item.link))

    def _file(self, item: Item) -> None:
        try:
            descriptor = os.open(item.name, _OPEN, dir_fd=item.directory)
        except OSError:
            if _is_same(item):
                raise
            return  # a container that runs has put something else in its place
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                return
            self._out.expect(info.st_size, item.path)
            self._header(item.path, FILE, info, size=info.st_size, xattrs=self._xattrs(item.link))
            left = info.st_size
            while left:
                data = os.read(descriptor, min(left, _CHUNK_BYTES))
                # One that has become shorter meanwhile keeps its size, as tar(1) has it.
                data = data or bytes(min(left, _CHUNK_BYTES))
                left -= len(data)
                self._out.write(data)
            self._out.write(padding(info.st_size))
        finally:
            os.close(descriptor)

    def _header(
        self,
        path: bytes,
        kind: bytes,
        info: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        device: int = 0,
        xattrs: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        mtime_ns = info.st_mtime_ns
        if self._latest_ns is not None:
            mtime_ns = min(mtime_ns, self._latest_ns)
        self._out.write(
            header(
                path, kind, mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid,
                size=size, mtime_ns=mtime_ns, link=link, device=device, xattrs=xattrs,
            )
        )  # fmt: skip
        self.entries += 1

    def _marker(self, parent: bytes, name: bytes) -> None:
        self._out.write(header(parent + b"/" + name if parent else name, mode=0))
        self.entries += 1

    def _xattrs(self, path: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """What of the attributes at `path` an image may have, under the names that it has them."""
        found: list[tuple[bytes, bytes]] = []
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # procfs has none
                raise
            return ()
        for name in names:
            key = shown = os.fsencode(name)
            if key.startswith(xattr.OVERLAY) and not self._merged:
                if not key.startswith(xattr.ESCAPED_OVERLAY):
                    continue
                shown = xattr.OVERLAY + key.removeprefix(xattr.ESCAPED_OVERLAY)
            elif key.startswith((*xattr.POLICY, xattr.USER_OVERLAY, xattr.FUSE_OVERLAY)) or (
                key.startswith(b"system.") and key not in xattr.ACCESS_LISTS
            ):
                continue
            found.append((shown, os.getxattr(path, key, follow_symlinks=False)))
        return tuple(sorted(found))


def _is_same(item: Item) -> bool:
    try:
        info = os.stat(item.name, dir_fd=item.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (info.st_ino, stat.S_IFMT(info.st_mode)) == (
        item.info.st_ino,
        stat.S_IFMT(item.info.st_mode),
    )
