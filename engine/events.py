"""Reading the event journal: what was, then what happens.

A subscriber sleeps in poll(2) until inotify says that the journal has grown: while nothing happens
nothing is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence

from engine.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify
from engine.model.event import Event

_CHUNK_BYTES = 1 << 16


def subscribe(
    path: str,
    *,
    since_ns: int = 0,
    until_ns: int = 0,
    filters: Sequence[tuple[str, str]] = (),
) -> EventStream:
    """Past events from `since_ns` on (none when 0), then new ones; it ends at `until_ns` if given.

    Whatever is appended after this call returns is seen.
    """
    return EventStream(path, since_ns, until_ns, filters)


class EventStream:
    """The face's Stream of events. One thread reads, any thread closes."""

    def __init__(
        self, path: str, since_ns: int, until_ns: int, filters: Sequence[tuple[str, str]]
    ) -> None:
        self._path = path
        self._since_ns = since_ns
        self._until_ns = until_ns
        self._filters = _by_name(filters)
        self._watch = Inotify(os.path.dirname(path), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        self._closed = False
        self._close_lock = threading.Lock()
        self._descriptor = -1
        self._rest = b""
        self._ready: list[Event] = []
        if since_ns:
            self._read_old()
        self._open(at_end=not since_ns)
        if since_ns:
            self._read()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._ready:
            if self._closed or not self._wait():
                self._release()
                raise StopIteration
            self._read()
        return self._ready.pop(0)

    def close(self) -> None:
        """The reader, waiting or not, gets no more."""
        with self._close_lock:
            if not self._closed:
                self._closed = True
                os.write(self._waker, b"1")

    def _wait(self) -> bool:
        """Something may have been appended; False at the end."""
        poll = select.poll()
        poll.register(self._watch.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            timeout = None
            if self._until_ns:
                timeout = (self._until_ns - time.time_ns()) / 1_000_000
                if timeout <= 0:
                    return False
            for descriptor, _ in poll.poll(timeout):
                if descriptor == self._wake:
                    return False
                names = self._watch.names()
                if names & {os.path.basename(self._path), ""}:
                    return True

    def _read_old(self) -> None:
        """The part that was rotated away."""
        with contextlib.suppress(FileNotFoundError), open(f"{self._path}.1", "rb") as file:
            for line in file:
                self._take(line)

    def _open(self, *, at_end: bool) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            if at_end:
                os.lseek(self._descriptor, 0, os.SEEK_END)

    def _read(self) -> None:
        """Everything up to now, across a rotation."""
        while True:
            self._read_file()
            if not self._rotated():
                return
            # What came between the last read and the rename is still in the old file.
            self._read_file()
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self._rest = b""
            self._open(at_end=False)
            if self._descriptor < 0:
                return

    def _read_file(self) -> None:
        while self._descriptor >= 0 and (data := os.read(self._descriptor, _CHUNK_BYTES)):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._take(line)

    def _rotated(self) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        if self._descriptor < 0:
            return True
        mine = os.fstat(self._descriptor)
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)

    def _take(self, line: bytes) -> None:
        try:
            event = Event(**json.loads(line))
        except (ValueError, TypeError):  # a torn or foreign line
            return
        if event.time_ns < self._since_ns or (self._until_ns and event.time_ns > self._until_ns):
            return
        if all(_matches(event, name, values) for name, values in self._filters.items()):
            self._ready.append(event)

    def _release(self) -> None:
        with self._close_lock:
            self._closed = True
            if self._wake >= 0:
                self._watch.close()
                for descriptor in (self._wake, self._waker, self._descriptor):
                    if descriptor >= 0:
                        os.close(descriptor)
                self._wake = self._waker = self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_close_lock"):
            self._release()


def _by_name(filters: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in filters:
        found.setdefault(name, []).append(value)
    return found


def _matches(event: Event, name: str, values: list[str]) -> bool:
    """Values of one filter are alternatives, as docker's."""
    if name == "type":
        return event.kind in values
    if name == "event":
        return event.action.partition(":")[0] in values
    if name == "label":
        return any(
            event.attributes.get(key) == wanted if equals else key in event.attributes
            for key, equals, wanted in (value.partition("=") for value in values)
        )
    if name == "image" and event.kind != "image":
        return event.attributes.get("image") in values
    if event.kind != name:
        return False
    return event.name in values or any(event.id.startswith(value) for value in values)
