"""One client's connection, as the monitor sees it. Lean: monitors import this."""

import marshal
import os
import select
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_TRUNC, SCM_RIGHTS, SOL_SOCKET, socket

from engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.monitor.poller import Poller
    from engine.monitor.process import Process

    OnMessage = Callable[["Peer", tuple[Any, ...], Any], None]

_ATTACHMENT_BYTES = 1 << 24  # arguments and environment are below that: execve(2)


class Peer:
    """Nothing that is sent here ever blocks: it queues.

    `on_message(peer, message, attachment)` may raise ValueError, IndexError, KeyError, TypeError or
    OSError for what makes no sense: the connection ends.
    """

    def __init__(
        self,
        poller: "Poller",
        connection: socket,
        on_message: "OnMessage",
        on_gone: "Callable[[Peer], None]",
    ) -> None:
        self.process: Process | None = None
        self.stdin = False
        self.patient = False  # the process waits for it, as it would for a pipe's reader
        self.cleans = False
        self.closed = False
        self.queued_bytes = 0
        self._queue: list[bytes] = []
        self._drained: Callable[[], None] | None = None
        self._poller = poller
        self._socket = connection
        self._on_message = on_message
        self._on_gone = on_gone
        connection.setblocking(False)
        self._descriptor = connection.fileno()
        self._watch()

    def send(self, *message: "Any") -> None:
        """It is on its way, after what was sent before."""
        if self.closed:
            return
        packet = protocol.encode(*message)
        self._queue.append(packet)
        self.queued_bytes += len(packet)
        if len(self._queue) == 1:
            self._flush()

    def finish(self, *message: "Any") -> None:
        """The connection is closed when that last message is gone."""
        self.send(*message)
        self.when_drained(self.close)

    def lose(self) -> None:
        """What it has not taken yet is dropped, and it is told so."""
        self._queue.clear()
        self.queued_bytes = 0
        self.finish(protocol.LOST)

    def when_drained(self, call: "Callable[[], None]") -> None:
        """`call` is called when nothing is queued: perhaps at once. It replaces an earlier one."""
        self._drained = call
        self._check_drained()

    def close(self) -> None:
        """It is gone."""
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self.queued_bytes = 0
        self._poller.forget(self._descriptor)
        self._socket.close()
        self._on_gone(self)

    def _watch(self) -> None:
        events = select.POLLIN | (select.POLLOUT if self._queue else 0)
        self._poller.watch(self._descriptor, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._flush()
        if events & ~select.POLLOUT and not self.closed:
            self._receive()

    def _flush(self) -> None:
        try:
            while self._queue:
                self._socket.send(self._queue[0])
                self.queued_bytes -= len(self._queue.pop(0))
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch()
        if self.process is not None:
            self.process.balance()
        self._check_drained()

    def _check_drained(self) -> None:
        if self._drained is not None and not self._queue:
            call, self._drained = self._drained, None
            call()

    def _receive(self) -> None:
        try:
            packet, control, flags, _ = self._socket.recvmsg(
                protocol.PACKET_BYTES, CMSG_SPACE(4), MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        descriptor = -1
        for level, kind, data in control:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                descriptor = int.from_bytes(data[:4], "little")
        try:
            attachment = _unpack(descriptor)
            if not packet or flags & MSG_TRUNC:
                raise ValueError("not a message")
            self._on_message(self, protocol.decode(packet), attachment)
        except (ValueError, IndexError, KeyError, TypeError, EOFError, OSError):  # not one of ours
            self.close()
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _unpack(descriptor: int) -> "Any":
    """What is marshalled in a memory file. Raises ValueError."""
    if descriptor < 0:
        return None
    size = os.fstat(descriptor).st_size
    if size > _ATTACHMENT_BYTES:
        raise ValueError("attachment: too long")
    return marshal.loads(os.pread(descriptor, size, 0))
