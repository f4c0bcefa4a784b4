import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.container import LogLine
from engine.monitor import log_reader
from engine.monitor.log_reader import LogStream, format_time, parse_time
from engine.monitor.logs import PART_BYTES, LogWriter
from tests.support.descriptors import open_now, opened_since
from tests.support.waiting import until


class Container:
    """A log and whether somebody still writes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.alive = True
        self.writer = self.start()

    def start(self, max_bytes: int = 1000) -> LogWriter:
        self.alive = True
        self.writer = LogWriter(f"{self.directory}/log", max_bytes)
        return self.writer

    def end(self) -> None:
        """As a monitor does: all is in the file before its lock is free."""
        self.writer.flush()
        self.alive = False
        self.writer.close()

    def read(self, **options: int | bool | None) -> LogStream:
        return log_reader.read(self.directory, alive=lambda: self.alive, **options)  # type: ignore[arg-type]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    found = Container(tmp_path)
    yield found
    if found.alive:
        found.end()


def texts(lines: Iterator[LogLine]) -> list[str]:
    return [line.text.decode() for line in lines]


def numbers(lines: Iterator[LogLine]) -> list[int]:
    return [int(line.text) for line in lines]


def test_lines_come_with_time_stream_and_bytes(container: Container) -> None:
    before = time.time_ns()
    container.writer.write(2, b"\xff\x00 \n")
    (line,) = container.read()
    assert line._replace(time_ns=0) == LogLine(0, "stderr", b"\xff\x00 ")
    assert before <= line.time_ns <= time.time_ns()


def test_all_files_are_read_oldest_first(container: Container) -> None:
    for number in range(40):
        container.writer.write(1, b"%d\n" % number)
    assert numbers(container.read()) == list(range(40))


@pytest.mark.parametrize("tail", [0, 1, 2, 19, 20, 21, 22, 23, 39, 40, 41, 1000])
def test_tail_counts_lines_across_files(container: Container, tail: int) -> None:
    for number in range(40):
        container.writer.write(1, b"%d\n" % number)
    assert os.path.exists(f"{container.directory}/log.1")
    assert numbers(container.read(tail=tail)) == list(range(max(0, 40 - tail), 40))


def test_tail_counts_nothing_in_a_file_that_has_just_been_rotated(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    writer = LogWriter(str(tmp_path / "log.1"))
    writer.write(1, b"1\n2\n3\n")
    writer.close()
    assert texts(log_reader.read(str(tmp_path), tail=2)) == ["2", "3"]


def test_tail_counts_a_line_in_parts_once(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "log"))
    long = b"x" * (9 * PART_BYTES)  # longer than the blocks it is looked for in
    writer.write(1, b"a\nb\n" + long + b"\nc\nrest")
    writer.flush()

    def tail(count: int) -> bytes:
        lines = log_reader.read(str(tmp_path), tail=count)
        return b"".join(line.text + b"\n" * (not line.partial) for line in lines)

    assert tail(1) == b"rest"
    assert tail(2) == b"c\nrest"
    assert tail(3) == long + b"\nc\nrest"
    assert tail(4) == b"b\n" + long + b"\nc\nrest"
    writer.close()


def test_tail_is_right_for_lines_of_any_length(tmp_path: Path) -> None:
    generator = random.Random(11)
    for round_ in range(20):
        directory = tmp_path / str(round_)
        directory.mkdir()
        writer = LogWriter(str(directory / "log"), max_bytes=200_000)
        lines = [
            b"%d " % number + b"x" * generator.choice((0, 5, 300, PART_BYTES, 2 * PART_BYTES))
            for number in range(generator.randrange(1, 60))
        ]
        for line in lines:
            writer.write(1, line + b"\n")
        writer.close()
        kept = b"".join(
            each.text + b"\n" * (not each.partial) for each in log_reader.read(str(directory))
        )
        whole = kept.split(b"\n")[:-1]
        for tail in (0, 1, 3, 10):
            if tail > len(whole) - 2:
                continue
            found = log_reader.read(str(directory), tail=tail)
            text = b"".join(each.text + b"\n" * (not each.partial) for each in found)
            assert text == b"".join(each + b"\n" for each in whole[len(whole) - tail :])


def test_since_and_until_bound_the_time(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        monkeypatch.setattr(time, "time_ns", lambda number=number: 1_000_000_000 * number)
        container.writer.write(1, b"%d\n" % number)
    monkeypatch.undo()
    second = 1_000_000_000
    assert numbers(container.read(since_ns=10 * second)) == list(range(10, 40))
    assert numbers(container.read(since_ns=10 * second - 1)) == list(range(10, 40))
    assert numbers(container.read(since_ns=10 * second + 1)) == list(range(11, 40))
    assert numbers(container.read(since_ns=1, until_ns=5 * second)) == [1, 2, 3, 4, 5]
    assert numbers(container.read(since_ns=38 * second, tail=5)) == [38, 39]
    assert numbers(container.read(since_ns=500 * second)) == []


def test_since_finds_its_place_in_a_big_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(str(tmp_path / "log"))
    for number in range(20_000):
        monkeypatch.setattr(time, "time_ns", lambda number=number: 1_000_000_000 + number)
        writer.write(1, b"%d\n" % number)
    monkeypatch.undo()
    for since in (0, 1, 777, 10_000, 19_998, 19_999, 20_000):
        found = log_reader.read(str(tmp_path), since_ns=1_000_000_000 + since)
        assert numbers(found)[:2] == [number for number in (since, since + 1) if number < 20_000]
    writer.close()


def test_what_no_monitor_wrote_is_passed_over(container: Container) -> None:
    container.writer.write(1, b"a\n")
    with open(f"{container.directory}/log", "ab") as file:
        file.write(b"\nnonsense\n2026-01-01T00:00:00.00000000xZ stdout F y\n" + b"\0" * 100 + b"\n")
        file.write(b"2026-01-01T00:00:00.000000000Z stdout X z\n")
    container.writer.write(1, b"b\n")
    assert texts(container.read()) == ["a", "b"]


def test_follower_sees_every_line_of_every_rotation_and_the_end(container: Container) -> None:
    stream = container.read(follow=True)
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(int(each.text) for each in stream))
    reader.start()
    for number in range(500):
        container.writer.write(1, b"%d\n" % number)
        # Two rotations ahead of it, at most.
        until(lambda least=number - 20: len(found) >= least)  # type: ignore[misc]
    container.writer.write(1, b"500")
    container.end()
    reader.join(60)
    assert not reader.is_alive()
    assert found == list(range(501))


def test_follower_ends_though_the_lock_is_freed_after_the_close(container: Container) -> None:
    stream = container.read(follow=True)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(each.text.decode() for each in stream))
    reader.start()
    container.writer.write(1, b"a\n")
    until(lambda: found)
    container.writer.close()
    time.sleep(0.05)
    container.alive = False
    reader.join(60)
    assert not reader.is_alive()


def test_follower_of_an_ended_container_gets_its_log_and_the_end(container: Container) -> None:
    container.writer.write(1, b"a\nrest")
    container.end()
    lines = list(container.read(follow=True))
    assert [(line.text, line.partial) for line in lines] == [(b"a", False), (b"rest", True)]


def test_follower_of_a_log_that_is_not_there_yet_waits_for_it(tmp_path: Path) -> None:
    alive = [True]
    stream = log_reader.read(str(tmp_path), follow=True, alive=lambda: alive[0])
    writer = LogWriter(str(tmp_path / "log"))
    writer.write(1, b"a\n")
    assert next(stream).text == b"a"
    alive[0] = False
    writer.close()
    assert list(stream) == []


def test_follower_ends_when_the_container_is_removed(container: Container, tmp_path: Path) -> None:
    stream = container.read(follow=True)
    container.writer.write(1, b"a\n")
    assert next(stream).text == b"a"
    (tmp_path / "log").unlink()
    tmp_path.rmdir()
    assert list(stream) == []


def test_follower_ends_at_until(container: Container) -> None:
    container.writer.write(1, b"a\n")
    assert texts(container.read(follow=True, until_ns=time.time_ns() + 30_000_000)) == ["a"]


@pytest.mark.parametrize("wait", [False, True])
def test_close_from_another_thread_ends_the_reader(container: Container, wait: bool) -> None:
    before = open_now()
    stream = container.read(follow=True)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(each.text.decode() for each in stream))
    reader.start()
    container.writer.write(1, b"a\n")
    until(lambda: found or not wait)
    stream.close()
    reader.join(60)
    assert not reader.is_alive()
    assert not opened_since(before)


def test_time_survives_the_way_into_the_log_and_back() -> None:
    for time_ns in (
        0,
        1,
        951_782_400_000_000_000,
        1_709_164_800_123_456_789,
        4_102_444_799 * 10**9,
    ):
        assert parse_time(format_time(time_ns)) == time_ns


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.long
def test_million_lines_need_no_memory(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "log"), max_bytes=1 << 40)
    for _ in range(1000):
        writer.write(1, b"a line of the usual length, more or less as programs write them\n" * 1000)
    writer.write(1, b"last\n")
    before = _rss_bytes()
    assert sum(1 for _ in log_reader.read(str(tmp_path))) == 1_000_001
    assert texts(log_reader.read(str(tmp_path), tail=1)) == ["last"]
    assert _rss_bytes() - before < 8 << 20
    writer.close()
