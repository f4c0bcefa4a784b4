"""What the store says of changes, and what it makes of counters."""

import pytest

from engine.model.stats import HostSample, StatsSample
from tui.store import History, Store, Table


def sample(second: int, *, received: int = 0, cpu: float = 0.0, throttled: int = 0) -> StatsSample:
    return StatsSample("c", second * 10**9, cpu, 0, throttled, 0, 0, received, 0, 0, 0, 1)


def host(cpu: float, memory: int = 50) -> HostSample:
    return HostSample(cpu, memory, 100, 10, 100, 0.5, 1)


def test_a_list_is_compared_with_the_one_before() -> None:
    table: Table[tuple[str, int]] = Table()
    assert not table.known
    table.put([("a", ("a", 1)), ("b", ("b", 1))])
    changes = table.put([("b", ("b", 2)), ("c", ("c", 1))])
    assert (changes.added, changes.changed, changes.removed) == ({"c"}, {"b"}, {"a"})
    assert not table.put([("b", ("b", 2)), ("c", ("c", 1))])


def test_rates_are_differences_over_time() -> None:
    history = History()
    history.put(sample(10, received=1000))
    assert history.latest.received == 0
    history.put(sample(12, received=5000, throttled=10**9))
    assert history.latest.received == 2000
    assert history.latest.throttled_percent == pytest.approx(50)


def test_a_restart_does_not_make_a_negative_rate() -> None:
    history = History()
    history.put(sample(10, received=1000))
    history.put(sample(11, received=10))
    assert history.latest.received == 0


def test_history_keeps_five_minutes() -> None:
    history = History()
    for second in range(1, 400):
        history.put(sample(second))
    assert len(history.meters) == 300
    assert history.meters[0].time_seconds == 100


def test_a_container_without_figures_loses_its_history() -> None:
    store = Store()
    assert store.put_stats([sample(1)]) == {"c"}
    assert store.put_stats([]) == {"c"}
    assert store.histories == {}


def test_host_figures_move_in_steps_of_five_percent() -> None:
    store = Store()
    assert store.put_host(host(1))
    assert not store.put_host(host(2, 52))
    assert store.host is not None
    assert (store.host.cpu_percent, store.host.memory_bytes) == (1, 50)
    assert store.put_host(host(34))
    assert store.host.cpu_percent == 34
