"""Workers: another process, one answer, no survivors."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Conflict
from engine.workers import Worker, WorkerDied
from tests.support.waiting import until

MODULE = "tests.support.worker_calls"


def test_answers_and_reports_from_a_lean_interpreter() -> None:
    reports: list[Any] = []
    argument = (1, "zwei", b"\xff", [None, 2.5])
    value = Worker(f"{MODULE}:describe", argument).run(reports.append)
    got, nice, own_session, loaded = value
    assert got == argument
    assert reports == ["first", {"n": 2}]
    assert (nice >= 5, own_session, loaded) == (True, True, [])


def test_descriptor_keeps_its_number() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"through the pipe")
    assert Worker(f"{MODULE}:read", reader, [reader]).run() == b"through the pipe"
    os.close(reader)
    os.close(writer)


def test_kind_of_error_crosses() -> None:
    with pytest.raises(Conflict, match="is taken") as caught:
        Worker(f"{MODULE}:fail", "kind").run()
    assert (caught.value.hint, caught.value.exit_code) == ("take another", 7)


@pytest.mark.parametrize(
    ("argument", "words"),
    [("kill", "SIGSEGV"), ("exit", "exit status 3: out of luck"), ("bug", "KeyError: 'bug'")],
)
def test_death_says_its_cause(argument: str, words: str) -> None:
    with pytest.raises(WorkerDied, match=words):
        Worker(f"{MODULE}:fail", argument).run()


def test_kill_from_another_thread_ends_it_at_once() -> None:
    worker = Worker(f"{MODULE}:sleep", "")
    started = threading.Event()
    thread = threading.Thread(target=lambda: (started.wait(), worker.kill()))
    thread.start()
    pids: list[int] = []
    with pytest.raises(WorkerDied, match="SIGKILL"):
        worker.run(lambda pid: (pids.append(pid), started.set()))
    thread.join()
    assert not os.path.exists(f"/proc/{pids[0]}")


def test_killed_before_it_starts_it_never_starts() -> None:
    worker = Worker(f"{MODULE}:sleep", "")
    worker.kill()
    with pytest.raises(WorkerDied):
        worker.run()


def test_worker_dies_with_its_parent(tmp_path: Path) -> None:
    code = f"""if True:
        import sys; sys.path.insert(0, {os.getcwd()!r})
        from engine.workers import Worker
        Worker("{MODULE}:sleep", "").run(lambda pid: print(pid, flush=True))
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
