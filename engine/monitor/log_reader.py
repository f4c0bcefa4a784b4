"""Reading a container's log: the tail backwards in blocks, then following across rotations."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify
from engine.model.container import LogLine
from engine.monitor.logs import MAX_FILES

if TYPE_CHECKING:
    from engine.engine import Source

_BLOCK_BYTES = 1 << 16
_GONE_MILLISECONDS = 500  # how often a follower looks whether the container still runs


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
    also what comes, until the container's end (`alive` is false and all is read)."""
    return LogStream(directory, follow, tail, since_ns, until_ns, alive)


class LogStream:
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
        self._directory = directory
        self._path = f"{directory}/log"
        self._follow = follow
        self._since_ns = since_ns
        self._until_ns = until_ns
        self._alive = alive
        self._watch = Inotify(directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO) if follow else None
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._closed = False
        self._rest = b""
        self._parts: dict[str, tuple[int, list[bytes]]] = {}
        self._ready: deque[LogLine] = deque()
        self._last = False
        self._files = self._open_files()
        if tail is not None:
            self._skip_to_tail(tail)

    def __iter__(self) -> Iterator[LogLine]:
        return self

    def __next__(self) -> LogLine:
        while not self._ready:
            if self._closed or not self._more():
                self._release()
                raise StopIteration
        return self._ready.popleft()

    def close(self) -> None:
        """The reader, waiting or not, gets no more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.write(self._waker, b"1")

    def _open_files(self) -> deque[int]:
        """Descriptors of the log's files, oldest first."""
        found: list[int] = []
        seen: set[int] = set()
        for number in range(MAX_FILES):  # newest first: a rotation meanwhile shows one twice
            name = f"{self._path}.{number}" if number else self._path
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                inode = os.fstat(descriptor).st_ino
                if inode in seen:
                    os.close(descriptor)
                else:
                    seen.add(inode)
                    found.append(descriptor)
        return deque(reversed(found))

    def _skip_to_tail(self, tail: int) -> None:
        """The files' positions are so that `tail` whole lines follow."""
        kept: deque[int] = deque()
        while self._files:
            descriptor = self._files.pop()
            if tail <= 0 and kept:
                os.close(descriptor)
                continue
            position, found = _back(descriptor, tail)
            os.lseek(descriptor, position, os.SEEK_SET)
            tail -= found
            kept.appendleft(descriptor)
        self._files = kept

    def _more(self) -> bool:
        """Lines may be ready; False at the end."""
        if self._files:
            data = os.read(self._files[0], _BLOCK_BYTES)
            if data:
                return self._take(data)
            if len(self._files) > 1:
                os.close(self._files.popleft())
                return True
        if not self._follow:
            return self._finish()
        return self._wait()

    def _wait(self) -> bool:
        """The file has grown, was rotated, or will never grow again."""
        assert self._watch is not None
        if self._last:
            return self._finish()
        poll = select.poll()
        poll.register(self._watch.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        events = poll.poll(_GONE_MILLISECONDS)
        if any(descriptor == self._wake for descriptor, _ in events):
            return False
        if events:
            self._watch.names()
        elif not self._alive():
            self._last = True  # once more: it may have written before it ended
        self._append_rotated()
        return True

    def _append_rotated(self) -> None:
        """A new file stands where ours was: it comes after what is left of ours."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        known = {os.fstat(each).st_ino for each in self._files}
        if os.fstat(descriptor).st_ino in known:
            os.close(descriptor)
        else:
            self._files.append(descriptor)

    def _take(self, data: bytes) -> bool:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            stamp, _, rest = line.partition(b" ")
            stream, _, rest = rest.partition(b" ")
            mark, _, text = rest.partition(b" ")
            if stream not in (b"stdout", b"stderr") or mark not in (b"F", b"P"):
                continue
            time_ns = parse_time(stamp)
            if self._until_ns and time_ns > self._until_ns:
                return self._finish()
            self._add(time_ns, "stdout" if stream == b"stdout" else "stderr", text, mark == b"P")
        return True

    def _add(self, time_ns: int, source: Source, text: bytes, partial: bool) -> None:
        first, parts = self._parts.pop(source, (time_ns, []))
        parts.append(text)
        if partial:
            self._parts[source] = (first, parts)
        elif first >= self._since_ns:
            self._ready.append(LogLine(first, source, b"".join(parts)))

    def _finish(self) -> bool:
        """What is left of lines that never ended, once."""
        left, self._parts = self._parts, {}
        for source in ("stdout", "stderr"):
            if source in left and left[source][0] >= self._since_ns:
                time_ns, parts = left[source]
                self._ready.append(LogLine(time_ns, source, b"".join(parts), partial=True))
        with self._lock:
            self._closed = True
        return bool(self._ready)

    def _release(self) -> None:
        with self._lock:
            self._closed = True
            if self._wake >= 0:
                if self._watch is not None:
                    self._watch.close()
                for descriptor in (self._wake, self._waker, *self._files):
                    os.close(descriptor)
                self._wake = self._waker = -1
                self._files.clear()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self._release()


def _back(descriptor: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines begin, and how many there are from there on."""
    position = os.fstat(descriptor).st_size
    found = -1  # the newline at the very end begins no line
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        block = os.pread(descriptor, position - start, start)
        end = len(block)
        while (newline := block.rfind(b"\n", 0, end)) >= 0:
            # A part (P) and its continuation are one line: count where F lines end.
            found += 1
            if found == lines:
                return start + newline + 1, lines
            end = newline
        position = start
    return 0, found + 1 if found >= 0 else 0


def parse_time(stamp: bytes) -> int:
    """Nanoseconds since 1970 of `2026-01-01T00:00:00.000000000Z`; 0 for anything else."""
    try:
        year, month, day = int(stamp[0:4]), int(stamp[5:7]), int(stamp[8:10])
        seconds = int(stamp[11:13]) * 3600 + int(stamp[14:16]) * 60 + int(stamp[17:19])
        fraction = int(stamp[20:29])
    except ValueError:
        return 0
    # Days since 1970 of a Gregorian date: howardhinnant.github.io/date_algorithms.html
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return ((days - 719468) * 86400 + seconds) * 1_000_000_000 + fraction
