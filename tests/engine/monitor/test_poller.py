import os
import select
import time
from collections.abc import Iterator

import pytest

from engine.monitor.poller import Poller


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_who_waits_is_called_with_what_happened(pipe: tuple[int, int]) -> None:
    poller, found = Poller(), list[int]()
    poller.watch(pipe[0], select.POLLIN, found.append)
    os.write(pipe[1], b"x")
    poller.turn()
    assert found == [select.POLLIN]


def test_who_forgot_is_not_called_not_even_in_the_same_round(pipe: tuple[int, int]) -> None:
    poller, found = Poller(), list[int]()

    def both(events: int) -> None:
        found.append(events)
        poller.forget(pipe[0])
        poller.watch(pipe[1], 0, both)

    poller.watch(pipe[0], select.POLLIN, both)
    poller.watch(pipe[1], select.POLLOUT, both)
    os.write(pipe[1], b"x")
    poller.turn()
    assert len(found) == 1


def test_timers_come_in_time_and_once(pipe: tuple[int, int]) -> None:
    poller, found = Poller(), list[str]()
    poller.after(0.02, lambda: found.append("late"))
    poller.after(0.0, lambda: found.append("early"))
    begin = time.monotonic()
    while len(found) < 2:
        poller.turn()
    assert found == ["early", "late"]
    assert time.monotonic() - begin >= 0.02
    poller.watch(pipe[1], select.POLLOUT, lambda _: found.append("now"))
    poller.turn()
    assert found == ["early", "late", "now"]
