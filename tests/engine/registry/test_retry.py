import threading
import time

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, EngineError, Unavailable
from engine.registry import retry
from engine.registry.retry import Retry, Transient, parse_retry_after
from engine.registry.timeouts import Timeouts

FAST = Timeouts().scaled(1 / 1000)


class Flaky:
    """Fails so many times, then gives 7."""

    def __init__(self, failures: int, after_seconds: float | None = None) -> None:
        self.left = failures
        self.after_seconds = after_seconds
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise Transient(Unavailable("down", "wait"), self.after_seconds)
        return 7


def test_transient_failures_are_tried_again() -> None:
    told: list[tuple[int, EngineError]] = []
    flaky = Flaky(5)
    assert Retry(FAST, Cancel(), lambda *each: told.append(each)).run(flaky) == 7
    assert flaky.calls == 6
    assert [number for number, _ in told] == [1, 2, 3, 4, 5]


def test_endless_failure_ends_with_its_error() -> None:
    flaky = Flaky(100)
    with pytest.raises(Unavailable, match="down, 6 times") as caught:
        Retry(FAST, Cancel()).run(flaky)
    assert (flaky.calls, caught.value.hint) == (6, "wait")


def test_progress_gives_the_tries_back() -> None:
    budget = Retry(FAST, Cancel())
    assert budget.run(Flaky(5)) == 7
    budget.refill()
    assert budget.run(Flaky(5)) == 7
    with pytest.raises(Unavailable):
        budget.run(Flaky(1))


def test_server_that_asks_for_too_long_a_pause_is_told_at_once() -> None:
    flaky = Flaky(1, after_seconds=3600)
    with pytest.raises(Unavailable, match="down"):
        Retry(FAST, Cancel()).run(flaky)
    assert flaky.calls == 1


def test_delays_double_up_to_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    cancel = Cancel()
    monkeypatch.setattr(cancel, "wait", lambda seconds: delays.append(seconds))
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: 1.0)
    limits = Timeouts(retries=8)
    with pytest.raises(Unavailable):
        Retry(limits, cancel).run(Flaky(100))
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_cancel_ends_the_pause() -> None:
    cancel = Cancel()
    threading.Timer(0.05, cancel.cancel).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        Retry(Timeouts(first_delay_seconds=30), cancel).run(Flaky(1))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("-1", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("١", None),
        ("9" * 400, 999999999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds


def test_retry_after_as_a_date_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.time, "time", lambda: 1445412470.0)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 10.0
