"""Logs, events, stats: what was, what comes, and how a reader is let go."""

import threading
import time
from collections.abc import Callable

import pytest

from engine.engine import Engine, Stream
from engine.errors import InvalidInput, NotFound
from engine.model.container import CreateOptions
from engine.model.event import Event


@pytest.fixture
def options(image: str) -> CreateOptions:
    return CreateOptions(image=image, command=("sleep", "1000"), network="none")


def run(engine: Engine, options: CreateOptions, script: str) -> str:
    ref = engine.containers.create(options._replace(command=("sh", "-c", script)))
    engine.containers.start(ref)
    engine.containers.wait(ref)
    return ref


def test_logs_have_streams_times_and_partial_lines(engine: Engine, options: CreateOptions) -> None:
    before = time.time_ns()
    ref = run(engine, options, "echo one; echo two >&2")
    lines = list(engine.containers.logs(ref))
    assert sorted((line.stream, line.text) for line in lines) == [
        ("stderr", b"two"),
        ("stdout", b"one"),
    ]
    assert all(before <= line.time_ns <= time.time_ns() for line in lines)
    assert not any(line.partial for line in lines)


def test_the_tail_and_moments_choose_lines(engine: Engine, options: CreateOptions) -> None:
    ref = run(engine, options, "seq 1 5")

    def texts(**keywords: int) -> list[bytes]:
        return [line.text for line in engine.containers.logs(ref, **keywords)]  # type: ignore[arg-type]

    assert texts(tail=2) == [b"4", b"5"]
    assert texts(tail=0) == []
    assert len(texts(tail=100)) == 5
    last = list(engine.containers.logs(ref))[-1].time_ns
    assert texts(since_ns=last + 1) == []
    assert texts(until_ns=1) == []
    with pytest.raises(NotFound):
        engine.containers.logs("nobody")


def test_following_ends_with_the_container(engine: Engine, options: CreateOptions) -> None:
    script = "echo early; sleep 0.3; echo late"
    ref = engine.containers.create(options._replace(command=("sh", "-c", script)))
    engine.containers.start(ref)
    assert [line.text for line in engine.containers.logs(ref, follow=True)] == [b"early", b"late"]


def closes(stream: Stream[object]) -> None:
    """A reader that waits is let go within a moment of `close()` from another thread."""
    done = threading.Event()

    def read() -> None:
        for _ in stream:
            pass
        done.set()

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    stream.close()
    thread.join(60)
    assert done.is_set()
    stream.close()  # once more does no harm


@pytest.mark.parametrize(
    "opened",
    [
        lambda engine, ref: engine.containers.logs(ref, follow=True),
        lambda engine, ref: engine.system.events(),
        lambda engine, ref: engine.containers.stats([ref], interval_seconds=60),
    ],
    ids=["logs", "events", "stats"],
)
def test_a_waiting_reader_is_let_go(
    engine: Engine, options: CreateOptions, opened: Callable[[Engine, str], Stream[object]]
) -> None:
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    closes(opened(engine, ref))
    engine.containers.remove(ref, force=True)


def actions(events: list[Event], kind: str = "container") -> list[str]:
    return [event.action for event in events if event.kind == kind]


def test_events_tell_a_containers_life(engine: Engine, options: CreateOptions) -> None:
    stream = engine.system.events()
    since = time.time_ns()
    containers = engine.containers
    ref = containers.create(options._replace(name="told", labels=(("role", "web"),)))
    containers.start(ref)
    containers.pause(ref)
    containers.unpause(ref)
    containers.rename(ref, "renamed")
    containers.stop(ref, timeout_seconds=0)
    containers.remove(ref)
    seen: list[Event] = []
    for event in stream:
        seen.append(event)
        if event.action == "destroy" and event.kind == "container":
            break
    stream.close()
    wanted = ["create", "start", "pause", "unpause", "rename", "die", "cleanup", "stop", "destroy"]
    assert [action for action in actions(seen) if action != "kill"] == wanted
    first = next(event for event in seen if event.kind == "container")
    assert (first.id, first.name) == (ref, "told")
    assert first.attributes["image"] == options.image
    assert first.attributes["role"] == "web"
    die = next(event for event in seen if event.action == "die")
    assert die.attributes["exitCode"] == "137"
    rename = next(event for event in seen if event.action == "rename")
    assert (rename.name, rename.attributes["oldName"]) == ("renamed", "told")
    past = list(engine.system.events(since_ns=since, until_ns=time.time_ns()))
    assert actions(past) == actions(seen)


def test_events_are_filtered(engine: Engine, options: CreateOptions) -> None:
    since = time.time_ns()
    engine.volumes.create("data")
    engine.containers.create(options._replace(name="one"))
    engine.containers.create(options._replace(name="two"))

    def seen(*filters: tuple[str, str]) -> list[tuple[str, str, str]]:
        stream = engine.system.events(since_ns=since, until_ns=time.time_ns(), filters=filters)
        return [(event.kind, event.action, event.name) for event in stream]

    assert seen(("type", "volume")) == [("volume", "create", "data")]
    assert seen(("container", "two")) == [("container", "create", "two")]
    assert seen(("event", "destroy")) == []
    both = seen(("type", "container"), ("event", "create"), ("event", "start"))
    assert [name for _, _, name in both] == ["one", "two"]


def test_stats_come_tick_by_tick_for_what_runs(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(memory_bytes=64 << 20))
    engine.containers.create(options)  # does not run: no sample
    engine.containers.start(ref)
    stream = engine.containers.stats(interval_seconds=0.05)
    ticks = [next(stream) for _ in range(3)]
    assert [[sample.container_id for sample in tick] for tick in ticks] == [[ref]] * 3
    first, *_, last = [tick[0] for tick in ticks]
    assert last.time_ns > first.time_ns
    assert first.cpu_percent == 0  # there is nothing to take a difference to
    assert last.cpu_usage_ns >= first.cpu_usage_ns
    assert last.memory_limit_bytes == 64 << 20
    assert 0 < last.memory_bytes < 64 << 20
    assert last.pids == 1
    engine.containers.remove(ref, force=True)
    assert next(tick for tick in stream if not tick) == ()
    stream.close()
    with pytest.raises(NotFound):
        engine.containers.stats(["nobody"])


def test_closing_the_engine_ends_its_streams(engine: Engine, options: CreateOptions) -> None:
    stream = engine.system.events()
    threading.Timer(0.1, engine.close).start()
    assert list(stream) == []


def test_a_time_that_ends_before_it_begins_is_empty(engine: Engine) -> None:
    assert list(engine.system.events(since_ns=10, until_ns=5)) == []


def test_image_filters_are_checked(engine: Engine, image: str) -> None:
    with pytest.raises(InvalidInput, match="invalid filter"):
        engine.images.list(filters=[("colour", "red")])
