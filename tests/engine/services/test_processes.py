"""`top`, against what `ps` of the host says."""

import os
import re
import subprocess
import time
from collections.abc import Callable

import pytest

from engine.kernel.cgroup import Limits, open_cgroup
from engine.local import LocalEngine
from engine.model.container import CreateOptions, Process
from engine.services.processes import _moment, list_processes
from tests.support.host import CGROUP_PARENT
from tests.support.waiting import until

pytestmark = pytest.mark.root


def processes_of(
    engine: LocalEngine,
    image: str,
    *command: str,
    ready: Callable[[list[str]], bool] = bool,
    tty: bool = False,
    user: str = "",
) -> list[Process]:
    container = engine.containers.create(
        CreateOptions(image, command=command, network="none", tty=tty, user=user or None)
    )
    engine.containers.start(container)
    found: list[Process] = []

    def is_ready() -> bool:
        found[:] = engine.containers.top(container)
        return ready([each.command for each in found])

    until(is_ready)
    return found


def _are_near(ours: str, theirs: str) -> bool:
    """ps counts whole seconds since the boot: it may be one off, so the minute."""
    if ":" not in theirs:  # midnight came between
        return ours in ("23:59", theirs)
    one, other = (60 * int(each[:2]) + int(each[3:]) for each in (ours, theirs))
    return abs(one - other) <= 1


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ((2026, 11, 28, 17, 5, 59), "17:05"),
        ((2026, 11, 28, 0, 0, 0), "00:00"),
        ((2026, 11, 27, 23, 59, 59), "Nov27"),
        ((2026, 1, 2, 3, 4, 5), "Jan02"),
        ((2025, 11, 28, 17, 5, 59), "2025"),
    ],
)
def test_a_start_of_another_day_is_its_day(started: tuple[int, ...], shown: str) -> None:
    def seconds(moment: tuple[int, ...]) -> float:
        return time.mktime((*moment, 0, 0, -1))  # type: ignore[arg-type]

    assert _moment(seconds(started), seconds((2026, 11, 28, 18, 0, 0))) == shown


def test_processes_are_those_of_the_host(engine: LocalEngine, image: str) -> None:
    def both(commands: list[str]) -> bool:
        return {"sleep 900", "sleep 901"} <= set(commands)

    found = processes_of(engine, image, "sh", "-c", "sleep 900 & sleep 901 & wait", ready=both)
    first, *others = found
    assert first.command == "sh -c sleep 900 & sleep 901 & wait"
    assert sorted(each.command for each in others) == ["sleep 900", "sleep 901"]
    assert {each.ppid for each in others} == {first.pid}
    pids = ",".join(str(each.pid) for each in found)
    text = subprocess.run(
        ["ps", "-o", "pid=,ppid=,user=,tty=,stime=,args=", "-p", pids],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows, starts = {}, {}
    for line in text.splitlines():
        pid, ppid, user, tty, start, args = line.split(maxsplit=5)
        rows[int(pid)] = (int(ppid), user, tty, args)
        starts[int(pid)] = start
    assert {each.pid: (each.ppid, each.uid, each.tty, each.command) for each in found} == rows
    for each in found:
        assert _are_near(each.start_time, starts[each.pid])
    for each in found:
        assert re.fullmatch(r"\d\d:\d\d:\d\d", each.cpu_time)


def test_users_of_the_image_are_numbers_where_the_host_has_none(
    engine: LocalEngine, image: str
) -> None:
    (only,) = processes_of(engine, image, "sleep", "900", user="54321:1")
    assert only.uid == "54321"


def test_a_terminal_has_its_name(engine: LocalEngine, image: str) -> None:
    (only,) = processes_of(engine, image, "sleep", "900", tty=True)
    assert only.tty == "pts/0"


def test_time_that_was_used_is_counted(engine: LocalEngine, image: str) -> None:
    container = engine.containers.create(
        CreateOptions(image, command=("sh", "-c", "while :; do :; done"), network="none")
    )
    engine.containers.start(container)
    until(lambda: engine.containers.top(container)[0].cpu_percent > 1)


def test_a_cgroup_without_processes_has_none() -> None:
    path = f"{CGROUP_PARENT}/none/here"
    assert list_processes(path) == []
    cgroup = open_cgroup(path)
    cgroup.create(Limits())
    try:
        assert list_processes(path) == []
        with subprocess.Popen(["sleep", "900"]) as child:
            cgroup.join(child.pid)
            (only,) = list_processes(path)
            child.kill()
        assert (only.pid, only.ppid) == (child.pid, os.getpid())
        assert list_processes(path) == []
    finally:
        cgroup.remove()
