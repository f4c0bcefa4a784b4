"""Raw system calls: checked, by name, for x86_64 and aarch64.

The Python standard library lacks most of the calls that make a container, glibc lacks wrappers for
some of them. Numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h. Lean on purpose: a container's init imports this.
"""

import ctypes
import errno
import os

_NUMBERS = {  # x86_64, aarch64
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fstatfs": (138, 44),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigtimedwait": (128, 137),
    "seccomp": (317, 277),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "syncfs": (306, 267),
    "umount2": (166, 39),
    "unshare": (272, 97),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)

# PyDLL keeps the interpreter's lock: the child of a raw clone starts with a consistent interpreter,
# and no other thread runs between a call and the reading of its errno.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_blocking_syscall = ctypes.CDLL(None, use_errno=True).syscall
_blocking_syscall.restype = ctypes.c_long


def syscall(call: str, *arguments: object, path: str | bytes = "", blocking: bool = False) -> int:
    """What system call `call` returned; integers, bytes and ctypes references are its arguments.

    `blocking` releases the interpreter's lock meanwhile. Raises OSError with errno, its text,
    `path` and, as a note, the call's name; ENOSYS on a machine whose numbers are not known.
    """
    if _COLUMN is None:
        raise failure(call, errno.ENOSYS, path)
    function = _blocking_syscall if blocking else _syscall
    result: int = function(
        ctypes.c_long(_NUMBERS[call][_COLUMN]),
        *[ctypes.c_long(each) if isinstance(each, int) else each for each in arguments],
    )
    if result == -1:
        raise failure(call, ctypes.get_errno(), path)
    return result


def failure(call: str, number: int, path: str | bytes = "") -> OSError:
    """The exception that says that `call` failed with errno `number`; the caller raises it."""
    error = OSError(number, os.strerror(number), os.fsdecode(path) or None)
    error.add_note(call)
    return error


def failed_call(error: BaseException) -> str:
    """The system call's name that `failure` noted, empty for other exceptions."""
    notes: list[str] = getattr(error, "__notes__", [])
    return notes[0] if notes else ""


def encode(path: str | bytes) -> bytes:
    """A path as the kernel reads it."""
    return os.fsencode(path)
