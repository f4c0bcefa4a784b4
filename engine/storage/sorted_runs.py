"""What does not stay in memory: a mapping of paths to bytes in sorted files, newer ones first.

Every run is a file without a name, in pre-order (a directory, then all that is in it), with every
so-maniest key in memory. An empty value says that the path is gone.
"""

import heapq
import os
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import IO

_HEAD = struct.Struct("<HH")  # the lengths of key and value
_EVERY = 32  # records from one known key to the next
_READ_BYTES = 1 << 16
_Pair = tuple[bytes, bytes]


def order(path: bytes) -> bytes:
    """The key by which paths are in pre-order."""
    return path.replace(b"/", b"\0")


class SortedRuns:
    """Empty at first. Its files lie in `directory`, and go with the object."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._runs: list[_Run] = []  # oldest first

    def add(self, pairs: dict[bytes, bytes]) -> None:
        """These count more than what is there."""
        run = _Run(self._directory)
        run.write((path, pairs[path]) for path in sorted(pairs, key=order))
        self._runs.append(run)

    def get(self, path: bytes) -> bytes | None:
        """None when nothing is known of it."""
        for run in reversed(self._runs):
            found = run.get(path)
            if found is not None:
                return found
        return None

    def below(self, path: bytes) -> dict[bytes, bytes]:
        """What is known of the paths below it."""
        found: dict[bytes, bytes] = {}
        for run in self._runs:
            found.update(run.below(path))
        return found

    def all(self) -> Iterator[_Pair]:
        """Everything in order, without what is gone. The runs are one from then on."""
        if len(self._runs) > 1:
            merged = _Run(self._directory)
            merged.write(self._merge())
            self._runs = [merged]
        return ((path, value) for run in self._runs for path, value in run.pairs(0) if value)

    def _merge(self) -> Iterator[_Pair]:
        runs = [run.ranked(-number) for number, run in enumerate(self._runs)]
        last: bytes | None = None
        for _, _, path, value in heapq.merge(*runs):
            if path != last:
                last = path
                if value:
                    yield path, value


class _Run:
    def __init__(self, directory: str) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        self._keys: list[bytes] = []
        self._offsets: list[int] = []
        self._end = 0

    def write(self, pairs: Iterable[_Pair]) -> None:
        parts: list[bytes] = []
        size = 0
        for number, (path, value) in enumerate(pairs):
            if number % _EVERY == 0:
                self._keys.append(order(path))
                self._offsets.append(self._end + size)
            record = _HEAD.pack(len(path), len(value)) + path + value
            parts.append(record)
            size += len(record)
            if size >= _READ_BYTES:
                self._flush(parts, size)
                parts, size = [], 0
        self._flush(parts, size)

    def _flush(self, parts: list[bytes], size: int) -> None:
        self._file.write(b"".join(parts))
        self._file.flush()
        self._end += size

    def get(self, path: bytes) -> bytes | None:
        number = bisect_right(self._keys, order(path)) - 1
        if number < 0:
            return None
        start = self._offsets[number]
        last = number + 1 == len(self._offsets)
        stop = self._end if last else self._offsets[number + 1]
        data = os.pread(self._file.fileno(), stop - start, start)
        return next((value for key, value in _parse(data)[0] if key == path), None)

    def below(self, path: bytes) -> Iterator[_Pair]:
        prefix = path + b"/"
        number = max(bisect_right(self._keys, order(prefix)) - 1, 0)
        for key, value in self.pairs(self._offsets[number] if self._offsets else 0):
            if key.startswith(prefix):
                yield key, value
            elif order(key) > order(prefix):
                return

    def ranked(self, rank: int) -> Iterator[tuple[bytes, int, bytes, bytes]]:
        """All, to be merged with other runs': of one path the lowest rank comes first."""
        return ((order(path), rank, path, value) for path, value in self.pairs(0))

    def pairs(self, offset: int) -> Iterator[_Pair]:
        """All from the record at `offset` on."""
        rest = b""
        while offset < self._end:
            data = os.pread(self._file.fileno(), _READ_BYTES, offset)
            offset += len(data)
            found, rest = _parse(rest + data)
            yield from found


def _parse(data: bytes) -> tuple[list[_Pair], bytes]:
    """The whole records at the start, and what is left."""
    found: list[_Pair] = []
    here, size = 0, len(data)
    while here + _HEAD.size <= size:
        path_length, value_length = _HEAD.unpack_from(data, here)
        middle = here + _HEAD.size + path_length
        end = middle + value_length
        if end > size:
            break
        found.append((data[here + _HEAD.size : middle], data[middle:end]))
        here = end
    return found, data[here:]
