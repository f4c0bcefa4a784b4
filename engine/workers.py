"""Work that would hold the interpreter's lock for long goes to a process of its own.

A Python thread at work raises the console's key latency from 5 to 69 ms; a process leaves it at 14.
A worker is a fresh `-I -S` interpreter (the engine has threads and must not fork) that imports one
function, calls it with one marshalable argument, and sends back frames: what it reports on its way,
then its result or its error. It runs at nice 5, in a session of its own, and dies with the thread
that started it (PR_SET_PDEATHSIG), which therefore waits for it in `run`.
"""

import importlib
import marshal
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from engine import errors
from engine.errors import EngineError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# In the worker, not here: workers and kernel stand on one floor and do not know each other.
_START = """
import os, sys
sys.path[:0], sys.path[len(sys.path):] = [{root!r}], {packages!r}
from engine.kernel.process import set_pdeathsig
set_pdeathsig(9)
if os.getppid() != {parent}: os._exit(1)
from engine.workers import serve
serve({task}, {answer})
"""


class WorkerDied(Exception):
    """The worker ended without an answer: killed, out of memory, or a fault of ours."""


class Worker:
    """`target` ("engine.x.y:function") called in another process as function(argument, report)."""

    def __init__(self, target: str, argument: Any, descriptors: Sequence[int] = ()) -> None:
        """`descriptors` are open in the worker under the same numbers as here."""
        self._target = target
        self._argument = argument
        self._descriptors = tuple(descriptors)
        self._lock = threading.Lock()
        self._pid = 0
        self._killed = False

    def run(self, on_report: Callable[[Any], None] | None = None) -> Any:
        """The function's value. Raises what it raised, if that is an EngineError, else WorkerDied
        (also after `kill`). `on_report` is called with each report, in this thread."""
        answer, answer_write = os.pipe()
        complaints = os.memfd_create("worker-stderr")
        try:
            try:
                self._start(answer_write, complaints)
            finally:
                os.close(answer_write)
            frame = None
            while (frame := _read_frame(answer)) is not None and frame[0] == "report":
                if on_report is not None:
                    on_report(frame[1])
            status = self._reap(kill=frame is None)
            if frame is None:
                raise WorkerDied(_cause(status, complaints))
        finally:
            self._reap(kill=True)
            os.close(answer)
            os.close(complaints)
        if frame[0] == "value":
            return frame[1]
        if frame[0] == "error":
            _, kind, message, hint, exit_code = frame
            raise getattr(errors, kind)(message, hint, exit_code=exit_code)
        raise WorkerDied(frame[1])

    def kill(self) -> None:
        """The worker ends at once, if it has not; any thread may call this."""
        with self._lock:
            self._killed = True
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)

    def _start(self, answer: int, complaints: int) -> None:
        task = os.memfd_create("worker-task")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            with open(task, "wb", closefd=False) as file:
                marshal.dump((self._target, self._argument), file)
            packages = [path for path in sys.path if path.endswith(("-packages", "-packages/"))]
            code = _START.format(
                root=_ROOT, packages=packages, parent=os.getpid(), task=task, answer=answer
            )
            python = getattr(sys, "_base_executable", None) or sys.executable
            kept = (task, answer, *self._descriptors)
            actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
            actions.append((os.POSIX_SPAWN_DUP2, complaints, 2))
            # On itself, dup2 only clears close-on-exec (posix_spawn_file_actions_adddup2(3)).
            actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in kept]
            with self._lock:
                if self._killed:
                    raise WorkerDied("killed before it started")
                self._pid = os.posix_spawn(
                    python, [python, "-I", "-S", "-c", code], {"LC_ALL": "C.UTF-8"},
                    file_actions=actions, setsid=True, setsigmask=(),
                )  # fmt: skip
        finally:
            os.close(task)
            os.close(null)

    def _reap(self, *, kill: bool) -> int:
        """The wait status; the pid is nobody's afterwards."""
        if not self._pid:
            return 0
        if kill:
            self.kill()
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _, status = os.waitpid(self._pid, 0)
            self._pid = 0
        return status


def _cause(status: int, complaints: int) -> str:
    text = os.pread(complaints, 2000, 0).decode("utf-8", "replace").strip()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}" + (f": {text}" if text else "")


def _read_frame(descriptor: int) -> Any:
    head = _read_exactly(descriptor, 4)
    body = _read_exactly(descriptor, int.from_bytes(head, "little")) if head else None
    return None if body is None else marshal.loads(body)


def _read_exactly(descriptor: int, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = os.read(descriptor, count - len(data))
        if not part:
            return None
        data += part
    return data


def serve(task: int, answer: int) -> None:
    """The worker's side: never returns."""
    os.nice(5)
    for number in (task, answer):
        os.set_inheritable(number, False)

    def send(*frame: Any) -> None:
        body = marshal.dumps(frame)
        data = memoryview(len(body).to_bytes(4, "little") + body)
        while data:
            data = data[os.write(answer, data) :]

    try:
        with open(task, "rb") as file:
            file.seek(0)
            target, argument = marshal.load(file)
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        value = function(argument, lambda report: send("report", report))
        send("value", value)
    except EngineError as error:
        send("error", error.kind, error.message, error.hint, error.exit_code)
    except BaseException:
        send("crash", traceback.format_exc())
    # Threads of the function may still be waiting for one another.
    os._exit(0)
