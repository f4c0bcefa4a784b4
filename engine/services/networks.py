"""`network ls`, `inspect`, `create`, `rm`."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from engine import journal
from engine.errors import Conflict, InvalidInput
from engine.model.network import Network, NetworkMember, NetworkSummary
from engine.services.container_config import check_name

if TYPE_CHECKING:
    from engine.home import Home
    from engine.network.endpoint import Networking
    from engine.storage.container_store import ContainerStore
    from engine.storage.network_store import NetworkRow, NetworkStore

BUILT_IN = ("bridge", "host", "none")


class NetworkService:
    """The face's `networks`."""

    def __init__(
        self,
        home: Home,
        store: NetworkStore,
        containers: ContainerStore,
        networking: Networking,
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
        ports = self._store.ports()
        prefix = int(row.subnet.partition("/")[2] or 0)
        members = [
            NetworkMember(
                container_id=each.container_id,
                container_name=each.container_name,
                endpoint_id=each.id,
                ip_address=each.ip_address,
                prefix_length=prefix,
                mac_address=each.mac_address,
                ports=tuple(ports.get(each.id, ())),
            )
            for each in self._store.endpoints(row.id)
        ]
        if row.name in ("host", "none"):
            members = [
                NetworkMember(each.id, each.name, "", "", 0, "")
                for each in self._containers.list_(("running", "paused"))
                if each.config["network"] == row.name
            ]
        return Network(_summary(row, len(members)), tuple(members))

    def create(self, name: str, *, internal: bool = False, subnet: str | None = None) -> str:
        """The new network's id. Raises Conflict, InvalidInput."""
        row = self._networking.create(check_name(name), internal=internal, subnet=subnet)
        journal.append(self._home.events_path, "network", "create", row.id, row.name)
        return row.id

    def remove(self, ref: str) -> None:
        """Raises Conflict while it is used."""
        row = self._store.get(ref)
        if row.name in BUILT_IN:
            raise InvalidInput(
                f"{row.name} is a pre-defined network and cannot be removed", "it costs nothing"
            )
        users = [
            each.name for each in self._containers.list_() if each.config["network"] in (
                row.name, row.id
            ) and each.state in ("running", "paused")
        ]  # fmt: skip
        if users:
            raise Conflict(
                f"network {row.name} has active endpoints: {', '.join(users)}",
                "stop these containers first",
            )
        self._networking.remove(row.id)
        journal.append(self._home.events_path, "network", "destroy", row.id, row.name)


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
