"""A terminal, or two pipes, and a session: bytes both ways, window size, signals, detach keys.

Used by the command line and by the console's suspended shell. On a terminal the mode is raw while
it lasts and restored on every way out.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.engine import Session

DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, docker's
_READ_BYTES = 1 << 15
_LOOK_MILLISECONDS = 250  # where no signal tells that the window has changed
_SETTLE_MILLISECONDS = 50  # a window that is being dragged changes all the time
# Signals of the terminal or the kernel that say nothing to the container's process.
_KEPT = ("SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH",
         "SIGKILL", "SIGPIPE", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT",
         "SIGTRAP", "SIGSYS")  # fmt: skip
_DEADLY = (signal.SIGTERM, signal.SIGHUP)


def parse_keys(text: str) -> bytes:
    """The bytes of docker's notation: "ctrl-p,ctrl-q", "ctrl-@,x"; "" is none. Raises
    InvalidInput."""
    found = bytearray()
    for key in text.split(",") if text else ():
        letter = key.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii():
            raise InvalidInput(
                f"detach keys: unknown key {key!r}", "like ctrl-p,ctrl-q or ctrl-x,d"
            )
        if letter == key:
            found += letter.encode()
        elif "@" <= letter.upper() <= "_":
            found.append(ord(letter.upper()) - ord("@"))
        else:
            raise InvalidInput(
                f"detach keys: no such key {key!r}", "ctrl- goes with a-z @ [ \\ ] ^ _"
            )
    return bytes(found)


def relay(
    session: Session,
    *,
    stdin: int | None,
    stdout: int,
    stderr: int,
    detach_keys: bytes = DETACH_KEYS,
    signals: bool = True,
) -> int | None:
    """The exit code of the session's process, or None when the person detached (tty only).

    `stdin` None sends nothing. In the main thread it takes over signal handlers and gives them
    back: without a tty, signals sent to this process go on to the container's, if `signals`. In
    another thread (the console's) it looks at the window's size now and then. Raises OSError when
    stdout or stderr is gone; the process lives on.
    """
    control = _Control(session, stdin if stdin is not None else stdout, proxy=signals)
    entry = _Input(session, stdin, detach_keys if session.tty else b"")
    with _raw(stdin if session.tty else None) as restore, control, control.signals(restore), entry:
        control.resize()
        try:
            while True:
                source, data = session.read()
                if not data:
                    break
                _write(stdout if source == "stdout" else stderr, data)
        except BaseException:
            session.detach()  # nobody else may wait for what is not read any more
            raise
    return None if entry.detached else session.wait()


@contextlib.contextmanager
def _raw(terminal: int | None) -> Iterator[Callable[[], None]]:
    """In raw mode; gives what puts the old mode back at once."""
    if terminal is None or not os.isatty(terminal):
        yield lambda: None
        return
    import termios  # here and not above: most sessions have no terminal
    import tty

    saved = termios.tcgetattr(terminal)

    def restore(when: int = termios.TCSANOW) -> None:
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(terminal, when, saved)

    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield restore
    finally:
        restore(termios.TCSADRAIN)


class _Helper:
    """A thread beside the one that reads the session, as long as the context lasts."""

    def __init__(self) -> None:
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        raise NotImplementedError


class _Input(_Helper):
    """What is typed or piped in, to the session. A thread of its own, because a process that does
    not read must not keep its output from being written."""

    def __init__(self, session: Session, stdin: int | None, keys: bytes) -> None:
        super().__init__()
        self.detached = False
        self._session = session
        self._stdin = stdin
        self._keys = _Keys(keys)

    def _run(self) -> None:
        if self._stdin is None:
            return
        poll = select.poll()
        poll.register(self._stdin, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while not any(descriptor == self._stop for descriptor, _ in poll.poll()):
            try:
                data = os.read(self._stdin, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # the terminal is gone
                data = b""
            passed, self.detached = self._keys.feed(data) if data else (self._keys.rest(), False)
            if passed:
                self._session.write(passed)
            if self.detached:
                self._session.detach()
                return
            if not data:
                self._session.close_stdin()
                return


class _Control(_Helper):
    """The window's size and this process's signals, to the session."""

    def __init__(self, session: Session, terminal: int, *, proxy: bool) -> None:
        super().__init__()
        self._session = session
        self._proxy = proxy
        self._terminal = terminal if session.tty and os.isatty(terminal) else -1
        self._main = threading.current_thread() is threading.main_thread()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._numbers: list[int] = []
        self._size = os.terminal_size((0, 0))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        os.close(self._wake)

    @contextlib.contextmanager
    def signals(self, restore: Callable[[], None]) -> Iterator[None]:
        """Handlers are ours meanwhile. A handler only wakes our thread: it runs in the middle of
        whatever the main thread does, and might find a lock taken by itself."""
        old: dict[signal.Signals, Any] = {}

        def pass_on(number: int, frame: FrameType | None) -> None:
            self._numbers.append(number)
            os.eventfd_write(self._wake, 1)

        def die(number: int, frame: FrameType | None) -> None:
            restore()
            signal.signal(number, old.get(signal.Signals(number), signal.SIG_DFL))
            os.kill(os.getpid(), number)

        if self._session.tty:
            taken: dict[signal.Signals, Any] = dict.fromkeys(_DEADLY, die)
            taken[signal.SIGWINCH] = pass_on
        else:
            known = [each for each in signal.valid_signals() if isinstance(each, signal.Signals)]
            taken = {each: pass_on for each in known if each.name not in _KEPT and self._proxy}
        try:
            for number, handler in taken.items() if self._main else ():
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup's
                    old[number] = signal.signal(number, handler)
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        looks = self._terminal >= 0 and not self._main
        timeout = _LOOK_MILLISECONDS if looks else None
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(timeout)}
            if self._stop in ready:
                return
            if self._wake in ready:
                os.eventfd_read(self._wake)
            while self._numbers:
                number = self._numbers.pop(0)
                if number != signal.SIGWINCH:
                    self._session.signal(number)
                    continue
                timeout = _SETTLE_MILLISECONDS
            if not ready:
                self.resize()
                timeout = _LOOK_MILLISECONDS if looks else None

    def resize(self) -> None:
        """The session knows the terminal's size, if that is new."""
        if self._terminal >= 0:
            with contextlib.suppress(OSError):  # it is gone
                size = os.get_terminal_size(self._terminal)
                if size != self._size:
                    self._size = size
                    self._session.resize(size.lines, size.columns)


class _Keys:
    """Looks for the detach sequence across reads; the beginning of one that fails is sent on."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence is complete."""
        if not self._sequence:
            return data, False
        passed = bytearray()
        for byte in data:
            self._held += bytes((byte,))
            while not self._sequence.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._sequence:
                return bytes(passed), True
        return bytes(passed), False

    def rest(self) -> bytes:
        """What is still held, because nothing more will come."""
        held, self._held = self._held, b""
        return held


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
