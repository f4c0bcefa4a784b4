import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel.inotify import IN_CREATE, IN_IGNORED, IN_MODIFY, IN_MOVED_TO, Watch


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    found = Watch(str(tmp_path), IN_CREATE | IN_MODIFY | IN_MOVED_TO)
    yield found
    found.release()


def test_names_tell_what_happened_to_them(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"x")
    (tmp_path / "a b").rename(tmp_path / "c")
    changes = watch.wait(10)
    assert changes == {"a b": IN_CREATE | IN_MODIFY, "c": IN_MOVED_TO}


def test_timeout_tells_nothing(watch: Watch) -> None:
    assert watch.wait(0.001) == {}


def test_close_wakes_who_waits(watch: Watch) -> None:
    waiter = threading.Thread(target=watch.wait)
    waiter.start()
    watch.close()
    waiter.join(60)
    assert not waiter.is_alive()
    assert watch.wait() == {}


def test_removed_directory_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    watch = Watch(str(directory), IN_MODIFY)
    directory.rmdir()
    assert watch.wait(10) == {"": IN_IGNORED}
    watch.release()
    watch.release()


def test_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Watch(str(tmp_path / "nowhere"), IN_MODIFY)
