"""What directories take on the disk, as du(1) counts: blocks, hard links once, one file system.

Runs in a worker process: a volume may hold a million files. Lean: `os` and `stat` alone.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from engine.named_tuple import NamedTuple

BLOCK_BYTES = 512  # of st_blocks. stat(2)


class Amount(NamedTuple):
    """What is at and below a path."""

    disk_bytes: int
    files: int
    written_ns: int  # newest mtime of a file; 0 where there is none


Task = tuple[list[str], list[str], list[str]]
Measured = tuple[dict[str, Amount], dict[str, dict[str, Amount]]]


def measure(argument: Task, report: Callable[[int], None]) -> Measured:
    """For the task (`whole`, `each`, `flat`): every path of `whole` with all below it; of `each`,
    which are directories, every entry by its name and themselves as "."; of `flat` what they are
    and the files right in them. What is not there is left out, as is what other paths had before.
    """
    whole, each, flat = argument
    meter = _Meter()
    amounts: dict[str, Amount] = {}
    entries: dict[str, dict[str, Amount]] = {}
    for path in flat:
        with contextlib.suppress(OSError):
            amounts[path] = meter.flat(path)
    for path in whole:
        with contextlib.suppress(OSError):
            amounts[path] = meter.whole(path)
    for directory in each:
        with contextlib.suppress(OSError):
            entries[directory] = {".": meter.alone(directory)}
            for name in os.listdir(directory):
                with contextlib.suppress(FileNotFoundError):
                    entries[directory][name] = meter.whole(f"{directory}/{name}")
    return (
        {path: tuple(amount) for path, amount in amounts.items()},  # type: ignore[misc]
        {
            directory: {name: tuple(amount) for name, amount in found.items()}  # type: ignore[misc]
            for directory, found in entries.items()
        },
    )  # plain tuples: marshal knows no others


class _Meter:
    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def alone(self, path: str) -> Amount:
        """Without what is below it."""
        return Amount(os.lstat(path).st_blocks * BLOCK_BYTES, 0, 0)

    def flat(self, path: str) -> Amount:
        """A directory with its files, without its directories. Raises OSError."""
        status = os.lstat(path)
        with os.scandir(path) as entries:
            files = [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
        return self._sum(status, (entry.stat(follow_symlinks=False) for entry in files))

    def whole(self, path: str) -> Amount:
        """With all below it. Raises OSError when it is not there."""
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            return self._sum(None, [status])
        return self._sum(status, self._below(path, status.st_dev))

    def _below(self, path: str, device: int) -> Iterator[os.stat_result]:
        stack = [path]
        while stack:
            try:
                entries = os.scandir(stack.pop())
            except OSError:  # it has just gone
                continue
            with entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if status.st_dev != device:
                        continue  # something is mounted there
                    if stat.S_ISDIR(status.st_mode):
                        stack.append(entry.path)
                    yield status

    def _sum(self, top: os.stat_result | None, below: Iterable[os.stat_result]) -> Amount:
        blocks = top.st_blocks if top is not None else 0
        files = written_ns = 0
        for status in below:
            if stat.S_ISDIR(status.st_mode):
                blocks += status.st_blocks
                continue
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in self._seen:
                    files += 1
                    continue
                self._seen.add(inode)
            blocks += status.st_blocks
            files += 1
            written_ns = max(written_ns, status.st_mtime_ns)
        return Amount(blocks * BLOCK_BYTES, files, written_ns)
