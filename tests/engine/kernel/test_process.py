import errno
import os
import signal
import struct
import time
from pathlib import Path

import pytest

from engine.kernel import process
from engine.kernel.libc import syscall
from tests.support.child import in_child

_SIGCANCEL = 32  # glibc's sigaction(3) does not touch it


def child(code: int = 0, delay_seconds: float = 0) -> tuple[int, int]:
    pid, pidfd = process.clone3(0)
    if pid == 0:
        time.sleep(delay_seconds)
        os._exit(code)
    return pid, pidfd


def test_clone_gives_pid_and_pidfd_of_a_child() -> None:
    pid, pidfd = child(7)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert not os.get_inheritable(pidfd)
    os.close(pidfd)


def test_failed_clone_leaves_the_parent_whole() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        process.clone3(1 << 40)
    pid, pidfd = child(3)
    assert os.waitpid(pid, 0)[1] == 3 << 8
    os.close(pidfd)


def test_exit_status_is_known_after_somebody_else_reaped() -> None:
    first, first_fd = child(37)
    second, second_fd = child(0, 30)
    try:
        before = process.exit_status(second_fd)
    except OSError as error:
        before = error.errno
    process.pidfd_send_signal(second_fd, signal.SIGKILL)
    os.waitpid(first, 0)
    os.waitpid(second, 0)
    if before is None:  # Linux 6.15
        assert process.exit_status(first_fd) == 37 << 8
        assert process.exit_status(second_fd) == signal.SIGKILL
    else:
        assert before in (errno.ENOTTY, errno.EINVAL)
    os.close(first_fd)
    os.close(second_fd)


def test_exit_status_of_a_zombie_is_known_before_it_is_reaped() -> None:
    assert process.zombie_status(os.getpid()) is None
    for pid, pidfd in (child(42), child(0, 30)):
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        status = process.zombie_status(pid)
        assert os.waitpid(pid, 0)[1] == status
        os.close(pidfd)


def test_start_time_tells_a_process_from_a_later_one_of_its_number() -> None:
    started = process.start_time(os.getpid())
    assert process.is_alive(os.getpid(), started)
    assert not process.is_alive(os.getpid(), started + 1)


def test_zombie_is_not_alive() -> None:
    pid, pidfd = child(0)
    while b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().split(b")")[1]:
        time.sleep(0.001)
    with pytest.raises(ProcessLookupError):
        process.start_time(pid)
    os.waitpid(pid, 0)
    assert process.zombie_status(pid) is None
    with pytest.raises(ProcessLookupError):
        process.pidfd_open(pid)
    os.close(pidfd)


def test_signals_of_a_fresh_program_have_their_defaults() -> None:
    def masks() -> tuple[str, str]:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        ignore = struct.pack("4Q", signal.SIG_IGN, 0, 0, 0)
        syscall("rt_sigaction", _SIGCANCEL, ignore, None, 8)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        process.reset_signals()
        text = Path("/proc/self/status").read_text()
        lines = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        return lines["SigIgn"], lines["SigBlk"]

    assert in_child(masks) == ("0" * 16, "0" * 16)


def test_ignored_signal_does_not_end_the_process() -> None:
    def ignore() -> bool:
        process.ignore_signals(signal.SIGTERM, signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    assert in_child(ignore)


def test_attributes_are_set() -> None:
    def attributes() -> tuple[str, str]:
        process.set_dumpable(False)
        process.set_no_new_privs()
        process.set_child_subreaper()
        process.set_pdeathsig(signal.SIGKILL)
        status = Path("/proc/self/status").read_text()
        owner = os.stat("/proc/self/fd").st_uid
        return str(owner), status.partition("NoNewPrivs:\t")[2][0]

    assert in_child(attributes) == ("0", "1")
