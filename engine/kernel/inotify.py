"""Sleeping until something happens in a directory. inotify(7)"""

import ctypes
import os
import select
import struct
import threading

from engine.kernel.libc import failure

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_IGNORED = 0x8000  # the directory is gone
_IN_Q_OVERFLOW = 0x4000

_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """One watched directory. One thread waits, any thread closes."""

    def __init__(self, directory: str, mask: int) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closed = False
        self._lock = threading.Lock()
        if self._descriptor < 0:
            number = ctypes.get_errno()
            self.release()
            raise failure("inotify_init1", number, directory)
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask) < 0:
            number = ctypes.get_errno()
            self.release()
            raise failure("inotify_add_watch", number, directory)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    @property
    def closed(self) -> bool:
        return self._closed

    def wait(self, timeout_seconds: float | None = None) -> dict[str, int]:
        """The names that something happened to, with what did (IN_…); "" stands for the directory
        itself or for names that were lost. Empty after the timeout, and at once when closed."""
        if self._closed:
            return {}
        self._poll.poll(None if timeout_seconds is None else timeout_seconds * 1000)
        return {} if self._closed else self._names()

    def _names(self) -> dict[str, int]:
        found: dict[str, int] = {}
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return found
        position = 0
        while position < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size
            name = data[position : position + length].rstrip(b"\0")
            key = "" if mask & _IN_Q_OVERFLOW else os.fsdecode(name)
            found[key] = found.get(key, 0) | mask
            position += length
        return found

    def close(self) -> None:
        """Whoever waits, now or later, waits no more."""
        with self._lock:
            if self._wake >= 0 and not self._closed:
                self._closed = True
                os.eventfd_write(self._wake, 1)

    def release(self) -> None:
        """Its descriptors are closed; nobody may be waiting."""
        with self._lock:
            self._closed = True
            for descriptor in (self._wake, self._descriptor):
                if descriptor >= 0:
                    os.close(descriptor)
            self._wake = self._descriptor = -1
