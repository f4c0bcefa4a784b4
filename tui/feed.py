"""The engine's streams into the store: who is told what changed.

Subscribe to the events, then list, then list again what an event touched, at most ten times a
second; everything once more every 15 s and when a stream broke. Stats come each second, the host's
figures every 5 s. All of it crosses through `engine.aio`, so the event loop never waits.
"""

import asyncio
import contextlib
import functools
import operator
import time
from collections.abc import Callable, Coroutine
from typing import Any

from engine.aio import offload, stream
from engine.engine import Capability, Engine
from engine.errors import EngineError
from tui.store import Store, Table

COALESCE_SECONDS = 0.1
RESYNC_SECONDS = 15.0
HOST_SECONDS = 5.0
STATS_SECONDS = 1.0
LATELY_NS = 6 * 3600 * 10**9  # how far back at the start: what happened lately
RETRY_SECONDS = 2.0
KINDS = ("containers", "images", "networks", "volumes")
# What an event of a kind may have changed; a container's end changes its network's members too.
TOUCHES = {
    "container": ("containers", "networks"),
    "image": ("images",),
    "network": ("networks", "containers"),
    "volume": ("volumes",),
    "system": KINDS,
}
USERS = frozenset({"create", "destroy", "rename"})  # they also change who uses images and volumes

_ID, _NAME = operator.attrgetter("id"), operator.attrgetter("name")

OnChange = Callable[[str, frozenset[str]], None]


class Feed:
    """Keeps a store true. `changed(kind, keys)` is called in the event loop: kind is one of KINDS,
    `stats`, `host`, `events`; `failed(error)` when the engine cannot be read (once per failure)."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        changed: OnChange,
        failed: Callable[[EngineError], None],
        *,
        resync: bool = True,
    ) -> None:
        self.engine = engine
        self.store = store
        self._changed = changed
        self._failed = failed
        self._resync = resync
        self._sources: dict[str, tuple[Table[Any], Callable[[], Any], Callable[[Any], str]]] = {
            "containers": (
                store.containers,
                functools.partial(engine.containers.list, all=True),
                _ID,
            ),
            "images": (store.images, engine.images.list, _ID),
            "networks": (store.networks, engine.networks.list, _ID),
            "volumes": (store.volumes, engine.volumes.list, _NAME),
        }
        self._touched: set[str] = set()
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._events, *KINDS))
            group.create_task(self._lists())
            group.create_task(self._host())
            if self._resync:
                group.create_task(self._resyncs())
            if Capability.STATS in self.engine.capabilities:
                group.create_task(self._again(self._stats))

    def touch(self, *kinds: str) -> None:
        """These lists may have changed: read them soon."""
        self._touched.update(kinds)
        self._wake.set()

    async def _again(self, call: Callable[[], Coroutine[Any, Any, None]], *missed: str) -> None:
        """Run `call` for ever; when it ends, lists of the kinds `missed` are read again."""
        told = False
        while True:
            try:
                await call()
                told = False
            except EngineError as error:
                if not told:
                    self._failed(error)
                told = True
            await asyncio.sleep(RETRY_SECONDS)
            self.touch(*missed)

    async def _events(self) -> None:
        known = self.store.events
        since = known[-1].time_ns + 1 if known else time.time_ns() - LATELY_NS
        async with stream(self.engine.system.events, since_ns=since) as events:
            self.touch(*KINDS)
            async for event in events:
                self.store.events.append(event)
                self._touched.add("events")
                self.touch(*TOUCHES.get(event.kind, ()))
                if event.kind == "container" and event.action in USERS:
                    self.touch("images", "volumes")

    async def _lists(self) -> None:
        told = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            try:
                await self.read(*touched)
                told = False
            except EngineError as error:
                if not told:
                    self._failed(error)
                told = True
            await asyncio.sleep(COALESCE_SECONDS)

    async def read(self, *kinds: str) -> None:
        """List these now, and tell what changed."""
        async with self._reading:
            await self._read(kinds)

    async def _read(self, kinds: tuple[str, ...]) -> None:
        if "events" in kinds:
            self._changed("events", frozenset())
        for kind in KINDS:
            if kind in kinds:
                table, call, key = self._sources[kind]
                rows = await offload(call)
                first = not table.known
                changes = table.put((key(row), row) for row in rows)
                if changes or first:
                    self._changed(kind, changes.added | changes.changed | changes.removed)

    async def _resyncs(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            self.touch(*KINDS)

    async def _stats(self) -> None:
        call = self.engine.containers.stats
        async with stream(call, None, interval_seconds=STATS_SECONDS) as ticks:
            async for samples in ticks:
                ids = self.store.put_stats(samples)
                if ids:
                    self._changed("stats", ids)

    async def _host(self) -> None:
        while True:
            with contextlib.suppress(EngineError):  # the lists say what is wrong
                if self.store.put_host(await offload(self.engine.system.host)):
                    self._changed("host", frozenset())
            await asyncio.sleep(HOST_SECONDS)
