"""Reading a container's log: the tail backwards in blocks, then following across rotations."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator

from engine.follow import Following
from engine.kernel.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_MODIFY,
    IN_MOVED_TO,
)
from engine.model.container import LogLine
from engine.monitor.logs import STAMP_BYTES

_BLOCK_BYTES = 1 << 16
_CHANGES = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_CLOSE_WRITE
_LOOKS, _LOOK_SECONDS = 100, 0.02  # at a writer that has closed the log
_PART = re.compile(rb"^.{%d} std(?:out|err) P " % STAMP_BYTES, re.MULTILINE)

_STREAM = slice(STAMP_BYTES + 1, STAMP_BYTES + 7)
_MARK = slice(STAMP_BYTES + 7, STAMP_BYTES + 10)
_TEXT = slice(STAMP_BYTES + 10, None)


def read(
    directory: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    since_ns: int = 0,
    until_ns: int = 0,
    alive: Callable[[], bool] = lambda: False,
) -> LogStream:
    """Lines of the log in `directory`, oldest first: the last `tail` ones, or all. With `follow`,
    also what comes, until the container's end: `alive` is false and all is read.

    A line of more than 16 KiB comes in parts, all but its last marked `partial`; so does one whose
    end never came. Memory does not grow with the log.
    """
    return LogStream(directory, follow, tail, since_ns, until_ns, alive)


class LogStream(Following[LogLine]):
    """The face's Stream of log lines. One thread reads, any thread closes."""

    def __init__(
        self,
        directory: str,
        follow: bool,
        tail: int | None,
        since_ns: int,
        until_ns: int,
        alive: Callable[[], bool],
    ) -> None:
        self._path = f"{directory}/log"
        self._follow = follow
        self._until = format_time(until_ns) if until_ns else b"~"
        self._until_ns = until_ns
        self._alive = alive
        self._files: list[int] = []  # oldest first
        self._rest = b""
        self._stamp = b""
        self._time_ns = 0
        super().__init__(directory, _CHANGES)
        self._files = self._open_all()
        if since_ns:
            self._skip_before(format_time(since_ns))
        if tail is not None:
            self._skip_to_tail(tail)

    def _items(self) -> Iterator[LogLine]:
        ended = False
        while True:
            while self._files:
                while data := os.read(self._files[0], _BLOCK_BYTES):
                    for line in self._lines(data):
                        parsed = self._parse(line)
                        if parsed is not None:
                            if self._stamp > self._until:
                                return
                            yield parsed
                if len(self._files) == 1:
                    break
                os.close(self._files.pop(0))
                self._rest = b""
            if ended or not self._follow or self._watch.closed:
                return
            ended = not self._wait()

    def _wait(self) -> bool:
        """There may be more; False when what is there now is the last."""
        looks = 0
        while not self._watch.closed:
            if not self._alive():
                self._open_rotated()
                return False
            timeout = _LOOK_SECONDS if looks else None
            if self._until_ns:
                left = (self._until_ns - time.time_ns()) / 1e9
                if left <= 0:
                    return False
                timeout = min(left, timeout or left)
            names = self._watch.wait(timeout)
            change = names.get("log", 0)
            if names.get("", 0) & IN_IGNORED or change & IN_DELETE:  # removed with its container
                return False
            if self._open_rotated() or change & IN_MODIFY:
                return True
            # A monitor's last close lies beside the freeing of its lock, before or after.
            looks = _LOOKS if change & IN_CLOSE_WRITE else max(0, looks - 1)
        return False

    def _open_all(self) -> list[int]:
        """Descriptors of the log's files, oldest first."""
        found: list[int] = []
        seen: set[int] = set()
        directory, _, base = self._path.rpartition("/")
        numbers = [0]
        with contextlib.suppress(FileNotFoundError):  # removed with its container
            for name in os.listdir(directory):
                suffix = name.removeprefix(f"{base}.")
                numbers += [int(suffix)] if suffix.isdecimal() and suffix != name else []
        # Newest first: a rotation meanwhile shows one twice, and moves the last one on.
        for number in range(max(numbers) + 2):
            name = f"{self._path}.{number}" if number else self._path
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                inode = os.fstat(descriptor).st_ino
                if inode in seen:
                    os.close(descriptor)
                else:
                    seen.add(inode)
                    found.insert(0, descriptor)
        return found

    def _open_rotated(self) -> bool:
        """Whether newer files stand there than the one that is being read; they are open now."""
        current = os.fstat(self._files[-1]).st_ino if self._files else -1
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == current:
                return False
        newer: list[int] = []
        for descriptor in self._open_all():
            if os.fstat(descriptor).st_ino == current:
                for older in newer:
                    os.close(older)
                newer = []
                os.close(descriptor)
            else:
                newer.append(descriptor)
        self._files += newer
        return bool(newer)

    def _skip_before(self, stamp: bytes) -> None:
        """What is read begins with the first record of `stamp` or later."""
        while len(self._files) > 1 and _first_stamp(self._files[1]) < stamp:
            os.close(self._files.pop(0))
        if self._files:
            os.lseek(self._files[0], _find_stamp(self._files[0], stamp), os.SEEK_SET)

    def _skip_to_tail(self, tail: int) -> None:
        """What is read is the last `tail` whole lines of what would have been."""
        for number in range(len(self._files) - 1, -1, -1):
            descriptor = self._files[number]
            begin = os.lseek(descriptor, 0, os.SEEK_CUR)
            position, tail = _back(descriptor, begin, tail)
            os.lseek(descriptor, position, os.SEEK_SET)
            if not tail:
                for older in self._files[:number]:
                    os.close(older)
                del self._files[:number]
                return

    def _lines(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return lines

    def _parse(self, line: bytes) -> LogLine | None:
        """None for what no monitor has written."""
        stream, mark = line[_STREAM], line[_MARK]
        if stream not in (b"stdout", b"stderr") or mark not in (b" F ", b" P "):
            return None
        stamp = line[:STAMP_BYTES]
        if stamp != self._stamp:  # a chunk's lines share it
            try:
                self._time_ns = parse_time(stamp)
            except ValueError:
                return None
            self._stamp = stamp
        return LogLine(
            self._time_ns,
            "stdout" if stream == b"stdout" else "stderr",
            line[_TEXT],
            mark == b" P ",
        )

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _back(descriptor: int, begin: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` whole lines at or after `begin` start, and how many are missing.

    A line ends with its F record; what comes after the last of these counts as one too.
    """
    position = os.fstat(descriptor).st_size
    if not lines:
        return position, 0
    carry = b""  # the beginning of the record that reaches into the block before
    at_end = True
    while position > begin:
        start = max(begin, position - _BLOCK_BYTES)
        block = os.pread(descriptor, position - start, start) + carry
        cut = block.find(b"\n") + 1 if start > begin else 0
        carry, records = block[:cut], block[cut:]
        base, position = start + cut, start
        if at_end and records:
            if not _PART.match(records, records.rfind(b"\n", 0, -1) + 1):
                lines += 1  # the end of the last line starts none
            at_end = False
        ends = records.count(b"\n") - len(_PART.findall(records))
        if ends < lines:
            lines -= ends
            continue
        end = len(records)
        while True:
            record = records.rfind(b"\n", 0, end - 1) + 1
            if not _PART.match(records, record):
                lines -= 1
                if not lines:
                    return base + end, 0
            end = record
    return begin, lines if at_end else max(0, lines - 1)


def _first_stamp(descriptor: int) -> bytes:
    return os.pread(descriptor, STAMP_BYTES, 0)


def _find_stamp(descriptor: int, stamp: bytes) -> int:
    """Where the first record of `stamp` or later begins: time runs forward in a file."""
    size = os.fstat(descriptor).st_size
    low, high = 0, size  # records that start before low are earlier, those after high are not
    while high - low > _BLOCK_BYTES:
        middle = (low + high) // 2
        block = os.pread(descriptor, _BLOCK_BYTES, middle)
        start = block.find(b"\n") + 1
        if start and block[start : start + STAMP_BYTES] < stamp:
            low = middle + start
        else:
            high = middle
    position = low
    for line in os.pread(descriptor, 2 * _BLOCK_BYTES, low).split(b"\n"):
        if line[:STAMP_BYTES] >= stamp:
            break
        position += len(line) + 1
    return min(position, size)


def format_time(time_ns: int) -> bytes:
    """As the log has it: `2026-01-01T00:00:00.000000000Z`."""
    second, rest = divmod(time_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode() + b"%09dZ" % rest


def parse_time(stamp: bytes) -> int:
    """Nanoseconds since 1970 of `2026-01-01T00:00:00.000000000Z`. Raises ValueError."""
    year, month, day = int(stamp[0:4]), int(stamp[5:7]), int(stamp[8:10])
    seconds = int(stamp[11:13]) * 3600 + int(stamp[14:16]) * 60 + int(stamp[17:19])
    fraction = int(stamp[20:29])
    # Days since 1970 of a Gregorian date: howardhinnant.github.io/date_algorithms.html
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return ((days - 719468) * 86400 + seconds) * 1_000_000_000 + fraction
