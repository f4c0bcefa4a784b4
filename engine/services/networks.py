"""`network ls`, `inspect`, `create`, `rm`."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine import journal
from engine.errors import InvalidInput
from engine.model.container import EndpointInfo, PortMapping
from engine.model.network import Network, NetworkMember, NetworkSummary
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.home import Home
    from engine.network.networking import Networking
    from engine.storage.container_store import ContainerStore
    from engine.storage.network_store import NetworkRow, NetworkStore


class Attached(NamedTuple):
    """A container's place in a network, with what it publishes there."""

    info: EndpointInfo
    ports: tuple[PortMapping, ...]


class NetworkService:
    """The face's `networks`."""

    def __init__(
        self,
        home: Home,
        store: NetworkStore,
        containers: ContainerStore,
        networking: Callable[[], Networking],
    ) -> None:
        self._home = home
        self._store = store
        self._containers = containers
        self._networking = networking

    def list(self) -> builtins.list[NetworkSummary]:
        counts: dict[str, int] = {}
        for endpoint in self._store.endpoints():
            counts[endpoint.network_id] = counts.get(endpoint.network_id, 0) + 1
        shared: dict[str, int] = {}
        for row in self._containers.list_(("running", "paused")):
            mode = row.config["network"]
            if mode in ("host", "none"):
                shared[mode] = shared.get(mode, 0) + 1
        return [
            _summary(row, counts.get(row.id, shared.get(row.name, 0)))
            for row in self._store.list_()
        ]

    def inspect(self, ref: str) -> Network:
        row = self._store.get(ref)
        if row.driver == "bridge":
            members = self._networking().members(row.id)
        else:
            members = tuple(
                NetworkMember(each.id, each.name, "", "", 0, "")
                for each in self._containers.list_(("running", "paused"))
                if each.config["network"] == row.name
            )
        return Network(_summary(row, len(members)), members)

    def create(self, name: str, *, internal: bool = False, subnet: str | None = None) -> str:
        """The new network's id. Raises Conflict, InvalidInput."""
        network_id = self._networking().create(name, internal=internal, subnet=subnet)
        journal.append(self._home.events_path, "network", "create", network_id, name)
        return network_id

    def remove(self, ref: str) -> None:
        """Raises Conflict while it is used."""
        row = self._store.get(ref)
        self._networking().remove(row.id)
        journal.append(self._home.events_path, "network", "destroy", row.id, row.name)

    def check(self, ref: str, ports: Sequence[PortMapping]) -> None:
        """Raises NotFound, and InvalidInput when a container could not be started there."""
        row = self._store.get(ref)
        if row.internal and ports:
            raise InvalidInput(
                f"network {row.name} is internal: its containers cannot publish ports",
                "leave -p out, or use another network",
            )

    def by_container(self) -> dict[str, builtins.list[Attached]]:
        """Where every running container is attached."""
        networks = {row.id: row for row in self._store.list_()}
        ports = self._store.ports()
        found: dict[str, builtins.list[Attached]] = {}
        for each in self._store.endpoints():
            network = networks[each.network_id]
            info = EndpointInfo(
                network=network.name,
                network_id=network.id,
                endpoint_id=each.id,
                ip_address=each.ip_address,
                prefix_length=int(network.subnet.partition("/")[2] or 0),
                gateway="" if network.internal else network.gateway,
                mac_address=each.mac_address,
            )
            attached = Attached(info, tuple(ports.get(each.id, ())))
            found.setdefault(each.container_id, []).append(attached)
        return found


def _summary(row: NetworkRow, members: int) -> NetworkSummary:
    return NetworkSummary(
        id=row.id,
        name=row.name,
        driver=row.driver,
        subnet=row.subnet,
        gateway=row.gateway,
        internal=row.internal,
        created_ns=row.created_ns,
        members=members,
        interface=row.interface,
        labels=tuple(row.labels.items()),
    )
