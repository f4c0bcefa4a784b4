"""Signals that wait until they are taken, also those that glibc keeps for itself."""

import subprocess
import sys

import pytest

# In a process of its own: what is blocked here would be blocked for every other test.
_TAKE = """
import os, sys
from engine.kernel.process import reset_signals
from engine.kernel.signals import LAST_SIGNAL, set_blocked, take
reset_signals()  # whoever started the tests may ignore 32
number = int(sys.argv[1])
every = range(1, LAST_SIGNAL + 1)
set_blocked(every)
os.kill(os.getpid(), number)
print(take(every))
os.kill(os.getpid(), number)
print("blocked", flush=True)
set_blocked(())
print("not reached")
"""


@pytest.mark.parametrize("number", [1, 15, 32, 33, 64])
def test_a_blocked_signal_is_taken_and_an_unblocked_one_acts(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TAKE, str(number)], stdout=subprocess.PIPE, check=False
    )
    assert done.stdout == b"%d\nblocked\n" % number
    assert done.returncode == -number
