"""The monitor: one small process per container.

It creates the container, keeps its output and its exit code, serves attach and exec, and at the end
becomes the exit command (execve), still holding the lock: whoever finds the lock free knows that
everything is folded. It is single-threaded and depends on nobody: the console and `pydock` are only
clients. Lean: a test holds the list of its imports.
"""

import marshal
import os
import select
import struct
import sys
import time
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)

from engine import journal
from engine.kernel.cgroup import Cgroup
from engine.kernel.files import close_range
from engine.kernel.process import ignore_signals, set_child_subreaper, start_time
from engine.monitor import protocol
from engine.monitor.logs import LogWriter, NoLog, open_log
from engine.monitor.peer import Peer
from engine.monitor.poller import Poller
from engine.monitor.process import Pipes, Process
from engine.monitor.protocol import CLIENT_FD, LAUNCHER_FD, LOCK_FD, PLACES, WORK_FD
from engine.runtime import create, exec
from engine.runtime.failure import StepError, Where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CLEANUP_SECONDS = 5.0
_PAUSE_SECONDS = 1.0  # of accepting, when descriptors have run out
_SIGHUP, _SIGINT, _SIGPIPE, _SIGTERM = 1, 2, 13, 15


class Monitor:
    """What one container needs while it runs."""

    def __init__(self, work: "dict[str, Any]") -> None:
        self._work = work
        self._plan = work["plan"]
        self._directory: str = work["run_dir"]
        self._poller = Poller()
        self._peers: list[Peer] = []
        self._execs: list[Process] = []
        self._listener: socket | None = None
        self._log: LogWriter | NoLog | None = None
        self._cleaner: Peer | None = None
        self._over = False  # what is left to do is done, or others do it
        self._heir = 0
        self._oom_before = 0
        self._main: Process

    # -- birth

    def launch(self, launcher: socket) -> None:
        """The container runs and the launcher knows, or the launcher knows why not and we end."""
        where = Where()
        started_ns = time.time_ns()
        try:
            where.at("log", self._work["log_path"])
            self._log = open_log(self._work["log_path"], self._work["log_limits"])
            where.at("start")
            self._oom_before = self._oom_kills()
            self._main = self._start(
                self._plan["process"]["terminal"],
                self._work["open_stdin"],
                lambda pipes, terminal: self._create(pipes, terminal, started_ns),
                self._end,
                fifos=self._directory,
            )
            where.at("control socket", f"{self._directory}/ctl.sock")
            self._listen()
        except (StepError, OSError) as error:
            if hasattr(self, "_main"):
                os.kill(self._main.pid, 9)  # our child, not reaped yet
                os.waitpid(self._main.pid, 0)
            _report(launcher, (protocol.FAILED, where.describe(error)))
            os._exit(1)
        _report(launcher, (protocol.STARTED, self._main.pid, started_ns))

    def adopt(self, launcher: socket, pid: int, started: int) -> None:
        """As `launch`, for a container that runs already: its monitor was killed. What it has
        written meanwhile waits in its FIFOs; its input and a terminal are gone."""
        from engine.monitor.orphan import Orphan  # for a takeover alone

        where = Where()
        started_ns = self._work["started_ns"]
        try:
            where.at("log", self._work["log_path"])
            self._log = open_log(self._work["log_path"], self._work["log_limits"])
            where.at("process")
            orphan = Orphan(pid, started)
            where.at("state", self._directory)
            self._record(pid, started_ns)
            where.at("output", self._directory)
            pipes = Pipes()
            pipes.open(
                terminal=self._plan["process"]["terminal"], stdin=False, fifos=self._directory
            )
            pipes.close_theirs()
            self._main = Process(self._poller, orphan, pipes, self._end, self._log)
            where.at("control socket", f"{self._directory}/ctl.sock")
            self._listen()
        except OSError as error:
            _report(launcher, (protocol.FAILED, where.describe(error)))
            os._exit(1)
        _report(launcher, (protocol.STARTED, pid, started_ns))

    def _start(
        self,
        terminal: bool,
        stdin: bool,
        make: "Callable[[Pipes, bool], create.Created]",
        on_complete: "Callable[[Process], None]",
        fifos: str = "",
    ) -> Process:
        """A running process. Raises StepError or OSError, and there is none."""
        pipes = Pipes()
        try:
            pipes.open(terminal=terminal, stdin=stdin, fifos=fifos)
            created = make(pipes, terminal)
            create.start(created)
        except BaseException:
            pipes.close()
            raise
        pipes.close_theirs()
        return Process(self._poller, created, pipes, on_complete, self._log if fifos else None)

    def _create(self, pipes: Pipes, terminal: bool, started_ns: int) -> "create.Created":
        created = create.create(self._plan, pipes.theirs, console=terminal)
        try:
            self._record(created.pid, started_ns)
        except OSError:
            create.destroy(created)
            raise
        return created

    def _record(self, pid: int, started_ns: int) -> None:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read().strip().decode()
        _replace(
            f"{self._directory}/state.json",
            f'{{"pid":{pid},"start_time":{start_time(pid)},'
            f'"started_ns":{started_ns},"boot_id":"{boot}","monitor_pid":{os.getpid()},'
            f'"version":{protocol.VERSION}}}\n',
        )

    def _listen(self) -> None:
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        old = os.umask(0o177)
        try:
            # The path may be longer than the 107 bytes that a socket's address holds.
            listener.bind(f"/proc/self/fd/{directory}/ctl.sock")
        finally:
            os.umask(old)
            os.close(directory)
        listener.listen(64)
        self._listener = listener
        self._watch_listener()

    # -- life

    def run(self) -> None:
        """Until the container has ended and everybody who waits has been told."""
        if self._work["client"]:
            peer = Peer(
                self._poller,
                socket(AF_UNIX, SOCK_SEQPACKET, 0, CLIENT_FD),
                self._answer,
                self._gone,
            )
            self._peers.append(peer)
            peer.patient = True
            peer.cleans = self._work["client_cleans"]
            peer.stdin = self._work["client_stdin"]
            self._main.join(peer, replay=False)
        while not self._over or self._peers or self._execs:
            self._poller.turn()
        if self._heir:
            os.waitpid(self._heir, 0)

    def _watch_listener(self) -> None:
        if self._listener is not None:
            self._poller.watch(
                self._listener.fileno(), select.POLLIN, lambda _: self._accept(self._listener)
            )

    def _accept(self, listener: "Any") -> None:
        try:
            descriptor, _ = listener._accept()
        except BlockingIOError:
            return
        except OSError:  # EMFILE: it would be reported again at once
            self._poller.forget(listener.fileno())
            self._poller.after(_PAUSE_SECONDS, self._watch_listener)
            return
        connection = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)
        uid = int.from_bytes(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8], sys.byteorder)
        if uid != os.geteuid():
            connection.close()
            return
        self._peers.append(Peer(self._poller, connection, self._answer, self._gone))

    def _answer(self, peer: Peer, message: "tuple[Any, ...]", attachment: "Any") -> None:
        kind, process = message[0], peer.process
        if kind == protocol.HELLO:
            if process is not None:
                raise ValueError("hello again")
            self._greet(peer, message, attachment)
        elif process is None:
            if kind != protocol.DONE or peer is not self._cleaner:
                raise ValueError("hello first")
        elif kind == protocol.IN and peer.stdin:
            process.write(peer, memoryview(message[1]).tobytes())
        elif kind == protocol.EOF and peer.stdin:
            # Who attaches later to a container made with -i cannot end its input: docker's
            # StdinOnce is for the one who ran it.
            if process is not self._main or peer.patient:
                process.close_input()
        elif kind == protocol.RESIZE:
            process.resize(int(message[1]) & 0xFFFF, int(message[2]) & 0xFFFF)
        elif kind == protocol.SIGNAL:
            process.send_signal(int(message[1]))
        elif kind == protocol.DONE and peer is self._cleaner and self._main.complete:
            self._cleaner = None
            self._leave()
            peer.close()

    def _greet(self, peer: Peer, message: "tuple[Any, ...]", attachment: "Any") -> None:
        if message[2] == protocol.ATTACH:
            process = self._main
            replay = bool(message[4])
        elif message[2] == protocol.EXEC:
            try:
                process = self._exec(attachment, bool(message[3]))
            except (StepError, OSError) as error:
                peer.finish(protocol.FAILED, Where().describe(error))
                return
            peer.patient = True
            replay = False
        else:
            raise ValueError("unknown mode")
        peer.stdin = bool(message[3])
        peer.send(protocol.HELLO, protocol.VERSION, process.terminal)
        process.join(peer, replay=replay)

    def _exec(self, description: "dict[str, Any]", stdin: bool) -> Process:
        process = self._start(
            description["terminal"],
            stdin,
            lambda pipes, terminal: exec.enter(
                self._main.pid, self._plan, description, pipes.theirs, console=terminal
            ),
            self._exec_ends,
        )
        self._execs.append(process)
        return process

    def _exec_ends(self, process: Process) -> None:
        self._execs.remove(process)
        for peer in list(process.peers):
            peer.finish(protocol.EXIT, process.exit_code, False)

    def _gone(self, peer: Peer) -> None:
        self._peers.remove(peer)
        process = peer.process
        if process is not None:
            process.leave(peer)
            if peer.stdin and peer.patient:
                process.close_input()
        if peer is self._cleaner:
            self._hand_over()

    # -- death

    def _end(self, process: Process) -> None:
        """The exit code is on disk and told; who cleans up is asked to, or we see to it."""
        assert self._log is not None
        self._log.flush()
        oom = self._oom_kills() > self._oom_before
        text = (
            f'{{"exit_code":{process.exit_code},"signal":{process.signal},'
            f'"oom_killed":{"true" if oom else "false"},"finished_ns":{time.time_ns()}}}\n'
        )
        try:
            if process.status_known:  # else whoever folds it says so
                _replace(f"{self._directory}/exit.json", text)
                if oom:
                    self._tell("oom", {})
                self._tell("die", {"exitCode": str(process.exit_code)})
            os.unlink(f"{self._directory}/ctl.sock")
        except OSError:
            pass  # RUN_ROOT is full or gone: the code is lost, the rest is not
        if self._listener is not None:
            self._poller.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for peer in list(process.peers):
            if peer.cleans and self._cleaner is None:
                self._cleaner = peer
            else:
                peer.finish(protocol.EXIT, process.exit_code, False)
        for peer in [each for each in self._peers if each.process is None]:
            peer.close()
        if self._cleaner is None:
            self._hand_over()
        else:
            cleaner = self._cleaner
            self._poller.after(_CLEANUP_SECONDS, self._hand_over)
            # Not before it has taken all output: too late it would clean up after a later start.
            cleaner.when_drained(lambda: cleaner.send(protocol.EXIT, process.exit_code, True))

    def _tell(self, action: str, attributes: "dict[str, str]") -> None:
        journal.append(
            self._work["events_path"], "container", action, self._work["id"], self._work["name"],
            {**self._work["attributes"], **attributes},
        )  # fmt: skip

    def _oom_kills(self) -> int:
        """How often the kernel has killed in its cgroup for want of memory."""
        place = Cgroup(*self._plan["cgroup"]).directory("memory") if self._plan["cgroup"] else None
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

    def _hand_over(self) -> None:
        """What is left to do needs the database: the exit command does it, in our place or, while
        slow clients still take their output from us, beside us."""
        if self._over:
            return
        cleaner, self._cleaner = self._cleaner, None
        if cleaner is not None and not cleaner.closed:
            cleaner.finish(protocol.EXIT, self._main.exit_code, False)
        assert self._log is not None
        self._log.keep_open()
        os.set_inheritable(LOCK_FD, True)
        argv, environment = self._work["exit_command"], self._work["exit_environment"]
        try:
            if not self._peers and not self._execs:
                os.execve(argv[0], argv, environment)
            self._heir = os.posix_spawn(argv[0], argv, environment)
        except OSError as error:  # the next command folds it
            os.write(2, f"exit command: {argv[0]}: {error.strerror}\n".encode())
        self._leave()

    def _leave(self) -> None:
        """For our part the container is over."""
        assert self._log is not None
        os.close(LOCK_FD)
        self._log.close()
        self._over = True


def _report(launcher: socket, message: "tuple[Any, ...]") -> None:
    try:
        launcher.send(marshal.dumps(message))
    except BrokenPipeError:  # it has died meanwhile; the container lives
        return
    launcher.close()


def _replace(path: str, text: str) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def _take_place(launcher: socket) -> bool:
    """Whether the launcher said GO; what came with it is where it belongs, nothing else open."""
    size = CMSG_SPACE(4 * len(PLACES))
    message, control, _, _ = launcher.recvmsg(16, size, MSG_CMSG_CLOEXEC)
    if message != protocol.GO:  # the launcher is gone, or had to give up
        return False
    ((_, _, payload),) = control
    received = struct.unpack(f"{len(payload) // 4}i", payload)
    # Every number is at least as high as its place, and they ascend: none falls upon another.
    for descriptor, place in zip(received, PLACES, strict=False):
        if descriptor != place:
            os.dup2(descriptor, place, inheritable=False)
    close_range(PLACES[len(received) - 1] + 1)
    os.set_inheritable(LAUNCHER_FD, False)
    return True


def main() -> None:
    """Never returns."""
    launcher = socket(AF_UNIX, SOCK_SEQPACKET, 0, LAUNCHER_FD)
    if not _take_place(launcher):
        os._exit(1)
    with os.fdopen(WORK_FD, "rb") as file:
        work = marshal.load(file)
    complaints = os.open(f"{work['run_dir']}/monitor.err", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(complaints, 2)
    os.close(complaints)
    ignore_signals(_SIGHUP, _SIGINT, _SIGTERM, _SIGPIPE)
    os.chdir("/")
    set_child_subreaper()
    monitor = Monitor(work)
    if work["orphan"]:
        monitor.adopt(launcher, *work["orphan"])
    else:
        monitor.launch(launcher)
    monitor.run()
    os._exit(0)
