"""A process of the container as its monitor holds it: stdio, log, and who listens.

Lean: monitors import this.
"""

import os
import select

from engine.kernel import tty
from engine.kernel.process import pidfd_send_signal
from engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.monitor.logs import LogWriter, NoLog
    from engine.monitor.orphan import Orphan
    from engine.monitor.peer import Peer
    from engine.monitor.poller import Poller
    from engine.runtime.create import Created

STDOUT, STDERR = 1, 2

_READ_BYTES = 1 << 16
_READS = 8  # of one descriptor before the others have their turn
_RING_BYTES = 1 << 16
_PIECE_BYTES = 1 << 12
_QUEUE_BYTES = 1 << 18
_UNKNOWN_STATUS = 255 << 8
_DRAIN_SECONDS = 2.0  # somebody that the process has left behind may hold its pipes for ever


class Pipes:
    """Both ends of a process's stdio, from before it is there."""

    def __init__(self) -> None:
        self.outputs: dict[int, int] = {}  # our end → STDOUT or STDERR
        self.stdin = -1
        self._opened: list[int] = []
        self._theirs: dict[int, int] = {}

    @property
    def theirs(self) -> tuple[int, int, int]:
        """The descriptors that the process gets."""
        return self._theirs[0], self._theirs[STDOUT], self._theirs[STDERR]

    def open(self, *, terminal: bool, stdin: bool, fifos: str = "") -> None:
        """Pipes, or the FIFOs out and err in the directory `fifos`; a terminal needs neither."""
        null = self._own(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        self._theirs = {0: null, STDOUT: null, STDERR: null}
        if terminal:
            return
        for stream, name in ((STDOUT, "out"), (STDERR, "err")):
            if fifos:
                # The container holds its end for reading too: so our death does not kill it by
                # SIGPIPE, and a successor can open the file again.
                path = f"{fifos}/{name}"
                ours = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self.outputs[ours] = stream
                self._theirs[stream] = self._own(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            else:
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                self.outputs[ours] = stream
                self._theirs[stream] = self._own(theirs)
                os.set_blocking(ours, False)
        if stdin:
            theirs, self.stdin = os.pipe2(os.O_CLOEXEC)
            self._theirs[0] = self._own(theirs)
            os.set_blocking(self.stdin, False)

    def _own(self, descriptor: int) -> int:
        self._opened.append(descriptor)
        return descriptor

    def close_theirs(self) -> None:
        while self._opened:
            os.close(self._opened.pop())

    def close(self) -> None:
        """Everything: there will be no process."""
        self.close_theirs()
        for descriptor in (*self.outputs, self.stdin):
            if descriptor >= 0:
                os.close(descriptor)


class Process:
    """A running process. `on_complete(process)` when it has ended and its output is complete."""

    def __init__(
        self,
        poller: "Poller",
        created: "Created | Orphan",
        pipes: Pipes,
        on_complete: "Callable[[Process], None]",
        log: "LogWriter | NoLog | None" = None,
    ) -> None:
        self.pid = created.pid
        self.status = 0  # of waitpid(2), once it has `ended`
        self.status_known = True
        self.ended = False
        self.complete = False
        self.peers: list[Peer] = []
        self.log = log
        self._poller = poller
        self._on_complete = on_complete
        self._collect = created.collect
        self._pidfd = created.pidfd
        self._console = created.console_fd
        self._outputs = pipes.outputs
        self._stdin = pipes.stdin
        if self._console >= 0:
            os.set_blocking(self._console, False)
            self._outputs[self._console] = STDOUT
            self._stdin = self._console
        self._input: list[tuple[Peer, bytes]] = []
        self._input_ends = False
        self._held = False
        self._ring: list[tuple[int, bytes]] = []
        self._ring_bytes = 0
        poller.watch(self._pidfd, select.POLLIN, lambda _: self._reap())
        self._watch_outputs()

    @property
    def terminal(self) -> bool:
        return self._console >= 0

    @property
    def exit_code(self) -> int:
        """The shell's: 128 and the signal's number for who was killed."""
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    @property
    def signal(self) -> int:
        """That it died of, or 0."""
        return max(0, -os.waitstatus_to_exitcode(self.status))

    # -- who listens

    def join(self, peer: "Peer", *, replay: bool) -> None:
        """`peer` gets its output from now on, after the last 64 KiB with `replay`."""
        if replay:
            for stream, data in self._ring:
                self._tell(peer, stream, data)
        peer.process = self
        self.peers.append(peer)

    def leave(self, peer: "Peer") -> None:
        peer.process = None
        if peer in self.peers:
            self.peers.remove(peer)
        self._input = [each for each in self._input if each[0] is not peer]
        self.balance()

    def balance(self) -> None:
        """Stop or go on reading its output, as slow as its patient peers are."""
        held = any(peer.patient and peer.queued_bytes > _QUEUE_BYTES for peer in self.peers)
        # What the container's own process has left in its pipes is little, and its end must not
        # depend on a pager that nobody looks at.
        held = held and not (self.ended and self.log is not None)
        if held != self._held:
            self._held = held
            self._watch_outputs()

    # -- output

    def _watch_outputs(self) -> None:
        for descriptor in self._outputs:
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        events = 0 if self._held else select.POLLIN
        if descriptor == self._console and self._input:
            events |= select.POLLOUT
        self._poller.watch(descriptor, events, lambda found: self._ready(descriptor, found))

    def _ready(self, descriptor: int, events: int) -> None:
        if events & select.POLLOUT:
            self._feed()
        if events & ~select.POLLOUT and not self._held:
            self._read(descriptor)

    def _read(self, descriptor: int) -> None:
        for _ in range(_READS):
            if descriptor not in self._outputs:
                return
            try:
                data = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # EIO: nobody holds the terminal any more
                data = b""
            if not data:
                self._output_ends(descriptor)
                return
            self._spread(self._outputs[descriptor], data)
            if self._held:
                return

    def _output_ends(self, descriptor: int) -> None:
        self._poller.forget(descriptor)
        del self._outputs[descriptor]
        if descriptor != self._console:
            os.close(descriptor)
        if self.ended and not self._outputs:
            self._finish()

    def _spread(self, stream: int, data: bytes) -> None:
        if self.log is not None:
            self.log.write(stream, data)
            self._keep(stream, data)
        for peer in list(self.peers):
            self._tell(peer, stream, data)
            if peer.queued_bytes > _QUEUE_BYTES and not peer.patient:
                self.peers.remove(peer)
                peer.lose()
        self.balance()

    def _keep(self, stream: int, data: bytes) -> None:
        """In the ring; what comes in drops is kept in one piece, as far as that is small."""
        ring = self._ring
        self._ring_bytes += len(data)
        if ring and ring[-1][0] == stream and len(ring[-1][1]) + len(data) <= _PIECE_BYTES:
            ring[-1] = (stream, ring[-1][1] + data)
            return
        ring.append((stream, data))
        while self._ring_bytes - len(ring[0][1]) >= _RING_BYTES:
            self._ring_bytes -= len(ring.pop(0)[1])

    def _tell(self, peer: "Peer", stream: int, data: bytes) -> None:
        for start in range(0, len(data), protocol.CHUNK_BYTES):
            peer.send(protocol.OUT, stream, data[start : start + protocol.CHUNK_BYTES])

    # -- input

    def write(self, peer: "Peer", data: bytes) -> None:
        """`data` goes to its standard input; without one, nowhere."""
        if self._stdin < 0 or self._input_ends:
            peer.send(protocol.TAKEN, len(data))
            return
        self._input.append((peer, data))
        self._feed()

    def close_input(self) -> None:
        """Its standard input ends after what was written; a terminal's does not."""
        if not self.terminal:
            self._input_ends = True
            self._feed()

    def _feed(self) -> None:
        try:
            while self._input and self._stdin >= 0:
                peer, data = self._input[0]
                count = os.write(self._stdin, data)
                self._input[0] = (peer, data[count:])
                if count == len(data):
                    self._input.pop(0)
                peer.send(protocol.TAKEN, count)
        except BlockingIOError:
            pass
        except OSError:  # it has closed its end
            self._drop_input()
            self._input_ends = not self.terminal
        if self.terminal:
            if self._console in self._outputs:
                self._watch(self._console)
        elif self._stdin >= 0:
            events = select.POLLOUT if self._input else 0
            self._poller.watch(self._stdin, events, lambda _: self._feed())
            if self._input_ends and not self._input:
                os.close(self._stdin)
                self._stdin = -1

    def _drop_input(self) -> None:
        dropped, self._input = self._input, []
        for peer, data in dropped:
            peer.send(protocol.TAKEN, len(data))

    def resize(self, rows: int, columns: int) -> None:
        if self._console >= 0:
            tty.set_size(self._console, rows, columns)

    def send_signal(self, number: int) -> None:
        if not self.ended:
            try:
                pidfd_send_signal(self._pidfd, number)
            except OSError as error:  # EINVAL: no such signal; ESRCH: it has just ended
                raise ValueError("signal") from error

    # -- end

    def _reap(self) -> None:
        try:
            status = self._collect()
        except ChildProcessError:
            status, self.status_known = _UNKNOWN_STATUS, False
        if status is None:
            return
        self.status = status
        self.ended = True
        self._poller.forget(self._pidfd)
        if self._stdin >= 0 and not self.terminal:
            self._poller.forget(self._stdin)
            os.close(self._stdin)
        self._stdin = -1
        self._drop_input()
        self.balance()
        if self._outputs:
            self._poller.after(_DRAIN_SECONDS, self._time_is_up)
        else:
            self._finish()

    def _time_is_up(self) -> None:
        if self._held:
            self._poller.after(_DRAIN_SECONDS, self._time_is_up)
        elif not self.complete:
            self._finish()

    def _finish(self) -> None:
        for descriptor in self._outputs:
            self._poller.forget(descriptor)
        for descriptor in {*self._outputs, self._console, self._pidfd} - {-1}:
            os.close(descriptor)
        self._outputs = {}
        self._console = self._pidfd = -1
        self.complete = True
        self._on_complete(self)
