"""A layer's tar stream becomes a directory that overlayfs can mount.

Nothing leaves the directory: a parent is opened by openat2(RESOLVE_IN_ROOT), so symbolic links in
it lead where they would in the container, and the last component is only ever touched relative to
that descriptor, never followed. Whiteouts become 0:0 devices, opaque directories get overlayfs'
mark, whatever their order in the stream. Metadata of directories comes last.

A layer is applied without the layers below it. What depends on those is reported: parents that the
stream does not name, hard links to files that it does not hold, and whiteouts: `layer_fixup` sees
to them.

https://github.com/opencontainers/image-spec/blob/main/layer.md
https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
"""

import contextlib
import errno
import os
import stat

from engine.errors import InvalidInput
from engine.kernel import xattr
from engine.kernel.files import open_in_root
from engine.model.layer import DEVICE, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from engine.named_tuple import NamedTuple
from engine.storage import tar_read
from engine.storage.layer_index import (
    IMPLIED,
    IMPLIED_DIRECTORY,
    NO_HASH,
    OPAQUE,
    WHITEOUT,
    IndexBuilder,
    Row,
    hash_of,
    new_hash,
    xattrs_hash,
)
from engine.storage.tar_read import Entry, TarReader
from engine.storage.trash import remove_at

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LEAF_DIRECTORY = _DIRECTORY | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 400
_BLAMED = (
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EFBIG, errno.EXDEV, errno.ENOENT,
    errno.EEXIST, errno.EMLINK,
)  # fmt: skip
_MAX_SYMLINKS = 40  # as the kernel's ELOOP
_TYPES = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}
# A layer must not set what the host's own policy sets, or what only this kernel can vouch for.
_DROPPED = (*xattr.POLICY, xattr.OVERLAY, xattr.USER_OVERLAY)


class Applied(NamedTuple):
    """What became of a stream."""

    implied: list[bytes]  # directories that no entry names, parents before children
    lower_links: list[tuple[bytes, bytes]]  # hard links (path, target) into the layers below
    whiteouts: list[bytes]  # below the root's own entries
    warnings: list[str]


class _Open(NamedTuple):
    descriptor: int
    path: bytes  # the real one: no component of it is a symbolic link


class LayerWriter:
    """Applies one stream to the empty directory behind `root`, and notes it in `index`."""

    def __init__(self, root: int, index: IndexBuilder) -> None:
        self._root = root
        self._index = index
        self._prefix = len(os.readlink(b"/proc/self/fd/%d" % root))
        self._open: dict[bytes, _Open] = {}
        self._owner = (os.geteuid(), os.getegid())
        self._dressed: dict[bytes, Entry] = {}  # directories with attributes still to be set
        self._hidden: set[bytes] = set()  # paths that this layer whites out
        self._whiteouts: set[bytes] = set()  # those that have a 0:0 device
        self._opaque: set[bytes] = set()
        self._links: list[tuple[Entry, bytes]] = []  # their targets have not come yet
        self._warnings: dict[str, str] = {}
        self._escape = xattr.can_escape_overlay()

    def apply(self, reader: TarReader) -> Applied:
        """All of the stream is in the directory. Raises InvalidInput, Corrupt, OSError."""
        umask = os.umask(0)
        try:
            for entry in reader:
                try:
                    self._apply(entry, reader)
                except OSError as error:
                    self._explain(error, entry)
            self._late_links()
            self._drop_whiteouts_below_opaque()
            self._finish_directories()
        finally:
            os.umask(umask)
            self._flush()
        implied = sorted(self._index.rows.marked(IMPLIED))
        links = [(path, entry.link) for entry, path in self._links]
        whiteouts = sorted(path for path in self._whiteouts if b"/" in path)
        return Applied(implied, links, whiteouts, list(self._warnings.values()))

    def _apply(self, entry: Entry, reader: TarReader) -> None:
        path = entry.path
        if not path:
            self._dress(b"", entry)
            self._index.put(b"", self._row(DIRECTORY, entry, self._index.rows[b""].mark & ~IMPLIED))
            return
        parent, _, name = path.rpartition(b"/")
        if b".wh." in path and self._is_marker(entry, parent, name):
            return
        directory = self._directory(parent)
        kind = entry.type
        if kind == tar_read.FILE:
            self._file(entry, directory, name, reader)
        elif kind == tar_read.DIRECTORY:
            self._mkdir(entry, directory, name)
        elif kind == tar_read.SYMLINK:
            self._symlink(entry, directory, name)
        elif kind == tar_read.HARDLINK:
            self._hard_link(entry, directory, name)
        else:
            self._node(entry, directory, name)

    def _explain(self, error: OSError, entry: Entry) -> None:
        """What the layer is to blame for is InvalidInput; the rest stays an OSError."""
        if error.errno in _BLAMED:
            raise InvalidInput(f"layer entry {entry.number}: {error.strerror}") from error
        raise error

    # Directories

    def _directory(self, path: bytes) -> _Open:
        """The directory at `path` in the root, links followed; made where it is missing."""
        known = self._open.pop(path, None)
        if known is None:
            try:
                descriptor = open_in_root(self._root, path or b".", _DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
                self._make_parents(path)
                descriptor = open_in_root(self._root, path, _DIRECTORY)
            known = _Open(descriptor, self._real_path(descriptor))
            if len(self._open) >= _OPEN_DIRECTORIES:
                os.close(self._open.pop(next(iter(self._open))).descriptor)
        self._open[path] = known  # last in the dict: latest used
        return known

    def _real_path(self, descriptor: int) -> bytes:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)[self._prefix + 1 :]

    def _make_parents(self, path: bytes) -> None:
        """Every directory on the way to `path` is there; links that led nowhere lead to one."""
        todo = path.split(b"/")[::-1]
        here: list[bytes] = []
        links = 0
        descriptor = os.dup(self._root)
        try:
            while todo:
                name = todo.pop()
                if name in (b"", b"."):
                    continue
                if name == b"..":
                    del here[-1:]
                    os.close(descriptor)
                    descriptor = open_in_root(self._root, b"/".join(here) or b".", _DIRECTORY)
                    continue
                real = b"/".join([*here, name])
                try:
                    info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    self._imply(descriptor, name, real)
                else:
                    if stat.S_ISLNK(info.st_mode):
                        links += 1
                        if links > _MAX_SYMLINKS:
                            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                        target = os.readlink(name, dir_fd=descriptor)
                        todo += target.split(b"/")[::-1]
                        if target.startswith(b"/"):
                            here = []
                            os.close(descriptor)
                            descriptor = os.dup(self._root)
                        continue
                    if real in self._whiteouts:
                        self._remove(descriptor, name, real)
                        self._imply(descriptor, name, real)
                below = os.open(name, _LEAF_DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
                here.append(name)
        finally:
            os.close(descriptor)

    def _imply(self, directory: int, name: bytes, real: bytes) -> None:
        os.mkdir(name, 0o755, dir_fd=directory)
        if real in self._hidden:  # nothing below it shows: there is nothing to take over
            self._index.put(real, IMPLIED_DIRECTORY._replace(mark=0))
            self._make_opaque(directory, name, real)
        else:
            self._index.put(real, IMPLIED_DIRECTORY)

    def _mkdir(self, entry: Entry, directory: _Open, name: bytes) -> None:
        real = _join(directory.path, name)
        try:
            os.mkdir(name, 0o700, dir_fd=directory.descriptor)
        except FileExistsError:
            info = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                self._remove(directory.descriptor, name, real)
                os.mkdir(name, 0o700, dir_fd=directory.descriptor)
        mark = OPAQUE if real in self._opaque else 0
        self._index.put(real, self._row(DIRECTORY, entry, mark))
        self._dress(real, entry)
        if real in self._hidden and not mark:
            self._make_opaque(directory.descriptor, name, real)

    def _dress(self, real: bytes, entry: Entry) -> None:
        """The last entry of a directory says how it looks: what of it is not in its row."""
        if entry.xattrs:
            self._dressed[real] = entry
        else:
            self._dressed.pop(real, None)

    def _make_opaque(self, directory: int, name: bytes, real: bytes) -> None:
        descriptor = os.open(name, _LEAF_DIRECTORY, dir_fd=directory)
        try:
            os.setxattr(descriptor, xattr.OPAQUE, b"y")
        finally:
            os.close(descriptor)
        self._opaque.add(real)
        self._index.mark(real, OPAQUE)

    def _finish_directories(self) -> None:
        """Owners, modes and times of directories: no file is made in them any more."""
        for path, row in self._index.rows.of_kind(DIRECTORY):
            descriptor = open_in_root(self._root, path or b".", _LEAF_DIRECTORY)
            try:
                if not row.mark & IMPLIED:
                    os.fchown(descriptor, row.uid, row.gid)
                    os.fchmod(descriptor, row.mode)
                if entry := self._dressed.get(path):
                    for key, value in self._allowed(entry):
                        try:
                            os.setxattr(descriptor, key, value)
                        except OSError as error:
                            self._warn_xattr(error, entry, key)
                os.utime(descriptor, ns=(row.mtime_ns, row.mtime_ns))
            finally:
                os.close(descriptor)

    def _remove(self, directory: int, name: bytes, real: bytes) -> None:
        """A later entry of the same name takes the place of this one."""
        remove_at(directory, name)
        self._flush(keep=directory)
        self._index.remove(real)
        self._whiteouts.discard(real)
        prefix = real + b"/"
        for path in [p for p in self._dressed if p == real or p.startswith(prefix)]:
            del self._dressed[path]
        gone = {p for p in self._opaque | self._whiteouts if p == real or p.startswith(prefix)}
        self._opaque -= gone
        self._whiteouts -= gone
        if real in gone:
            self._hidden.add(real)

    def _flush(self, keep: int = -1) -> None:
        """No descriptor is kept that might not be what its path says any more."""
        for path, known in list(self._open.items()):
            if known.descriptor != keep:
                os.close(known.descriptor)
                del self._open[path]

    # Leaves

    def _file(self, entry: Entry, directory: _Open, name: bytes, reader: TarReader) -> None:
        real = _join(directory.path, name)
        try:
            descriptor = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory.descriptor)
        except FileExistsError:
            self._remove(directory.descriptor, name, real)
            descriptor = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory.descriptor)
        try:
            digest = self._copy(descriptor, entry, reader)
            if (entry.uid, entry.gid) != self._owner:
                os.fchown(descriptor, entry.uid, entry.gid)
            if entry.mode & 0o7000:  # after chown, which clears them
                os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                for key, value in self._allowed(entry):
                    try:
                        os.setxattr(descriptor, key, value)
                    except OSError as error:
                        self._warn_xattr(error, entry, key)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)
        self._index.rows[real] = self._row(FILE, entry, 0, digest)

    def _copy(self, descriptor: int, entry: Entry, reader: TarReader) -> bytes:
        """The payload is in the file; returns the hash of its content."""
        if entry.pieces is not None:
            return self._copy_sparse(descriptor, entry, reader)
        piece = reader.read()
        if piece is None:
            return hash_of(b"")
        if len(piece) == entry.size:
            _write(descriptor, piece)
            return hash_of(piece)
        hasher = new_hash()
        while piece is not None:
            hasher.update(piece)
            _write(descriptor, piece)
            piece = reader.read()
        return bytes(hasher.digest()[:16])

    def _copy_sparse(self, descriptor: int, entry: Entry, reader: TarReader) -> bytes:
        """Holes stay holes; the hash is of the map and the data, a hole may be petabytes."""
        assert entry.pieces is not None
        os.ftruncate(descriptor, entry.size)
        hasher = new_hash(repr(entry.pieces).encode())
        pieces = iter(entry.pieces)
        offset = left = 0
        while (piece := reader.read()) is not None:
            hasher.update(piece)
            while piece:
                while not left:
                    offset, left = next(pieces)
                written = os.pwrite(descriptor, piece[:left], offset)
                offset, left, piece = offset + written, left - written, piece[written:]
        return bytes(hasher.digest()[:16])

    def _symlink(self, entry: Entry, directory: _Open, name: bytes) -> None:
        real = _join(directory.path, name)
        try:
            os.symlink(entry.link, name, dir_fd=directory.descriptor)
        except FileExistsError:
            self._remove(directory.descriptor, name, real)
            os.symlink(entry.link, name, dir_fd=directory.descriptor)
        self._set_metadata(entry, directory.descriptor, name, change_mode=False)
        self._index.put(real, self._row(SYMLINK, entry, 0, link=entry.link))

    def _node(self, entry: Entry, directory: _Open, name: bytes) -> None:
        real = _join(directory.path, name)
        if entry.type == tar_read.CHARACTER and entry.device == 0:
            self._warn("0:0", f"layer entry {entry.number}: a 0:0 device is taken as a whiteout")
            self._whiteout(entry, directory, name)
            return
        mode = _TYPES[entry.type] | entry.mode
        device = 0 if entry.type == tar_read.FIFO else entry.device
        try:
            os.mknod(name, mode, device, dir_fd=directory.descriptor)
        except FileExistsError:
            self._remove(directory.descriptor, name, real)
            os.mknod(name, mode, device, dir_fd=directory.descriptor)
        self._set_metadata(entry, directory.descriptor, name, change_mode=True)
        if entry.type == tar_read.FIFO:
            self._index.put(real, self._row(FIFO, entry, 0))
        else:
            letter = "c" if entry.type == tar_read.CHARACTER else "b"
            link = f"{letter} {os.major(device)}:{os.minor(device)}".encode()
            self._index.put(real, self._row(DEVICE, entry, 0, link=link))

    def _set_metadata(self, entry: Entry, directory: int, name: bytes, change_mode: bool) -> None:
        if (entry.uid, entry.gid) != self._owner:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            if change_mode and entry.mode & 0o7000:
                os.chmod(name, entry.mode, dir_fd=directory)  # ours and new: not a link
        for key, value in self._allowed(entry):
            try:
                xattr.set_at(directory, name, key, value)
            except OSError as error:
                self._warn_xattr(error, entry, key)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    # Hard links

    def _hard_link(self, entry: Entry, directory: _Open, name: bytes) -> None:
        real = _join(directory.path, name)
        target = self._find(entry.link)
        if target is None:
            with contextlib.suppress(FileNotFoundError):
                self._remove(directory.descriptor, name, real)
            self._links.append((entry, real))
            return
        where, leaf = target
        try:
            source = _join(where.path, leaf)
            if source == real:
                return
            link = self._index.rows[source]
            if link.kind == DIRECTORY:
                raise InvalidInput(
                    f"layer entry {entry.number}: hard link to {_text(entry.link)}, a directory"
                )
            try:
                os.link(
                    leaf, name, src_dir_fd=where.descriptor, dst_dir_fd=directory.descriptor,
                    follow_symlinks=False,
                )  # fmt: skip
            except FileExistsError:
                self._remove(directory.descriptor, name, real)
                os.link(
                    leaf, name, src_dir_fd=where.descriptor, dst_dir_fd=directory.descriptor,
                    follow_symlinks=False,
                )  # fmt: skip
        finally:
            os.close(where.descriptor)
        link = self._index.rows[source]
        origin = link.link if link.kind == HARDLINK else source
        row = self._index.rows[origin]
        self._index.put(
            real,
            row._replace(
                kind=HARDLINK, size=0, link=origin, stored=0, compressed=-1,
                header_offset=entry.header_offset, data_offset=entry.data_offset,
            ),
        )  # fmt: skip

    def _find(self, path: bytes) -> tuple[_Open, bytes] | None:
        """Parent and name of what this layer has at `path`; the caller closes the parent."""
        parent, _, name = path.rpartition(b"/")
        try:
            descriptor = open_in_root(self._root, parent or b".", _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = _Open(descriptor, self._real_path(descriptor))
        real = _join(found.path, name)
        if real in self._index.rows and real not in self._whiteouts:
            return found, name
        os.close(descriptor)
        return None

    def _late_links(self) -> None:
        """Links that came before their targets; what still has none leads into a lower layer."""
        waiting, self._links = self._links, []
        while waiting:
            left: list[tuple[Entry, bytes]] = []
            for entry, real in waiting:
                if real in self._index.rows:
                    continue  # a later entry took its place
                parent, _, name = real.rpartition(b"/")
                try:
                    self._hard_link(entry, self._directory(parent), name)
                except OSError as error:
                    self._explain(error, entry)
                left += self._links
                self._links = []
            if len(left) == len(waiting):
                self._links = left
                return
            waiting = left

    # Whiteouts

    def _is_marker(self, entry: Entry, parent: bytes, name: bytes) -> bool:
        """True when the entry says something about the layers below instead of being a file."""
        if any(part.startswith(b".wh..wh.") for part in parent.split(b"/")):
            return True  # inside aufs' own directories
        if any(part.startswith(b".wh.") for part in parent.split(b"/")):
            raise InvalidInput(f"layer entry {entry.number}: a whiteout is used as a directory")
        if not name.startswith(b".wh."):
            return False
        if name == b".wh..wh..opq":
            directory = self._directory(parent)
            if directory.path not in self._opaque:
                os.setxattr(directory.descriptor, xattr.OPAQUE, b"y")
                self._opaque.add(directory.path)
                self._index.mark(directory.path, OPAQUE)
            return True
        if name.startswith(b".wh..wh."):
            return True  # .wh..wh.plnk, .wh..wh.aufs …
        if name in (b".wh.", b".wh..", b".wh..."):
            raise InvalidInput(f"layer entry {entry.number}: whiteout of {_text(name[4:])}")
        self._whiteout(entry, self._directory(parent), name[4:])
        return True

    def _whiteout(self, entry: Entry, directory: _Open, name: bytes) -> None:
        real = _join(directory.path, name)
        self._hidden.add(real)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory.descriptor)
        except FileExistsError:
            row = self._index.rows[real]
            if row.kind == DIRECTORY and not row.mark & OPAQUE:
                self._make_opaque(directory.descriptor, name, real)
                if row.mark & IMPLIED:  # nothing below it shows: there is nothing to take over
                    self._index.put(real, IMPLIED_DIRECTORY._replace(mark=OPAQUE))
            return
        self._whiteouts.add(real)
        row = self._row(FILE, entry._replace(mode=0, uid=0, gid=0, size=0), WHITEOUT)
        self._index.put(real, row._replace(mtime_ns=0))

    def _drop_whiteouts_below_opaque(self) -> None:
        """They hide nothing there, yet readdir(3) would show them."""
        if not self._opaque:
            return
        for path in sorted(self._whiteouts):
            parts = path.split(b"/")
            if any(b"/".join(parts[:i]) in self._opaque for i in range(len(parts))):
                parent, _, name = path.rpartition(b"/")
                os.unlink(name, dir_fd=self._directory(parent).descriptor)
                self._index.remove(path)
                self._whiteouts.discard(path)

    # Attributes

    def _row(
        self, kind: int, entry: Entry, mark: int, digest: bytes = NO_HASH, link: bytes = b""
    ) -> Row:
        return Row(
            kind, mark, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, link, digest,
            xattrs_hash(entry.xattrs) if entry.xattrs else 0, entry.header_offset,
            entry.data_offset,
            entry.size if entry.pieces is None else sum(size for _, size in entry.pieces),
        )  # fmt: skip

    def _allowed(self, entry: Entry) -> list[tuple[bytes, bytes]]:
        """The attributes that a layer may set, under the names that it must set them."""
        allowed: list[tuple[bytes, bytes]] = []
        for key, value in entry.xattrs:
            if key.startswith(xattr.OVERLAY) and self._escape:
                # Given to overlayfs as it stands it could reach into any other directory.
                key = xattr.ESCAPED_OVERLAY + key.removeprefix(xattr.OVERLAY)
            elif key.startswith(_DROPPED) or (
                key.startswith(b"system.") and key not in xattr.ACCESS_LISTS
            ):
                self._warn(repr(key), f"layer entry {entry.number}: {_text(key)} is left out")
                continue
            allowed.append((key, value))
        return allowed

    def _warn_xattr(self, error: OSError, entry: Entry, key: bytes) -> None:
        """What the file system cannot keep is left out; anything else is an error."""
        if error.errno in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            text = f"layer entry {entry.number}: {_text(key)}: {error.strerror}: left out"
            self._warn(repr(key), text)
        elif error.errno in (errno.E2BIG, errno.ERANGE):
            raise InvalidInput(
                f"layer entry {entry.number}: {_text(key)}: {error.strerror}"
            ) from error
        else:
            raise error

    def _warn(self, cause: str, text: str) -> None:
        self._warnings.setdefault(cause, text)  # once per cause


def _write(descriptor: int, piece: memoryview) -> None:
    written = os.write(descriptor, piece)
    while written < len(piece):
        written += os.write(descriptor, piece[written:])


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 80 else text[:80] + "…")
