"""A run is one run: what comes after it is nobody's who meant the one before."""

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled
from engine.home import Home
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.services.run import Run, read_exit, read_state, retire
from tests.support.waiting import until

pytestmark = pytest.mark.root


@pytest.fixture
def home(engine: LocalEngine) -> Home:
    return Home(engine.info.root, engine.info.run_root, engine.info.root_id)


@pytest.fixture
def container(engine: LocalEngine, image: str) -> str:
    command = ("sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.02; done")
    made = engine.containers.create(CreateOptions(image, command=command, network="none"))
    engine.containers.start(made)
    status = Path(f"/proc/{pid_of(engine, made)}/status")
    until(lambda: catches(status, signal.SIGUSR1))  # the shell has read its first line
    return made


def catches(status: Path, number: int) -> bool:
    (mask,) = [line.split()[1] for line in status.read_text().splitlines() if "SigCgt" in line]
    return bool(int(mask, 16) & 1 << number - 1)


def pid_of(engine: LocalEngine, container: str) -> int:
    return engine.containers.inspect(container).summary.pid


def test_a_run_is_signalled_waited_for_and_folded(
    engine: LocalEngine, home: Home, container: str
) -> None:
    with Run(home, container) as run:
        assert run.lives
        assert not run.wait(0)
        run.signal(signal.SIGUSR1)
        assert run.wait(-1)
        run.wait_folded()
        assert engine.containers.inspect(container).summary.exit_code == 5
        run.signal(signal.SIGUSR1)  # to nobody
    assert read_state(home.run_dir(container)) == {}
    assert read_exit(home.run_dir(container))["exit_code"] == 5


def test_a_kill_reaches_everything_in_it(engine: LocalEngine, home: Home, container: str) -> None:
    with Run(home, container) as run:
        run.kill()
        assert run.wait(5)
        run.wait_folded()
    assert engine.containers.inspect(container).summary.exit_code == 137


def test_without_a_run_nothing_is_waited_for(
    engine: LocalEngine, home: Home, container: str
) -> None:
    engine.containers.stop(container, timeout_seconds=0)
    for name in (container, "0" * 64):
        with Run(home, name) as run:
            assert not run.lives
            run.wait_folded()


def test_the_next_run_is_another_one(engine: LocalEngine, home: Home, container: str) -> None:
    with Run(home, container) as run:
        engine.containers.restart(container, timeout_seconds=0)
        pid = pid_of(engine, container)
        assert run.wait(0)
        waiting = threading.Thread(target=run.wait_folded, daemon=True)
        waiting.start()
        waiting.join(60)
        assert not waiting.is_alive()  # the lock of the new run is held all the time
        run.signal(signal.SIGKILL)
        assert pid_of(engine, container) == pid


def test_outliving_can_be_cancelled(home: Home, container: str) -> None:
    cancel = Cancel()
    threading.Timer(0.2, cancel.cancel).start()
    with Run(home, container) as run, pytest.raises(Cancelled):
        run.outlive(cancel)


def test_a_lock_and_a_state_of_different_runs_are_not_taken_together(
    engine: LocalEngine, home: Home, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.services import run as module

    looks = 0

    def late(directory: str) -> dict[str, object]:
        monkeypatch.setattr(module, "read_state", read_state)
        engine.containers.restart(container, timeout_seconds=0)  # between its two looks
        monkeypatch.setattr(module, "read_state", again)
        return read_state(directory)

    def again(directory: str) -> dict[str, object]:
        nonlocal looks
        looks += 1
        return read_state(directory)

    monkeypatch.setattr(module, "read_state", late)
    with Run(home, container) as run:
        monkeypatch.undo()
        assert looks == 1
        assert run.lives
        lock = os.stat(f"{home.run_dir(container)}/monitor.lock")
        assert os.path.samestat(lock, os.fstat(run._lock))


def test_retiring_leaves_the_old_lock_to_those_who_have_it(tmp_path: Path) -> None:
    lock, state = tmp_path / "monitor.lock", tmp_path / "state.json"
    lock.touch()
    state.write_text("{}")
    with lock.open() as old:
        retire(str(tmp_path))
        assert not lock.exists()
        assert not state.exists()
        retire(str(tmp_path))
        with lock.open("w") as new:
            fcntl.flock(new, fcntl.LOCK_EX)
            fcntl.flock(old, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_half_a_document_is_none(tmp_path: Path) -> None:
    assert read_state(str(tmp_path)) == {}
    (tmp_path / "state.json").write_text('{"pid":')
    assert read_state(str(tmp_path)) == {}
