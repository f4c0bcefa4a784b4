"""Launches that fail, that are killed, that come all at once."""

import os
import subprocess
import sys
import threading

import pytest

from engine.errors import Conflict, EngineError
from engine.kernel.process import is_alive
from engine.monitor import client
from engine.monitor.launch import launch
from tests.support.descriptors import open_now, opened_since
from tests.support.monitored import REPOSITORY, Host, Monitored
from tests.support.waiting import until

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("args", "options", "code", "words"),
    [
        (("nope",), {}, 127, "executable file not found"),
        (("/etc/passwd",), {}, 126, "permission denied"),
        (("true",), {"user": "nobody-here"}, 125, "unable to find user"),
        (("true",), {"mounts": [("/does/not/exist", "/x", False)]}, 125, "mount"),
    ],
)
def test_launch_that_fails_says_why_and_leaves_nothing(
    box: Monitored, args: tuple[str, ...], options: dict[str, object], code: int, words: str
) -> None:
    before = open_now()
    with pytest.raises(EngineError, match=words) as caught:
        box.launch(*args, attach=True, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == code
    assert not os.path.exists(box.run_dir)
    assert box.events() == []
    assert not opened_since(before)


def test_launch_without_a_place_for_the_log_leaves_nothing(box: Monitored) -> None:
    spec = box.spec("true")
    box.directory.rmdir()
    with pytest.raises(EngineError, match="log"):
        launch(box.home, box.id, lambda: spec)
    assert not os.path.exists(box.run_dir)


def test_monitor_that_breaks_says_why(box: Monitored, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = box.host.path / "broken.py"
    broken.write_text("import nothing_of_that_name")
    monkeypatch.setattr("engine.monitor.standby._ENTRY", str(broken))
    with pytest.raises(EngineError, match=r"monitor: ModuleNotFoundError.*nothing_of_that_name"):
        box.launch("true")
    assert not os.path.exists(box.run_dir)


def test_second_launch_of_a_running_container_is_a_conflict(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    with pytest.raises(Conflict, match="still at work"):
        box.launch("sleep", "100")
    assert is_alive(launched.pid, box.state()["start_time"])
    os.kill(launched.pid, 9)
    box.end()


def test_container_outlives_its_launcher(box: Monitored) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from pathlib import Path
from engine.home import Home
from engine.monitor.launch import LaunchSpec, launch
home = Home({box.home.root!r}, {box.home.run_root!r}, {box.home.root_id!r})
spec = LaunchSpec(*{tuple(box.spec("sh", "-c", "sleep 0.3; echo x; exit 3"))!r})
launched = launch(home, {box.id!r}, lambda: spec)
print(launched.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert int(done.stdout) == box.state()["pid"]
    assert box.end()["exit_code"] == 3
    assert box.log() == b"x\n"


def test_launcher_killed_while_its_monitor_boots_leaves_no_process(box: Monitored) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from engine.home import Home
from engine.monitor import launch as module
module._Monitor.go = lambda *_: os.kill(os.getpid(), 9)
home = Home({box.home.root!r}, {box.home.run_root!r}, {box.home.root_id!r})
spec = module.LaunchSpec(*{tuple(box.spec("sleep", "100"))!r})
module.launch(home, {box.id!r}, lambda: spec)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    until(lambda: not client.is_alive(box.run_dir))
    assert not os.path.exists(f"{box.run_dir}/state.json")
    launched = box.launch("sh", "-c", "exit 2")  # and the next one finds no obstacle
    assert launched.pid
    assert box.end()["exit_code"] == 2


def test_ten_launches_at_once(host: Host) -> None:
    boxes = [host.container(f"c{number}") for number in range(10)]
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            boxes[number].launch("sh", "-c", f"echo {number}; exit {number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number, box in enumerate(boxes):
        assert box.end()["exit_code"] == number
        assert box.log() == b"%d\n" % number


def test_monitors_that_ended_are_no_zombies_of_a_living_launcher(box: Monitored) -> None:
    box.launch("true")
    pid = box.state()["monitor_pid"]
    box.end()
    until(lambda: not os.path.exists(f"/proc/{pid}"))
