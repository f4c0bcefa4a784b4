"""Processes of the double: a shell of ten words, with stdin, a terminal, signals and sessions."""

import contextlib
import os
import shlex
import string
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from engine.engine import Source
from engine.errors import NotFound, Unavailable

PROGRAMS = ("sh", "bash", "cat", "echo", "sleep", "true", "false", "pwd", "stty", "id", "seq")
REPLAY_BYTES = 64 << 10
SIGINT, SIGKILL = 2, 9


class _Exit(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class Process:
    """One process, run by a thread. `heeds` are the signals that end it: the first process of a
    container is deaf to all but KILL, as the kernel has it, unless it handles them."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str = "/",
        user: str = "",
        tty: bool = False,
        stdin: bool = False,
        size: tuple[int, int] | None = None,
        deaf: bool = False,
        log: Callable[[Source, bytes], None] = lambda source, data: None,
        ended: Callable[[int], None] = lambda code: None,
    ) -> None:
        self.argv = tuple(argv)
        if os.path.basename(self.argv[0]) not in PROGRAMS:
            raise NotFound(
                f'exec: "{argv[0]}": executable file not found in $PATH',
                "name a program that is in the image, or give its whole path",
                exit_code=127,
            )
        self.environment = dict(environment)
        self.directory = directory or "/"
        self.user = user
        self.tty = tty
        self.size = size or (24, 80)
        self.code: int | None = None
        self.sessions: list[DoubleSession] = []
        self._deaf = deaf
        self._traps: dict[int, int] = {}
        self._log = log
        self._ended = ended
        self._typed = b""
        self._stdin: deque[bytes] = deque()
        self._stdin_open = stdin
        self._signal = 0
        self._replay = b""
        self._changed = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._run, name="double", daemon=True).start()

    # -- from outside

    def input(self, data: bytes) -> None:
        """Typed, or from a pipe. A terminal echoes it and hands it on line by line."""
        if not self.tty:
            with self._changed:
                if self._stdin_open:
                    self._stdin.append(data)
                    self._changed.notify_all()
            return
        for number in data:
            byte = bytes([number])
            if byte == b"\x03":
                self.kill(SIGINT)
            elif byte == b"\x04" and not self._typed:
                self.close_input()
            elif byte in b"\r\n":
                self._say("stdout", b"\r\n")
                with self._changed:
                    self._stdin.append(self._typed + b"\n")
                    self._changed.notify_all()
                self._typed = b""
            else:
                self._say("stdout", byte)
                self._typed += byte

    def close_input(self) -> None:
        with self._changed:
            self._stdin_open = False
            self._changed.notify_all()

    def kill(self, number: int) -> None:
        """Send it a signal; sleeping and reading end at once."""
        if self._deaf and number != SIGKILL and number not in self._traps:
            return
        with self._changed:
            self._signal = number
            self._changed.notify_all()

    def attach(self, session: "DoubleSession", *, replay: bool = False) -> None:
        with self._changed:
            if replay and self._replay:
                session.push("stdout", self._replay)
            if self.code is None:
                self.sessions.append(session)
            else:
                session.end(self.code)

    # -- the process

    def _run(self) -> None:
        try:
            code = self._program(self.argv)
        except _Exit as end:
            code = end.code
        self._finish(code)

    def end(self, code: int) -> None:
        """It has ended with `code`, for one that has no thread."""
        self._finish(code)

    def _finish(self, code: int) -> None:
        self._ended(code)
        with self._changed:
            self.code = code
            sessions, self.sessions = self.sessions, []
        for session in sessions:
            session.end(code)

    def _program(self, argv: Sequence[str]) -> int:
        """Run one simple command; its exit code."""
        name, words = os.path.basename(argv[0]), list(argv[1:])
        if name in ("sh", "bash"):
            return self._shell(words)
        source: Source = "stdout"
        if words and words[-1] == ">&2":
            source = "stderr"
            words.pop()
        match name:
            case "echo":
                self.say(source, " ".join(words) + "\n")
            case "pwd":
                self.say(source, f"{self.directory}\n")
            case "id":
                self.say(source, f"{self.user or '0'}\n")
            case "stty":
                self.say(source, "{} {}\n".format(*self.size))
            case "seq":
                for number in range(1, int(words[-1]) + 1):
                    self.say(source, f"{number}\n")
            case "sleep":
                self._sleep(float(words[0]) if words[0] != "infinity" else 1e9)
            case "cat":
                while data := self._read():
                    self._output(source, data)
            case "true" | "false":
                return int(name == "false")
            case _:
                self.say("stderr", f"sh: {name}: not found\n")
                return 127
        return 0

    def _shell(self, words: Sequence[str]) -> int:
        if words[:1] == ["-c"]:
            return self._script(words[1])
        code = 0
        while True:
            if self.tty:
                self.say("stdout", "# ")
            line = self._read()
            if not line:
                return code
            code = self._script(line.decode())

    def _script(self, text: str) -> int:
        code = 0
        # A trap waits for the command in front: so scripts say `sleep 1000 & wait`.
        for statement in text.replace("& wait", "").replace("\n", ";").split(";"):
            words = [
                word if quoted else string.Template(word).safe_substitute(self.environment)
                for word, quoted in _words(statement)
            ]
            if not words:
                continue
            if words[0] == "exit":
                raise _Exit(int(words[1]) if words[1:] else code)
            if words[0] == "trap":
                self._traps[_number(words[2])] = int(words[1].split()[1])
                continue
            if words[0] == "exec":
                words.pop(0)
            code = self._program(words)
        return code

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                self._obey()
                self._changed.wait(min(left, 3600))

    def _read(self) -> bytes:
        with self._changed:
            while not self._stdin:
                self._obey()
                if not self._stdin_open:
                    return b""
                self._changed.wait()
            return self._stdin.popleft()

    def _obey(self) -> None:
        if self._signal:
            raise _Exit(self._traps.get(self._signal, 128 + self._signal))

    def say(self, source: Source, text: str) -> None:
        self._output(source, text.encode())

    def _output(self, source: Source, data: bytes) -> None:
        self._say(source, data.replace(b"\n", b"\r\n") if self.tty else data)

    def _say(self, source: Source, data: bytes) -> None:
        if self.tty:
            source = "stdout"
        self._log(source, data)
        with self._changed:
            self._replay = (self._replay + data)[-REPLAY_BYTES:]
            sessions = list(self.sessions)
        for session in sessions:
            session.push(source, data)


def _words(statement: str) -> list[tuple[str, bool]]:
    """Words, and whether single quotes keep their dollars."""
    return [
        (shlex.split(word)[0] if word != ">&2" else word, word.startswith("'"))
        for word in shlex.split(statement, posix=False)
    ]


def _number(name: str) -> int:
    import signal

    return int(getattr(signal, f"SIG{name.removeprefix('SIG')}"))


class DoubleSession:
    """A Session at a Process."""

    def __init__(self, process: Process, *, stdin: bool) -> None:
        self.tty = process.tty
        self._process = process
        self._stdin = stdin
        self._items: deque[tuple[Source, bytes]] = deque()
        self._code: int | None = None
        self._left = False
        self._changed = threading.Condition()
        self._readable = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def push(self, source: Source, data: bytes) -> None:
        with self._changed:
            if data and not self._left:
                self._items.append((source, data))
                self._wake()

    def end(self, code: int) -> None:
        with self._changed:
            self._code = code
            self._wake()

    def _wake(self) -> None:
        if self._readable >= 0:
            os.eventfd_write(self._readable, 1)
        self._changed.notify_all()

    def read(self) -> tuple[Source, bytes]:
        with self._changed:
            while not self._items:
                if self._left or self._code is not None:
                    return "stdout", b""
                self._changed.wait()
            item = self._items.popleft()
            if not self._items and self._code is None and not self._left and self._readable >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._readable)
            return item

    def write(self, data: bytes) -> None:
        if self._stdin and not self._left:
            self._process.input(data)

    def close_stdin(self) -> None:
        if self._stdin and not self._left:
            self._process.close_input()

    def resize(self, rows: int, columns: int) -> None:
        self._process.size = (rows, columns)

    def signal(self, number: int) -> None:
        self._process.kill(number)

    def detach(self) -> None:
        if self._stdin and not self._left and not self.tty:
            self._process.close_input()  # docker's StdinOnce
        with self._changed:
            self._left = True
            self._items.clear()
            self._wake()

    def wait(self) -> int:
        while self.read()[1]:
            pass
        if self._code is None:
            raise Unavailable(
                "session: the monitor has closed it", "pydock ps -a shows the container's state"
            )
        return self._code

    def fileno(self) -> int:
        return self._readable

    def close(self) -> None:
        self.detach()
        with self._changed:
            descriptor, self._readable = self._readable, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_readable"):
            self.close()
