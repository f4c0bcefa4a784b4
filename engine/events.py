"""Reading the event journal: what was, then what happens.

A subscriber sleeps until inotify says that the journal has grown: while nothing happens, nothing is
read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence

from engine.errors import InvalidInput
from engine.follow import Following
from engine.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO
from engine.model.event import Event

FILTERS = ("type", "event", "container", "image", "network", "volume", "label")
LOST = "lost"  # the action of an event that says: some were rotated away unread, list again

_CHUNK_BYTES = 1 << 16
_HEAD = len(b'{"time_ns":')


def subscribe(
    path: str,
    *,
    since_ns: int = 0,
    until_ns: int = 0,
    filters: Sequence[tuple[str, str]] = (),
) -> EventStream:
    """Past events from `since_ns` on (none when 0), then new ones; it ends at `until_ns` if given.

    Whatever is appended after this call returns is seen. `filters` are docker's: several values of
    one are alternatives. Raises InvalidInput for one that there is not.
    """
    return EventStream(path, since_ns, until_ns, _by_name(filters))


class EventStream(Following[Event]):
    """The face's Stream of events. One thread reads, any thread closes."""

    def __init__(
        self, path: str, since_ns: int, until_ns: int, filters: dict[str, list[str]]
    ) -> None:
        self._path = path
        self._name = os.path.basename(path)
        self._since_ns = since_ns
        self._until_ns = until_ns
        self._filters = filters
        self._files: list[_File] = []
        super().__init__(os.path.dirname(path), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        self._files = self._open_new()
        if not since_ns:
            for file in self._files:
                file.skip()

    def _items(self) -> Iterator[Event]:
        while True:
            yield from self._read()
            timeout = None
            if self._until_ns:
                timeout = max(0.0, (self._until_ns - time.time_ns()) / 1e9)
            if self._watch.closed or timeout == 0.0:
                return
            self._watch.wait(timeout)

    def _read(self) -> Iterator[Event]:
        """Everything that is new, across rotations."""
        for file in self._files:
            yield from self._parse(file)
        added = self._open_new()
        if not added:
            return
        # What a writer appended between our read and the rename is in the older file still.
        for file in self._files:
            yield from self._parse(file)
        known = {file.inode for file in self._files}
        current = self._files
        self._files = [*current, *added]
        if current and not known & self._inodes():
            yield Event(time.time_ns(), "system", LOST, "", "", {})
        for file in added:
            yield from self._parse(file)
        # A slow writer may still hold the file before the newest one; it is rare beyond that.
        while len(self._files) > 2:
            self._files.pop(0).close()

    def _inodes(self) -> set[int]:
        """Of the journal's files that have names now."""
        found: set[int] = set()
        for name in (f"{self._path}.1", self._path):
            try:
                found.add(os.stat(name).st_ino)
            except FileNotFoundError:
                continue
        return found

    def _open_new(self) -> list[_File]:
        """The journal's files that are not open yet, older first."""
        found: list[_File] = []
        seen = {file.inode for file in self._files}
        for name in (self._path, f"{self._path}.1"):  # a rotation meanwhile shows one twice
            try:
                file = _File(name)
            except FileNotFoundError:
                continue
            if file.inode in seen:
                file.close()
            else:
                seen.add(file.inode)
                found.insert(0, file)
        return found

    def _parse(self, file: _File) -> Iterator[Event]:
        for line in file.lines():
            stamp = line[_HEAD : line.find(b",")]
            if not stamp.isdigit():
                continue  # a torn or foreign line
            time_ns = int(stamp)
            if time_ns < self._since_ns or (self._until_ns and time_ns > self._until_ns):
                continue
            try:
                event = Event(**json.loads(line))
            except (ValueError, TypeError):
                continue
            if all(_matches(event, name, values) for name, values in self._filters.items()):
                yield event

    def _close_files(self) -> None:
        while self._files:
            self._files.pop().close()


class _File:
    """One of the journal's files, read as far as it goes."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._rest = b""
        self.inode = os.fstat(self._descriptor).st_ino

    def skip(self) -> None:
        """What is in it now is not asked for."""
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def lines(self) -> Iterator[bytes]:
        while self._descriptor >= 0 and (data := os.read(self._descriptor, _CHUNK_BYTES)):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            yield from lines

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _by_name(filters: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in filters:
        if name not in FILTERS:
            raise InvalidInput(f"invalid filter '{name}'", f"known are {', '.join(FILTERS)}")
        found.setdefault(name, []).append(value)
    return found


def _matches(event: Event, name: str, values: list[str]) -> bool:
    if name == "type":
        return event.kind in values
    if name == "event":  # docker's exec_start carries its command after a colon
        return event.action.partition(":")[0] in values
    if name == "label":
        return any(
            event.attributes.get(key) == wanted if equals else key in event.attributes
            for key, equals, wanted in (value.partition("=") for value in values)
        )
    if name == "image":
        if event.kind == "image":
            return any(event.id.startswith(value) or event.name == value for value in values)
        return event.attributes.get("image") in values
    if event.kind != name:
        return event.attributes.get(name) in values
    return any(event.id.startswith(value) or event.name == value for value in values)
