"""The exit command: what a monitor becomes at the end of its container.

Run as a script by a `-I -S` interpreter: ROOT RUN_ROOT CONTAINER. The monitor's lock is still held
by this process, so whoever waits for the lock finds everything folded. With `again` behind, it
waits to start the container as its policy says (`services.restarts`).
"""

import gc
import sys

gc.disable()  # importing makes nothing to collect, and looking for it is 3 ms of each end
sys.path.insert(0, __file__.rsplit("/", 2)[0])

import contextlib  # noqa: E402
import os  # noqa: E402

from engine.connect import connect  # noqa: E402
from engine.monitor.protocol import LOCK_FD  # noqa: E402

gc.enable()


def main() -> None:
    root, run_root, container_id, *again = sys.argv[1:]
    with contextlib.suppress(OSError):  # a person runs it too
        os.set_inheritable(LOCK_FD, False)  # whoever is started from here has locks of its own
    with connect(root, run_root) as engine:
        if again:
            engine.containers.start_again(container_id)
        else:
            engine.containers.cleanup(container_id)


main()
