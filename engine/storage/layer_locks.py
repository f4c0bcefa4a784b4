"""Who unpacks which layer."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading

from engine.oci.digest import DiffID


class LayerLocks:
    """Byte ranges of one file, given up by the kernel with the process.

    A process that holds some may only wait for one that sorts behind all of them, so no two can
    wait for each other; else it unpacks the layer in vain, which costs time and nothing more.
    fcntl(2), "Open file description locks".
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: set[DiffID] = set()
        self._lock = threading.Lock()

    def take(self, diff_id: DiffID) -> bool:
        """True when it is ours now."""
        with self._lock:
            try:
                self._set(diff_id, fcntl.F_WRLCK)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                raise
            self._held.add(diff_id)
            return True

    def may_wait(self, diff_id: DiffID) -> bool:
        with self._lock:
            return all(held < diff_id for held in self._held)

    def give_back(self, diff_id: DiffID) -> None:
        with self._lock:
            self._set(diff_id, fcntl.F_UNLCK)
            self._held.discard(diff_id)

    def close(self) -> None:
        os.close(self._descriptor)

    def _set(self, diff_id: DiffID, kind: int) -> None:
        start = int(diff_id.partition(":")[2][:15], 16)
        # struct flock of 64-bit Linux: type, whence, start, length, pid (0)
        fcntl.fcntl(
            self._descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, 0, start, 1, 0)
        )
