import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import journal
from engine.errors import InvalidInput
from engine.events import LOST, EventStream, subscribe
from engine.model.event import Event
from tests.support.descriptors import open_now, opened_since
from tests.support.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "events.log")


@pytest.fixture
def take() -> Iterator[Callable[[EventStream, int], list[str]]]:
    """Reads so many events and gives back their actions; closes the streams at the end."""
    streams: list[EventStream] = []

    def read(stream: EventStream, count: int) -> list[str]:
        streams.append(stream)
        return [next(stream).action for _ in range(count)]

    yield read
    for stream in streams:
        stream.close()


Take = Callable[[EventStream, int], list[str]]


def append(path: str, action: str, **keywords: int) -> None:
    journal.append(path, "container", action, "c0ffee", "web", {"image": "debian"}, **keywords)


def test_new_events_come_whole_and_past_ones_do_not(path: str) -> None:
    append(path, "create")
    stream = subscribe(path)
    append(path, "start", time_ns=7)
    assert next(stream) == Event(7, "container", "start", "c0ffee", "web", {"image": "debian"})
    stream.close()


def test_journal_may_begin_after_the_subscription(path: str, take: Take) -> None:
    stream = subscribe(path)
    append(path, "start")
    assert take(stream, 1) == ["start"]


def test_past_events_come_from_the_rotated_file_too(path: str, take: Take) -> None:
    for stamp, action in ((1, "a"), (2, "b")):
        append(path, action, time_ns=stamp)
    os.rename(path, f"{path}.1")
    append(path, "c", time_ns=3)
    stream = subscribe(path, since_ns=2)
    append(path, "d")
    assert take(stream, 3) == ["b", "c", "d"]


def test_reader_crosses_rotations(path: str, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROTATE_BYTES", 2000)
    stream = subscribe(path)
    for number in range(100):
        append(path, f"a{number}")
        assert take(stream, 1) == [f"a{number}"]
    assert os.path.exists(f"{path}.1")


def test_line_of_a_slow_writer_after_the_rotation_is_seen(path: str, take: Take) -> None:
    append(path, "a")
    stream = subscribe(path)
    with open(path, "ab") as slow:
        os.rename(path, f"{path}.1")
        append(path, "b")
        assert take(stream, 1) == ["b"]
        slow.write(Path(path).read_bytes().replace(b'"b"', b'"late"'))
    assert take(stream, 1) == ["late"]


def test_reader_that_missed_a_whole_file_is_told(path: str, take: Take) -> None:
    append(path, "a")
    stream = subscribe(path)
    for action in ("b", "c", "d"):
        os.rename(path, f"{path}.1")
        append(path, action)
    assert take(stream, 3) == [LOST, "c", "d"]


def test_until_in_the_past_ends_at_once(path: str) -> None:
    for stamp, action in ((1, "a"), (2, "b"), (3, "c")):
        append(path, action, time_ns=stamp)
    assert [event.action for event in subscribe(path, since_ns=1, until_ns=2)] == ["a", "b"]


def test_until_in_the_future_ends_the_stream(path: str) -> None:
    until_ns = time.time_ns() + 50_000_000
    stream = subscribe(path, until_ns=until_ns)
    append(path, "a", time_ns=until_ns)
    append(path, "b", time_ns=until_ns + 1)
    assert [event.action for event in stream] == ["a"]


def test_torn_and_foreign_lines_are_passed_over(path: str, take: Take) -> None:
    stream = subscribe(path)
    with open(path, "ab") as file:
        file.write(b'{"time_ns":1,"kind":"con\n\n{}\nnonsense\n{"time_ns":1}\n[1,2]\n')
    append(path, "a")
    assert take(stream, 1) == ["a"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([("type", "image")], ["pull"]),
        ([("type", "image"), ("type", "network")], ["pull", "connect"]),
        ([("event", "start"), ("event", "exec_start")], ["start", "exec_start: sh"]),
        ([("container", "web")], ["start", "exec_start: sh"]),
        ([("container", "c0f")], ["start", "exec_start: sh"]),
        ([("container", "c0f"), ("event", "die")], []),
        ([("image", "debian")], ["start", "exec_start: sh", "pull"]),
        ([("container", "c0ffee"), ("type", "network")], []),
        ([("network", "bridge")], ["connect"]),
        ([("label", "tier")], ["connect"]),
        ([("label", "tier=front"), ("label", "tier=back")], ["connect"]),
        ([("label", "tier=front")], []),
    ],
)
def test_filters_are_dockers(path: str, filters: list[tuple[str, str]], found: list[str]) -> None:
    append(path, "start")
    append(path, "exec_start: sh")
    journal.append(path, "image", "pull", "sha256:1", "debian")
    journal.append(path, "network", "connect", "4711", "bridge", {"tier": "back"})
    stream = subscribe(path, since_ns=1, until_ns=time.time_ns(), filters=filters)
    assert [event.action for event in stream] == found


def test_unknown_filter_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="invalid filter 'colour'"):
        subscribe(path, filters=[("colour", "red")])


def test_close_from_another_thread_ends_the_reader(path: str) -> None:
    stream = subscribe(path)
    found: list[Event] = []
    reader = threading.Thread(target=lambda: found.extend(stream))
    reader.start()
    append(path, "a")
    until(lambda: found)
    stream.close()
    reader.join(60)
    assert not reader.is_alive()
    assert [event.action for event in found] == ["a"]


def test_closed_stream_holds_no_descriptor_and_gives_nothing(path: str) -> None:
    append(path, "a")
    before = open_now()
    stream = subscribe(path, since_ns=1)
    next(stream)
    append(path, "b")
    stream.close()
    assert not opened_since(before)
    assert list(stream) == []


def test_nothing_is_read_while_nothing_happens(path: str) -> None:
    append(path, "a")
    stream = subscribe(path, since_ns=1)
    next(stream)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    thread = f"/proc/self/task/{reader.native_id}"

    def state() -> tuple[int, str, str]:
        with open(f"{thread}/io") as io, open(f"{thread}/status") as status:
            reads = next(int(line.split()[1]) for line in io if line.startswith("syscr"))
            switches = "".join(line for line in status if "ctxt" in line)
        with open(f"{thread}/wchan") as wchan:
            return reads, switches, wchan.read()

    def sleeps_after(reads: int) -> bool:
        return state()[0] > reads and "poll" in state()[2]

    until(lambda: sleeps_after(-1))
    reads = state()[0]
    (Path(path).parent / "containers").mkdir()  # wakes it: no journal, nothing to read there
    until(lambda: sleeps_after(reads))
    before = state()
    (Path(path).parent / "containers/x").write_bytes(b"x")
    time.sleep(0.2)
    assert state() == before
    stream.close()
    reader.join(60)


def test_subscribing_imports_nothing_heavy(path: str) -> None:
    heavy = {"asyncio", "textual", "sqlite3", "logging", "dataclasses", "subprocess"}
    code = "import sys, engine.events; print(*sys.modules)"
    import subprocess

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(found.stdout.split())
