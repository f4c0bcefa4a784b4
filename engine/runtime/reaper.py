"""The first process of a container with `--init`: it buries orphans and hands signals on.

Programs that were not written for it make a bad pid 1: the kernel keeps from it every signal that
it does not handle, and whoever loses its parent becomes its child. Here pid 1 is a fork of the
container's own init, with its identity, limits and filter, and the program is a child of it, as
with tini (github.com/krallin/tini), which docker puts there. Imported before the root is changed.
"""

from __future__ import annotations

import os

from engine.kernel.files import close_range
from engine.kernel.process import set_child_subreaper
from engine.kernel.signals import LAST_SIGNAL, set_blocked, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CHILD, _KILL, _STOP = 17, 9, 19
# What a fault of this process' own raises (ILL TRAP ABRT BUS FPE SEGV SYS), and what the terminal
# says to a group that is not in front (TTIN TTOU), is not for the program.
_OWN = frozenset((4, 5, 6, 7, 8, 11, 31, 21, 22, _KILL, _STOP))
_HANDED = frozenset(range(1, LAST_SIGNAL + 1)) - _OWN
_TERMINAL_OUTPUT = 22
_EXIT_SIGNALLED = 128


def split() -> None:
    """Returns in a child, which becomes the program; this process stays, and ends as it ends."""
    set_blocked({*_HANDED, _TERMINAL_OUTPUT})
    child = os.fork()  # noqa: TID251  an init has one thread
    if child:
        _stay(child)
    # A group of its own, which the terminal listens to: what is typed there (^C) comes once.
    os.setpgid(0, 0)
    if os.isatty(0):
        os.tcsetpgrp(0, os.getpgid(0))
    set_blocked(())


def _stay(child: int) -> NoReturn:
    """Until `child` has ended. Whoever waits for its execve hears of it when nobody else holds the
    channel, so nothing stays open here."""
    set_child_subreaper()  # in the host's pid namespace this is not the first process
    for number in range(3):
        os.close(number)
    close_range(3)
    while True:
        number = take(_HANDED)
        if number == _CHILD:
            _bury(child)
        else:
            os.kill(child, number)  # it may have ended, but is not buried yet


def _bury(child: int) -> None:
    """Every child that has ended is; with `child` this process ends too."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else _EXIT_SIGNALLED - code)
        if not pid:
            return
