"""Processes: clone3(2), pidfds, and the attributes that prctl(2) sets."""

import ctypes
import errno
import struct
from fcntl import ioctl

from engine.kernel.files import read_file
from engine.kernel.libc import failure, syscall

CLONE_PIDFD = 0x1000
CLONE_INTO_CGROUP = 0x200000000

_SIGCHLD = 17
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info), first published size: 64 bytes
_PIDFD_INFO_EXIT = 1 << 3

_SIG_SETMASK = 2
_SIG_IGN = 1
_DEFAULT_ACTION = bytes(32)  # struct sigaction: SIG_DFL, no flags, no restorer, an empty mask
_LAST_SIGNAL = 64
_UNCHANGEABLE = (9, 19)  # KILL, STOP

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
_libc.signal.restype = ctypes.c_void_p


def clone3(flags: int, *, cgroup: int | None = None) -> tuple[int, int]:
    """Pid and pidfd of a new child in the parent, (0, -1) in the child.

    `flags` are CLONE_NEW*; the child starts in the cgroup (v2) that descriptor `cgroup` names. Only
    for single-threaded processes; the child may use this interpreter but not threads, raise() or
    abort(): glibc's cached thread id is the parent's. Source: clone(2).
    """
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD | (0 if cgroup is None else CLONE_INTO_CGROUP)
    arguments = struct.pack(
        "11Q", flags, ctypes.addressof(pidfd), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, cgroup or 0
    )
    ctypes.pythonapi.PyOS_BeforeFork()
    try:
        pid = syscall("clone3", arguments, len(arguments))
    except OSError:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        raise
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid, pidfd.value


def pidfd_open(pid: int) -> int:
    """A descriptor that stands for process `pid`, readable when it has ended."""
    return syscall("pidfd_open", pid, 0, path=f"/proc/{pid}")


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """`signal` is sent to the very process behind `pidfd`, never to a later one of that number."""
    syscall("pidfd_send_signal", pidfd, signal, None, 0)


def exit_status(pidfd: int) -> int | None:
    """The wait status (os.waitstatus_to_exitcode) of a process that ended and was reaped, by
    anybody; None when it was not reaped yet.

    Raises OSError ENOTTY or EINVAL before Linux 6.15, ESRCH when it was reaped before `pidfd` was
    opened. Source: PIDFD_GET_INFO in linux/pidfd.h.
    """
    buffer = bytearray(struct.pack("Q56x", _PIDFD_INFO_EXIT))
    ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    mask, status = struct.unpack("Q52xi", buffer)
    return status if mask & _PIDFD_INFO_EXIT else None


def zombie_status(pid: int) -> int | None:
    """The wait status of a process that ended and was not reaped yet; None when `pid` is no such
    process. Source: exit_code in proc_pid_stat(5)."""
    try:
        fields = _stat_fields(pid)
    except ProcessLookupError:
        return None
    return int(fields[-1]) if fields[0] == "Z" else None


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with the pid, its identity.

    Raises ProcessLookupError when there is no such process, or only its zombie.
    """
    fields = _stat_fields(pid)
    if fields[0] in ("Z", "X"):
        raise failure("read", errno.ESRCH, f"/proc/{pid}")
    return int(fields[19])


def _stat_fields(pid: int) -> list[str]:
    """From the third on, the state."""
    try:
        text = read_file(f"/proc/{pid}/stat").decode("ascii", "replace")
    except FileNotFoundError as error:
        raise failure("read", errno.ESRCH, f"/proc/{pid}") from error
    return text[text.rindex(")") + 2 :].split()  # the name in parentheses may hold anything


def is_alive(pid: int, started: int) -> bool:
    """Whether `pid` still is the process that started at `started` (`start_time`), no zombie."""
    try:
        return start_time(pid) == started
    except ProcessLookupError:
        return False


def set_child_subreaper() -> None:
    """Orphans below this process become its children."""
    syscall("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_pdeathsig(signal: int) -> None:
    """The kernel sends `signal` to this process when the thread that started it ends."""
    syscall("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_dumpable(allowed: bool) -> None:
    """Whether others may trace this process and read its /proc/<pid>; execve(2) allows it again."""
    syscall("prctl", _PR_SET_DUMPABLE, int(allowed), 0, 0, 0)


def set_no_new_privs() -> None:
    """From here on execve(2) grants no privileges (setuid bits, file capabilities)."""
    syscall("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def reset_signals() -> None:
    """Every signal has its default action and none is blocked, as a fresh program expects.

    Ignored signals stay ignored through execve(2), and Python ignores SIGPIPE and SIGXFSZ. By the
    raw call, because whoever started us may ignore 32 or 33, which glibc keeps for itself.
    """
    for signal in range(1, _LAST_SIGNAL + 1):
        if signal not in _UNCHANGEABLE:
            syscall("rt_sigaction", signal, _DEFAULT_ACTION, None, 8)
    syscall("rt_sigprocmask", _SIG_SETMASK, bytes(8), None, 8)


def ignore_signals(*signals: int) -> None:
    """`signals` no longer end this process."""
    for signal in signals:
        _libc.signal(signal, _SIG_IGN)
