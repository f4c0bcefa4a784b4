import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.kernel.process import start_time
from engine.monitor import standby
from engine.monitor.standby import Standby
from tests.support.host import CGROUP_PARENT
from tests.support.monitored import REPOSITORY
from tests.support.waiting import until

CGROUP = f"{CGROUP_PARENT}/monitors"


def has_ended(pid: int) -> bool:
    try:
        return not start_time(pid)
    except ProcessLookupError:
        return True


def test_it_waits_in_a_session_of_its_own_without_an_environment() -> None:
    waiting = Standby(CGROUP)
    try:
        assert os.getsid(waiting.pid) == waiting.pid
        assert Path(f"/proc/{waiting.pid}/environ").read_bytes() == b""
    finally:
        waiting.kill()


def test_it_moves_to_where_nobody_freezes_it() -> None:
    waiting = Standby(CGROUP)
    until(lambda: CGROUP in Path(f"/proc/{waiting.pid}/cgroup").read_text())
    waiting.kill()


def test_killed_it_is_gone() -> None:
    waiting = Standby(CGROUP)
    waiting.kill()
    assert not os.path.exists(f"/proc/{waiting.pid}")


def test_it_ends_with_its_maker() -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from engine.monitor.standby import Standby
print(Standby({CGROUP!r}).pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: has_ended(int(done.stdout)))


def test_what_breaks_its_start_is_its_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no monitor today')")
    monkeypatch.setattr(standby, "_ENTRY", str(broken))
    waiting = Standby(CGROUP)
    until(lambda: waiting.complaint() != "")
    assert waiting.complaint() == "no monitor today"
    until(lambda: os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))
    with pytest.raises(ConnectionError):
        waiting.go([0])
    waiting.kill()
