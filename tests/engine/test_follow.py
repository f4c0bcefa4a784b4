import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.follow import Following
from engine.kernel.inotify import IN_CREATE
from tests.support.descriptors import open_now, opened_since


class Names(Following[str]):
    """The names that appear in a directory."""

    def __init__(self, directory: Path, *, fail: bool = False) -> None:
        self.released = 0
        self._fail = fail
        super().__init__(str(directory), IN_CREATE)

    def _items(self) -> Iterator[str]:
        while not self._watch.closed:
            yield from sorted(self._watch.wait())
            if self._fail:
                raise ValueError("no more")

    def _close_files(self) -> None:
        self.released += 1


def test_items_come_as_they_happen(tmp_path: Path) -> None:
    names = Names(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    assert [next(names), next(names)] == ["a", "b"]
    names.close()
    assert list(names) == []


def test_reader_that_is_asleep_ends_and_frees_everything(tmp_path: Path) -> None:
    before = open_now()
    names = Names(tmp_path)
    reader = threading.Thread(target=lambda: list(names))
    reader.start()
    names.close()
    reader.join(60)
    assert not reader.is_alive()
    assert not opened_since(before)
    assert names.released


def test_close_between_items_frees_everything_at_once(tmp_path: Path) -> None:
    before = open_now()
    names = Names(tmp_path)
    (tmp_path / "a").touch()
    next(names)
    names.close()
    names.close()
    assert not opened_since(before)


def test_failure_frees_everything_and_is_the_end(tmp_path: Path) -> None:
    before = open_now()
    names = Names(tmp_path, fail=True)
    (tmp_path / "a").touch()
    next(names)
    with pytest.raises(ValueError, match="no more"):
        next(names)
    assert not opened_since(before)
    assert list(names) == []


def test_forgotten_stream_frees_everything(tmp_path: Path) -> None:
    before = open_now()
    names = Names(tmp_path)
    del names
    gc.collect()
    assert not opened_since(before)
