"""Run a piece of a test in a child process, where it may change what a process cannot undo."""

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_child(call: Callable[[], T]) -> T:
    """What `call` returned in a forked child; AssertionError with its traceback when it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = (True, call())
        except BaseException:
            answer = (False, traceback.format_exc())
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    assert data, "the child ended without an answer"
    good, value = pickle.loads(data)
    assert good, value
    return value
