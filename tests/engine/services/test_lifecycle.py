"""Whoever is killed, and whenever: rows say what is so, and nothing is waited for in vain."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.connect import connect
from engine.engine import Cancel
from engine.errors import Cancelled, Conflict, NotFound, Unavailable
from engine.home import open_home
from engine.kernel.cgroup import Limits, open_cgroup
from engine.kernel.process import start_time
from engine.local import LocalEngine
from engine.model.container import ContainerSummary, CreateOptions
from engine.monitor import client, protocol
from engine.monitor.client import MonitorSession
from engine.services.lifecycle import Lifecycle
from engine.storage.container_store import ContainerStore
from engine.storage.metadata import Database
from tests.support.waiting import until

pytestmark = pytest.mark.root

PYDOCK = str(Path(sys.executable).with_name("pydock"))
HANG_SECONDS = 60.0


def started(engine: LocalEngine, image: str, *command: str, rm: bool = False) -> str:
    container = engine.containers.create(
        CreateOptions(image, command=command or ("sleep", "1000"), network="none", auto_remove=rm)
    )
    engine.containers.start(container)
    return container


def row_of(engine: LocalEngine, container: str) -> ContainerSummary:
    return engine.containers.inspect(container).summary


def state_file(engine: LocalEngine, container: str) -> Path:
    return Path(engine.info.run_root, "containers", container, "state.json")


def lives(pid: int) -> bool:
    try:
        return start_time(pid) > 0
    except ProcessLookupError:
        return False


def kill_monitor(engine: LocalEngine, container: str) -> None:
    state = json.loads(state_file(engine, container).read_text())
    process = os.pidfd_open(state["monitor_pid"])
    signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)
    lock = state_file(engine, container).with_name("monitor.lock")
    subprocess.run(["flock", str(lock), "true"], check=True)  # it is dead when this is free


def at_once(*calls: Callable[[], object]) -> list[BaseException | None]:
    """What each call has raised; none of them hangs."""
    results: list[BaseException | None] = [TimeoutError() for _ in calls]

    def run(index: int) -> None:
        try:
            calls[index]()
            results[index] = None
        except BaseException as error:
            results[index] = error

    threads = [
        threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
        assert not thread.is_alive()
    return results


# -- a monitor is killed


def test_an_end_that_nobody_saw_is_folded_when_it_is_looked_at(
    engine: LocalEngine, image: str
) -> None:
    looks: list[Callable[[str], ContainerSummary]] = [
        lambda container: next(row for row in engine.containers.list(all=True)),
        lambda container: row_of(engine, container),
    ]
    for look in looks:
        container = started(engine, image)
        pid = row_of(engine, container).pid
        kill_monitor(engine, container)
        os.kill(pid, signal.SIGKILL)
        until(lambda of=pid: not lives(of))  # type: ignore[misc]
        row = look(container)
        assert (row.exit_code, row.pid) == (255, 0)
        assert row.error == "exit code unknown: its monitor was killed"
        engine.containers.remove(container)


def test_one_that_removes_itself_does_so_without_its_monitor(
    engine: LocalEngine, image: str
) -> None:
    container = started(engine, image, rm=True)
    pid = row_of(engine, container).pid
    kill_monitor(engine, container)
    os.kill(pid, signal.SIGKILL)
    until(lambda: engine.containers.list(all=True) == [])
    with pytest.raises(NotFound, match="no such container"):
        engine.containers.inspect(container)


@pytest.mark.parametrize("verb", ["stop", "kill", "restart", "remove", "start"])
def test_every_verb_works_without_a_monitor(engine: LocalEngine, image: str, verb: str) -> None:
    container = started(engine, image)
    pid = row_of(engine, container).pid
    kill_monitor(engine, container)
    if verb == "stop":
        engine.containers.stop(container, timeout_seconds=0)
    elif verb == "kill":
        engine.containers.kill(container)
    elif verb == "restart":
        engine.containers.restart(container, timeout_seconds=0)
    elif verb == "remove":
        engine.containers.remove(container, force=True)
        assert engine.containers.list(all=True) == []
        return
    else:
        os.kill(pid, signal.SIGKILL)
        until(lambda: not lives(pid))
        engine.containers.start(container)
    expected = "running" if verb in ("restart", "start") else "exited"
    row = row_of(engine, container)
    assert row.state == expected
    assert row.pid != pid


def test_whoever_looks_gives_it_a_monitor_again(engine: LocalEngine, image: str) -> None:
    says = "echo $n; n=$((n+1)); touch /said$n"
    loop = f"n=0; while [ ! -e /end ]; do [ -e /go$n ] && {{ {says}; }}; sleep 0.01; done; exit 42"
    container = started(engine, image, "sh", "-c", loop)
    pid = row_of(engine, container).pid
    root = Path(f"/proc/{pid}/root")
    log = Path(engine.info.root, "containers", container, "log")
    for number in (0, 1, 2):
        kill_monitor(engine, container)
        (root / f"go{number}").touch()
        until((root / f"said{number + 1}").exists)  # nobody takes it now
        row = row_of(engine, container)
        assert (row.state, row.pid) == ("running", pid)
        until(lambda line=f" F {number}\n": line in log.read_text())  # type: ignore[misc]
        assert engine.containers.exec(container, ["true"]).wait() == 0
    with contextlib.closing(engine.containers.attach(container)) as session:
        (root / "go3").touch()
        assert session.read() == ("stdout", b"3\n")
        (root / "end").touch()
        assert session.wait() == 42
    assert engine.containers.wait(container) == 42
    row = row_of(engine, container)
    assert (row.state, row.exit_code, row.error) == ("exited", 42, "")
    assert [line.split()[3] for line in log.read_text().splitlines()] == ["0", "1", "2", "3"]
    told = engine.system.events(
        since_ns=row.started_ns, until_ns=time.time_ns(), filters=[("event", "die")]
    )
    assert [each.attributes["exitCode"] for each in told] == ["42"]


def test_who_follows_a_log_goes_on_with_the_new_monitor(engine: LocalEngine, image: str) -> None:
    says = "[ -e /go$n ] && { echo $n; n=$((n+1)); }"
    loop = f"n=0; while [ ! -e /end ]; do {says}; sleep 0.01; done"
    container = started(engine, image, "sh", "-c", loop)
    root = Path(f"/proc/{row_of(engine, container).pid}/root")
    with contextlib.closing(engine.containers.logs(container, follow=True)) as lines:
        for number in range(3):
            kill_monitor(engine, container)  # it is the follower that makes up for it
            (root / f"go{number}").touch()
            assert next(iter(lines)).text == b"%d" % number
            assert client.is_alive(str(state_file(engine, container).parent))
        (root / "end").touch()
        assert list(lines) == []
    assert engine.containers.wait(container) == 0


def test_a_paused_one_stays_so_under_its_new_monitor(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)
    engine.containers.pause(container)
    kill_monitor(engine, container)
    assert row_of(engine, container).state == "paused"
    engine.containers.unpause(container)
    assert engine.containers.exec(container, ["true"]).wait() == 0


def test_nobody_gets_at_one_without_a_monitor(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)
    Path(engine.info.root, "containers", container, "config.json").unlink()  # none can be made
    kill_monitor(engine, container)
    for act in (
        lambda: engine.containers.attach(container),
        lambda: engine.containers.exec(container, ["true"]),
        lambda: engine.containers.start_attached(container),
    ):
        with pytest.raises(Unavailable, match="its monitor was killed") as caught:
            act()
        assert "restart" in caught.value.hint


def test_waiting_goes_on_without_a_monitor(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)
    kill_monitor(engine, container)
    cancel = Cancel()
    threading.Timer(0.2, cancel.cancel).start()
    with pytest.raises(Cancelled):
        engine.containers.wait(container, cancel=cancel)
    pid = row_of(engine, container).pid
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    assert engine.containers.wait(container) == 137


def test_an_exit_command_that_is_killed_is_made_up_for(engine: LocalEngine, image: str) -> None:
    container = started(engine, image, "sh", "-c", "exit 7")
    engine.containers.wait(container)
    # As it stands when the monitor has written the end, and nobody folds it.
    run_dir = state_file(engine, container).parent
    code = json.dumps({"exit_code": 7, "oom_killed": False, "finished_ns": 5})
    (run_dir / "exit.json").write_text(code)
    with_row(engine, container, state="running", pid=1)
    row = row_of(engine, container)
    assert (row.state, row.exit_code, row.finished_ns, row.error) == ("exited", 7, 5, "")


# -- a starter is killed


def with_row(engine: LocalEngine, container: str, **columns: object) -> None:
    database = Database(open_home(engine.info.root, engine.info.run_root))
    ContainerStore(database).set_state(container, **columns)
    database.close()


def test_a_start_that_nobody_recorded_is_seen(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)
    before = row_of(engine, container)
    with_row(engine, container, state="created", pid=0, started_ns=0)
    with connect(engine.info.root, engine.info.run_root) as other:
        (row,) = other.containers.list()
    assert (row.state, row.pid, row.started_ns) == ("running", before.pid, before.started_ns)
    engine.containers.start(container)  # it runs already
    assert row_of(engine, container).pid == before.pid


UNTIL_GO = "while [ ! -e /tmp/go ]; do sleep 0.01; done"


def go(pid: int) -> None:
    """What waits for it goes on."""
    Path(f"/proc/{pid}/root/tmp/go").touch()


def test_a_start_that_nobody_recorded_can_end(engine: LocalEngine, image: str) -> None:
    container = started(engine, image, "sh", "-c", f"{UNTIL_GO}; exit 3")
    pid = row_of(engine, container).pid
    with_row(engine, container, state="created", pid=0, started_ns=0)
    go(pid)
    until(lambda: row_of(engine, container).state == "exited")
    row = row_of(engine, container)
    assert (row.exit_code, row.error) == (3, "")
    assert row.started_ns
    assert not state_file(engine, container).exists()


def test_a_start_that_nobody_recorded_can_remove_itself(engine: LocalEngine, image: str) -> None:
    container = started(engine, image, "sh", "-c", UNTIL_GO, rm=True)
    pid = row_of(engine, container).pid
    with_row(engine, container, state="created", pid=0, started_ns=0)
    go(pid)
    until(lambda: engine.containers.list(all=True) == [])


@pytest.mark.parametrize("verb", ["remove", "stop"])
def test_a_start_that_nobody_recorded_can_be_ended(
    engine: LocalEngine, image: str, verb: str
) -> None:
    container = started(engine, image)
    with_row(engine, container, state="created", pid=0, started_ns=0)
    if verb == "remove":
        with pytest.raises(Conflict, match="container is running"):
            engine.containers.remove(container)
        engine.containers.remove(container, force=True)
        assert engine.containers.list(all=True) == []
    else:
        engine.containers.stop(container, timeout_seconds=0)
        assert row_of(engine, container).state == "exited"


def test_what_a_killed_start_has_begun_is_begun_anew(engine: LocalEngine, image: str) -> None:
    container = engine.containers.create(CreateOptions(image, command=("true",), network="none"))
    Path(engine.info.root, "upper", container).mkdir()  # and no diff in it
    engine.containers.start(container)
    assert engine.containers.wait(container) == 0


def test_a_cgroup_that_a_killed_start_has_made_goes_with_the_container(
    engine: LocalEngine, image: str
) -> None:
    container = engine.containers.create(CreateOptions(image, command=("true",), network="none"))
    path = engine.containers.inspect(container).cgroup
    open_cgroup(path).create(Limits())
    engine.containers.remove(container)
    assert not any(map(os.path.isdir, open_cgroup(path).directories))


def killed_starters(engine: LocalEngine, image: str, count: int) -> set[str]:
    """The states that `pydock run -d`, killed at random moments, has left containers in."""
    command = [PYDOCK, "run", "-d", "-v", "data:/etc", image, "sleep", "1000"]
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole_seconds = time.monotonic() - begin
    (first,) = engine.containers.list()
    engine.containers.remove(first.id, force=True)
    moments = random.Random(count)
    states = set()
    for round in range(count):
        starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if round:
            time.sleep(moments.uniform(0.3, 1.1) * whole_seconds)
        else:
            until(lambda: engine.containers.list(all=True))  # once when there is one for sure
        starter.kill()
        assert starter.communicate()[1] == b""
        for row in engine.containers.list(all=True):
            states.add(row.state)
            if round % 2:
                engine.containers.start(row.id)
                (running,) = engine.containers.list()
                assert running.state == "running"
                assert lives(running.pid)
            engine.containers.remove(row.id, force=True)
        assert engine.containers.list(all=True) == []
        assert engine.networks.inspect("bridge").members == ()
        engine.volumes.remove("data", force=True)
        for anonymous in engine.volumes.list():  # docker leaves them, too
            engine.volumes.remove(anonymous.name)
        assert os.listdir(f"{engine.info.root}/upper") == []
        assert os.listdir(f"{engine.info.run_root}/containers") == []
        assert os.listdir(f"{engine.info.run_root}/netns") == []
    return states


def test_starters_that_are_killed(engine: LocalEngine, image: str) -> None:
    assert killed_starters(engine, image, 10)


@pytest.mark.long
def test_two_hundred_starters_that_are_killed(engine: LocalEngine, image: str) -> None:
    assert killed_starters(engine, image, 200) == {"created", "running"}


# -- a client comes late, or goes early


def test_who_folds_late_does_not_touch_the_next_run(engine: LocalEngine, image: str) -> None:
    container = engine.containers.create(
        CreateOptions(image, command=("sleep", "1000"), network="none")
    )
    session = engine.containers.start_attached(container)
    assert isinstance(session, MonitorSession)
    fold = session._on_clean
    assert fold is not None
    session.close()
    engine.containers.stop(container, timeout_seconds=0)
    engine.containers.start(container)
    pid = row_of(engine, container).pid
    fold(137)
    assert row_of(engine, container).pid == pid
    assert lives(pid)


def test_a_client_that_dies_with_the_fold_half_done_stops_nobody(
    engine: LocalEngine, image: str
) -> None:
    container = engine.containers.create(CreateOptions(image, command=("true",), network="none"))
    session = engine.containers.start_attached(container)
    assert isinstance(session, MonitorSession)
    fold = session._on_clean
    assert fold is not None

    def fold_and_die(code: int) -> None:
        fold(code)
        session.detach()

    session.on_clean(fold_and_die)
    while session.read()[1]:
        pass
    # The exit command wants the container's lock now, and a start waits for the exit command.
    assert at_once(lambda: engine.containers.start(container)) == [None]
    assert engine.containers.wait(container) == 0
    session.close()


def waits_for_the_fold(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a session has the end, and waits until it is folded."""
    asks = threading.Event()
    is_over = Lifecycle.is_over

    def told(lifecycle: Lifecycle, container_id: str, started_ns: int) -> bool:
        over = is_over(lifecycle, container_id, started_ns)
        if not over:
            asks.set()
        return over

    monkeypatch.setattr(Lifecycle, "is_over", told)
    return asks


@pytest.mark.parametrize("rm", [False, True])
def test_who_is_attached_has_the_code_when_the_end_is_folded(
    engine: LocalEngine, image: str, monkeypatch: pytest.MonkeyPatch, rm: bool
) -> None:
    container = started(engine, image, rm=rm)
    session = engine.containers.attach(container, stdin=False)
    asks = waits_for_the_fold(monkeypatch)
    found: list[tuple[int, list[str]]] = []

    def watch() -> None:
        code = session.wait()
        found.append((code, [row.state for row in engine.containers.list(all=True)]))

    watcher = threading.Thread(target=watch, daemon=True)
    with engine._lifecycle.locked(container):  # the exit command waits for it
        session.signal(signal.SIGKILL)
        watcher.start()
        assert asks.wait(HANG_SECONDS)
        assert found == []
    watcher.join(HANG_SECONDS)
    assert found == [(137, [] if rm else ["exited"])]
    session.close()


def test_who_leaves_does_not_wait_for_the_fold(
    engine: LocalEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = started(engine, image)
    session = engine.containers.attach(container, stdin=False)
    asks = waits_for_the_fold(monkeypatch)
    reader = threading.Thread(target=session.read, daemon=True)
    with engine._lifecycle.locked(container):
        session.signal(signal.SIGKILL)
        reader.start()
        assert asks.wait(HANG_SECONDS)
        session.detach()
        reader.join(HANG_SECONDS)
        assert not reader.is_alive()
    session.close()
    assert engine.containers.wait(container) == 137


def test_who_cleans_up_too_late_has_the_code_when_others_have(
    engine: LocalEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = engine.containers.create(CreateOptions(image, command=("true",), network="none"))
    session = engine.containers.start_attached(container)
    assert isinstance(session, MonitorSession)
    monkeypatch.setattr(session, "_clean", lambda code: False)
    asks = waits_for_the_fold(monkeypatch)
    reader = threading.Thread(target=session.wait, daemon=True)
    reader.start()
    assert asks.wait(HANG_SECONDS)
    assert reader.is_alive()
    engine.containers.cleanup(container)
    session._send(protocol.DONE)  # what the monitor hears when its exit command has done it
    reader.join(HANG_SECONDS)
    assert not reader.is_alive()
    assert row_of(engine, container).state == "exited"
    session.close()


def test_who_was_attached_does_not_wait_for_the_next_run(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)
    session = engine.containers.attach(container, stdin=False)
    engine.containers.restart(container, timeout_seconds=0)
    waited: list[int] = []
    at_once(lambda: waited.append(session.wait()))
    assert waited == [137]
    session.close()


# -- several at once


def test_two_removals_at_once(engine: LocalEngine, image: str) -> None:
    for _ in range(3):
        container = started(engine, image)
        remove = lambda at=container: engine.containers.remove(at, force=True)  # noqa: E731
        assert at_once(remove, remove, remove) == [None, None, None]
        assert engine.containers.list(all=True) == []


def test_a_removal_waits_for_an_end_that_is_being_folded(
    engine: LocalEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = engine.containers.create(CreateOptions(image, command=("true",), network="none"))
    session = engine.containers.start_attached(container)  # it is asked to fold, and sleeps
    until(
        lambda: (state_file(engine, container).with_name("exit.json")).exists(),
    )
    assert row_of(engine, container).state == "running"
    looks = 0
    at_rest = engine._lifecycle.at_rest

    def counted(container_id: str) -> object:
        nonlocal looks
        looks += 1
        return at_rest(container_id)

    monkeypatch.setattr(engine._lifecycle, "at_rest", counted)
    threading.Timer(0.2, session.close).start()  # the exit command has to do it then
    engine.containers.remove(container, force=True)
    assert looks == 1


def test_a_removal_wins_against_starts(engine: LocalEngine, image: str) -> None:
    for _ in range(5):
        container = started(engine, image, "sleep", "0.02")
        start = lambda at=container: engine.containers.start(at)  # noqa: E731
        remove = lambda at=container: engine.containers.remove(at, force=True)  # noqa: E731
        *starts, removal = at_once(start, start, remove)
        assert removal is None
        assert {type(error) for error in starts} <= {type(None), NotFound}
        assert engine.containers.list(all=True) == []


def test_stop_and_start_do_not_wait_for_each_other(engine: LocalEngine, image: str) -> None:
    container = started(engine, image)

    def often(act: Callable[[], object]) -> Callable[[], object]:
        return lambda: [act() for _ in range(8)]

    assert (
        at_once(
            often(lambda: engine.containers.stop(container, timeout_seconds=0)),
            often(lambda: engine.containers.start(container)),
            often(lambda: engine.containers.restart(container, timeout_seconds=0)),
            often(lambda: engine.containers.list(all=True)),
        )
        == [None] * 4
    )
    row = row_of(engine, container)
    assert (row.state == "running") == lives(row.pid or 1 << 22)
    engine.containers.start(container)
    engine.containers.stop(container, timeout_seconds=0)
    assert row_of(engine, container).state == "exited"


def test_a_lock_without_a_container_is_gone(engine: LocalEngine, image: str) -> None:
    lock = Path(engine.info.run_root, "lock", "f" * 64)
    lock.touch()
    container = started(engine, image, "true")
    engine.containers.wait(container)
    connect(engine.info.root, engine.info.run_root).close()
    assert not lock.exists()
    assert lock.with_name(container).exists()


def test_opening_an_engine_looks_once_at_each_container_that_runs(
    engine: LocalEngine, image: str
) -> None:
    for _ in range(3):
        started(engine, image)
    script = f"""if True:
        import sys
        from engine.connect import connect
        opened = []
        sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
        connect({engine.info.root!r}, {engine.info.run_root!r}).close()
        print(sum(path.endswith("/monitor.lock") for path in opened))
    """
    counted = subprocess.check_output([sys.executable, "-c", script])
    assert int(counted) == 3
