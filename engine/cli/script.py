"""The command `pydock`: `main` in a process of its own. It is quick to begin and quick to end."""

import gc

# Importing makes many objects and no garbage. Python's collector would look through all of them
# after each 700: 4 ms of a `pydock run`.
_COLLECT_AFTER = 50_000


def script() -> None:
    """As `main`, but the process ends at once: taking down two hundred modules one by one costs
    7 ms, and every buffer has been written."""
    gc.set_threshold(_COLLECT_AFTER)
    import contextlib
    import os
    import sys

    from engine.cli.main import main

    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # None where it was closed
            stream.flush()
    os._exit(code)
