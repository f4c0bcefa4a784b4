"""Containers that start again by themselves: docker's rules, and whoever is killed meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from engine.connect import connect
from engine.errors import Conflict, InvalidInput
from engine.local import LocalEngine
from engine.model.container import Container, CreateOptions, RestartPolicy
from engine.services.restarts import Tally, next_delay
from tests.support.waiting import until

ALWAYS = RestartPolicy("always")
# The first run leaves a mark in its own file system, the second stays.
TWICE = "[ -e /was ] && exec sleep 1000; touch /was; exit 3"


@pytest.mark.parametrize(
    ("policy", "tally", "exit_code", "wanted"),
    [
        (("always", 0), Tally(), 0, True),
        (("always", 0), Tally(stopped=True), 0, True),
        (("always", 0), Tally(final=True), 0, False),
        (("unless-stopped", 0), Tally(), 0, True),
        (("unless-stopped", 0), Tally(stopped=True), 1, False),
        (("on-failure", 0), Tally(times=99), 1, True),
        (("on-failure", 0), Tally(), 0, False),
        (("on-failure", 2), Tally(times=1), 137, True),
        (("on-failure", 2), Tally(times=2), 137, False),
        (("on-failure", 2), Tally(final=True), 137, False),
    ],
)
def test_policy(policy: tuple[str, int], tally: Tally, exit_code: int, wanted: bool) -> None:
    assert (next_delay(policy, tally, exit_code, 1.0) is not None) is wanted


def test_delay_doubles_up_to_a_minute_and_begins_anew_after_a_long_run() -> None:
    tally, delays = Tally(), []
    for _ in range(12):
        delay = next_delay(("always", 0), tally, 1, 9.9)
        assert delay is not None
        delays.append(delay)
        tally = tally._replace(delay_seconds=delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[8:] == [25.6, 51.2, 60.0, 60.0]
    assert next_delay(("always", 0), tally, 1, 10.0) == 0.1


def made(engine: LocalEngine, image: str, script: str, policy: RestartPolicy) -> str:
    container = engine.containers.create(
        CreateOptions(
            image,
            command=("sh", "-c", script),
            network="none",
            restart=policy,
            stop_timeout_seconds=0,
        )
    )
    engine.containers.start(container)
    return container


def found(engine: LocalEngine, container: str) -> Container:
    return engine.containers.inspect(container)


def state(engine: LocalEngine, container: str) -> str:
    return found(engine, container).summary.state


def waiting(engine: LocalEngine, image: str) -> str:
    """One that has ended with 1 and waits for a minute to start again."""
    container = made(engine, image, "while [ ! -e /end ]; do sleep 0.01; done; exit 1", ALWAYS)
    tally = Path(engine.info.root, "containers", container, "restarts.json")
    tally.write_text(json.dumps(Tally(delay_seconds=40.0)._asdict()))
    Path(f"/proc/{found(engine, container).summary.pid}/root/end").touch()
    until(lambda: state(engine, container) == "restarting")
    return container


def waiter(engine: LocalEngine, container: str) -> int:
    """The process that waits to start it again."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[-3:] == [container.encode(), b"again", b""]:
                return int(entry.name)
    return 0


@pytest.mark.root
def test_it_starts_again_with_what_it_has_written(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, TWICE, ALWAYS)
    until(lambda: found(engine, container).restart_count == 1)
    until(lambda: state(engine, container) == "running")
    assert engine.containers.exec(container, ["sh", "-c", "[ -e /was ]"]).wait() == 0
    until(lambda: waiter(engine, container) == 0)
    assert [row.id for row in engine.containers.list()] == [container]
    engine.containers.stop(container, timeout_seconds=0)
    row = found(engine, container)
    assert (row.summary.state, row.summary.exit_code) == ("exited", 137)
    engine.containers.start(container)  # by a person: everything begins anew
    assert found(engine, container).restart_count == 0


@pytest.mark.root
def test_it_gives_up_after_the_number_of_failures(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, "echo $$; exit 3", RestartPolicy("on-failure", 2))
    until(lambda: state(engine, container) == "exited")
    row = found(engine, container)
    assert (row.restart_count, row.summary.exit_code) == (2, 3)
    with contextlib.closing(engine.containers.logs(container)) as lines:
        assert [line.text for line in lines] == [b"1", b"1", b"1"]
    told = engine.system.events(
        since_ns=row.summary.created_ns,
        until_ns=time.time_ns(),
        filters=[("container", container), ("event", "die"), ("event", "start")],
    )
    # Each is told by a process of its own: of so short a run the end may be told first.
    assert sorted(each.action for each in told) == ["die"] * 3 + ["start"] * 3


@pytest.mark.root
def test_a_clean_end_is_no_failure(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, "exit 0", RestartPolicy("on-failure"))
    assert engine.containers.wait(container) == 0
    assert state(engine, container) == "exited"


@pytest.mark.root
@pytest.mark.parametrize("verb", ["stop", "kill", "remove", "restart"])
def test_what_ends_the_waiting(engine: LocalEngine, image: str, verb: str) -> None:
    container = waiting(engine, image)
    assert engine.containers.wait(container) == 1
    (summary,) = engine.containers.list()
    assert (summary.id, summary.exit_code, summary.pid) == (container, 1, 0)
    until(lambda: waiter(engine, container) > 0)
    with pytest.raises(Conflict, match="is restarting, wait until"):
        engine.containers.exec(container, ["true"])
    with pytest.raises(Conflict, match="container is restarting"):
        engine.containers.remove(container)
    if verb == "restart":
        engine.containers.restart(container)
        assert state(engine, container) in ("running", "restarting")  # /end is still there
        engine.containers.stop(container)
    elif verb == "remove":
        engine.containers.remove(container, force=True)
    else:
        getattr(engine.containers, verb)(container)
    until(lambda: waiter(engine, container) == 0)
    if verb == "remove":
        assert engine.containers.list(all=True) == []
    else:
        row = found(engine, container).summary
        assert row.state == "exited"


@pytest.mark.root
def test_one_that_was_told_to_stop_does_not_start_again(engine: LocalEngine, image: str) -> None:
    script = "trap 'exit 5' TERM; echo; while :; do sleep 0.01; done"
    for end in (
        lambda container: engine.containers.stop(container),
        lambda container: engine.containers.kill(container),
        lambda container: engine.containers.kill(container, "TERM"),
    ):
        container = made(engine, image, script, ALWAYS)
        with contextlib.closing(engine.containers.logs(container, follow=True)) as lines:
            next(iter(lines))  # its trap is set
        end(container)
        until(lambda of=container: state(engine, of) == "exited")  # type: ignore[misc]
        assert found(engine, container).restart_count == 0
        assert waiter(engine, container) == 0


@pytest.mark.root
def test_who_follows_its_log_sees_every_run(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, "echo x; exit 1", RestartPolicy("on-failure", 2))
    with contextlib.closing(engine.containers.logs(container, follow=True)) as lines:
        assert [line.text for line in lines] == [b"x"] * 3


@pytest.mark.root
def test_whoever_looks_makes_up_for_a_killed_waiter(engine: LocalEngine, image: str) -> None:
    container = waiting(engine, image)
    until(lambda: waiter(engine, container) > 0)
    killed = waiter(engine, container)
    os.kill(killed, signal.SIGKILL)
    until(
        lambda: (
            state(engine, container) == "restarting"
            and waiter(engine, container) not in (0, killed)
        )
    )
    engine.containers.remove(container, force=True)
    until(lambda: waiter(engine, container) == 0)


@pytest.mark.root
def test_a_host_that_boots_starts_it_again(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, TWICE, ALWAYS)
    until(lambda: found(engine, container).restart_count == 1)
    until(lambda: state(engine, container) == "running")
    # As after a power cut: the process is gone, and what is below RUN_ROOT.
    run_dir = Path(engine.info.run_root, "containers", container)
    monitor = json.loads((run_dir / "state.json").read_text())["monitor_pid"]
    for pid in (monitor, found(engine, container).summary.pid):
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)
    subprocess.run(["flock", str(run_dir / "monitor.lock"), "true"], check=True)
    for file in run_dir.iterdir():
        file.unlink()
    with connect(engine.info.root, engine.info.run_root):
        until(lambda: found(engine, container).restart_count == 2)
    until(lambda: state(engine, container) == "running")
    engine.containers.remove(container, force=True)


@pytest.mark.root
def test_a_host_goes_down_and_comes_up(engine: LocalEngine, image: str) -> None:
    wants = {
        "always": ("sleep 1000", ALWAYS),
        "stopped": ("sleep 1000", RestartPolicy("unless-stopped")),
        "unless": ("sleep 1000", RestartPolicy("unless-stopped")),
        "failed": ("sleep 1000", RestartPolicy("on-failure")),
        "plain": ("sleep 1000", RestartPolicy()),
    }
    made_ones = {name: made(engine, image, *want) for name, want in wants.items()}
    created = engine.containers.create(CreateOptions(image, restart=ALWAYS, network="none"))
    for container in made_ones.values():
        engine.containers.stop(container, timeout_seconds=0)
    for name in ("unless", "failed", "plain"):
        engine.containers.start(made_ones[name])
    halted = engine.system.halt()
    assert sorted(each.error for each in halted) == [""] * 3
    assert engine.containers.list() == []
    booted = {each.name for each in engine.system.boot()}
    up = {name for name, container in made_ones.items() if state(engine, container) == "running"}
    assert up == {"always", "unless", "failed"}
    assert booted == {found(engine, made_ones[name]).summary.name for name in up}
    assert state(engine, created) == "created"
    assert engine.system.boot() == []


@pytest.mark.root
def test_one_that_does_not_start_is_told(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, "rm /bin/sh; exec sleep 1000", ALWAYS)
    until(lambda: engine.containers.top(container)[0].command == "sleep 1000")
    engine.system.halt()
    (outcome,) = engine.system.boot()
    assert outcome.name == found(engine, container).summary.name
    assert "sh" in outcome.error


@pytest.mark.root
def test_what_cannot_start_does_not_loop(engine: LocalEngine, image: str) -> None:
    container = made(engine, image, "rm /bin/sh; exit 1", ALWAYS)
    until(lambda: state(engine, container) == "exited")
    row = found(engine, container)
    assert "sh" in row.summary.error
    assert row.summary.exit_code == 127
    until(lambda: waiter(engine, container) == 0)


@pytest.mark.root
def test_removing_itself_and_starting_again_exclude_each_other(
    engine: LocalEngine, image: str
) -> None:
    with pytest.raises(InvalidInput, match="both --restart and --rm"):
        engine.containers.create(CreateOptions(image, restart=ALWAYS, auto_remove=True))
    assert engine.containers.list(all=True) == []
