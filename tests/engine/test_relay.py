"""The relay in a process of its own, on a real terminal or pipes; its session tells what it got."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.kernel.tty import set_size
from engine.relay import _SETTLE_MILLISECONDS, _Control, _Keys, parse_keys, relay
from tests.support.waiting import until

# Its session echoes what happens to it into a file; commands come as input.
CHILD = """
import os, signal, sys, threading
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
sys.path[:0] = [sys.argv[1]]
from engine.relay import parse_keys, relay

class Session:
    def __init__(self, tty, report):
        self.tty = tty
        self.report = open(report, "a", buffering=1)
        self.items = []
        self.changed = threading.Condition()
        self.over = False
    def say(self, *words):
        print(*words, file=self.report)
    def push(self, source, data):
        with self.changed:
            self.items.append((source, data)); self.changed.notify_all()
    def read(self):
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.over)
            return self.items.pop(0) if self.items else ("stdout", b"")
    def end(self):
        with self.changed:
            self.over = True; self.changed.notify_all()
    def write(self, data):
        self.say("write", data)
        for word in data.split():
            if word == b"out": self.push("stdout", b"OUT")
            if word == b"err": self.push("stderr", b"ERR")
            if word == b"end": self.end()
    def close_stdin(self):
        self.say("close"); self.end()
    def resize(self, rows, columns):
        self.say("resize", rows, columns)
    def signal(self, number):
        self.say("signal", number)
        if number == 10: self.end()
    def detach(self):
        self.say("detach"); self.end()
    def wait(self):
        return 5
    def fileno(self):
        return -1
    def close(self):
        pass

kind, report, keys = sys.argv[2:]
session = Session(kind == "tty", report)
session.say("begin")
code = relay(session, stdin=0, stdout=1, stderr=2, detach_keys=parse_keys(keys))
session.say("code", code)
"""
REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0  # a loaded machine is slow, not wrong


class Running:
    """A relay's process, what its session reported, and our end of its stdio."""

    def __init__(self, path: Path, kind: str, keys: str) -> None:
        self.report = path / "report"
        self.report.touch()
        command = [sys.executable, "-c", CHILD, str(REPOSITORY), kind, str(self.report), keys]
        self.terminal = -1
        self.slave = -1
        self.before: list[object] = []  # the terminal's mode
        if kind == "tty":
            self.terminal, self.slave = pty.openpty()
            set_size(self.terminal, 40, 100)
            self.before = termios.tcgetattr(self.slave)
            self.process = subprocess.Popen(
                command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                preexec_fn=_take_terminal,
            )  # fmt: skip
        else:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

    def said(self, *lines: str) -> None:
        """Returns when the session's report is just that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.lines() != list(lines):
            assert time.monotonic() < deadline, self.report.read_text()
            time.sleep(0.002)

    def lines(self) -> list[str]:
        return self.report.read_text().splitlines()

    def type(self, data: bytes) -> None:
        os.write(self.terminal, data)

    def screen(self, last: bytes) -> bytes:
        """All that arrives on the terminal until it ends with `last`."""
        found = b""
        while not found.endswith(last):
            assert select.select([self.terminal], [], [], PATIENCE_SECONDS)[0], found
            found += os.read(self.terminal, 4096)
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for descriptor in (self.terminal, self.slave):
            if descriptor >= 0:
                os.close(descriptor)


def _take_terminal() -> None:
    import fcntl

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def run(kind: str, keys: str = "ctrl-p,ctrl-q") -> Running:
            running = Running(tmp_path, kind, keys)
            stack.callback(running.close)
            return running

        yield run


def raw(descriptor: int) -> bool:
    return not termios.tcgetattr(descriptor)[3] & termios.ICANON


def test_size_comes_before_the_first_byte(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    assert raw(running.slave)
    running.type(b"out\r")
    running.said("begin", "resize 40 100", "write b'out\\r'")
    assert running.screen(b"OUT") == b"OUT"  # and no echo


def test_terminal_is_as_before_when_the_process_has_ended(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    running.type(b"end")
    running.said("begin", "resize 40 100", "write b'end'", "code 5")
    assert running.process.wait(PATIENCE_SECONDS) == 0
    assert termios.tcgetattr(running.slave) == running.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_as_before_when_a_signal_ends_it(start: Start, number: int) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    assert raw(running.slave)
    running.process.send_signal(number)
    assert running.process.wait(PATIENCE_SECONDS) == -number
    assert not raw(running.slave)
    running.said("begin", "resize 40 100")


def test_window_that_was_dragged_is_told_as_it_is_at_last(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    for columns in range(60, 80):
        set_size(running.terminal, 20, columns)
    until(lambda: running.lines()[-1] == "resize 20 79", seconds=PATIENCE_SECONDS)
    told = [int(line.split()[2]) for line in running.lines()[2:]]
    assert told == sorted(set(told))


class Drag:
    """poll(2), as it answers while a window is dragged: changes that come before the time is over,
    then a rest, then the end."""

    def __init__(self, terminal: int, columns: range) -> None:
        self.timeouts: list[float | None] = []
        self._terminal = terminal
        self._columns = list(columns)
        self._rests = True
        self._descriptors: list[int] = []

    def register(self, descriptor: int, events: int) -> None:
        self._descriptors.append(descriptor)  # that which wakes it, then that which ends it

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        if self._columns:
            set_size(self._terminal, 20, self._columns.pop(0))
            return [(self._descriptors[0], select.POLLIN)]
        if self._rests:
            self._rests = False
            return []
        return [(self._descriptors[1], select.POLLIN)]


class Sized:
    """A session that knows the sizes it was told."""

    tty = True

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))


def test_window_that_is_dragged_is_told_once_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = pty.openpty()
    session, drag = Sized(), Drag(master, range(60, 80))
    monkeypatch.setattr("engine.relay.select.poll", lambda: drag)
    control = _Control(session, terminal, proxy=True)  # type: ignore[arg-type]
    for _ in range(20):
        control._numbers.append(signal.SIGWINCH)
        os.eventfd_write(control._wake, 1)
    monkeypatch.setattr("os.eventfd_read", lambda descriptor: 1)  # each of them wakes it
    with control:
        pass
    assert session.sizes == [(20, 79)]
    assert drag.timeouts == [None] + [_SETTLE_MILLISECONDS] * 20 + [None]
    for descriptor in (master, terminal):
        os.close(descriptor)


def test_control_keys_go_to_the_process(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    running.type(b"\x03")
    running.said("begin", "resize 40 100", "write b'\\x03'")


def test_detach_keys_work_across_reads(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    running.type(b"a\x10")
    running.said("begin", "resize 40 100", "write b'a'")
    running.type(b"\x11b")
    running.said("begin", "resize 40 100", "write b'a'", "detach", "code None")


def test_other_detach_keys(start: Start) -> None:
    running = start("tty", "ctrl-x,d")
    running.said("begin", "resize 40 100")
    running.type(b"\x10\x11\x18\x18d")
    running.said("begin", "resize 40 100", "write b'\\x10\\x11\\x18'", "detach", "code None")


def test_lost_terminal_ends_the_input(start: Start) -> None:
    running = start("tty")
    running.said("begin", "resize 40 100")
    os.close(running.slave)
    running.slave = -1
    os.close(running.terminal)
    running.terminal = -1
    assert running.process.wait(PATIENCE_SECONDS) in (0, -signal.SIGHUP)


def test_streams_stay_apart_without_a_terminal(start: Start) -> None:
    running = start("pipe")
    out, err = running.process.communicate(b"out err \x10\x11 out", PATIENCE_SECONDS)
    assert (out, err) == (b"OUTOUT", b"ERR")
    assert running.process.returncode == 0
    running.said("begin", "write b'out err \\x10\\x11 out'", "close", "code 5")


def test_signals_go_on_to_the_process_without_a_terminal(start: Start) -> None:
    running = start("pipe")
    assert running.process.stdin is not None
    running.process.stdin.write(b"x")
    running.process.stdin.flush()
    running.said("begin", "write b'x'")
    said = ["begin", "write b'x'"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        running.process.send_signal(number)
        said.append(f"signal {number:d}")
        running.said(*said)
    for number in (signal.SIGWINCH, signal.SIGUSR1):
        running.process.send_signal(number)
    running.said(*said, "signal 10", "code 5")


def test_reader_that_is_gone_leaves_the_process_alone(start: Start) -> None:
    running = start("pipe")
    assert running.process.stdin is not None
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.stdin.write(b"out")
    running.process.stdin.flush()
    running.said("begin", "write b'out'", "detach")
    assert running.process.wait(PATIENCE_SECONDS) == 1
    assert running.process.stderr is not None
    assert b"BrokenPipeError" in running.process.stderr.read()


class Greedy:
    """A session whose process reads nothing until its output was taken."""

    tty = False

    def __init__(self) -> None:
        self.taken = threading.Event()
        self.chunks = [b"x" * 65536] * 64 + [b""]

    def read(self) -> tuple[str, bytes]:
        if len(self.chunks) == 1:
            self.taken.set()
        return "stdout", self.chunks.pop(0)

    def write(self, data: bytes) -> None:
        assert self.taken.wait(PATIENCE_SECONDS)

    def close_stdin(self) -> None:
        pass

    def wait(self) -> int:
        return 0


def test_process_that_does_not_read_can_still_be_heard(tmp_path: Path) -> None:
    """And another thread than the main one is no obstacle."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes: list[int | None] = []
    with open("/dev/zero", "rb") as source, open(tmp_path / "out", "wb") as target:
        relaying = threading.Thread(
            target=lambda: codes.append(
                relay(Greedy(), stdin=source.fileno(), stdout=target.fileno(), stderr=2)  # type: ignore[arg-type]
            )
        )
        relaying.start()
        relaying.join(PATIENCE_SECONDS)
    assert codes == [0]
    assert (tmp_path / "out").stat().st_size == 64 * 65536
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers


@pytest.mark.parametrize(
    ("sequence", "typed", "passed", "detached"),
    [
        (b"\x10\x11", [b"\x10", b"\x10\x11"], b"\x10", True),
        (b"\x10\x11", [b"\x10x\x11"], b"\x10x\x11", False),
        (b"aab", [b"aaab"], b"a", True),
        (b"aab", [b"a", b"a", b"x", b"aab"], b"aax", True),
        (b"q", [b"xyz", b"q"], b"xyz", True),
        (b"", [b"\x10\x11"], b"\x10\x11", False),
    ],
)
def test_keys_hold_back_no_more_than_they_must(
    sequence: bytes, typed: list[bytes], passed: bytes, detached: bool
) -> None:
    keys = _Keys(sequence)
    found = [keys.feed(data) for data in typed]
    assert b"".join(each for each, _ in found) == passed
    assert found[-1][1] is detached


def test_beginning_of_the_sequence_is_sent_when_no_more_comes() -> None:
    keys = _Keys(b"\x10\x11")
    assert keys.feed(b"a\x10") == (b"a", False)
    assert keys.rest() == b"\x10"


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("", b""), ("ctrl-@,x,ctrl-Z,ctrl-]", b"\x00x\x1a\x1d")],
)
def test_keys_are_written_as_dockers(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pq", "alt-x", "ctrl-1", "ctrl-p,,x", "ö"])
def test_unknown_keys_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="detach keys"):
        parse_keys(text)
