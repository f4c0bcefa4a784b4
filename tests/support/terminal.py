"""A terminal to run programs in: a pty, xterm's answers, pyte's screen, and a count of bytes."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

_OTHER_SCREEN = re.compile(rb"\x1b\[\?1049[hl]")
# What pyte does not know and would print; none of it moves the cursor or draws.
_PRIVATE = re.compile(rb"\x1b\[[<>=?][0-9;]*(?:\$p|[a-zA-Z])|\x1b\[\?[0-9;]*\$p")
QUIET_SECONDS = 0.2
PATIENCE_SECONDS = 60.0  # a loaded machine is slow, not wrong


class Screen(pyte.Screen):
    """pyte's screen, but what is erased takes the present ground, as in xterm."""

    def erase_in_display(self, how: int = 0, *args: object, **keywords: object) -> None:
        super().erase_in_display(how, *args, **keywords)
        if how == 2:
            for y in range(self.lines):
                for x in range(self.columns):
                    self.buffer[y][x] = self.cursor.attrs


def same_picture(one: pyte.Screen, other: pyte.Screen) -> list[str]:
    """Where two screens look different. A blank shows no ink, and neither does ink of the ground's
    own colour."""
    wrong = []
    for y in range(one.lines):
        for x in range(one.columns):
            a, b = _seen(one.buffer[y][x]), _seen(other.buffer[y][x])
            if a != b:
                wrong.append(f"row {y}, column {x}: {a} is not {b}")
    return wrong


def _seen(cell: pyte.screens.Char) -> tuple[object, ...]:
    visible = cell.reverse or cell.underscore
    if not visible and (cell.data == " " or cell.fg == cell.bg != "default"):
        return (" ", cell.bg)
    return (cell.data, cell.bg, cell.fg, cell.bold, cell.reverse, cell.underscore)


class Terminal:
    """`with Terminal([...]) as terminal:` — a program in a pty of this size.

    `screen()` is its text, `cells()` what pyte knows of each cell, `bytes_read` how much it wrote.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        columns: int = 80,
        rows: int = 24,
        environ: Mapping[str, str] | None = None,
        *,
        drop: Sequence[str] = ("SSH_CONNECTION", "NO_COLOR", "TMUX", "STY"),
    ) -> None:
        self.columns, self.rows = columns, rows
        self.bytes_read = 0
        self.data = bytearray()
        self.exit_status: int | None = None
        self.pyte_screen = Screen(columns, rows)
        self._stream = pyte.ByteStream(self.pyte_screen)
        variables = {k: v for k, v in os.environ.items() if k not in drop}
        variables |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        variables |= environ or {}
        self.master, slave = os.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        # A fork would copy the test's threads' locks: a small interpreter makes the session.
        starter = (
            "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execvp(sys.argv[1], sys.argv[1:])"
        )
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-S", "-c", starter, *arguments],
            variables,
            file_actions=[(os.POSIX_SPAWN_DUP2, slave, n) for n in (0, 1, 2)],
        )
        os.close(slave)
        os.set_blocking(self.master, False)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if self.exit_status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait(5)

    def close(self) -> None:
        """The line is cut: the program's terminal is gone."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def type(self, text: str) -> None:
        """Keys as a terminal sends them."""
        os.write(self.master, text.encode())

    def pump(self, seconds: float) -> int:
        """Read for at most this long; the bytes that came."""
        deadline, before = time.monotonic() + seconds, self.bytes_read
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                break
            if not self._read():
                break
        return self.bytes_read - before

    def _read(self) -> bool:
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            return False
        if not data:
            return False
        self.bytes_read += len(data)
        self.data += data
        if b"\x1b[?2026$p" in data:
            os.write(self.master, b"\x1b[?2026;2$y")
        self.feed(data)
        return True

    def feed(self, data: bytes) -> None:
        """What another program would write to this terminal."""
        for n, part in enumerate(_OTHER_SCREEN.split(data)):
            if n:  # the other screen is blank; pyte has one only
                self.pyte_screen.reset()
            self._stream.feed(_PRIVATE.sub(b"", part))

    def pump_until_quiet(self, quiet_seconds: float) -> int:
        """Read until nothing has come for so long; the bytes that came."""
        before = self.bytes_read
        self.settle(quiet_seconds)
        return self.bytes_read - before

    def settle(self, quiet_seconds: float = QUIET_SECONDS, timeout_seconds: float = 10.0) -> None:
        """Read until nothing has come for a while, and the program did nothing meanwhile: on a busy
        machine it may be silent because it waits for its turn."""
        deadline = time.monotonic() + timeout_seconds
        before = self._turns()
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], quiet_seconds)[0]:
                if not self._read():
                    return
            elif (turns := self._turns()) is not None and turns == before:
                return
            before = self._turns()

    def _turns(self) -> str | None:
        """How often the program's first thread has waited; None while one of its threads does not.
        "" once it has ended."""
        tasks = f"/proc/{self.pid}/task"
        try:
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] in "RD":
                        return None
            with open(f"{tasks}/{self.pid}/status") as file:
                return "".join(line for line in file if "ctxt_switches" in line)
        except OSError:  # a thread, or all of it, has just ended
            return None if os.path.exists(f"{tasks}/{self.pid}/stat") else ""

    def until(self, text: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Read until `text` stands on the screen. AssertionError if it never does."""
        deadline = time.monotonic() + timeout_seconds
        while text not in self.screen():
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} never came:\n{self.screen()}"
            if select.select([self.master], [], [], min(left, 0.5))[0] and not self._read():
                break
        assert text in self.screen(), f"{text!r} never came:\n{self.screen()}"

    def until_true(self, condition: Callable[[], object], timeout_seconds: float = 15.0) -> None:
        """Read until `condition()` is true. AssertionError if it never is."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true:\n{self.screen()}"
            self.pump(0.02)

    def screen(self) -> str:
        """The rows as text, without blanks at their ends."""
        return "\n".join(line.rstrip() for line in self.pyte_screen.display)

    def cells(self) -> list[list[pyte.screens.Char]]:
        """Every cell with its attributes."""
        buffer = self.pyte_screen.buffer
        return [[buffer[y][x] for x in range(self.columns)] for y in range(self.rows)]

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as when a window is dragged."""
        self.columns, self.rows = columns, rows
        self.pyte_screen.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def wait(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """The exit status (128 + n for signal n)."""
        deadline = time.monotonic() + timeout_seconds
        while self.exit_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_status = code if code >= 0 else 128 - code
                break
            assert time.monotonic() < deadline, "the program did not end"
            if self.master >= 0:
                self.pump(0.05)
            else:
                time.sleep(0.02)
        return self.exit_status
