"""What a host's start and end mean for containers: those that their policy wants run, or are asked
to end as they are used to, and are not taken for stopped by a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.model.container import UP
from engine.model.system import Outcome
from engine.services.containers import STOP_SECONDS
from engine.services.restarts import Restarts

if TYPE_CHECKING:
    from engine.home import Home
    from engine.services.lifecycle import Lifecycle
    from engine.storage.container_store import ContainerRow, ContainerStore


class Boot:
    """`boot` and `halt` of one engine, several containers at a time."""

    def __init__(self, home: Home, store: ContainerStore, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._restarts = Restarts(home, store)

    def boot(self) -> list[Outcome]:
        """Containers that have ended run again if their policy wants that after a boot: as docker,
        `always` also those that a person has stopped."""
        rows = [
            row for row in self._store.list_(("exited",)) if self._restarts.is_wanted_at_boot(row)
        ]
        return _each(rows, self._start, os.cpu_count() or 1)

    def halt(self) -> list[Outcome]:
        """No container runs: each had its stop signal, and its time."""
        rows = self._store.list_(UP)
        return _each(rows, self._stop, len(rows))  # all wait at the same time

    def _start(self, row: ContainerRow) -> None:
        with self._lifecycle.at_rest(row.id) as found:
            if found is not None and found.state == "exited":
                self._lifecycle.start(found)

    def _stop(self, row: ContainerRow) -> None:
        seconds = row.config.get("stop_timeout", STOP_SECONDS)
        self._lifecycle.stop(row, seconds, by_person=False)


def _each(
    rows: Sequence[ContainerRow], act: Callable[[ContainerRow], None], at_once: int
) -> list[Outcome]:
    def outcome(row: ContainerRow) -> Outcome:
        try:
            act(row)
        except EngineError as error:
            return Outcome(row.name, error.message)
        return Outcome(row.name)

    with ThreadPoolExecutor(max(at_once, 1)) as threads:
        return list(threads.map(outcome, rows))
