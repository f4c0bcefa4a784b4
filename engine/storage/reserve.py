"""ROOT/reserve: room that is given up when the disk is full, so that a removal can be written down.

SQLite cannot even open its file without some, and without it nothing could ever be freed. What
brings something in never gets it. It is taken back when there is space again.
"""

import contextlib
import os

SIZE_BYTES = 2 << 20
TO_OPEN_BYTES = 96 << 10  # db.sqlite-shm and the first pages of db.sqlite-wal
_PLENTY = 10  # times its size must be free before it is taken


def keep(root: str) -> None:
    """The reserve is there, where the disk has space for it. Cheap when it is."""
    path = f"{root}/reserve"
    with contextlib.suppress(OSError):
        if _size(path) < SIZE_BYTES and _free(root) >= _PLENTY * SIZE_BYTES:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE_BYTES)
            finally:
                os.close(descriptor)


def give(root: str, wanted_bytes: int = SIZE_BYTES) -> None:
    """So many bytes are free, or as many as there were in reserve."""
    path = f"{root}/reserve"
    with contextlib.suppress(OSError):
        if _free(root) < wanted_bytes:
            os.truncate(path, max(0, _size(path) - wanted_bytes))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _free(root: str) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize
