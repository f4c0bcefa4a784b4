"""A few threads for many jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from engine.engine import Cancel

T = TypeVar("T")


def run_all(
    jobs: Sequence[T], work: Callable[[T], None], count: int, name: str, stop: Cancel
) -> None:
    """`work` was called with each of `jobs`, in order, `count` of them at a time. When one fails,
    `stop` is cancelled, no more begin, and what it raised is raised."""
    lock = threading.Lock()
    waiting = list(reversed(jobs))
    failures: list[BaseException] = []

    def run() -> None:
        while True:
            with lock:
                if failures or not waiting:
                    return
                job = waiting.pop()
            try:
                work(job)
            except BaseException as failure:
                with lock:
                    failures.append(failure)  # those behind the first fail because of it
                stop.cancel()

    threads = [
        threading.Thread(target=run, name=f"{name}-{number}")
        for number in range(min(count, len(jobs)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # an interrupt from the keyboard
        stop.cancel()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
