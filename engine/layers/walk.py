"""The index of a plain directory, taken as the one layer of an image.

Nothing is followed, nothing crosses into another file system. What vanishes meanwhile is left out.
"""

from __future__ import annotations

import contextlib
import os
import stat

from engine.errors import InvalidInput
from engine.model.layer import DEVICE, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from engine.storage.layer_index import (
    NO_HASH,
    Facts,
    IndexBuilder,
    Row,
    new_hash,
    write_index,
    xattrs_hash,
)

_CHUNK_BYTES = 1 << 20


def index_directory(path: str, index_path: str) -> None:
    """The index of `path` is at `index_path`. Raises InvalidInput when it cannot be read."""
    builder = IndexBuilder()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            top = os.fstat(descriptor)
            builder.put(b"", _row(os.fsencode(path), DIRECTORY, top))
            _Walk(os.fsencode(path), top.st_dev, builder).into(b"")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidInput(
            f"{os.fsdecode(error.filename or path)}: {(error.strerror or str(error)).lower()}",
            "name a directory that can be read; as root, any can",
        ) from error
    rows = builder.rows
    size_bytes = sum(row.size for row in rows.values())
    disk_bytes = sum(row.stored for row in rows.values())
    name = f"dir:{os.path.abspath(path)}"
    write_index(
        index_path, builder, Facts(name, name, "", 0, 0, size_bytes, disk_bytes, len(rows), ())
    )


class _Walk:
    def __init__(self, top: bytes, device: int, builder: IndexBuilder) -> None:
        self._top = top
        self._device = device
        self._builder = builder
        self._inodes: dict[int, bytes] = {}  # files with several names: the first of them

    def into(self, path: bytes) -> None:
        todo = [path]
        while todo:
            here = todo.pop()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for name in sorted(os.listdir(self._top + b"/" + here)):
                    below = here + b"/" + name if here else name
                    with contextlib.suppress(FileNotFoundError):
                        if self._put(below):
                            todo.append(below)

    def _put(self, path: bytes) -> bool:
        """The path is noted; whether there is more below it."""
        full = self._top + b"/" + path
        status = os.lstat(full)
        mode, link, digest = status.st_mode, b"", NO_HASH
        if stat.S_ISDIR(mode):
            kind = DIRECTORY
        elif stat.S_ISREG(mode):
            first = self._inodes.setdefault(status.st_ino, path) if status.st_nlink > 1 else path
            kind, link = (FILE, b"") if first == path else (HARDLINK, first)
            digest = _hash(full) if first == path else self._builder.rows[first].hash
        elif stat.S_ISLNK(mode):
            kind, link = SYMLINK, os.readlink(full)
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            kind = FIFO
        else:
            letter = b"c" if stat.S_ISCHR(mode) else b"b"
            device = (letter, os.major(status.st_rdev), os.minor(status.st_rdev))
            kind, link = DEVICE, b"%s %d:%d" % device
        self._builder.put(path, _row(full, kind, status, link, digest))
        return kind == DIRECTORY and status.st_dev == self._device


def _row(
    path: bytes, kind: int, status: os.stat_result, link: bytes = b"", digest: bytes = NO_HASH
) -> Row:
    xattrs = 0
    with contextlib.suppress(OSError):  # not every file system has them
        names = os.listxattr(path, follow_symlinks=False)
        if names:
            pairs = [
                (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
                for name in names
            ]
            xattrs = xattrs_hash(pairs)
    size = status.st_size if kind == FILE else 0
    return Row(
        kind, 0, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size,
        status.st_mtime_ns, link, digest, xattrs, 0, 0, status.st_blocks * 512, 0,
    )  # fmt: skip


def _hash(path: bytes) -> bytes:
    hasher = new_hash()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return bytes(hasher.digest()[:16])
