"""A file system that is soon full: ext4 in a file, mounted through a loop device."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


def unmount(place: Path) -> None:
    """Nothing is mounted there. Workers of a killed process, and who empties the trash, may take a
    moment to close what they have open."""
    until(
        lambda: (
            subprocess.run(["umount", place], check=False, stderr=subprocess.PIPE).returncode == 0
        )
    )


@contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[Path]:
    """Where it is mounted; all of it can be used."""
    image, mount = directory / "disk", directory / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        unmount(mount)
