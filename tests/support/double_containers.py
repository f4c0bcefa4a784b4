"""The double's containers: states, names, ends, logs, sessions, meters; no kernel."""

import builtins
import re
import signal as signals
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.engine import Cancel, Source, Stream
from engine.errors import Cancelled, Conflict, InvalidInput, NotFound
from engine.model.container import (
    Container,
    ContainerSummary,
    CreateOptions,
    EndpointInfo,
    LogLine,
    Mount,
    PortMapping,
)
from engine.model.container import Process as ProcessRow
from engine.model.stats import StatsSample
from tests.support.double_files import DoubleFiles
from tests.support.double_process import SIGKILL, DoubleSession, Process
from tests.support.double_streams import Channel
from tests.support.double_update import DoubleUpdate
from tests.support.double_world import GIB, Record, World

if TYPE_CHECKING:
    from tests.support.double_images import DoubleImages
    from tests.support.double_places import DoubleVolumes

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LIVE = ("running", "paused")
_FIRST_FREE_PORT = 32768
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DoubleContainers(DoubleUpdate, DoubleFiles):
    def __init__(self, world: World, images: "DoubleImages", volumes: "DoubleVolumes") -> None:
        super().__init__(world, images)
        self._volumes = volumes

    # -- questions

    def list(
        self, *, all: bool = False, filters: Sequence[tuple[str, str]] = ()
    ) -> builtins.list[ContainerSummary]:
        from engine.services.filters import filter_containers

        with self._world.lock:
            rows = [record.container.summary for record in self._world.containers.values()]
        rows.sort(key=lambda row: -row.created_ns)
        return filter_containers(rows, filters, all=all)

    def inspect(self, ref: str) -> Container:
        return self._world.get(ref).container

    def top(self, ref: str) -> Sequence[ProcessRow]:
        record = self._running(ref)
        first = record.container.summary
        rows = [
            ProcessRow("0", first.pid, 1, 0.5, "12:00", "?", "00:00:01", " ".join(first.command))
        ]
        for number, process in enumerate(record.execs, 1):
            command = " ".join(process.argv)
            rows.append(
                ProcessRow(
                    "0", first.pid + number, first.pid, 0.0, "12:00", "?", "00:00:00", command
                )
            )
        return rows

    def top_by(self, ref: str, options: Sequence[str]) -> Sequence[Sequence[str]]:
        return [["PID", "ARGS"], *([str(row.pid), row.command] for row in self.top(ref))]

    def ports(self, ref: str) -> Sequence[PortMapping]:
        return self._world.get(ref).container.summary.ports

    # -- from nothing to running

    def create(self, options: CreateOptions) -> str:
        world = self._world
        with world.lock:
            image = self._images.get(options.image)
            container_id = world.new_id()
            name = self._check_name(options.name) if options.name else self._free_name()
            network = self._check_network(options)
            config = image.config
            entrypoint = config.entrypoint if options.entrypoint is None else options.entrypoint
            entrypoint = tuple(word for word in entrypoint if word)
            command = options.command
            if not command and options.entrypoint is None:
                command = config.command
            if not (*entrypoint, *command):
                raise InvalidInput(
                    "no command specified", f"name one: pydock run {options.image} COMMAND"
                )
            if options.volatile and not options.auto_remove:
                raise InvalidInput(
                    "a volatile container would not survive a crash of the host", "add --rm"
                )
            if options.auto_remove and options.restart.name != "no":
                raise InvalidInput(
                    "conflicting options: cannot specify both --restart and --rm", "leave one out"
                )
            if 0 < options.memory_bytes < 6 << 20:
                raise InvalidInput("minimum memory limit allowed is 6MB", "raise --memory")
            directory = options.working_directory or config.working_directory or "/"
            if not directory.startswith("/"):
                raise InvalidInput(
                    f"the working directory '{directory}' is invalid, it needs to be an absolute "
                    "path",
                    "begin it with /",
                )
            summary = ContainerSummary(
                id=container_id,  # type: ignore[arg-type]
                name=name,
                image=options.image,
                image_id=image.id,
                command=(*entrypoint, *command),
                state="created",
                created_ns=world.clock(),
                auto_remove=options.auto_remove,
                tty=options.tty,
                memory_limit_bytes=options.memory_bytes,
                networks=(network,),
                mounts=tuple(self._mounts(options, config.volumes)),
                labels=tuple(dict([*config.labels, *options.labels]).items()),
            )
            container = Container(
                summary=summary,
                env=_environment(options, config.env),
                entrypoint=entrypoint,
                command=command,
                working_directory=directory,
                user=options.user or config.user,
                hostname=options.hostname or container_id[:12],
                stop_signal=options.stop_signal or config.stop_signal or "SIGTERM",
                interactive=options.interactive,
                nano_cpus=options.nano_cpus,
                pids_limit=max(options.pids_limit, 0),
                network_mode=network,
                requested_ports=options.ports,
                exposed_ports=(*config.exposed_ports, *options.exposed_ports),
                endpoints=(),
                log_path=f"{world.root}/containers/{container_id}/log",
                cgroup=f"/pydock/0badcafe/{container_id}",
                upper_directory=f"{world.root}/upper/{container_id}/diff",
                restart=options.restart,
                confinement=options.confinement,
                resources=options.resources,
                naming=options.naming,
                stop_timeout_seconds=options.stop_timeout_seconds,
                annotations=options.annotations,
                publish_all=options.publish_all,
                volumes_from=options.volumes_from,
                log_driver=options.log_driver,
                log_options=options.log_options,
            )
            world.containers[container_id] = Record(container)
            self._tell(world.containers[container_id], "create")
            return container_id

    def _check_name(self, name: str) -> str:
        name = name.removeprefix("/")
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                "choose at least two of these characters",
            )
        for record in self._world.containers.values():
            if record.name == name:
                raise Conflict(
                    f'the container name "/{name}" is already in use by container "{record.id}"',
                    "remove or rename that container, or choose another name",
                )
        return name

    def _free_name(self) -> str:
        taken = {record.name for record in self._world.containers.values()}
        while True:
            random = self._world.random
            name = (
                f"{random.choice(('brave', 'calm', 'keen'))}_{random.choice(('euler', 'noether'))}"
            )
            while name in taken:
                name += str(random.randrange(10))
            return name

    def _check_network(self, options: CreateOptions) -> str:
        for network in self._world.networks.values():
            if options.network in (network.name, network.id):
                return network.name
        raise NotFound(f"network {options.network} not found", "pydock network ls lists them")

    def _mounts(self, options: CreateOptions, declared: Sequence[str]) -> Iterator[Mount]:
        targets = set()
        for request in options.mounts:
            if request.target in targets:
                raise InvalidInput(f"duplicate mount point: {request.target}", "mount it once")
            targets.add(request.target)
            if request.type == "bind":
                yield Mount("bind", "", request.source, request.target, request.read_only)
            else:
                yield self._volume(request.source, request.target, request.read_only)
        for target in declared:
            if target not in targets:
                yield self._volume("", target, False)

    def _volume(self, name: str, target: str, read_only: bool) -> Mount:
        if name:
            self._volumes.check_name(name)
        name = self._volumes.ensure(name)
        source = f"{self._world.root}/volumes/{name}/_data"
        return Mount("volume", name, source, target, read_only)

    def start(self, ref: str, *, size: tuple[int, int] | None = None) -> None:
        self._start(ref, size)

    def start_attached(
        self, ref: str, *, stdin: bool = False, size: tuple[int, int] | None = None
    ) -> DoubleSession:
        record = self._world.get(ref)
        if record.state == "running":
            return self.attach(ref, stdin=stdin)
        session = self._start(ref, size, stdin=stdin, attach=True)
        assert session is not None
        return session

    def _start(
        self,
        ref: str,
        size: tuple[int, int] | None,
        *,
        stdin: bool = False,
        attach: bool = False,
    ) -> DoubleSession | None:
        world = self._world
        with world.lock:
            record = world.get(ref)
            if record.state == "running":
                return None
            if record.state == "paused":
                raise Conflict(
                    "cannot start a paused container, try unpause instead",
                    f"pydock unpause {record.name}",
                )
            container = record.container
            try:
                process = Process(
                    container.summary.command,
                    environment=dict(entry.partition("=")[::2] for entry in container.env)
                    | {"HOSTNAME": container.hostname},
                    directory=container.working_directory,
                    user=container.user,
                    tty=container.summary.tty,
                    stdin=container.interactive,
                    size=size,
                    deaf=True,
                    log=lambda source, data: self._write_log(record, source, data),
                    ended=lambda code: self._ended(record, code),
                )
                ports = self._publish(record)
            except (NotFound, Conflict) as error:
                record.change(
                    exit_code=error.exit_code if error.exit_code > 1 else 128, error=error.message
                )
                if container.summary.auto_remove:
                    self._forget(record, volumes=True)
                raise
            self._runs(record, process, ports)
            session = None
            if attach:
                session = DoubleSession(process, stdin=stdin)
                process.attach(session)
                world.streams.append(session)
            self._tell(record, "start")
        process.start()
        return session

    def _runs(self, record: Record, process: Process, ports: tuple[PortMapping, ...]) -> None:
        """Its row says so. The world's lock is held."""
        world = self._world
        record.process = process
        pid = 1000 + world.random.randrange(30_000)
        record.change(
            state="running", pid=pid, started_ns=world.clock(), finished_ns=0, exit_code=0,
            error="", oom_killed=False, ports=ports,
        )  # fmt: skip
        record.sample = record.sample._replace(container_id=record.id)
        network = next(
            each for each in world.networks.values() if each.name == record.container.network_mode
        )
        if network.driver == "bridge":
            taken = {each.ip_address for each in world.endpoints.values()}
            prefix = network.gateway.rpartition(".")[0]
            address = next(f"{prefix}.{n}" for n in range(2, 255) if f"{prefix}.{n}" not in taken)
            last = int(address.rpartition(".")[2])
            world.endpoints[record.id] = EndpointInfo(
                network.name, network.id, world.new_id(), address, 24, network.gateway,
                f"02:42:0a:5a:00:{last:02x}",
            )  # fmt: skip
            record.container = record.container._replace(endpoints=(world.endpoints[record.id],))

    def _publish(self, record: Record) -> tuple[PortMapping, ...]:
        taken = {
            (port.protocol, port.host_port)
            for other in self._world.containers.values()
            if other.state in _LIVE
            for port in other.container.summary.ports
        }
        ports = []
        for port in record.container.requested_ports:
            if not port.host_port:
                free = range(_FIRST_FREE_PORT, 61000)
                number = next(n for n in free if (port.protocol, n) not in taken)
                port = port._replace(host_port=number)
            elif (port.protocol, port.host_port) in taken:
                raise Conflict(
                    f"bind for {port.host_ip or '0.0.0.0'}:{port.host_port} failed: port is "
                    "already allocated",
                    "pydock ps shows who has it",
                )
            taken.add((port.protocol, port.host_port))
            ports.append(port)
        return tuple(ports)

    def _ended(self, record: Record, code: int) -> None:
        world = self._world
        with world.changed:
            self._flush_log(record)
            world.endpoints.pop(record.id, None)
            record.container = record.container._replace(endpoints=())
            record.change(
                state="exited", pid=0, finished_ns=world.clock(), exit_code=code, ports=()
            )
            for process in record.execs:
                process.kill(SIGKILL)
            record.execs.clear()
            self._tell(record, "die", exitCode=str(code))
            self._tell(record, "cleanup")
            for channel in record.followers:
                channel.end()
            record.followers.clear()
            if record.container.summary.auto_remove:
                self._forget(record, volumes=True)

    # -- running

    def stop(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None:
        record = self._world.get(ref)
        if record.state not in _LIVE:
            return
        self._signal(record, parse_signal(signal or record.container.stop_signal))
        seconds = 10 if timeout_seconds is None else timeout_seconds
        if not self._await_end(record, seconds):
            self._signal(record, SIGKILL)
            self._await_end(record, -1)
        self._tell(record, "stop")

    def restart(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None:
        record = self._world.get(ref)
        self.stop(ref, timeout_seconds=timeout_seconds, signal=signal)
        self.start(ref)
        self._tell(record, "restart")

    def kill(self, ref: str, signal: str = "KILL") -> None:
        number = parse_signal(signal)
        record = self._world.get(ref)
        if record.state not in _LIVE:
            self._must_run(record)
        self._tell(record, "kill", signal=str(number))
        self._signal(record, number)
        if number == SIGKILL:
            self._await_end(record, -1)

    def _signal(self, record: Record, number: int) -> None:
        with self._world.lock:
            process = record.process
            quiet = record.stop_code is not None  # a container that a knob made: no thread
        if process is None:
            return
        if quiet and number in (SIGKILL, parse_signal(record.container.stop_signal)):
            process.end(137 if number == SIGKILL else record.stop_code or 0)
        elif not quiet:
            process.kill(number)

    def _await_end(self, record: Record, seconds: float) -> bool:
        with self._world.changed:
            return self._world.changed.wait_for(
                lambda: record.state not in _LIVE, None if seconds < 0 else seconds
            )

    def pause(self, ref: str) -> None:
        with self._world.lock:
            record = self._world.get(ref)
            if record.state == "paused":
                raise Conflict(f"container {record.name} is already paused", "pydock unpause it")
            self._must_run(record)
            record.change(state="paused")
            self._tell(record, "pause")

    def unpause(self, ref: str) -> None:
        with self._world.lock:
            record = self._world.get(ref)
            if record.state != "paused":
                raise Conflict(
                    f"container {record.name} is not paused", "pydock ps shows the state"
                )
            record.change(state="running")
            self._tell(record, "unpause")

    def rename(self, ref: str, name: str) -> None:
        with self._world.lock:
            record = self._world.get(ref)
            old = record.name
            if name.removeprefix("/") == old:
                raise InvalidInput("renaming a container with the same name as its current name")
            record.change(name=self._check_name(name))
            self._tell(record, "rename", oldName=old)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        record = self._world.get(ref)
        if record.state in _LIVE:
            if not force:
                raise Conflict(
                    f"cannot remove container {record.name}: container is {record.state}",
                    "stop it first, or force the removal: pydock rm -f",
                )
            self.kill(record.id)
        with self._world.lock:
            if record.id in self._world.containers:
                self._forget(record, volumes=volumes)

    def _forget(self, record: Record, *, volumes: bool) -> None:
        del self._world.containers[record.id]
        self._tell(record, "destroy")
        if volumes:
            for mount in record.container.summary.mounts:
                if mount.type == "volume":
                    self._volumes.drop_anonymous(mount.name)

    def wait(self, ref: str, *, cancel: Cancel | None = None) -> int:
        world = self._world
        record = world.get(ref)

        def wake() -> None:
            with world.changed:
                world.changed.notify_all()

        if cancel is not None:
            cancel.on_cancel(wake)
        with world.changed:
            while record.state in _LIVE:
                if cancel is not None and cancel.cancelled:
                    raise Cancelled("wait: cancelled")
                world.changed.wait()
            return record.container.summary.exit_code

    # -- inside

    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int = 0,
        until_ns: int = 0,
    ) -> Stream[LogLine]:
        world = self._world
        with world.lock:
            record = world.get(ref)
            channel: Channel[LogLine] = Channel()
            lines = (
                record.log if tail is None else record.log[len(record.log) - tail :] if tail else []
            )
            for line in lines:
                if line.time_ns >= since_ns and not (until_ns and line.time_ns > until_ns):
                    channel.push(line)
            if follow and record.state in _LIVE:
                record.followers.append(channel)
            else:
                channel.end()
            world.streams.append(channel)
            return channel

    def _write_log(self, record: Record, source: Source, data: bytes) -> None:
        with self._world.lock:
            *lines, record.partial[source] = (record.partial[source] + data).split(b"\n")
            for text in lines:
                self._log(record, LogLine(self._world.clock(), source, text))

    def _flush_log(self, record: Record) -> None:
        sources: tuple[Source, ...] = ("stdout", "stderr")
        for source in sources:
            text, record.partial[source] = record.partial[source], b""
            if text:
                self._log(record, LogLine(self._world.clock(), source, text, partial=True))

    def _log(self, record: Record, line: LogLine) -> None:
        record.log.append(line)
        for channel in record.followers:
            channel.push(line)

    def attach(self, ref: str, *, stdin: bool = True, replay: bool = False) -> DoubleSession:
        record = self._running(ref)
        assert record.process is not None
        session = DoubleSession(record.process, stdin=stdin)
        record.process.attach(session, replay=replay)
        self._world.streams.append(session)
        return session

    def exec(
        self,
        ref: str,
        command: Sequence[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        env: Sequence[str] = (),
        working_directory: str | None = None,
        user: str | None = None,
        privileged: bool = False,
        size: tuple[int, int] | None = None,
    ) -> DoubleSession:
        record = self._running(ref)
        if not command:
            raise InvalidInput("no command specified", f"pydock exec {ref} COMMAND")
        container = record.container
        process = Process(
            command,
            environment=dict(entry.partition("=")[::2] for entry in (*container.env, *env)),
            directory=working_directory or container.working_directory,
            user=user or container.user,
            tty=tty,
            stdin=stdin,
            size=size,
        )
        session = DoubleSession(process, stdin=stdin)
        process.attach(session)
        with self._world.lock:
            record.execs = [each for each in record.execs if each.code is None] + [process]
            self._world.streams.append(session)
        process.start()
        self._tell(record, f"exec_start: {' '.join(command)}")
        return session

    def stats(
        self, refs: Sequence[str] | None = None, *, interval_seconds: float = 1.0
    ) -> "DoubleStats":
        wanted = None if refs is None else {self._world.get(ref).id for ref in refs}
        stream = DoubleStats(self._world, wanted, interval_seconds)
        self._world.streams.append(stream)
        return stream

    # -- helpers

    def _tell(self, record: Record, action: str, **attributes: str) -> None:
        summary = record.container.summary
        told = {"image": summary.image, **attributes, **dict(summary.labels)}
        self._world.tell("container", action, summary.id, summary.name, **told)

    def _running(self, ref: str) -> Record:
        record = self._world.get(ref)
        self._must_run(record)
        return record

    def _must_run(self, record: Record) -> None:
        if record.state == "paused":
            raise Conflict(
                f"container {record.name} is paused, unpause the container first",
                f"pydock unpause {record.name}",
            )
        if record.state != "running":
            raise Conflict(f"container {record.name} is not running", f"pydock start {record.name}")


class DoubleStats:
    """The first tick at once; counters grow by what the knobs say."""

    def __init__(self, world: World, wanted: set[str] | None, interval_seconds: float) -> None:
        self._world = world
        self._wanted = wanted
        self._interval_seconds = interval_seconds
        self._closed = threading.Event()
        self._next = time.monotonic()
        self._had = False
        self._read_before: set[str] = set()

    def __iter__(self) -> Iterator[tuple[StatsSample, ...]]:
        return self

    def __next__(self) -> tuple[StatsSample, ...]:
        while True:
            if self._closed.wait(max(0.0, self._next - time.monotonic())):
                raise StopIteration
            self._next = max(self._next + self._interval_seconds, time.monotonic())
            samples = tuple(self._read())
            had, self._had = self._had, bool(samples)
            if samples or had:
                return samples

    def _read(self) -> Iterator[StatsSample]:
        with self._world.lock:
            for record in self._world.containers.values():
                if record.state in _LIVE and (self._wanted is None or record.id in self._wanted):
                    sample = record.sample
                    busy = int(sample.cpu_percent * 1e7 * self._interval_seconds)
                    limit = record.container.summary.memory_limit_bytes or 16 * GIB
                    record.sample = sample._replace(
                        time_ns=time.monotonic_ns(),
                        cpu_usage_ns=sample.cpu_usage_ns + busy,
                        memory_limit_bytes=limit,
                    )
                    first = record.id not in self._read_before
                    self._read_before.add(record.id)
                    yield record.sample._replace(cpu_percent=0.0) if first else record.sample

    def close(self) -> None:
        self._closed.set()


def _environment(options: CreateOptions, image: Sequence[str]) -> tuple[str, ...]:
    values: dict[str, str] = {}
    for entry in (PATH, *image, *options.env):
        name, _, value = entry.partition("=")
        if not name:
            raise InvalidInput(f"invalid environment variable: {entry!r}", "use NAME=value")
        values[name] = value
    if options.tty:
        values.setdefault("TERM", "xterm")
    return tuple(f"{name}={value}" for name, value in values.items())


def parse_signal(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    if name.isdecimal() and 1 <= int(name) <= 64:
        return int(name)
    number = getattr(signals, f"SIG{name}", None)
    if not isinstance(number, signals.Signals):
        raise InvalidInput(f"invalid signal: {text[:40]}", "TERM, KILL, HUP, USR1 … or a number")
    return int(number)
