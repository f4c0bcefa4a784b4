"""The foreground of `pydock-oci run`: signals go to the container, its terminal to ours."""

import contextlib
import os
import select
import signal
import termios
import tty as terminals
from collections.abc import Callable, Iterator
from types import FrameType

from engine.kernel import tty
from engine.kernel.process import pidfd_send_signal

# Not passed on: what concerns this process alone, and stopping, which job control does.
_OWN = ("SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH", "SIGPIPE")
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")
_NEVER = ("SIGKILL", "SIGSTOP")


def follow(pid: int, pidfd: int, console: int, start: Callable[[], object]) -> int:
    """The exit code of child `pid` (128+n for signal n), when it has ended.

    It runs when `start` is called, and no signal is lost from before that: they are passed on to
    it, and, if `console` is the master of its terminal and not -1, what is typed here and written
    there.
    """
    with _forwarding(pidfd, console), _raw(console):
        start()
        if console >= 0:
            _relay(pidfd, console)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _forwarding(pidfd: int, console: int) -> Iterator[None]:
    def forward(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            pidfd_send_signal(pidfd, number)

    def resize(_: int, __: FrameType | None) -> None:
        tty.set_size(console, *tty.get_size(0))

    previous = {
        each: signal.signal(each, forward)
        for each in signal.Signals
        if each.name not in (*_OWN, *_FAULTS, *_NEVER) and each < signal.SIGRTMIN
    }
    if console >= 0 and os.isatty(0):
        previous[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
        resize(0, None)
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _raw(console: int) -> Iterator[None]:
    """Keys reach the container's terminal as they are; it does the echoing and the line editing."""
    if console < 0 or not os.isatty(0):
        yield
        return
    saved = termios.tcgetattr(0)
    terminals.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _relay(pidfd: int, console: int) -> None:
    """Copy until the process has ended and everything that it wrote is here."""
    poll = select.poll()
    poll.register(console, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if console in ready:
            try:
                data = os.read(console, 1 << 16)
            except OSError:  # EIO: nobody has the other side open any more
                return
            _write(1, data)
        elif pidfd in ready:
            return
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if data:
                _write(console, data)
            else:
                poll.unregister(0)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
