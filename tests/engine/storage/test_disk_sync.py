"""syncfs(2) begun early and ended before the rows."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.storage import disk_sync
from engine.storage.disk_sync import DiskSync


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[DiskSync]:
    sync = DiskSync(str(tmp_path))
    yield sync
    sync.close()


def test_one_runs_at_a_time_and_the_end_waits_for_it(
    sync: DiskSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(descriptor: int) -> None:
        calls.append(descriptor)
        running.set()
        assert go_on.wait(10)

    monkeypatch.setattr(disk_sync, "syncfs", slow)
    sync.begin()
    assert running.wait(10)
    sync.begin()
    assert len(calls) == 1
    end = threading.Thread(target=sync.finish)
    end.start()
    end.join(0.05)
    assert end.is_alive()
    assert len(calls) == 1
    go_on.set()
    end.join(10)
    assert len(calls) == 2


def test_an_early_error_counts_at_the_end(sync: DiskSync, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of it once."""
    told = iter([OSError(errno.EIO, "Input/output error")])

    def fail_once(descriptor: int) -> None:
        error = next(told, None)
        if error:
            raise error

    monkeypatch.setattr(disk_sync, "syncfs", fail_once)
    sync.begin()
    with pytest.raises(OSError, match="Input/output error"):
        sync.finish()


def test_off_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDOCK_SYNC", "off")
    calls: list[int] = []
    monkeypatch.setattr(disk_sync, "syncfs", calls.append)
    sync = DiskSync(str(tmp_path))
    sync.begin()
    sync.finish()
    sync.close()
    assert calls == []
