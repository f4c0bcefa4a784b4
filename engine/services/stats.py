"""`stats`: one stream for all containers, a tick at a time.

Between ticks nothing of the store is read: containers come and go by the journal's events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.engine import Stream
    from engine.model.event import Event
    from engine.model.stats import StatsSample
    from engine.runtime.stats import Meters

_STARTS = ("start", "unpause")


class Metered(NamedTuple):
    """What is read of one running container."""

    container_id: str
    cgroup: str
    pid: int
    link: str  # the host's end of its veth pair, if it has one


class StatsStream:
    """A tuple of samples each `interval_seconds`: the first at once, an empty one only when the
    last container has ended."""

    def __init__(
        self,
        meters: Meters,
        running: Callable[[], list[Metered]],
        events: Stream[Event],
        interval_seconds: float,
    ) -> None:
        self._meters = meters
        self._running = running
        self._events = events
        self._interval_seconds = interval_seconds
        self._closed = threading.Event()
        self._stale = threading.Event()
        self._known: set[str] = set()
        self._next = time.monotonic()
        self._refresh()
        threading.Thread(target=self._watch, name="stats-events", daemon=True).start()

    def __iter__(self) -> Iterator[tuple[StatsSample, ...]]:
        return self

    def __next__(self) -> tuple[StatsSample, ...]:
        while True:
            if self._closed.wait(max(0.0, self._next - time.monotonic())):
                self._meters.close()
                raise StopIteration
            self._next = max(self._next, time.monotonic() - self._interval_seconds)
            self._next += self._interval_seconds
            had = bool(self._known)
            if self._stale.is_set():
                self._stale.clear()
                self._refresh()
            samples = self._meters.read()
            if samples or had:
                return samples

    def close(self) -> None:
        self._closed.set()
        self._events.close()

    def _watch(self) -> None:
        for event in self._events:
            if event.kind == "container" and event.action in (*_STARTS, "die", "destroy"):
                self._stale.set()
        # The journal ended under us, or close() did it: either way the next tick says so.

    def _refresh(self) -> None:
        now = {metered.container_id: metered for metered in self._running()}
        for container_id in self._known - now.keys():
            self._meters.remove(container_id)
        for container_id in now.keys() - self._known:
            metered = now[container_id]
            self._meters.add(container_id, metered.cgroup, metered.pid, metered.link)
        self._known = set(now)
