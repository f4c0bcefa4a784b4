import os
from pathlib import Path

import pytest

from engine.errors import Conflict, InvalidInput, NotFound
from engine.kernel.process import start_time
from engine.runtime import state


def make(root: Path, **changes: object) -> state.State:
    values = {
        "root": str(root),
        "id": "c1",
        "pid": os.getpid(),
        "started": start_time(os.getpid()),
        "boot_id": state.boot_id(),
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": "2026-01-01T00:00:00.000000000Z",
        "annotations": {"a": "b"},
        "cgroup_path": "",
        "hierarchies": ((), ""),
    }
    return state.State(**(values | changes))  # type: ignore[arg-type]


def test_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    state.reserve(str(tmp_path), "c1")
    saved = make(tmp_path)
    state.save(saved)
    assert state.load(str(tmp_path), "c1").document() == saved.document()
    state.remove(str(tmp_path), "c1")
    with pytest.raises(NotFound, match="c1 does not exist"):
        state.load(str(tmp_path), "c1")


def test_id_is_taken_once(tmp_path: Path) -> None:
    state.reserve(str(tmp_path), "c1")
    with pytest.raises(Conflict, match="exists already"):
        state.reserve(str(tmp_path), "c1")


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "-x", "a\n", "é", "x" * 300])
def test_id_that_is_no_name_is_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(InvalidInput):
        state.reserve(str(tmp_path / "root"), id)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound):
        state.load(str(tmp_path), id)


def test_status_is_asked_of_the_kernel(tmp_path: Path) -> None:
    directory = Path(state.reserve(str(tmp_path), "c1"))
    assert make(tmp_path).status() == "running"
    assert make(tmp_path, started=1).status() == "stopped"  # another process of that number
    assert make(tmp_path, pid=1 << 22).status() == "stopped"
    assert make(tmp_path, boot_id="an earlier one").status() == "stopped"
    (directory / "exec.fifo").touch()
    assert make(tmp_path).status() == "created"


def test_document_is_the_specifications(tmp_path: Path) -> None:
    document = make(tmp_path).document()
    assert document["status"] == "running"
    assert document["pid"] == os.getpid()
    assert set(document) >= {"ociVersion", "id", "status", "pid", "bundle", "annotations"}
    assert make(tmp_path, pid=1 << 22).document()["pid"] == 0
