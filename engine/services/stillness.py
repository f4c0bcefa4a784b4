"""A container stands still while it is read, and goes on though the reader is killed.

Who wants it still writes so below RUN_ROOT/still before it pauses; whoever comes next and finds the
writer dead lets the container go on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.kernel import process

if TYPE_CHECKING:
    from engine.home import Home
    from engine.services.lifecycle import Lifecycle
    from engine.storage.container_store import ContainerRow


@contextlib.contextmanager
def still(home: Home, lifecycle: Lifecycle, row: ContainerRow) -> Iterator[None]:
    """Its processes stand still meanwhile, if it runs and they do not already. Raises Unavailable
    when they cannot be frozen."""
    note = f"{home.still_dir}/{row.id}.{os.getpid()}"
    is_ours = False
    with lifecycle.at_rest(row.id) as found:
        if found is not None and found.state == "running":
            os.makedirs(home.still_dir, mode=0o700, exist_ok=True)
            with open(note, "w") as file:
                file.write(str(process.start_time(os.getpid())))
            is_ours = True
            try:
                lifecycle.pause(found)
            except BaseException:
                _forget(home, note)
                raise
    try:
        yield
    finally:
        if is_ours:
            _go_on(lifecycle, row.id)
            _forget(home, note)


def end_abandoned(home: Home, lifecycle: Lifecycle) -> None:
    """What dead processes held still goes on."""
    for name in os.listdir(home.still_dir):
        container_id, _, pid = name.partition(".")
        note = f"{home.still_dir}/{name}"
        try:
            with open(note) as file:
                started = file.read()
        except FileNotFoundError:
            continue
        if started.isdecimal() and process.is_alive(int(pid), int(started)):
            continue
        _go_on(lifecycle, container_id)
        _forget(home, note)


def _go_on(lifecycle: Lifecycle, container_id: str) -> None:
    with lifecycle.at_rest(container_id) as row:
        if row is not None and row.state == "paused":
            lifecycle.unpause(row)


def _forget(home: Home, note: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(note)
    with contextlib.suppress(OSError):  # somebody else has one
        os.rmdir(home.still_dir)
