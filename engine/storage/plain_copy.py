"""Files once more, where layers cannot be mounted, or a volume takes them over from an image.

Owners, modes, times, attributes, holes and hard links are kept. Blocks are shared where the file
system can (ioctl_ficlone(2)), else the kernel copies them (copy_file_range(2), sendfile(2)).
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from engine.errors import Unavailable
from engine.kernel import xattr
from engine.named_tuple import NamedTuple
from engine.storage.merged import Merged
from engine.storage.upper import Item

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSED = (errno.ENOTSUP, errno.EPERM)  # to an attribute, by a file system that has no such
_FICLONE = 0x40049409  # linux/fs.h
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EPERM)


class _Look(NamedTuple):
    """How a directory will look in the end."""

    path: bytes
    info: os.stat_result
    xattrs: dict[bytes, bytes]


def copy_layers(argument: tuple[Sequence[str], str], report: Callable[[object], None]) -> None:
    """In a worker: what the layers (directories, top first) show together is in a directory that is
    empty. Raises Unavailable."""
    layers, place = argument
    os.umask(0)
    target = os.open(place, _DIRECTORY)
    try:
        fill(Merged([os.fsencode(layer) for layer in layers]).walk(), target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                "disk full while the image's files were copied", "remove images with `pydock rmi`"
            ) from error
        raise Unavailable(
            f"{os.fsdecode(error.filename or place)}: {(error.strerror or '').lower()}",
            "check the disk and its free space",
        ) from error
    finally:
        os.close(target)


def fill(items: Iterable[Item], target: int) -> None:
    """All of them are in the directory `target`, whose own looks are left alone. The process'
    umask must be 0. Raises OSError."""
    links: dict[tuple[int, int], bytes] = {}  # first names of files that have several
    looks: list[_Look] = []
    with _Parents(target) as parents:
        for item in items:
            mode = item.info.st_mode
            directory = parents.of(item.path)
            if stat.S_ISDIR(mode):
                os.mkdir(item.name, 0o700, dir_fd=directory)
                looks.append(_Look(item.path, item.info, xattr.all_of(item.link)))
                continue
            first = item.path
            if item.info.st_nlink > 1:
                first = links.setdefault((item.info.st_dev, item.info.st_ino), item.path)
            if first == item.path:
                _make(item, directory)
            else:
                os.link(
                    first, item.name, src_dir_fd=target, dst_dir_fd=directory,
                    follow_symlinks=False,
                )  # fmt: skip
        for look in reversed(looks):  # times last: no entry is made in them any more
            name = look.path.rpartition(b"/")[2]
            dress(look.info, look.xattrs, parents.of(look.path), name)


class _Parents:
    """Directories below `target`, one of them open at a time: entries come by directory."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._path: bytes | None = None
        self._descriptor = -1

    def of(self, path: bytes) -> int:
        """The directory that the entry at `path` is in."""
        parent = path.rpartition(b"/")[0]
        if parent != self._path:
            self._close()
            self._descriptor = os.open(parent or b".", _DIRECTORY, dir_fd=self._target)
            self._path = parent
        return self._descriptor

    def _close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)
            self._path = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _make(item: Item, directory: int) -> None:
    mode, name = item.info.st_mode, item.name
    if stat.S_ISREG(mode):
        _copy_file(item, directory)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=item.directory), name, dir_fd=directory)
    else:
        os.mknod(name, mode, item.info.st_rdev, dir_fd=directory)
    dress(item.info, xattr.all_of(item.link), directory, name)


def _copy_file(item: Item, directory: int) -> None:
    """Its bytes; holes stay holes."""
    reader = os.open(
        item.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=item.directory
    )  # fmt: skip
    try:
        writer = os.open(item.name, _CREATE, 0o600, dir_fd=directory)
        try:
            if item.info.st_size and not _clone(reader, writer):
                _copy_data(reader, writer, item.info.st_size)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _clone(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _copy_data(reader: int, writer: int, size_bytes: int) -> None:
    os.ftruncate(writer, size_bytes)
    copy = _copy_range
    end = 0
    while end < size_bytes:
        try:
            start = os.lseek(reader, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # a hole up to its end
        end = os.lseek(reader, start, os.SEEK_HOLE)
        while start < end:
            try:
                copied = copy(reader, writer, start, end - start)
            except OSError as error:
                if copy is _send or error.errno not in _CANNOT:
                    raise
                copy = _send
                continue
            if not copied:
                return  # it has become shorter
            start += copied


def _copy_range(reader: int, writer: int, start: int, count: int) -> int:
    return os.copy_file_range(reader, writer, count, start, start)


def _send(reader: int, writer: int, start: int, count: int) -> int:
    os.lseek(writer, start, os.SEEK_SET)
    return os.sendfile(writer, reader, start, count)


def dress(info: os.stat_result, xattrs: dict[bytes, bytes], directory: int, name: bytes) -> None:
    """The entry `name` of `directory` looks as `info` and `xattrs` say."""
    # In this order: a change of owner takes set-uid and capabilities away.
    os.chown(name, info.st_uid, info.st_gid, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=directory)
    for key, value in xattrs.items():
        try:
            xattr.set_at(directory, name, key, value)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    times = (info.st_atime_ns, info.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)
