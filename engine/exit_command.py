"""The exit command: what a monitor becomes at the end of its container.

Run as a script by a `-I -S` interpreter: ROOT RUN_ROOT CONTAINER. The monitor's lock is still held
by this process, so whoever waits for the lock finds everything folded.
"""

import gc
import sys

gc.disable()  # it ends soon: looking through what it imports is a tenth of its work
sys.path.insert(0, __file__.rsplit("/", 2)[0])

from engine.connect import connect  # noqa: E402


def main() -> None:
    root, run_root, container_id = sys.argv[1:4]
    with connect(root, run_root) as engine:
        engine.containers.cleanup(container_id)


main()
