"""Signals that wait until they are taken: sigprocmask(2), sigtimedwait(2).

Raw calls: 32 and 33, which glibc keeps for itself, are signals like the others.
"""

from engine.kernel.libc import syscall

LAST_SIGNAL = 64

_SIG_SETMASK = 2
_SET_BYTES = 8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def set_blocked(numbers: "Iterable[int]") -> None:
    """These signals, and no others, wait for `take`; KILL and STOP cannot."""
    syscall("rt_sigprocmask", _SIG_SETMASK, _set(numbers), None, _SET_BYTES)


def take(numbers: "Iterable[int]") -> int:
    """The number of a signal of `numbers`, which are blocked: it waits for one."""
    wanted = _set(numbers)
    while True:
        try:
            return syscall("rt_sigtimedwait", wanted, None, None, _SET_BYTES)
        except InterruptedError:
            continue  # it was stopped and goes on


def _set(numbers: "Iterable[int]") -> bytes:
    bits = 0
    for number in numbers:
        bits |= 1 << number - 1
    return bits.to_bytes(_SET_BYTES, "little")
