import os
import threading
from pathlib import Path

import pytest

from engine.kernel import namespaces

pytestmark = pytest.mark.root


def current() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_network_namespace_lives_between_create_and_remove(tmp_path: Path) -> None:
    path = str(tmp_path / "netns")
    before = current()
    namespaces.netns_create(path)
    assert current() == before
    with namespaces.inside(path):
        assert current() != before
        assert Path("/proc/thread-self/net/dev").read_text().count(":") <= 2
    assert current() == before
    namespaces.netns_remove(path)
    assert not os.path.exists(path)
    namespaces.netns_remove(path)  # a second time nothing happens


def test_second_namespace_of_the_same_name_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "netns")
    namespaces.netns_create(path)
    with pytest.raises(FileExistsError):
        namespaces.netns_create(path)
    namespaces.netns_remove(path)


def test_file_without_mount_left_by_a_crash_is_removed(tmp_path: Path) -> None:
    (tmp_path / "netns").touch()
    namespaces.netns_remove(str(tmp_path / "netns"))
    assert list(tmp_path.iterdir()) == []


def test_inside_moves_this_thread_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "netns")
    namespaces.netns_create(path)
    entered, leave = threading.Event(), threading.Event()
    found: list[str] = []

    def enter() -> None:
        with namespaces.inside(path):
            found.append(current())
            entered.set()
            leave.wait()

    thread = threading.Thread(target=enter)
    thread.start()
    entered.wait()
    here = current()
    leave.set()
    thread.join()
    assert found != [here]
    namespaces.netns_remove(path)


def test_inside_comes_back_after_an_exception(tmp_path: Path) -> None:
    path = str(tmp_path / "netns")
    namespaces.netns_create(path)
    before = current()
    with pytest.raises(RuntimeError), namespaces.inside(path):
        raise RuntimeError
    assert current() == before
    namespaces.netns_remove(path)


@pytest.mark.parametrize("path", ["/proc/self/ns/uts", "/etc/passwd"])
def test_other_kinds_of_files_are_no_network_namespaces(path: str) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        namespaces.open_namespace(path, namespaces.CLONE_NEWNET)
    assert caught.value.filename == path
