"""A client's end of a monitor: sessions, and whether it lives."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import threading
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_RDWR, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, Conflict, EngineError, Unavailable
from engine.monitor import protocol
from engine.runtime.failure import explain

if TYPE_CHECKING:
    from engine.engine import Cancel, Source

_SOURCES: dict[int, Source] = {1: "stdout", 2: "stderr"}
_ANSWER_BYTES = 1 << 16
_LOOKS, _LOOK_SECONDS = 100, 0.02
_FOLD_LOOK_SECONDS = 0.005


class MonitorSession:
    """The face's Session over a monitor's socket.

    One thread reads (or waits), any may do the rest. `write` waits for the process when it is
    256 KiB behind; another thread must be reading then, or the two would wait for each other.
    """

    def __init__(self, connection: socket, *, tty: bool) -> None:
        self.tty = tty
        self._socket = connection
        self._code: int | None = None
        self._failure: EngineError | None = None
        self._over = False
        self._on_clean: Callable[[int], None] | None = None
        self._is_folded: Callable[[], bool] = lambda: True
        self._reading = threading.Lock()
        self._sending = threading.RLock()  # a signal's handler sends too, in the middle of another
        self._room = threading.Condition()
        self._window_bytes = protocol.WINDOW_BYTES

    def on_clean(self, clean: Callable[[int], None]) -> None:
        """`clean(exit code)` is called when the container has ended, before `wait` returns: it does
        what the exit command would have done."""
        self._on_clean = clean

    def ends_when(self, is_folded: Callable[[], bool]) -> None:
        """Where others clean up, `read` and `wait` tell the end once `is_folded()`, which is asked
        again and again: whoever has the code finds the container as it has ended."""
        self._is_folded = is_folded

    def read(self) -> tuple[Source, bytes]:
        """The next output; empty bytes at the end."""
        while not self._over:
            message = self._receive()
            if message[0] == protocol.OUT:
                return _SOURCES[message[1]], message[2]
            if message[0] == protocol.TAKEN:
                with self._room:
                    self._window_bytes += message[1]
                    self._room.notify_all()
            elif message[0] == protocol.EXIT:
                if not (message[2] and self._clean(message[1])):
                    self._wait_folded()
                self._code = message[1]
                self._end()
            elif message[0] == protocol.LOST:
                self._failure = Unavailable(
                    "session: output came faster than it was taken", "pydock logs has all of it"
                )
                self._end()
        return "stdout", b""

    def _receive(self) -> tuple[Any, ...]:
        with self._reading:
            packet = b""
            while not self._over:
                try:
                    packet = self._socket.recv(protocol.PACKET_BYTES)
                except ConnectionResetError:
                    # Said once when the monitor left something of ours unread; what it had sent
                    # before comes after it. unix(7)
                    continue
                break
        if packet:
            return protocol.decode(packet)
        self._end()
        return ("",)

    def _clean(self, code: int) -> bool:
        """Whether it was for us to do."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        if self._on_clean is None or poll.poll(0):  # the monitor could not wait any longer
            return False
        self._on_clean(code)
        self._send(protocol.DONE)
        return True

    def _wait_folded(self) -> None:
        """Until then, or until somebody leaves."""
        while not self._over and not self._is_folded():
            with self._room:
                self._room.wait_for(lambda: self._over, _FOLD_LOOK_SECONDS)

    def _end(self) -> None:
        with self._room:
            self._over = True
            self._room.notify_all()

    def write(self, data: bytes) -> None:
        """`data` is on its way to the process's standard input; nowhere when it has ended."""
        for start in range(0, len(data), protocol.CHUNK_BYTES):
            chunk = data[start : start + protocol.CHUNK_BYTES]
            with self._room:
                self._room.wait_for(
                    lambda: self._over or self._window_bytes >= protocol.CHUNK_BYTES
                )
                self._window_bytes -= len(chunk)
            self._send(protocol.IN, chunk)

    def close_stdin(self) -> None:
        self._send(protocol.EOF)

    def resize(self, rows: int, columns: int) -> None:
        self._send(protocol.RESIZE, rows, columns)

    def signal(self, number: int) -> None:
        self._send(protocol.SIGNAL, int(number))  # marshal knows no enum

    def detach(self) -> None:
        """Leave; the process lives on and `read` returns the end."""
        self._end()
        with contextlib.suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)

    def wait(self) -> int:
        """The exit code, once the process has ended; what it still says is thrown away. Raises
        Unavailable when the monitor is gone, or had to drop this client."""
        while self._code is None and self.read()[1]:
            pass
        if self._failure is not None:
            raise self._failure
        if self._code is None:
            raise Unavailable(
                "session: the monitor has closed it", "pydock ps -a shows the container's state"
            )
        return self._code

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """As `detach`, and the descriptor is closed."""
        self.detach()
        with self._reading, self._sending:
            self._socket.close()

    def _send(self, *message: Any) -> None:
        with self._sending, contextlib.suppress(ConnectionError):
            if self._socket.fileno() >= 0:
                self._socket.sendall(protocol.encode(*message))


def attach(run_dir: str, *, stdin: bool, replay: bool) -> MonitorSession:
    """A session at the container's own process. Raises Conflict when it does not run."""
    return _connect(run_dir, protocol.encode(*_HELLO, protocol.ATTACH, stdin, replay))


def exec(run_dir: str, process: dict[str, Any], *, stdin: bool) -> MonitorSession:
    """A session at a new process (`runtime.exec.make_process`), which runs when this returns.
    Raises the kind that says why it does not."""
    attachment = memory_file(marshal.dumps(process))
    try:
        return _connect(run_dir, protocol.encode(*_HELLO, protocol.EXEC, stdin), attachment)
    finally:
        os.close(attachment)


_HELLO = (protocol.HELLO, protocol.VERSION)


def memory_file(data: bytes) -> int:
    """A descriptor of a file without a name that holds `data`. memfd_create(2)"""
    descriptor = os.memfd_create("pydock", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _connect(run_dir: str, hello: bytes, attachment: int = -1) -> MonitorSession:
    name = os.path.basename(run_dir)[:12]
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The path may be longer than the 107 bytes that a socket's address holds.
            connection.connect(f"/proc/self/fd/{directory}/ctl.sock")
        finally:
            os.close(directory)
        control = []
        if attachment >= 0:
            control = [(SOL_SOCKET, SCM_RIGHTS, attachment.to_bytes(4, "little"))]
        connection.sendmsg([hello], control)
        packet = connection.recv(_ANSWER_BYTES)
        if not packet:
            raise Conflict(f"container {name} has just ended", f"pydock start {name}")
        message = protocol.decode(packet)
        if message[0] == protocol.FAILED:
            raise explain(*message[1])
        return MonitorSession(socket(fileno=connection.detach()), tty=message[2])
    except (FileNotFoundError, ConnectionError) as error:
        raise Conflict(f"container {name} is not running", f"pydock start {name}") from error
    finally:
        connection.close()


def is_alive(run_dir: str) -> bool:
    """Whether a monitor, or its exit command, is at work for the container."""
    try:
        lock = os.open(f"{run_dir}/monitor.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _is_free(lock)
    finally:
        os.close(lock)


def wait_gone(run_dir: str, cancel: Cancel | None = None) -> None:
    """Everything about the container's end is folded: the lock is free. Raises Cancelled."""
    try:
        lock = os.open(f"{run_dir}/monitor.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if cancel is None:
            fcntl.flock(lock, fcntl.LOCK_SH)
        else:
            _wait_cancellable(lock, run_dir, cancel)
    finally:
        os.close(lock)


def _wait_cancellable(lock: int, run_dir: str, cancel: Cancel) -> None:
    """flock(2) cannot be interrupted by another thread, so this sleeps until its holder closes
    the file; that is told a moment before the lock is free."""
    from engine.kernel.inotify import IN_CLOSE_WRITE, Watch

    try:
        watch = Watch(run_dir, IN_CLOSE_WRITE)
    except FileNotFoundError:  # removed by whoever holds the lock, as its last deed
        fcntl.flock(lock, fcntl.LOCK_SH)
        return
    cancel.on_cancel(watch.close)
    looks = 0
    try:
        while not _is_free(lock):
            if watch.closed:
                raise Cancelled("wait: cancelled")
            changes = watch.wait(_LOOK_SECONDS if looks else None)
            looks = _LOOKS if changes.keys() & {"monitor.lock", ""} else max(0, looks - 1)
    finally:
        watch.release()


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
