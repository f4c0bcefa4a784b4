"""The verbs of containers. Starting and ending one is `lifecycle`'s."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal as signals
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from engine.model.container import (
    UP,
    Container,
    ContainerSummary,
    Mount,
    MountRequest,
    PortMapping,
    Process,
    RestartPolicy,
)
from engine.monitor import client
from engine.services.container_config import check_name, resolve
from engine.services.names import random_name
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.trash import remove_tree

if TYPE_CHECKING:
    from engine.engine import Cancel, OnProgress, Session, Stream
    from engine.home import Home
    from engine.model.container import Change, CreateOptions, LogLine, PathStatus, State
    from engine.model.event import Event
    from engine.model.image_config import ImageConfig
    from engine.model.stats import StatsSample
    from engine.model.update import Changes
    from engine.oci.digest import ChainID
    from engine.services.container_copy import ContainerCopy
    from engine.services.container_files import ContainerFiles
    from engine.services.lifecycle import Lifecycle
    from engine.services.networks import Attached, NetworkService
    from engine.services.streams import Streams
    from engine.services.volumes import VolumeService
    from engine.storage.image_store import ImageRow

STOP_SECONDS = 10  # docker's
_NAME_TRIES = 10


class ContainerService:
    """The face's `containers`."""

    def __init__(
        self,
        home: Home,
        store: ContainerStore,
        lifecycle: Lifecycle,
        volumes: VolumeService,
        networks: NetworkService,
        image: Callable[[str], tuple[ImageRow, ImageConfig]],
        subscribe: Callable[[], Stream[Event]],
        streams: Streams,
        files: Callable[[], ContainerFiles],
        copying: Callable[[], ContainerCopy],
    ) -> None:
        self._home = home
        self._store = store
        self._lifecycle = lifecycle
        self._volumes = volumes
        self._networks = networks
        self._image = image
        self._subscribe = subscribe
        self._streams = streams
        self._files = files
        self._copying = copying

    # -- questions

    def list(
        self, *, all: bool = False, filters: Sequence[tuple[str, str]] = ()
    ) -> builtins.list[ContainerSummary]:
        stored = self._store.list_(() if all or filters else UP)
        rows = [row for row in map(self._lifecycle.settle, stored) if row is not None]
        endpoints = self._networks.by_container()
        found = [self._summary(row, endpoints.get(row.id, ())) for row in rows]
        if not filters:
            return [row for row in found if all or row.state in UP]
        from engine.services.filters import filter_containers

        return filter_containers(found, filters, all=all)

    def inspect(self, ref: str) -> Container:
        row = self._get(ref)
        endpoints = self._networks.by_container().get(row.id, ())
        config = row.config
        return Container(
            summary=self._summary(row, endpoints),
            env=tuple(config["env"]),
            entrypoint=tuple(config["entrypoint"]),
            command=tuple(config["command"]),
            working_directory=config["working_directory"],
            user=config["user"],
            hostname=config["hostname"],
            stop_signal=config["stop_signal"],
            interactive=config["interactive"],
            nano_cpus=config["nano_cpus"],
            pids_limit=config["pids_limit"],
            network_mode=config["network"],
            requested_ports=tuple(PortMapping(*port) for port in config["ports"]),
            exposed_ports=tuple(config["exposed_ports"]),
            endpoints=tuple(each.info for each in endpoints),
            log_path=f"{self._home.container_dir(row.id)}/log",
            cgroup=self._home.cgroup_path(row.id),
            upper_directory=f"{self._home.upper_dir(row.id)}/diff",
            restart=RestartPolicy(*config.get("restart", ())),
            restart_count=self._lifecycle.times_restarted(row),
            **_asked(config),
        )

    def _summary(self, row: ContainerRow, endpoints: Sequence[Attached]) -> ContainerSummary:
        config = row.config
        state: State = row.state  # type: ignore[assignment]  # the column holds nothing else
        host_ports = [port for each in endpoints for port in each.ports]
        published = {(port.container_port, port.protocol) for port in host_ports}
        exposed = [_exposed(text) for text in config["exposed_ports"]]
        if row.state in ("running", "paused"):
            host_ports += [
                port for port in exposed if (port.container_port, port.protocol) not in published
            ]
        return ContainerSummary(
            id=row.id,  # type: ignore[arg-type]
            name=row.name,
            image=row.image,
            image_id=row.image_id,
            command=tuple(config["argv"]),
            state=state,
            created_ns=row.created_ns,
            started_ns=row.started_ns,
            finished_ns=row.finished_ns,
            exit_code=row.exit_code,
            error=row.error,
            oom_killed=row.oom_killed,
            pid=row.pid,
            auto_remove=row.auto_remove,
            tty=config["tty"],
            memory_limit_bytes=config["memory_bytes"],
            ports=tuple(host_ports),
            networks=(config["network"],),
            mounts=tuple(
                Mount(
                    each["type"],
                    each["source"] if each["type"] == "volume" else "",
                    self._source(each),
                    each["target"],
                    each["read_only"],
                )
                for each in config["mounts"]
            ),
            labels=tuple(config["labels"].items()),
        )

    def _source(self, mount: dict[str, str]) -> str:
        if mount["type"] == "volume":
            return self._volumes.path(mount["source"])
        return mount["source"]

    def top(self, ref: str) -> builtins.list[Process]:
        row = self._running(ref)
        from engine.services.processes import list_processes

        return list_processes(self._home.cgroup_path(row.id))

    def top_by(self, ref: str, options: Sequence[str]) -> builtins.list[builtins.list[str]]:
        row = self._running(ref)
        from engine.services.ps import ask_ps

        return ask_ps(self._home.cgroup_path(row.id), options)

    def ports(self, ref: str) -> builtins.list[PortMapping]:
        row = self._store.get(ref)
        return [
            port
            for endpoint in self._networks.by_container().get(row.id, ())
            for port in endpoint.ports
        ]

    def changes(self, ref: str) -> builtins.list[Change]:
        """See services.container_files, as for `export` and `commit`."""
        return self._files().changes(ref)

    def export(
        self,
        ref: str,
        output: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._files().export(ref, output, progress=progress, cancel=cancel)

    def commit(
        self,
        ref: str,
        target: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        return self._files().commit(
            ref,
            target,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
            progress=progress,
            cancel=cancel,
        )

    def stat_path(self, ref: str, path: str) -> PathStatus:
        """See services.container_copy, as for the next ones."""
        return self._copying().stat_path(ref, path)

    def copy_out(
        self,
        ref: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        return self._copying().copy_out(
            ref,
            path,
            target,
            follow_link=follow_link,
            keep_owner=keep_owner,
            progress=progress,
            cancel=cancel,
        )

    def copy_in(
        self,
        source: str,
        ref: str,
        path: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        return self._copying().copy_in(
            source,
            ref,
            path,
            follow_link=follow_link,
            keep_owner=keep_owner,
            progress=progress,
            cancel=cancel,
        )

    def read_path(
        self,
        ref: str,
        path: str,
        output: IO[bytes],
        *,
        follow_link: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._copying().read_path(
            ref, path, output, follow_link=follow_link, progress=progress, cancel=cancel
        )

    def write_path(
        self,
        ref: str,
        path: str,
        archive: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        return self._copying().write_path(ref, path, archive, progress=progress, cancel=cancel)

    # -- from nothing to running

    def create(self, options: CreateOptions) -> str:
        """The new container's id. Raises NotFound when the image is not here, Conflict when the
        name is taken, InvalidInput."""
        image, config = self._image(options.image)
        if options.confinement is not None or options.network.startswith("container:"):
            from engine.services.joining import with_ids

            options = with_ids(options, self._store)
        if options.volumes_from:
            options = options._replace(mounts=(*options.mounts, *self._inherited(options)))
        container_id = os.urandom(32).hex()
        resolved = resolve(options, config, container_id)
        parse_signal(resolved["stop_signal"])
        hosts = resolved.get("naming", {}).get("hosts", ())
        if any(address == "host-gateway" for _, address in hosts):
            resolved["gateway"] = self._gateway(resolved["network"])
        if not options.network.startswith("container:"):
            self._networks.check(resolved["network"], [PortMapping(*p) for p in resolved["ports"]])
        name = check_name(options.name) if options.name is not None else None
        if name is not None:
            self._store.check_free(name)  # before anything is made for it
        row = ContainerRow(
            id=container_id,
            name=name or random_name(),
            image=options.image,
            image_id=image.id,
            chain_id=image.chain_id,
            created_ns=time.time_ns(),
            config=resolved,
            auto_remove=options.auto_remove,
        )
        made: builtins.list[str] = []
        try:
            os.mkdir(self._home.container_dir(container_id), 0o700)
            for mount in resolved["mounts"]:
                self._prepare(mount, image.chain_id, made)
            row = self._insert(row, named=name is not None)
        except BaseException as error:
            with contextlib.suppress(OSError):
                remove_tree(self._home.container_dir(container_id))
            for volume in made:
                with contextlib.suppress(Conflict):  # somebody else uses it already
                    self._volumes.remove(volume, force=True)
            if isinstance(error, OSError):
                raise Unavailable(
                    f"container {row.name}: {error.filename}: {error.strerror}",
                    "check the disk and its free space",
                ) from error
            raise
        self._lifecycle.tell(row, "create")
        return container_id

    def _inherited(self, options: CreateOptions) -> Iterator[MountRequest]:
        """The mounts of the containers in `volumes_from`, but for paths that have one already.
        Raises NotFound, InvalidInput."""
        taken = {os.path.normpath(mount.target) for mount in options.mounts}
        for text in options.volumes_from:
            ref, _, mode = text.partition(":")
            if not ref or mode not in ("", "ro", "rw", "z", "Z"):
                problem = f"invalid mode: {mode}" if ref else "volumes-from spec is empty"
                raise InvalidInput(problem, "write --volumes-from NAME[:ro]")
            for each in self._store.get(ref).config["mounts"]:
                if each["target"] not in taken:
                    taken.add(each["target"])
                    yield MountRequest(
                        each["type"], each["source"], each["target"],
                        each["read_only"] or mode == "ro", nocopy=True,
                        options=tuple(each.get("options", ())),
                    )  # fmt: skip

    def _gateway(self, network: str) -> str:
        """The host's address as its containers see it; of the default network where they have
        none."""
        own = self._networks.inspect(network).summary.gateway
        return own or self._networks.inspect("bridge").summary.gateway

    def _prepare(
        self, mount: dict[str, Any], chain_id: ChainID | None, made: builtins.list[str]
    ) -> None:
        """What will be mounted is there. A volume that did not exist before is in `made`."""
        if mount["type"] != "volume":
            _make_source(mount["source"])
            return
        name = mount["source"]
        if self._volumes.ensure(name, anonymous=mount["anonymous"]):
            made.append(name)
        if chain_id is not None and not mount["nocopy"]:
            self._volumes.seed(name, chain_id, mount["target"])

    def _insert(self, row: ContainerRow, *, named: bool) -> ContainerRow:
        for attempt in range(_NAME_TRIES):
            try:
                self._store.create(row)
                return row
            except Conflict:
                if named or attempt == _NAME_TRIES - 1:
                    raise
                row = row._replace(name=random_name(attempt + 1))
        raise AssertionError

    def start(self, ref: str, *, size: tuple[int, int] | None = None) -> None:
        """Running when this returns; one that runs already is left alone, as docker does."""
        with self._locked(ref) as row:
            if row.state not in ("running", "restarting"):
                self._lifecycle.start(row, size=size)

    def start_attached(
        self, ref: str, *, stdin: bool = False, size: tuple[int, int] | None = None
    ) -> Session:
        with self._locked(ref) as row:
            if row.state == "running":
                return self._attach(row, stdin=stdin, replay=False)
            session = self._lifecycle.start(row, size=size, attach=True, stdin=stdin)
            assert session is not None
            return session

    # -- running

    def stop(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None:
        """The stop signal, then, after the timeout (-1: for ever), KILL. One that does not run is
        left alone."""
        number = parse_signal(signal) if signal else 0
        row = self._get(ref)
        if row.state not in UP:
            return
        if timeout_seconds is None:
            timeout_seconds = row.config.get("stop_timeout", STOP_SECONDS)
        self._lifecycle.stop(row, timeout_seconds, number)

    def restart(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None:
        row = self._store.get(ref)
        self.stop(row.id, timeout_seconds=timeout_seconds, signal=signal)
        self.start(row.id)
        self._lifecycle.tell(row, "restart")

    def kill(self, ref: str, signal: str = "KILL") -> None:
        number = parse_signal(signal)
        row = self._get(ref)
        if row.state not in UP:
            self._must_run(row)
        self._lifecycle.kill(row, number)

    def pause(self, ref: str) -> None:
        with self._locked(ref) as row:
            if row.state == "paused":
                raise Conflict(f"container {row.name} is already paused", "pydock unpause it")
            self._must_run(row)
            self._lifecycle.pause(row)

    def unpause(self, ref: str) -> None:
        with self._locked(ref) as row:
            if row.state != "paused":
                raise Conflict(f"container {row.name} is not paused", "pydock ps shows the state")
            self._lifecycle.unpause(row)

    def rename(self, ref: str, name: str) -> None:
        name = check_name(name)
        with self._locked(ref) as row:
            if name == row.name:
                raise InvalidInput(
                    "renaming a container with the same name as its current name",
                    "choose another one",
                )
            self._lifecycle.rename(row, name)

    def update(self, ref: str, changes: Changes) -> None:
        """See services.update."""
        from engine.services.restarts import Restarts
        from engine.services.update import update

        with self._locked(ref) as row:
            update(self._home, self._store, Restarts(self._home, self._store), row, changes)
            self._lifecycle.tell(row, "update")

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """The container, its writable layer and its log are gone. Raises Conflict while it runs
        and `force` is not given."""
        row = self._get(ref)
        while not self._is_removed(row, force=force, volumes=volumes):
            found = self._store.find(row.id)
            if found is None:
                if force or row.auto_remove:
                    return  # --rm, or somebody else, was faster
                raise _not_found(ref)
            row = found

    def _is_removed(self, row: ContainerRow, *, force: bool, volumes: bool) -> bool:
        """Whether this has removed it; not when somebody was faster, or has started it again."""
        if row.state in UP:
            if not force:
                raise Conflict(
                    f"cannot remove container {row.name}: container is {row.state}",
                    "stop it first, or force the removal: pydock rm -f",
                )
            with contextlib.suppress(Conflict):  # it has just ended by itself
                self._lifecycle.kill(row, signals.SIGKILL)
        with self._lifecycle.at_rest(row.id) as found:
            if found is None or found.state in UP:
                return False
            self._lifecycle.remove(found, volumes=volumes)
            return True

    def wait(self, ref: str, *, cancel: Cancel | None = None) -> int:
        row = self._get(ref)
        while row.state in ("running", "paused"):
            self._lifecycle.wait(row, cancel)
            stored = self._store.find(row.id)
            found = None if stored is None else self._lifecycle.settle(stored)
            if found is None:  # --rm: its code is in the journal
                return self._lifecycle.exit_code(row)
            row = found
        return row.exit_code

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
        from engine.monitor import log_reader

        row = self._store.get(ref)
        if row.config.get("log", {}).get("driver") == "none":
            raise Unsupported(
                "configured logging driver does not support reading",
                f"container {row.name} has --log-driver none: pydock attach shows what it writes",
            )
        return self._streams.add(
            log_reader.read(
                self._home.container_dir(row.id),
                follow=follow,
                tail=tail,
                since_ns=since_ns,
                until_ns=until_ns,
                alive=lambda: self._lifecycle.is_up(row.id),
            )
        )

    def attach(self, ref: str, *, stdin: bool = True, replay: bool = False) -> Session:
        return self._attach(self._running(ref), stdin=stdin, replay=replay)

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
    ) -> Session:
        row = self._running(ref)
        if not command:
            raise InvalidInput("no command specified", f"pydock exec {ref} COMMAND")
        self._must_be_monitored(row)
        return self._lifecycle.exec(
            row,
            command,
            tty=tty,
            stdin=stdin,
            env=env,
            working_directory=working_directory,
            user=user,
            privileged=privileged,
            size=size,
        )

    def stats(
        self, refs: Sequence[str] | None = None, *, interval_seconds: float = 1.0
    ) -> Stream[tuple[StatsSample, ...]]:
        from engine.network.endpoint import interface_name
        from engine.runtime.stats import Meters
        from engine.services.stats import Metered, StatsStream

        wanted = None if refs is None else {self._store.get(ref).id for ref in refs}

        def running() -> builtins.list[Metered]:
            links = {
                container: interface_name(each.info.endpoint_id)
                for container, attached in self._networks.by_container().items()
                for each in attached
            }
            return [
                Metered(row.id, self._home.cgroup_path(row.id), row.pid, links.get(row.id, ""))
                for row in self._store.list_(("running", "paused"))
                if wanted is None or row.id in wanted
            ]

        return self._streams.add(
            StatsStream(Meters(), running, self._subscribe(), interval_seconds)
        )

    def cleanup(self, container_id: str) -> None:
        """The exit command: what the monitor left to do, and removal if that was asked for."""
        self._lifecycle.clean_up(container_id)

    def start_again(self, container_id: str) -> None:
        """The exit command's other half: it has started when its time came."""
        from engine.services.restarts import Restarts

        Restarts(self._home, self._store).wait(container_id, self._lifecycle)

    # -- helpers

    def _get(self, ref: str) -> ContainerRow:
        """The row as the kernel has it. Raises NotFound."""
        row = self._lifecycle.settle(self._store.get(ref))
        if row is None:
            raise _not_found(ref)
        return row

    @contextlib.contextmanager
    def _locked(self, ref: str) -> Iterator[ContainerRow]:
        """As `_get`; inside the block nobody else starts, ends or removes it."""
        with self._lifecycle.at_rest(self._store.get(ref).id) as row:
            if row is None:
                raise _not_found(ref)
            yield row

    def _running(self, ref: str) -> ContainerRow:
        row = self._get(ref)
        self._must_run(row)
        return row

    def _attach(self, row: ContainerRow, *, stdin: bool, replay: bool) -> Session:
        self._must_be_monitored(row)
        return self._lifecycle.attach(row, stdin=stdin, replay=replay)

    def _must_be_monitored(self, row: ContainerRow) -> None:
        """Raises Unavailable when its monitor was killed and it runs on."""
        if not client.is_alive(self._home.run_dir(row.id)):
            raise Unavailable(
                f"container {row.name}: its monitor was killed, so nobody can get at it",
                f"pydock restart {row.name}",
            )

    def _must_run(self, row: ContainerRow) -> None:
        if row.state == "paused":
            raise Conflict(
                f"container {row.name} is paused, unpause the container first",
                f"pydock unpause {row.name}",
            )
        if row.state == "restarting":
            raise Conflict(
                f"container {row.name} is restarting, wait until the container is running",
                f"pydock logs {row.name} may say why it ends",
            )
        if row.state != "running":
            raise Conflict(f"container {row.name} is not running", f"pydock start {row.name}")


def _not_found(ref: str) -> NotFound:
    return NotFound(f"no such container: {ref[:200]}", "pydock ps -a lists them")


def _asked(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Container that say what it was asked for beside docker's defaults."""
    found: dict[str, Any] = {
        "stop_timeout_seconds": config.get("stop_timeout"),
        "annotations": tuple(config.get("annotations", {}).items()),
        "publish_all": config.get("publish_all", False),
        "volumes_from": tuple(config.get("volumes_from", ())),
    }
    if "log" in config:
        found["log_driver"] = config["log"]["driver"]
        found["log_options"] = tuple(config["log"]["options"].items())
    if "confinement" in config:
        from engine.model.confinement import confinement_of

        found["confinement"] = confinement_of(config["confinement"])
    if "resources" in config:
        from engine.model.resources import resources_of

        found["resources"] = resources_of(config["resources"])
    if "naming" in config:
        from engine.model.naming import naming_of

        found["naming"] = naming_of(config["naming"])
    return found


def _exposed(text: str) -> PortMapping:
    """`80/tcp`, as an image's config says it."""
    port, _, protocol = text.partition("/")
    return PortMapping(int(port) if port.isdecimal() else 0, protocol or "tcp")


def _make_source(path: str) -> None:
    """docker makes a missing host directory of `-v`."""
    if not os.path.lexists(path):
        try:
            os.makedirs(path, mode=0o755, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"bind source path does not exist and cannot be made: {path}: {error.strerror}",
                "make it first",
            ) from error


def parse_signal(text: str) -> int:
    """The number of `KILL`, `SIGKILL` or `9`. Raises InvalidInput."""
    name = text.upper().removeprefix("SIG")
    if name.isdecimal() and 1 <= int(name) <= 64:
        return int(name)
    number = getattr(signals, f"SIG{name}", None)
    if not isinstance(number, signals.Signals):
        raise InvalidInput(f"invalid signal: {text[:40]}", "TERM, KILL, HUP, USR1 … or a number")
    return int(number)
