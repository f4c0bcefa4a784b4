"""Watching directories. inotify(7)"""

import ctypes
import os
import struct

from engine.kernel.libc import failure

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_IN_Q_OVERFLOW = 0x4000

_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One watched directory: `descriptor` is readable when something has happened there."""

    def __init__(self, directory: str, mask: int) -> None:
        self.descriptor = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self.descriptor < 0:
            raise failure("inotify_init1", ctypes.get_errno(), directory)
        if _libc.inotify_add_watch(self.descriptor, os.fsencode(directory), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            raise failure("inotify_add_watch", number, directory)

    def names(self) -> set[str]:
        """The names that something happened to since the last call; "" when some were lost."""
        found: set[str] = set()
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return found
        position = 0
        while position < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size
            name = data[position : position + length].rstrip(b"\0")
            found.add("" if mask & _IN_Q_OVERFLOW else os.fsdecode(name))
            position += length
        return found

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
