"""A few threads for many jobs."""

import threading

import pytest

from engine.engine import Cancel
from engine.errors import Conflict
from engine.registry.threads import run_all


def test_every_job_is_done_and_so_many_at_a_time() -> None:
    done: list[int] = []
    now, most = [0], [0]
    lock = threading.Lock()
    both = threading.Barrier(2)

    def work(job: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        both.wait(10)
        with lock:
            now[0] -= 1
            done.append(job)

    run_all(range(6), work, 2, "test", Cancel())
    assert sorted(done) == list(range(6))
    assert most == [2]


def test_the_first_failure_stops_the_others_and_is_raised() -> None:
    stop = Cancel()
    begun: list[int] = []

    def work(job: int) -> None:
        begun.append(job)
        if job == 0:
            raise Conflict("first")
        stop.wait(10)
        raise Conflict("because of it")

    with pytest.raises(Conflict, match="first"):
        run_all(range(10), work, 2, "test", stop)
    assert stop.cancelled
    assert len(begun) <= 3


def test_no_jobs_need_no_threads() -> None:
    run_all([], print, 3, "test", Cancel())
