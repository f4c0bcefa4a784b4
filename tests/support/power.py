"""A disk whose power can be cut: ext4 in a file, shut down without a flush of its log.

EXT4_IOC_SHUTDOWN: nothing is written from that moment on, what was not yet on the disk is lost, and
the next mount replays the journal as it is found. https://lwn.net/Articles/715688/
"""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

from tests.support.small_disk import unmount

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2


class PowerDisk:
    """Mounted at `mount` from construction until `close`."""

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self._image = directory / "disk"
        self.mount = directory / "mount"
        self.mount.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self._image], check=True)
        self.plug_in()

    def cut(self) -> None:
        """From now on nothing reaches the disk."""
        descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def restart(self) -> None:
        """The power is back; whoever had files open must be gone."""
        self.close()
        self.plug_in()

    def plug_in(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.mount], check=True)

    def close(self) -> None:
        unmount(self.mount)
