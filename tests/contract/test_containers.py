"""What every engine says of containers and does with them."""

import threading
from typing import Any

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, Conflict, InvalidInput, NotFound
from engine.model.container import CreateOptions, MountRequest
from tests.support.waiting import until

FOREVER = ("sleep", "1000")
HEEDS_TERM = ("sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait")


@pytest.fixture
def options(image: str) -> CreateOptions:
    return CreateOptions(image=image, command=FOREVER, network="none")


def states(engine: Engine) -> dict[str, str]:
    return {row.name: row.state for row in engine.containers.list(all=True)}


def test_from_created_to_gone(engine: Engine, options: CreateOptions) -> None:
    containers = engine.containers
    ref = containers.create(options._replace(name="one"))
    assert len(ref) == 64
    assert states(engine) == {"one": "created"}
    assert containers.list() == []
    containers.start("one")
    (row,) = containers.list()
    assert (row.id, row.name, row.state, row.image) == (ref, "one", "running", options.image)
    assert row.pid > 1
    assert row.started_ns >= row.created_ns > 0
    assert row.command == FOREVER
    containers.pause(ref[:12])
    assert states(engine) == {"one": "paused"}
    containers.unpause("one")
    containers.kill("one")
    (row,) = containers.list(all=True)
    assert (row.state, row.exit_code, row.pid) == ("exited", 137, 0)
    assert row.finished_ns >= row.started_ns
    containers.remove("one")
    assert states(engine) == {}
    with pytest.raises(NotFound, match="no such container: one"):
        containers.inspect("one")


def test_starting_what_runs_changes_nothing(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    before = engine.containers.inspect(ref).summary
    engine.containers.start(ref)
    assert engine.containers.inspect(ref).summary == before
    engine.containers.remove(ref, force=True)


def test_a_name_is_made_up_where_none_is_given(engine: Engine, options: CreateOptions) -> None:
    for _ in range(3):
        engine.containers.create(options)
    names = [row.name for row in engine.containers.list(all=True)]
    assert len(set(names)) == 3
    assert all("_" in name for name in names)


def test_newest_containers_come_first(engine: Engine, options: CreateOptions) -> None:
    for name in ("first", "second", "third"):
        engine.containers.create(options._replace(name=name))
    assert list(states(engine)) == ["third", "second", "first"]


def test_names_are_unique_and_change(engine: Engine, options: CreateOptions) -> None:
    containers = engine.containers
    containers.create(options._replace(name="one"))
    containers.create(options._replace(name="two"))
    with pytest.raises(Conflict, match="already in use"):
        containers.create(options._replace(name="one"))
    with pytest.raises(Conflict, match="already in use"):
        containers.rename("two", "one")
    with pytest.raises(InvalidInput, match="invalid container name"):
        containers.rename("two", "no good")
    with pytest.raises(InvalidInput, match="same name as its current name"):
        containers.rename("two", "/two")
    containers.rename("two", "/three")
    assert set(states(engine)) == {"one", "three"}


def test_an_ambiguous_beginning_is_a_conflict(engine: Engine, options: CreateOptions) -> None:
    ids: list[str] = []
    while len({each[0] for each in ids}) == len(ids):
        ids.append(engine.containers.create(options))
    twice = ids[-1][0]
    with pytest.raises(Conflict, match="more than one"):
        engine.containers.inspect(twice)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"image": "localhost/missing:1"}, NotFound, "no such image"),
        ({"name": "a b"}, InvalidInput, "invalid container name"),
        ({"network": "nowhere"}, NotFound, "network nowhere not found"),
        ({"memory_bytes": 1 << 20}, InvalidInput, "minimum memory limit allowed is 6MB"),
        ({"working_directory": "tmp"}, InvalidInput, "needs to be an absolute path"),
        ({"env": ("=x",)}, InvalidInput, "invalid environment variable"),
        (
            {"mounts": (MountRequest("volume", "../up", "/x"),)},
            InvalidInput,
            "includes invalid characters",
        ),
        ({"mounts": (MountRequest("volume", "x", "/x"),)}, InvalidInput, "name is too short"),
        (
            {"mounts": (MountRequest("volume", "ab", "/x"), MountRequest("volume", "cd", "/x"))},
            InvalidInput,
            "duplicate mount point",
        ),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    engine: Engine,
    options: CreateOptions,
    changes: dict[str, Any],
    kind: type[Exception],
    said: str,
) -> None:
    with pytest.raises(kind, match=said):
        engine.containers.create(options._replace(**changes))
    assert states(engine) == {}


def test_a_missing_command_is_127_and_told(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(command=("no-such-program",)))
    with pytest.raises(NotFound, match="executable file not found") as failure:
        engine.containers.start(ref)
    assert failure.value.exit_code == 127
    summary = engine.containers.inspect(ref).summary
    assert (summary.state, summary.exit_code) == ("created", 127)
    assert "no-such-program" in summary.error


def test_what_removes_itself_does_so_when_it_cannot_start(
    engine: Engine, options: CreateOptions
) -> None:
    command = ("no-such-program",)
    ref = engine.containers.create(options._replace(command=command, auto_remove=True))
    with pytest.raises(NotFound):
        engine.containers.start(ref)
    assert states(engine) == {}


def test_inspect_has_what_create_asked_for(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(
        options._replace(
            name="full", env=("A=1", "B=2", "A=3"), working_directory="/tmp", user="5:6",
            hostname="box", labels=(("role", "web"),), memory_bytes=64 << 20,
            nano_cpus=500_000_000, pids_limit=50, interactive=True, tty=True,
            mounts=(MountRequest("volume", "data", "/data", read_only=True),),
        )
    )  # fmt: skip
    found = engine.containers.inspect(ref)
    assert {"A=3", "B=2", "TERM=xterm"} <= set(found.env)
    assert any(entry.startswith("PATH=") for entry in found.env)
    assert (found.working_directory, found.user, found.hostname) == ("/tmp", "5:6", "box")
    assert (found.nano_cpus, found.pids_limit, found.interactive) == (500_000_000, 50, True)
    assert (found.command, found.entrypoint) == (FOREVER, ())
    assert (found.stop_signal, found.network_mode) == ("SIGTERM", "none")
    summary = found.summary
    assert dict(summary.labels) == {"maker": "contract", "role": "web"}
    assert (summary.memory_limit_bytes, summary.tty) == (64 << 20, True)
    (mount,) = summary.mounts
    assert (mount.type, mount.name, mount.target, mount.read_only) == (
        "volume", "data", "/data", True,
    )  # fmt: skip
    assert mount.source.endswith("data/_data")
    assert engine.volumes.inspect("data").used_by == ("full",)


def test_the_images_command_is_used_and_an_entrypoint_drops_it(
    engine: Engine, options: CreateOptions
) -> None:
    plain = engine.containers.create(options._replace(command=()))
    assert engine.containers.inspect(plain).summary.command == ("sh",)
    with pytest.raises(InvalidInput, match="no command specified"):
        engine.containers.create(options._replace(command=(), entrypoint=("",)))
    own = engine.containers.create(options._replace(entrypoint=("echo", "a"), command=("b",)))
    assert engine.containers.inspect(own).summary.command == ("echo", "a", "b")


def test_wait_gives_the_exit_code(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(command=("sh", "-c", "exit 7")))
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 7
    assert engine.containers.wait(ref) == 7


def test_wait_knows_the_code_of_one_that_removes_itself(
    engine: Engine, options: CreateOptions
) -> None:
    command = ("sh", "-c", "sleep 0.2; exit 9")
    ref = engine.containers.create(options._replace(command=command, auto_remove=True))
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 9
    assert states(engine) == {}


def test_waiting_can_be_cancelled(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    cancel = Cancel()
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Cancelled):
        engine.containers.wait(ref, cancel=cancel)
    engine.containers.remove(ref, force=True)


def test_stop_asks_first_and_kills_later(engine: Engine, options: CreateOptions) -> None:
    polite = engine.containers.create(options._replace(command=HEEDS_TERM))
    engine.containers.start(polite)
    until(lambda: list(engine.containers.logs(polite)))
    engine.containers.stop(polite, timeout_seconds=60)
    assert engine.containers.inspect(polite).summary.exit_code == 3
    deaf = engine.containers.create(options)
    engine.containers.start(deaf)
    engine.containers.stop(deaf, timeout_seconds=0)
    assert engine.containers.inspect(deaf).summary.exit_code == 137
    engine.containers.stop(deaf)  # what does not run is left alone
    engine.containers.restart(deaf, timeout_seconds=0)
    assert engine.containers.inspect(deaf).summary.state == "running"
    engine.containers.remove(deaf, force=True)


def test_the_wrong_state_is_a_conflict(engine: Engine, options: CreateOptions) -> None:
    containers = engine.containers
    ref = containers.create(options._replace(name="cc"))
    for call in (
        containers.pause, containers.kill, containers.top, containers.attach,
        lambda ref: containers.exec(ref, ["true"]),
    ):  # fmt: skip
        with pytest.raises(Conflict, match="container cc is not running"):
            call(ref)
    with pytest.raises(Conflict, match="container cc is not paused"):
        containers.unpause(ref)
    containers.start(ref)
    with pytest.raises(Conflict, match="cannot remove container cc: container is running"):
        containers.remove(ref)
    containers.pause(ref)
    for call in (containers.attach, lambda ref: containers.exec(ref, ["true"])):
        with pytest.raises(Conflict, match="container cc is paused"):
            call(ref)
    with pytest.raises(Conflict, match="already paused"):
        containers.pause(ref)
    with pytest.raises(Conflict, match="cannot start a paused container"):
        containers.start(ref)
    containers.remove(ref, force=True)
    with pytest.raises(NotFound):
        containers.remove(ref)


def test_an_unknown_signal_is_refused(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    with pytest.raises(InvalidInput, match="invalid signal"):
        engine.containers.kill(ref, "NONSENSE")
    engine.containers.remove(ref, force=True)


def test_filters_choose(engine: Engine, options: CreateOptions) -> None:
    containers = engine.containers
    web = containers.create(options._replace(name="web", labels=(("role", "web"),)))
    containers.create(options._replace(name="worker"))
    containers.start(web)

    def names(*filters: tuple[str, str], all: bool = True) -> set[str]:
        return {row.name for row in containers.list(all=all, filters=filters)}

    assert names(("status", "running")) == {"web"}
    assert names(("status", "created"), all=False) == {"worker"}
    assert names(("name", "w")) == {"web", "worker"}
    assert names(("name", "w"), all=False) == {"web"}
    assert names(("label", "role")) == {"web"}
    assert names(("label", "role=db")) == set()
    assert names(("id", web[:10])) == {"web"}
    assert names(("ancestor", options.image), ("status", "created")) == {"worker"}
    with pytest.raises(InvalidInput, match="invalid filter 'colour'"):
        containers.list(filters=(("colour", "red"),))
    containers.remove(web, force=True)


def test_anonymous_volumes_go_with_their_container(engine: Engine, options: CreateOptions) -> None:
    mounts = (MountRequest("volume", "", "/a"), MountRequest("volume", "kept", "/b"))
    ref = engine.containers.create(options._replace(mounts=mounts))
    assert len(engine.volumes.list()) == 2
    engine.containers.remove(ref, volumes=True)
    assert [volume.name for volume in engine.volumes.list()] == ["kept"]


def test_top_names_the_processes(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    (first,) = engine.containers.top(ref)
    assert first.command == "sleep 1000"
    assert first.pid == engine.containers.inspect(ref).summary.pid
    engine.containers.remove(ref, force=True)
