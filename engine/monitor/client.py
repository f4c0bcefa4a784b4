"""A client's end of a monitor: sessions, and whether it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from socket import AF_UNIX, SHUT_RDWR, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, Conflict, Unavailable
from engine.monitor import protocol
from engine.runtime.failure import explain

if TYPE_CHECKING:
    from engine.engine import Cancel, Source

_SOURCES: dict[int, Source] = {1: "stdout", 2: "stderr"}


class MonitorSession:
    """The face's Session over a monitor's socket. `read` belongs to one thread, the rest to any."""

    def __init__(self, connection: socket, *, tty: bool) -> None:
        self.tty = tty
        self._socket = connection
        self._code: int | None = None
        self._detached = False
        self._on_clean: Callable[[int], None] | None = None
        self._lock = threading.Lock()

    def on_clean(self, clean: Callable[[int], None]) -> None:
        """`clean(exit code)` is called when the container has ended, before `wait` returns: it does
        what the exit command would have done."""
        self._on_clean = clean

    def read(self) -> tuple[Source, bytes]:
        """The next output; empty bytes at the end."""
        while self._code is None and not self._detached:
            try:
                packet = self._socket.recv(protocol.PACKET_BYTES)
            except OSError:
                packet = b""
            if not packet:
                break
            message = protocol.decode(packet)
            if message[0] == protocol.OUT:
                return _SOURCES[message[1]], message[2]
            if message[0] == protocol.EXIT:
                self._end(message[1], clean=message[2])
        return "stdout", b""

    def _end(self, code: int, *, clean: bool) -> None:
        if clean and self._on_clean is not None:
            self._on_clean(code)
            with contextlib.suppress(OSError):
                self._send(protocol.DONE)
        self._code = code

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), protocol.CHUNK_BYTES):
            self._send(protocol.IN, data[start : start + protocol.CHUNK_BYTES])

    def close_stdin(self) -> None:
        self._send(protocol.EOF)

    def resize(self, rows: int, columns: int) -> None:
        self._send(protocol.RESIZE, rows, columns)

    def signal(self, number: int) -> None:
        self._send(protocol.SIGNAL, number)

    def detach(self) -> None:
        """Leave; the process lives on and `read` returns the end."""
        self._detached = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)

    def wait(self) -> int:
        """The exit code, once the process has ended; what it still says is thrown away. Raises
        Unavailable when the monitor is gone."""
        while self._code is None:
            if not self.read()[1] and self._code is None:
                raise Unavailable(
                    "session: the monitor has closed it", "pydock ps -a shows the container's state"
                )
        return self._code

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self.detach()
        self._socket.close()

    def _send(self, *message: Any) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(protocol.encode(*message))


def attach(run_dir: str, *, stdin: bool, replay: bool) -> MonitorSession:
    """A session at the container's own process. Raises Conflict when it does not run."""
    return _connect(run_dir, (protocol.ATTACH, stdin, replay))


def exec(run_dir: str, process: dict[str, Any], *, stdin: bool) -> MonitorSession:
    """A session at a new process (`runtime.exec.make_process`), which runs when this returns.
    Raises the kind that says why it does not."""
    return _connect(run_dir, (protocol.EXEC, process, stdin))


def _connect(run_dir: str, hello: tuple[Any, ...]) -> MonitorSession:
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        try:
            directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{directory}/ctl.sock")
            finally:
                os.close(directory)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Conflict(
                f"container {os.path.basename(run_dir)[:12]} is not running", "pydock start it"
            ) from error
        connection.sendall(protocol.encode(protocol.HELLO, protocol.VERSION, *hello))
        packet = connection.recv(protocol.PACKET_BYTES)
        if not packet:
            raise Conflict(
                f"container {os.path.basename(run_dir)[:12]} has just ended", "pydock start it"
            )
        message = protocol.decode(packet)
        if message[0] == protocol.FAILED:
            raise explain(*message[1])
    except BaseException:
        connection.close()
        raise
    return MonitorSession(connection, tty=message[2])


def is_alive(run_dir: str) -> bool:
    """Whether a monitor, or its exit command, is at work for the container."""
    try:
        lock = os.open(f"{run_dir}/monitor.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def wait_gone(run_dir: str, cancel: Cancel | None = None) -> None:
    """Everything about the container's end is folded: the lock is free. Raises Cancelled."""
    try:
        lock = os.open(f"{run_dir}/monitor.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if cancel is None:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)
        return
    # flock cannot be interrupted from another thread: a thread of its own waits, and we for both.
    ended = threading.Event()
    wake = threading.Event()

    def wait() -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.close(lock)
        ended.set()
        wake.set()

    threading.Thread(target=wait, name="wait", daemon=True).start()
    cancel.on_cancel(wake.set)
    wake.wait()
    if not ended.is_set():
        raise Cancelled("wait: cancelled")
