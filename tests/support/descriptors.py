"""What is open, for tests that nothing stays open.

Threads and garbage of earlier tests may close something at any moment: what counts is what is more.
"""

import contextlib
import os


def open_now() -> frozenset[tuple[str, str]]:
    """Number and target of each descriptor of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return frozenset(found)


def opened_since(before: frozenset[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is open now and was not before."""
    return sorted(open_now() - before)
