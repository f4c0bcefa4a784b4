"""A process that is somebody else's child: whose it is not, and how it ended."""

import os
import select
import signal
import subprocess
import sys

import pytest

from engine.kernel import process
from engine.monitor.orphan import Orphan

# Its parent, which reaps it when its standard input ends, and says its number before.
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
sys.stdin.read()
child.wait()
"""


def grandchild(*command: str) -> tuple[int, subprocess.Popen[bytes]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    return int(parent.stdout.readline()), parent


def end(parent: subprocess.Popen[bytes]) -> None:
    parent.communicate(timeout=20)


@pytest.mark.parametrize("is_reaped", [False, True])
def test_its_end_is_known_reaped_or_not(is_reaped: bool) -> None:
    pid, parent = grandchild("sleep", "1000")
    orphan = Orphan(pid, process.start_time(pid))
    try:
        before = process.exit_status(orphan.pidfd)
    except OSError as error:
        before = error.errno
    process.pidfd_send_signal(orphan.pidfd, signal.SIGTERM)
    if is_reaped:
        end(parent)
    else:
        select.select([orphan.pidfd], [], [])
    if is_reaped and before is not None:  # before Linux 6.15
        with pytest.raises(ChildProcessError):
            orphan.collect()
    else:
        assert orphan.collect() == signal.SIGTERM
    os.close(orphan.pidfd)
    if not is_reaped:
        end(parent)


def test_a_later_process_of_its_number_is_refused() -> None:
    pid, parent = grandchild("sleep", "1000")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ProcessLookupError):
        Orphan(pid, process.start_time(pid) + 1)
    assert len(os.listdir("/proc/self/fd")) == before
    os.kill(pid, signal.SIGKILL)
    end(parent)
    with pytest.raises(ProcessLookupError):
        Orphan(pid, 1)
