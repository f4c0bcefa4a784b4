import errno
import os
import random
import time
from pathlib import Path

import pytest

from engine.monitor import logs
from engine.monitor.logs import PART_BYTES, LogWriter


def content(path: Path, stream: bytes = b"stdout") -> bytes:
    """The bytes that a stream had written, from the log."""
    found: list[bytes] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        _, name, mark, text = line.split(b" ", 3)
        if name == stream:
            found += [text, b"\n" * (mark == b"F")]
    return b"".join(found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_line_has_stamp_stream_and_mark(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_007)
    writer = LogWriter(str(path))
    writer.write(1, b"hello\nwor")
    writer.write(2, b"oops\n")
    writer.write(1, b"ld\n\n")
    writer.close()
    stamp = "2023-11-14T22:13:20.000000007Z"
    assert path.read_text() == (
        f"{stamp} stdout F hello\n{stamp} stderr F oops\n"
        f"{stamp} stdout F world\n{stamp} stdout F \n"
    )


def test_bytes_come_back_whatever_the_chunks_were(path: Path) -> None:
    generator = random.Random(7)
    writer = LogWriter(str(path))
    written = {1: b"", 2: b""}
    for _ in range(300):
        stream = generator.choice((1, 2))
        kind = generator.randrange(4)
        size = generator.choice((0, 1, 10, 100, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 65536))
        if kind == 0:
            data = generator.randbytes(size)
        elif kind == 1:
            data = b"x" * size
        elif kind == 2:
            data = b"y" * size + b"\n"
        else:
            data = b"line of text \xff\n" * (size // 15)
        written[stream] += data
        writer.write(stream, data)
    writer.close()
    assert content(path, b"stdout") == written[1]
    assert content(path, b"stderr") == written[2]
    assert max(map(len, path.read_bytes().split(b"\n"))) <= PART_BYTES + 40


@pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES])
def test_long_line_is_cut_into_parts(path: Path, size: int) -> None:
    writer = LogWriter(str(path))
    writer.write(1, b"a\n" + b"x" * size + b"\nb\n")
    writer.close()
    marks = [line.split(b" ")[2] for line in path.read_bytes().splitlines()]
    parts = (size - 1) // PART_BYTES
    assert marks == [b"F"] + [b"P"] * parts + [b"F", b"F"]
    assert content(path) == b"a\n" + b"x" * size + b"\nb\n"


def test_rest_without_newline_is_a_part_at_the_end(path: Path) -> None:
    writer = LogWriter(str(path))
    writer.write(1, b"$ ")
    assert path.read_bytes() == b""
    writer.close()
    assert path.read_bytes()[30:] == b" stdout P $ \n"


def test_time_never_runs_backwards(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((5_000_000_000, 3_000_000_000, 3_000_000_001, 6_000_000_000, 1))
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    writer = LogWriter(str(path))
    for _ in range(4):
        writer.write(1, b"x\n")
    writer.close()
    after = LogWriter(str(path))  # of the container's next start
    after.write(1, b"x\n")
    after.close()
    stamps = [line[17:30] for line in path.read_text().splitlines()]
    assert stamps == ["05.000000000Z"] * 3 + ["06.000000000Z"] * 2


def test_record_cut_by_a_crash_is_removed(path: Path) -> None:
    writer = LogWriter(str(path))
    writer.write(1, b"whole\n")
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:35])
    writer = LogWriter(str(path))
    writer.write(1, b"next\n")
    writer.close()
    assert content(path) == b"whole\nnext\n"


def test_rotation_keeps_three_files_cut_at_line_borders(path: Path) -> None:
    writer = LogWriter(str(path), max_bytes=1000)
    for number in range(200):
        writer.write(1, b"line %d\n" % number)
    writer.close()
    names = sorted(os.listdir(path.parent))
    assert names == ["log", "log.1", "log.2"]
    for name in ("log.1", "log.2"):
        data = (path.parent / name).read_bytes()
        assert 1000 <= len(data) < 1100
        assert data.endswith(b"\n")
    lines = b"".join(content(path.parent / name) for name in reversed(names)).split(b"\n")[:-1]
    assert lines == [b"line %d" % number for number in range(200 - len(lines), 200)]


def test_full_disk_loses_whole_records_and_says_how_much(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(str(path))
    writer.write(1, b"before\n")
    write, room = os.writev, [10, 0]

    def full(descriptor: int, data: list[bytes]) -> int:
        if not room:
            return write(descriptor, data)
        if not (size := room.pop(0)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, [b"".join(data)[:size]])

    monkeypatch.setattr(logs.os, "writev", full)
    for text in (b"cut\n", b"refused\n", b"after\n"):
        writer.write(1, text)
    writer.close()
    assert content(path) == b"before\nafter\n"
    lost = 2 * len(b"2026-01-01T00:00:00.000000000Z stdout F \n") + len(b"cutrefused")
    assert content(path, b"stderr") == b"pydock: %d bytes of log lost: the disk was full\n" % lost


def test_log_grows_on_where_there_is_no_room_for_another_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(str(path), max_bytes=100)

    def refuse(name: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(logs, "_open", refuse)
    for number in range(10):
        writer.write(1, b"line %d\n" % number)
    writer.close()
    assert content(path).count(b"\n") == 10


def test_log_whose_directory_was_removed_takes_what_comes(path: Path) -> None:
    directory = path.parent / "gone"
    directory.mkdir()
    writer = LogWriter(str(directory / "log"), max_bytes=100)
    (directory / "log").unlink()
    directory.rmdir()
    for _ in range(10):
        writer.write(1, b"a line that nobody will read\n")
    writer.close()
