"""The double's networks, volumes and system."""

import builtins
import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.engine import Stream
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.event import Event
from engine.model.network import Network, NetworkMember, NetworkSummary
from engine.model.stats import HostSample
from engine.model.system import Counts, Damage, Outcome
from engine.model.volume import Usage, VolumeSummary
from tests.support.double_disk import DoubleDisk
from tests.support.double_streams import Channel
from tests.support.double_world import GIB, World

if TYPE_CHECKING:
    from tests.support.double_containers import DoubleContainers
    from tests.support.double_images import DoubleImages

BUILT_IN = ("bridge", "host", "none")
_LIVE = ("running", "paused")
_VOLUME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class DoubleNetworks:
    def __init__(self, world: World) -> None:
        self._world = world
        for name, driver in (("bridge", "bridge"), ("host", "host"), ("none", "null")):
            self._put(name, driver, internal=False, subnet=None)

    def _put(self, name: str, driver: str, *, internal: bool, subnet: str | None) -> str:
        world = self._world
        gateway = interface = ""
        if driver == "bridge":
            number = sum(network.driver == "bridge" for network in world.networks.values())
            subnet = subnet or f"10.90.{number}.0/24"
            gateway = str(ipaddress.ip_network(subnet)[1])
            interface = f"pd0badcafe{number}"
        row = NetworkSummary(
            world.new_id(), name, driver, subnet or "", gateway, internal, world.clock(), 0,
            interface,
        )  # fmt: skip
        world.networks[row.id] = row
        return row.id

    def list(self) -> builtins.list[NetworkSummary]:
        with self._world.lock:
            rows = [self.inspect(row.id).summary for row in self._world.networks.values()]
        return sorted(rows, key=lambda row: row.name)

    def inspect(self, ref: str) -> Network:
        with self._world.lock:
            row = self._get(ref)
            members = tuple(self._members(row))
            return Network(row._replace(members=len(members)), members)

    def _get(self, ref: str) -> NetworkSummary:
        rows = self._world.networks.values()
        for row in rows:
            if ref in (row.id, row.name):
                return row
        found = [row for row in rows if ref and row.id.startswith(ref)]
        if len(found) > 1:
            raise Conflict(f"network id {ref}: more than one network begins so", "give more digits")
        if not found:
            raise NotFound(f"network {ref[:200]} not found", "pydock network ls lists them")
        return found[0]

    def _members(self, row: NetworkSummary) -> Iterable[NetworkMember]:
        for record in self._world.containers.values():
            summary = record.container.summary
            if record.state in _LIVE and record.container.network_mode == row.name:
                each = self._world.endpoints.get(record.id)
                yield NetworkMember(
                    summary.id, summary.name,
                    *((each.endpoint_id, each.ip_address, each.prefix_length, each.mac_address)
                      if each else ("", "", 0, "")),
                    ports=summary.ports,
                )  # fmt: skip

    def create(self, name: str, *, internal: bool = False, subnet: str | None = None) -> str:
        world = self._world
        with world.lock:
            if not name or set(name) - _VOLUME or not name[0].isalnum():
                raise InvalidInput(f"invalid network name ({name})", "letters, digits, _ . -")
            if subnet is not None:
                try:
                    ipaddress.ip_network(subnet)
                except ValueError as error:
                    raise InvalidInput(f"subnet {subnet}: {error}", "10.1.2.0/24") from error
            if any(row.name == name for row in world.networks.values()):
                raise Conflict(f"network with name {name} already exists", "choose another name")
            network_id = self._put(name, "bridge", internal=internal, subnet=subnet)
            world.tell("network", "create", network_id, name)
            return network_id

    def remove(self, ref: str) -> None:
        world = self._world
        with world.lock:
            row = self._get(ref)
            if row.name in BUILT_IN:
                raise Conflict(
                    f"{row.name} is a pre-defined network and cannot be removed",
                    "only networks that were created can be removed",
                )
            members = list(self._members(row))
            if members:
                names = ", ".join(member.container_name for member in members)
                raise Conflict(
                    f"network {row.name} has active endpoints: {names}",
                    "stop these containers first",
                )
            del world.networks[row.id]
            world.tell("network", "destroy", row.id, row.name)


class DoubleVolumes:
    def __init__(self, world: World) -> None:
        self._world = world
        self.usages: dict[str, Usage] = {}  # what `measure` will find

    def list(self) -> builtins.list[VolumeSummary]:
        with self._world.lock:
            return [self._summary(row) for _, row in sorted(self._world.volumes.items())]

    def inspect(self, name: str) -> VolumeSummary:
        with self._world.lock:
            row = self._world.volumes.get(name)
            if row is None:
                raise NotFound(f"no such volume: {name[:200]}", "pydock volume ls lists them")
            return self._summary(row)

    def _summary(self, row: VolumeSummary) -> VolumeSummary:
        users = [
            record.name
            for record in self._world.containers.values()
            if any(mount.name == row.name for mount in record.container.summary.mounts)
        ]
        return row._replace(used_by=tuple(users))

    def create(self, name: str | None = None, *, labels: Sequence[tuple[str, str]] = ()) -> str:
        if name is not None:
            self.check_name(name)
        return self.ensure(name or "", labels=labels)

    def check_name(self, name: str) -> None:
        if len(name) == 1:
            raise InvalidInput("volume name is too short", "two characters are the least")
        if not name or set(name) - _VOLUME or not name[0].isalnum():
            raise InvalidInput(
                f"{name!r} includes invalid characters for a local volume name",
                "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; for a host directory use its "
                "absolute path",
            )

    def ensure(self, name: str, *, labels: Sequence[tuple[str, str]] = ()) -> str:
        """The name of a volume that exists; of a new anonymous one for ""."""
        world = self._world
        with world.lock:
            anonymous, name = not name, name or world.new_id()
            if name not in world.volumes:
                world.volumes[name] = VolumeSummary(
                    name, "local", f"{world.root}/volumes/{name}/_data", world.clock(), -1, -1, 0,
                    (), anonymous, tuple(labels),
                )  # fmt: skip
                world.tell("volume", "create", name, name)
            return name

    def drop_anonymous(self, name: str) -> None:
        row = self.inspect(name)
        if row.anonymous and not row.used_by:
            self.remove(name)

    def remove(self, name: str, *, force: bool = False) -> None:
        world = self._world
        with world.lock:
            if name not in world.volumes and force:
                return
            users = self.inspect(name).used_by
            if users:
                raise Conflict(
                    f"volume {name}: is in use by {', '.join(users)}", "remove the container first"
                )
            del world.volumes[name]
            world.tell("volume", "destroy", name, name)

    def measure(self, name: str) -> Usage:
        with self._world.lock:
            row = self.inspect(name)
            usage = self.usages.get(name, Usage(0, 0, 0))
            self._world.volumes[name] = row._replace(**usage._asdict())
            return usage


class DoubleSystem(DoubleDisk):
    def boot(self) -> builtins.list[Outcome]:
        return []  # nothing of it has a policy

    def halt(self) -> builtins.list[Outcome]:
        with self._world.lock:
            running = [row for row in self._containers.list() if row.state != "exited"]
            for row in running:
                self._containers.stop(row.id)
            return [Outcome(row.name) for row in running]

    def __init__(
        self,
        world: World,
        containers: "DoubleContainers",
        images: "DoubleImages",
        volumes: DoubleVolumes,
        networks: DoubleNetworks,
    ) -> None:
        super().__init__(world, containers, images, volumes, networks)
        self.sample = HostSample(7.5, 6 * GIB, 16 * GIB, 40 * GIB, 100 * GIB, 0.42, 86_400)
        self.damages: builtins.list[Damage] = []

    def counts(self) -> Counts:
        states = [row.state for row in self._containers.list(all=True)]
        running, paused = states.count("running"), states.count("paused")
        return Counts(running, paused, len(states) - running - paused, len(self._world.images))

    def host(self) -> HostSample:
        return self.sample

    def events(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Stream[Event]:
        from engine.events import _by_name, _matches

        by_name = _by_name(filters)

        def wanted(event: Event) -> bool:
            if event.time_ns < since_ns or (until_ns and event.time_ns > until_ns):
                return False
            return all(_matches(event, name, values) for name, values in by_name.items())

        with self._world.lock:
            channel = Channel(wanted, deadline_ns=until_ns)
            if since_ns:
                for event in self._world.journal:
                    channel.push(event)
            self._world.subscribers.append(channel)
            self._world.streams.append(channel)
            return channel

    def fsck(self, *, repair: bool = False) -> Iterable[Damage]:
        found = [damage._replace(repaired=repair) for damage in self.damages]
        if repair:
            self.damages.clear()
        return found
