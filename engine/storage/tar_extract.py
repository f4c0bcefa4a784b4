"""A tar stream's files go into a directory that is in use, as docker's cp puts them there.

Nothing leaves the directory's root: a parent is opened by openat2(RESOLVE_IN_ROOT), the last
component is only touched relative to that descriptor, never followed. A directory is merged with
one that is there; neither takes the place of the other kind. What else is there is replaced.

github.com/moby/moby/blob/master/pkg/archive/archive.go, Unpack
"""

import errno
import os
import stat
from collections.abc import Iterator

from engine.errors import Conflict, Unavailable
from engine.kernel import xattr
from engine.kernel.files import open_in_root, read_file
from engine.named_tuple import NamedTuple
from engine.storage.tar_read import DIRECTORY, FILE, HARDLINK, SYMLINK, Entry, TarReader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LEAF_DIRECTORY = _DIRECTORY | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}
_DROPPED = (*xattr.POLICY, xattr.OVERLAY, xattr.USER_OVERLAY)
_NO_SUCH = (errno.ENOTSUP, errno.EPERM)  # an attribute that the file system does not take


class Place(NamedTuple):
    """Where the files go: `base` is an open directory, which `path` leads to in `root`."""

    root: int
    path: bytes
    base: int
    follow: bool  # links in the base on the way to a file: in the root, or not at all
    name: str  # as a person wrote it


class Owner(NamedTuple):
    """Whose files they become."""

    uid: int
    gid: int


class TreeWriter:
    """Puts entries into `place`. Those at or below `old` get the name `new`; without an `owner`
    they stay whose they are in the archive."""

    def __init__(self, place: Place, old: bytes, new: bytes, owner: Owner | None) -> None:
        self._place = place
        self._old = old
        self._new = new
        self._owner = owner
        self._parent = (b"", -1)  # the directory that was written to last
        self._directories: dict[bytes, Entry] = {}
        self.written_bytes = 0

    def apply(self, entries: Iterator[Entry], reader: TarReader) -> None:
        """All of the stream is there. Raises Conflict, Unavailable, and as `entries` do."""
        umask = os.umask(0)
        try:
            for entry in entries:
                path = self._renamed(entry.path)
                try:
                    self._apply(entry, path, reader)
                except OSError as error:
                    raise self._explain(error, path) from error
            self._finish()
        finally:
            os.umask(umask)
            self._close()

    def _renamed(self, path: bytes) -> bytes:
        old, new = self._old, self._new
        if old == new:
            return path
        if path == old:
            return new
        if not old:
            return new + b"/" + path
        if not path.startswith(old + b"/"):
            return path
        below = path[len(old) + 1 :]
        return new + b"/" + below if new else below

    def _apply(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        if not path:
            return  # the directory itself is there, and stays as it is
        above, _, name = path.rpartition(b"/")
        parent = self._directory(above)
        there = _mode_of(parent, name)
        is_directory = entry.type == DIRECTORY
        if there is not None:
            if stat.S_ISDIR(there) and not is_directory:
                raise Conflict(
                    f"cannot overwrite directory {self._said(path)} with non-directory",
                    "remove the directory, or copy to another place",
                )
            if is_directory and not stat.S_ISDIR(there):
                raise Conflict(
                    f"cannot overwrite non-directory {self._said(path)} with directory",
                    "remove the file, or copy to another place",
                )
        if is_directory:
            if there is None:
                os.mkdir(name, 0o700, dir_fd=parent)
            self._directories[path] = entry
            return
        if there is not None:
            if _is_mounted(parent, name):
                # From outside of its mount namespace the kernel would unmount it.
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            os.unlink(name, dir_fd=parent)
        if entry.type == FILE:
            self._file(entry, parent, name, reader)
            return
        if entry.type == HARDLINK:
            self._hard_link(self._renamed(entry.link), parent, name)
            return
        if entry.type == SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
        else:
            os.mknod(name, _TYPES[entry.type] | entry.mode, entry.device, dir_fd=parent)
        self._dress_leaf(entry, parent, name)

    # -- directories

    def _directory(self, path: bytes) -> int:
        """The directory at `path` in the place, made where it is missing."""
        known, descriptor = self._parent
        if descriptor >= 0 and known == path:
            return descriptor
        self._close()
        try:
            descriptor = self._open(path)
        except FileNotFoundError:
            self._make(path)
            descriptor = self._open(path)
        self._parent = path, descriptor
        return descriptor

    def _open(self, path: bytes) -> int:
        try:
            return open_in_root(self._place.base, path or b".", _DIRECTORY, links=False)
        except OSError as error:
            if error.errno != errno.ELOOP or not self._place.follow:
                raise
        return open_in_root(self._place.root, self._place.path + b"/" + path, _DIRECTORY)

    def _make(self, path: bytes) -> None:
        """Directories that no entry names, as mkdir -p makes them."""
        here = b""
        for name in path.split(b"/"):
            parent = self._open(here)
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
                if self._owner is not None:
                    os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)
            except FileExistsError:
                pass
            finally:
                os.close(parent)
            here = here + b"/" + name if here else name

    def _finish(self) -> None:
        """Owners, modes and times of directories: no file is made in them any more."""
        for path, entry in reversed(self._directories.items()):
            try:
                above, _, name = path.rpartition(b"/")
                descriptor = os.open(name, _LEAF_DIRECTORY, dir_fd=self._directory(above))
                try:
                    self._dress(entry, descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._explain(error, path) from error

    def _close(self) -> None:
        path, descriptor = self._parent
        if descriptor >= 0:
            os.close(descriptor)
        self._parent = path, -1

    # -- leaves

    def _file(self, entry: Entry, parent: int, name: bytes, reader: TarReader) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            self._copy(entry, descriptor, reader)
            self._dress(entry, descriptor)
        finally:
            os.close(descriptor)

    def _copy(self, entry: Entry, descriptor: int, reader: TarReader) -> None:
        """Its bytes; holes stay holes."""
        os.ftruncate(descriptor, entry.size if entry.pieces is not None else 0)
        pieces = iter(entry.pieces if entry.pieces is not None else ((0, entry.size),))
        offset = left = 0
        while (piece := reader.read()) is not None:
            self.written_bytes += len(piece)
            while piece:
                while not left:
                    offset, left = next(pieces)
                written = os.pwrite(descriptor, piece[:left], offset)
                offset, left, piece = offset + written, left - written, piece[written:]

    def _hard_link(self, target: bytes, parent: int, name: bytes) -> None:
        above, _, first = target.rpartition(b"/")
        directory = self._open(above)
        try:
            os.link(first, name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(directory)

    def _dress(self, entry: Entry, descriptor: int) -> None:
        # In this order: a change of owner takes set-uid and capabilities away.
        os.fchown(descriptor, *(self._owner or (entry.uid, entry.gid)))
        os.fchmod(descriptor, entry.mode)
        for key, value in _allowed(entry):
            try:
                os.setxattr(descriptor, key, value)
            except OSError as error:
                if error.errno not in _NO_SUCH:
                    raise
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))

    def _dress_leaf(self, entry: Entry, parent: int, name: bytes) -> None:
        """As `_dress`, for what cannot be opened."""
        owner = self._owner or (entry.uid, entry.gid)
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        for key, value in _allowed(entry):
            try:
                xattr.set_at(parent, name, key, value)
            except OSError as error:
                if error.errno not in _NO_SUCH:
                    raise
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    # -- words

    def _said(self, path: bytes) -> str:
        text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
        return f'"{self._place.name.rstrip("/.") or ""}/{text}"'

    def _explain(self, error: OSError, path: bytes) -> Conflict | Unavailable:
        said, reason = self._said(path), (error.strerror or str(error)).lower()
        if error.errno == errno.EBUSY:
            return Conflict(
                f"{said}: something is mounted there, so it cannot be replaced",
                "copy to another place, or change what is mounted",
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Unavailable(f"{said}: {reason}", "free some space, then copy again")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return Conflict(
                f"{said}: what should be a directory on the way to it is none",
                "remove it, or copy to another place",
            )
        return Unavailable(f"{said}: {reason}", "look at the place that it is copied to")


def _mode_of(parent: int, name: bytes) -> int | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _is_mounted(parent: int, name: bytes) -> bool:
    """Whether something is mounted on an entry that is no directory."""
    entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        return _mount_of(entry) != _mount_of(parent)
    finally:
        os.close(entry)


def _mount_of(descriptor: int) -> bytes:
    """The id of the mount that it is on: proc_pid_fdinfo(5)."""
    _, _, rest = read_file(f"/proc/self/fdinfo/{descriptor}").partition(b"mnt_id:")
    return rest.split()[0]


def _allowed(entry: Entry) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in entry.xattrs if not key.startswith(_DROPPED)]
