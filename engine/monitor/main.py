"""The monitor: one small process per container.

It creates the container, keeps its output and its exit code, serves attach and exec, and at the end
becomes the exit command (execve), still holding the lock: whoever finds the lock free knows that
everything is folded. It is single-threaded and depends on nobody: the console and `pydock` are only
clients. Lean: a test holds the list of its imports.

Descriptors that it is born with: 3 what to do (marshal), 4 the launcher, 5 the lock, 6 a first
client or nothing.
"""

import errno
import marshal
import os
import select
import sys
import time
from _socket import (
    AF_UNIX,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)

from engine import journal
from engine.kernel import tty
from engine.kernel.cgroup import Cgroup, Limits
from engine.kernel.files import close_range
from engine.kernel.process import (
    ignore_signals,
    pidfd_send_signal,
    set_child_subreaper,
    start_time,
)
from engine.monitor import protocol
from engine.monitor.logs import LogWriter
from engine.runtime import create, exec
from engine.runtime.failure import StepError, Where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WORK, LAUNCHER, LOCK, CLIENT = 3, 4, 5, 6
GO, STARTED, FAILED = "go", "started", "failed"

_READ_BYTES = 1 << 16
_RING_BYTES = 1 << 16
_QUEUE_BYTES = 1 << 18
_DRAIN_SECONDS = 2.0  # a grandchild may hold the pipe for ever
_CLEANUP_SECONDS = 5.0
_SIGHUP, _SIGINT, _SIGPIPE, _SIGTERM = 1, 2, 13, 15


class Process:
    """The container's process or an exec: its pidfd, output descriptors, input, and clients."""

    def __init__(self, created: "create.Created", outputs: "dict[int, int]", stdin: int) -> None:
        self.pid = created.pid
        self.pidfd = created.pidfd
        self.console = created.console_fd
        self.outputs = outputs  # descriptor → 1 or 2
        self.stdin = stdin  # -1 when closed or none
        self.pending = b""  # input that it has not taken yet
        self.close_stdin = False
        self.clients: list[Client] = []
        self.log: LogWriter | None = None
        self.ring: list[tuple[int, bytes]] | None = None
        self.ring_bytes = 0
        self.code = -1
        self.ended = False


class Client:
    """One connection; `queue` waits for a slow one."""

    def __init__(self, connection: socket) -> None:
        self.socket = connection
        self.process: Process | None = None
        self.stdin = False
        self.first = False  # came with the launch: it may hold the container back, as a pipe does
        self.queue: list[bytes] = []
        self.queued_bytes = 0
        self.cleans = False


class Monitor:
    def __init__(self, work: "dict[str, Any]") -> None:
        self.work = work
        self.plan = work["plan"]
        self.directory: str = work["run_dir"]
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.clients: list[Client] = []
        self.listener: socket | None = None
        self.main: Process | None = None
        self.done = False
        self.oom_before = 0

    # -- birth

    def launch(self) -> None:
        """The container runs and the launcher knows, or the launcher knows why not and we end."""
        launcher = socket(AF_UNIX, SOCK_SEQPACKET, 0, LAUNCHER)
        if launcher.recv(16) != GO.encode():  # the launcher is gone, or had to give up
            os._exit(1)
        try:
            self.main = self._create(self.plan["process"], first=True)
        except (StepError, OSError) as error:
            launcher.send(marshal.dumps((FAILED, _fields(error))))
            os._exit(1)
        started_ns = time.time_ns()
        self._write_state(started_ns)
        self._leave_cgroup()
        self._listen()
        launcher.send(marshal.dumps((STARTED, self.main.pid, started_ns)))
        launcher.close()

    def _create(self, process: "dict[str, Any]", *, first: bool, stdin: bool = False) -> Process:
        """A running process with its pipes; FIFOs and log for the container's own."""
        terminal = process["terminal"]
        stdin = self.work["open_stdin"] if first else stdin
        opened: list[int] = []
        outputs: dict[int, int] = {}
        ours_in = -1
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        opened.append(null)
        stdio = [null, null, null]
        try:
            if not terminal:
                for number, name in ((1, "out"), (2, "err")):
                    ours, theirs = self._output(name) if first else os.pipe2(os.O_CLOEXEC)
                    os.set_blocking(ours, False)
                    outputs[ours] = number
                    opened.append(theirs)
                    stdio[number] = theirs
                if stdin:
                    theirs, ours_in = os.pipe2(os.O_CLOEXEC)
                    os.set_blocking(ours_in, False)
                    opened.append(theirs)
                    stdio[0] = theirs
            pipes = (stdio[0], stdio[1], stdio[2])
            if first:
                inside = bool(self.plan["cgroup"]) and Cgroup(*self.plan["cgroup"]).needs_join
                created = create.create(self.plan, pipes, console=terminal, inside_cgroup=inside)
            else:
                assert self.main is not None
                created = exec.enter(self.main.pid, self.plan, process, pipes, console=terminal)
            if first:
                self.oom_before = self._oom_kills()
            create.start(created)
        except BaseException:
            for descriptor in (*outputs, ours_in):
                if descriptor >= 0:
                    os.close(descriptor)
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if created.console_fd >= 0:
            os.set_blocking(created.console_fd, False)
            outputs[created.console_fd] = 1
            ours_in = created.console_fd
        running = Process(created, outputs, ours_in)
        for descriptor in outputs:
            self._watch(descriptor, select.POLLIN, self._reader(running, descriptor))
        self._watch(running.pidfd, select.POLLIN, lambda _: self._reap(running))
        if first:
            running.log = LogWriter(self.work["log_path"])
            running.ring = []
        return running

    def _output(self, name: str) -> "tuple[int, int]":
        """Both ends of a FIFO. The container holds its end for reading too, so that our death does
        not kill it by SIGPIPE, and a successor can open the file again."""
        path = f"{self.directory}/{name}"
        ours = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return ours, os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _write_state(self, started_ns: int) -> None:
        assert self.main is not None
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read().strip().decode()
        text = (
            f'{{"pid":{self.main.pid},"start_time":{start_time(self.main.pid)},'
            f'"started_ns":{started_ns},"boot_id":"{boot}","monitor_pid":{os.getpid()},'
            f'"version":{protocol.VERSION}}}\n'
        )
        _replace(f"{self.directory}/state.json", text)

    def _leave_cgroup(self) -> None:
        """The monitor is no part of what it watches: a pause would freeze it."""
        if not self.plan["cgroup"]:
            return
        path, hierarchies = self.plan["cgroup"]
        if not Cgroup(path, hierarchies).needs_join:
            return  # it never was in it
        ours = Cgroup(f"{os.path.dirname(path)}/monitors", hierarchies)
        try:
            ours.create(Limits())
        except OSError as error:
            if error.errno != errno.EBUSY:  # others of our kind are in it
                raise
        ours.join(0)

    # -- life

    def run(self) -> None:
        """Until the container has ended and everybody who waits has been told."""
        if self.work["client"]:
            client = Client(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, CLIENT))
            client.socket.setblocking(False)
            client.first = True
            client.cleans = self.work["client_cleans"]
            self._adopt(client)
            client.process = self.main
            client.stdin = self.work["client_stdin"]
            assert self.main is not None
            self.main.clients.append(client)
        while not self.done:
            now = time.monotonic()
            for deadline, call in [each for each in self.timers if each[0] <= now]:
                self.timers.remove((deadline, call))
                call()
            if self.done:
                break
            timeout = min((deadline for deadline, _ in self.timers), default=0.0) - now
            for descriptor, events in self.poll.poll(
                max(0, timeout * 1000) if self.timers else None
            ):
                handler = self.handlers.get(descriptor)
                if handler is not None:
                    handler(events)

    def _listen(self) -> None:
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        old = os.umask(0o177)
        try:
            # The path may be longer than the 107 bytes that a socket's address holds.
            listener.bind(f"/proc/self/fd/{directory}/ctl.sock")
        finally:
            os.umask(old)
            os.close(directory)
        listener.listen(64)
        self.listener = listener
        self._watch(listener.fileno(), select.POLLIN, lambda _: self._accept())

    def _accept(self) -> None:
        assert self.listener is not None
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        connection = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)
        connection.setblocking(False)
        uid = int.from_bytes(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8], sys.byteorder)
        if uid != os.geteuid():
            connection.close()
            return
        self._adopt(Client(connection))

    def _adopt(self, client: Client) -> None:
        self.clients.append(client)
        self._watch(
            client.socket.fileno(), select.POLLIN, lambda events: self._serve(client, events)
        )

    def _serve(self, client: Client, events: int) -> None:
        if events & select.POLLOUT:
            self._flush(client)
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            try:
                packet = client.socket.recv(protocol.PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._drop(client)
                return
            try:
                self._answer(client, protocol.decode(packet))
            except (ValueError, IndexError, TypeError, KeyError):  # not one of ours
                self._drop(client)

    def _answer(self, client: Client, message: "tuple[Any, ...]") -> None:
        kind = message[0]
        process = client.process
        if kind == protocol.HELLO:
            self._greet(client, message)
        elif process is None:
            raise ValueError("hello first")
        elif kind == protocol.IN and client.stdin:
            if process.stdin >= 0 and not process.close_stdin:
                process.pending += message[1]
                self._feed(process)
        elif kind == protocol.EOF and client.stdin and process.console < 0:
            process.close_stdin = True
            self._feed(process)
        elif kind == protocol.RESIZE and process.console >= 0 and not process.ended:
            tty.set_size(process.console, int(message[1]), int(message[2]))
        elif kind == protocol.SIGNAL and not process.ended:
            pidfd_send_signal(process.pidfd, int(message[1]))
        elif kind == protocol.DONE and client.cleans:
            self._end()

    def _greet(self, client: Client, message: "tuple[Any, ...]") -> None:
        if message[2] == protocol.ATTACH:
            _, _, _, stdin, replay = message[:5]
            assert self.main is not None
            client.process, client.stdin = self.main, bool(stdin)
            self._send(
                client, protocol.encode(protocol.HELLO, protocol.VERSION, self.main.console >= 0)
            )
            for stream, data in (self.main.ring or ()) if replay else ():
                self._send(client, protocol.encode(protocol.OUT, stream, data))
            self.main.clients.append(client)
        elif message[2] == protocol.EXEC:
            _, _, _, process, stdin = message[:5]
            try:
                running = self._create(process, first=False, stdin=stdin)
            except (StepError, OSError) as error:
                self._send(client, protocol.encode(protocol.FAILED, _fields(error)))
                return
            client.process, client.stdin = running, bool(stdin)
            self._send(
                client, protocol.encode(protocol.HELLO, protocol.VERSION, running.console >= 0)
            )
            running.clients.append(client)
        else:
            raise ValueError("unknown mode")

    def _drop(self, client: Client) -> None:
        if client not in self.clients:
            return
        self.clients.remove(client)
        self._forget(client.socket.fileno())
        client.socket.close()
        process = client.process
        if process is not None and client in process.clients:
            process.clients.remove(client)
            if client.first:
                self._hold(process, False)
            if client.stdin and process is not self.main and process.console < 0:
                process.close_stdin = True  # nobody else can write to an exec
                self._feed(process)
        if client.cleans and process is not None and process.ended:
            client.cleans = False
            self._end()

    # -- output

    def _reader(self, process: Process, descriptor: int) -> "Callable[[int], None]":
        return lambda events: self._read(process, descriptor)

    def _read(self, process: Process, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last holder of the terminal is gone
            data = b""
        if not data:
            self._forget(descriptor)
            del process.outputs[descriptor]
            if descriptor != process.console:
                os.close(descriptor)
            if process.ended and not process.outputs:
                self._finish(process)
            return
        stream = process.outputs[descriptor]
        if process.log is not None:
            process.log.write(stream, data)
        if process.ring is not None:
            process.ring.append((stream, data))
            process.ring_bytes += len(data)
            while process.ring_bytes - len(process.ring[0][1]) >= _RING_BYTES:
                process.ring_bytes -= len(process.ring.pop(0)[1])
        for client in list(process.clients):
            for start in range(0, len(data), protocol.CHUNK_BYTES):
                chunk = data[start : start + protocol.CHUNK_BYTES]
                self._send(client, protocol.encode(protocol.OUT, stream, chunk))

    def _send(self, client: Client, packet: bytes) -> None:
        client.queue.append(packet)
        client.queued_bytes += len(packet)
        self._flush(client)
        if client.queued_bytes > _QUEUE_BYTES and client.process is not None:
            if client.first or client.process is not self.main:
                self._hold(client.process, True)
            else:
                self._drop(client)  # it can take up the log where it lost us; the container goes on

    def _flush(self, client: Client) -> None:
        try:
            while client.queue:
                client.socket.send(client.queue[0])
                client.queued_bytes -= len(client.queue.pop(0))
        except BlockingIOError:
            self.poll.modify(client.socket.fileno(), select.POLLIN | select.POLLOUT)
            return
        except OSError:
            self._drop(client)
            return
        if client.socket.fileno() >= 0 and client in self.clients:
            self.poll.modify(client.socket.fileno(), select.POLLIN)
        if client.process is not None:
            self._hold(client.process, False)

    def _hold(self, process: Process, still: bool) -> None:
        """Stop or go on reading its output: the client that started it is as slow as a pipe."""
        for descriptor in process.outputs:
            self.poll.modify(descriptor, 0 if still else select.POLLIN)

    # -- input

    def _feed(self, process: Process) -> None:
        if process.stdin < 0:
            return
        try:
            while process.pending:
                written = os.write(process.stdin, process.pending)
                process.pending = process.pending[written:]
        except BlockingIOError:
            if process.console < 0:
                self._watch(process.stdin, select.POLLOUT, lambda _: self._feed(process))
            else:
                self.poll.modify(process.console, select.POLLIN | select.POLLOUT)
                self.handlers[process.console] = lambda events: self._terminal(process, events)
            return
        except OSError:  # it has closed its end
            process.pending = b""
            process.close_stdin = process.console < 0
        if process.console < 0:
            self._forget(process.stdin)
            if process.close_stdin:
                os.close(process.stdin)
                process.stdin = -1

    def _terminal(self, process: Process, events: int) -> None:
        if events & select.POLLOUT:
            self.poll.modify(process.console, select.POLLIN)
            self._feed(process)
        if events & ~select.POLLOUT and process.console in process.outputs:
            self._read(process, process.console)

    # -- death

    def _reap(self, process: Process) -> None:
        try:
            _, status = os.waitpid(process.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = 255
        process.code = code if code >= 0 else 128 - code
        process.ended = True
        self._forget(process.pidfd)
        if process.stdin >= 0 and process.console < 0:
            self._forget(process.stdin)
            os.close(process.stdin)
        process.stdin = -1
        if process.outputs:
            self._hold(process, False)
            self.timers.append((time.monotonic() + _DRAIN_SECONDS, lambda: self._finish(process)))
        else:
            self._finish(process)

    def _finish(self, process: Process) -> None:
        """Its output is complete, or somebody holds it open beyond reason."""
        if process.pidfd < 0:
            return  # it was complete before the time was up
        for descriptor in list(process.outputs):
            self._forget(descriptor)
            if descriptor != process.console:
                os.close(descriptor)
        process.outputs.clear()
        if process.console >= 0:
            os.close(process.console)
            process.console = -1
        os.close(process.pidfd)
        process.pidfd = -1
        if process is self.main:
            self._exit(process)
            return
        for client in list(process.clients):
            self._send(client, protocol.encode(protocol.EXIT, process.code, False))
        process.clients.clear()

    def _exit(self, process: Process) -> None:
        assert process.log is not None
        process.log.close()
        oom = self._oom_kills() > self.oom_before
        finished_ns = time.time_ns()
        _replace(
            f"{self.directory}/exit.json",
            f'{{"exit_code":{process.code},"oom_killed":{"true" if oom else "false"},'
            f'"finished_ns":{finished_ns}}}\n',
        )
        if oom:
            self._event("oom", {})
        self._event("die", {"exitCode": str(process.code)})
        if self.listener is not None:
            self._forget(self.listener.fileno())
            self.listener.close()
            os.unlink(f"{self.directory}/ctl.sock")
        cleaner = next((each for each in process.clients if each.cleans), None)
        for client in list(process.clients):
            self._send(client, protocol.encode(protocol.EXIT, process.code, client is cleaner))
        if cleaner is not None and cleaner in self.clients:
            self.timers.append((time.monotonic() + _CLEANUP_SECONDS, self._become_exit_command))
        else:
            self._become_exit_command()

    def _event(self, action: str, attributes: "dict[str, str]") -> None:
        journal.append(
            self.work["events_path"], "container", action, self.work["id"], self.work["name"],
            {**self.work["attributes"], **attributes},
        )  # fmt: skip

    def _oom_kills(self) -> int:
        """How often the kernel has killed in its cgroup for want of memory."""
        if not self.plan["cgroup"]:
            return 0
        place = Cgroup(*self.plan["cgroup"]).directory("memory")
        if place is None:
            return 0
        version, directory = place
        name = "memory.oom_control" if version == 1 else "memory.events"
        try:
            with open(f"{directory}/{name}", "rb") as file:
                for line in file:
                    key, _, value = line.partition(b" ")
                    if key == b"oom_kill":
                        return int(value)
        except OSError:
            pass
        return 0

    def _become_exit_command(self) -> None:
        """What is left to do needs the database: another program does it, in our place."""
        os.set_inheritable(LOCK, True)
        argv = self.work["exit_command"]
        os.execve(argv[0], argv, self.work["exit_environment"])

    def _end(self) -> None:
        """The client has done what the exit command would."""
        self.done = True

    # -- poll

    def _watch(self, descriptor: int, events: int, handler: "Callable[[int], None]") -> None:
        self.handlers[descriptor] = handler
        self.poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        if self.handlers.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)


def _fields(error: "StepError | OSError") -> "tuple[str, int, str, str, str]":
    """What runtime.failure.explain takes."""
    if isinstance(error, StepError):
        return error.fields
    return Where().describe(error)


def _replace(path: str, text: str) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def main() -> None:
    """Never returns."""
    with os.fdopen(WORK, "rb") as file:
        work = marshal.load(file)
    close_range(CLIENT + 1 if work["client"] else CLIENT)
    ignore_signals(_SIGHUP, _SIGINT, _SIGTERM, _SIGPIPE)
    os.chdir("/")
    os.set_inheritable(LAUNCHER, False)
    os.set_inheritable(LOCK, False)
    if work["client"]:
        os.set_inheritable(CLIENT, False)
    set_child_subreaper()
    monitor = Monitor(work)
    del work
    monitor.launch()
    monitor.run()
    os._exit(0)
