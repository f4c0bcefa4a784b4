"""The stream of meters: ticks, who is in them, and what is not read between them."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.runtime.stats import Meters
from engine.services.stats import Metered, StatsStream

pytestmark = pytest.mark.root

INTERVAL_SECONDS = 0.02


class Asked:
    """What runs, as the store says it, and how often it was asked."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.times = 0

    def __call__(self) -> list[Metered]:
        self.times += 1
        return [
            Metered(row.id, self._engine.containers.inspect(row.id).cgroup, row.pid, "")
            for row in self._engine.containers.list()
        ]


@pytest.fixture
def asked(engine: LocalEngine) -> Asked:
    return Asked(engine)


@pytest.fixture
def stream(engine: LocalEngine, asked: Asked) -> Iterator[StatsStream]:
    made = StatsStream(Meters(), asked, engine.system.events(), INTERVAL_SECONDS)
    yield made
    made.close()
    assert list(made) == []  # it closes its meters


def start(engine: LocalEngine, image: str, name: str) -> str:
    made = engine.containers.create(
        CreateOptions(image, name, command=("sleep", "900"), network="none")
    )
    engine.containers.start(made)
    return made


def until(stream: StatsStream, true: Callable[[set[str]], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true({sample.container_id for sample in next(stream)}):
        assert time.monotonic() < deadline


def test_who_starts_is_in_the_next_ticks_and_who_ends_is_not(
    engine: LocalEngine, image: str, stream: StatsStream
) -> None:
    one = start(engine, image, "one")
    until(stream, lambda ids: ids == {one})
    two = start(engine, image, "two")
    until(stream, lambda ids: ids == {one, two})
    engine.containers.stop(one, timeout_seconds=0)
    until(stream, lambda ids: ids == {two})
    engine.containers.remove(two, force=True)
    until(stream, lambda ids: not ids)  # one empty tick says that nothing runs any more


def test_between_events_only_the_meters_are_read(
    engine: LocalEngine, image: str, stream: StatsStream, asked: Asked
) -> None:
    one = start(engine, image, "one")
    until(stream, lambda ids: ids == {one})
    next(stream)
    before = asked.times
    samples = [next(stream)[0] for _ in range(10)]
    assert asked.times == before
    times = [sample.time_ns for sample in samples]
    assert times == sorted(set(times))
    assert all(sample.pids == 1 and sample.memory_bytes > 0 for sample in samples)


def test_without_containers_there_is_no_tick_but_a_close_lets_the_reader_go(
    stream: StatsStream,
) -> None:
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend(stream), daemon=True)
    reader.start()
    reader.join(5 * INTERVAL_SECONDS)
    assert reader.is_alive()
    stream.close()
    reader.join(60)
    assert not reader.is_alive()
    assert got == []
