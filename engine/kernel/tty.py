"""Pseudo terminals of a given devpts file system: pty(7), ioctl_tty(2)."""

import errno
import os
import stat
import struct
from fcntl import ioctl

from engine.kernel.files import DEVPTS_SUPER_MAGIC, file_system_magic, open_in_root
from engine.kernel.libc import failure

_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

_PTMX = os.makedev(5, 2)


def open_pair(root: int) -> tuple[int, int]:
    """Master and terminal of a new pair in the devpts at /dev/pts of the root file system `root`.

    Both descriptors come from that very devpts, never from a name that a container could exchange
    (CVE-2025-52565). Raises OSError ENOTTY when what is there is no devpts.
    """
    path = b"dev/pts/ptmx"
    master = open_in_root(root, path, os.O_RDWR | os.O_NOCTTY, links=False)
    try:
        status = os.fstat(master)
        if (
            not stat.S_ISCHR(status.st_mode)
            or status.st_rdev != _PTMX
            or file_system_magic(master) != DEVPTS_SUPER_MAGIC
        ):
            raise failure("open", errno.ENOTTY, path)
        ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        return master, ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        os.close(master)
        raise


def set_size(descriptor: int, rows: int, columns: int) -> None:
    """The terminal has this size; the foreground process group gets SIGWINCH if that is new."""
    ioctl(descriptor, _TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def get_size(descriptor: int) -> tuple[int, int]:
    """Rows and columns; both 0 when nobody has set them."""
    rows, columns, _, _ = struct.unpack("HHHH", ioctl(descriptor, _TIOCGWINSZ, bytes(8)))
    return rows, columns


def make_controlling(descriptor: int) -> None:
    """The terminal is the controlling one of this session, whose leader must call this."""
    ioctl(descriptor, _TIOCSCTTY, 0)
