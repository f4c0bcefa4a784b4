"""What the tests of `engine.workers` call in another process; imports nothing heavy."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from engine.errors import Conflict


def describe(argument: Any, report: Callable[[Any], None]) -> Any:
    """In the worker: says where it is."""
    report("first")
    report({"n": 2})
    loaded = {"asyncio", "textual", "dataclasses", "sqlite3", "http"} & sys.modules.keys()
    return argument, os.nice(0), os.getsid(0) == os.getpid(), sorted(loaded)


def read(argument: int, report: Callable[[Any], None]) -> bytes:
    return os.read(argument, 100)


def fail(argument: str, report: Callable[[Any], None]) -> None:
    if argument == "kind":
        raise Conflict("box: is taken", "take another", exit_code=7)
    if argument == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
    if argument == "exit":
        os.write(2, b"out of luck")
        os._exit(3)
    raise KeyError(argument)


def sleep(argument: str, report: Callable[[Any], None]) -> None:
    report(os.getpid())
    time.sleep(60)
