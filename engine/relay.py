"""A terminal, or two pipes, and a session: bytes both ways, window size, detach keys.

Used by the command line and by the console's suspended shell. On a terminal the mode is raw while
it lasts and restored on every way out.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import threading
import tty
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.engine import Session

DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, docker's
_READ_BYTES = 1 << 15
_LOOK_MILLISECONDS = 250
# Signals of the terminal or the kernel that say nothing to the container's process.
_KEPT = ("SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH",
         "SIGKILL", "SIGPIPE", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT",
         "SIGTRAP", "SIGSYS")  # fmt: skip


def relay(
    session: Session,
    *,
    stdin: int | None,
    stdout: int,
    stderr: int,
    detach_keys: bytes = DETACH_KEYS,
) -> int | None:
    """The exit code of the session's process, or None when the person detached (tty only).

    `stdin` None sends nothing. In the main thread it takes over signal handlers and gives them
    back: without a tty, signals sent to this process go on to the container's. In another thread
    (the console's) it looks at the window's size now and then.
    """
    interactive = session.tty and stdin is not None and os.isatty(stdin)
    saved = termios.tcgetattr(stdin) if interactive and stdin is not None else None
    wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    main = threading.current_thread() is threading.main_thread()
    handlers = _take_signals(session, waker, forward=not session.tty) if main else {}
    detached = False
    try:
        if interactive and stdin is not None:
            tty.setraw(stdin, termios.TCSADRAIN)
        window = _resize(session, stdin, None) if interactive else None
        keys = _Keys(detach_keys if session.tty else b"")
        source = stdin
        while True:
            poll = select.poll()
            poll.register(session.fileno(), select.POLLIN)
            poll.register(wake, select.POLLIN)
            if source is not None:
                poll.register(source, select.POLLIN)
            ready = {
                descriptor for descriptor, _ in poll.poll(None if main else _LOOK_MILLISECONDS)
            }
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 64)
            if interactive:
                window = _resize(session, stdin, window)
            if source is not None and source in ready:
                try:
                    data = os.read(source, _READ_BYTES)
                except OSError:  # the terminal is gone
                    data = b""
                if not data:
                    session.close_stdin()
                    source = None
                else:
                    passed, leave = keys.feed(data)
                    if passed:
                        session.write(passed)
                    if leave:
                        detached = True
                        break
            if session.fileno() in ready:
                stream, data = session.read()
                if not data:
                    break
                _write(stdout if stream == "stdout" else stderr, data)
        if detached:
            session.detach()
            return None
        return session.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if saved is not None and stdin is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(stdin, termios.TCSADRAIN, saved)
        os.close(wake)
        os.close(waker)


def _resize(
    session: Session, terminal: int | None, known: os.terminal_size | None
) -> os.terminal_size | None:
    """The terminal's size, told to the session if it is not the `known` one."""
    if terminal is None:
        return known
    try:
        size = os.get_terminal_size(terminal)
    except OSError:  # it is gone
        return known
    if size != known:
        session.resize(size.lines, size.columns)
    return size


class _Keys:
    """Looks for the detach sequence across reads; the beginning of one that fails is sent on."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence is complete."""
        if not self._sequence:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    return bytes(passed), True
                continue
            passed += self._sequence[: self._matched]
            self._matched = 1 if byte == self._sequence[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed), False


def _take_signals(session: Session, waker: int, *, forward: bool) -> dict[signal.Signals, Any]:
    """Handlers that were there before."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            session.signal(number)

    def resized(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(waker, b"w")

    old: dict[signal.Signals, Any] = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, resized)}
    if forward:
        for number in signal.valid_signals():
            if isinstance(number, signal.Signals) and number.name not in _KEPT:
                old[number] = signal.signal(number, pass_on)
    return old


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
