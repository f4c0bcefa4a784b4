"""Rows of networks, of containers' endpoints in them, and of published ports."""

from __future__ import annotations

import json
import os
from _sqlite3 import IntegrityError
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, NotFound
from engine.kernel import process
from engine.model.container import PortMapping
from engine.named_tuple import NamedTuple
from engine.storage.leases import boot_id

if TYPE_CHECKING:
    from engine.storage.metadata import Database


class NetworkRow(NamedTuple):
    """A network as it is stored; drivers host and null have no subnet."""

    id: str
    name: str
    driver: str  # bridge, host, null
    subnet: str
    gateway: str
    internal: bool
    interface: str
    created_ns: int
    labels: dict[str, str]


class EndpointRow(NamedTuple):
    """A container's place in a network. `pid`, `pid_start`: who is making or removing it."""

    id: str
    network_id: str
    container_id: str
    container_name: str
    ip_address: str
    mac_address: str
    state: str  # creating, up, removing
    boot_id: str
    pid: int
    pid_start: int


_NETWORK = ", ".join(NetworkRow._fields)
_ENDPOINT = ", ".join(EndpointRow._fields)


class NetworkStore:
    """Networks by name, id, or a unique beginning of an id; endpoints by container."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, row: NetworkRow) -> None:
        """Raises Conflict when the name is taken."""
        values = row._replace(labels=json.dumps(row.labels))  # type: ignore[arg-type]
        try:
            with self._database.transaction() as cursor:
                cursor.execute(f"INSERT INTO network({_NETWORK}) VALUES(?,?,?,?,?,?,?,?,?)", values)
        except IntegrityError as error:
            raise Conflict(
                f"network with name {row.name} already exists", "choose another name"
            ) from error

    def get(self, ref: str) -> NetworkRow:
        """Raises NotFound, Conflict (ambiguous)."""
        row = self.find(ref)
        if row is None:
            raise NotFound(f"network {ref[:200]} not found", "pydock network ls lists them")
        return row

    def find(self, ref: str) -> NetworkRow | None:
        """As `get`, None when there is none."""
        found = self._database.first(
            f"SELECT {_NETWORK} FROM network WHERE id=? OR name=?", (ref, ref)
        )
        if found is None and ref and all(digit in "0123456789abcdef" for digit in ref):
            rows = self._database.query(
                f"SELECT {_NETWORK} FROM network WHERE id >= ? AND id < ? LIMIT 2", (ref, ref + "g")
            )
            if len(rows) > 1:
                raise Conflict(
                    f"network id {ref}: more than one network begins so", "give more digits"
                )
            found = rows[0] if rows else None
        return _network(found) if found else None

    def list_(self) -> list[NetworkRow]:
        """All, by name."""
        return [
            _network(found)
            for found in self._database.query(f"SELECT {_NETWORK} FROM network ORDER BY name")
        ]

    def remove(self, network_id: str) -> None:
        """Raises Conflict while it has endpoints."""
        try:
            with self._database.transaction() as cursor:
                cursor.execute("DELETE FROM network WHERE id=?", (network_id,))
        except IntegrityError as error:
            names = ", ".join(each.container_name for each in self.endpoints(network_id))
            raise Conflict(
                f"network {network_id[:12]}: has active endpoints: {names}",
                "stop or remove these containers first",
            ) from error

    def add_endpoint(self, row: EndpointRow, ports: Sequence[PortMapping] = ()) -> None:
        """An endpoint with its published ports. Raises Conflict when an address or a port is
        taken, in docker's words, or the container is there already, NotFound (network)."""
        try:
            with self._database.transaction() as cursor:
                cursor.execute(
                    f"INSERT INTO endpoint({_ENDPOINT}) VALUES(?,?,?,?,?,?,?,?,?,?)", row
                )
                for port in ports:
                    try:
                        cursor.execute(
                            "INSERT INTO port VALUES(?,?,?,?,?)",
                            (
                                port.protocol, port.host_ip, port.host_port, row.id,
                                port.container_port,
                            ),
                        )  # fmt: skip
                    except IntegrityError as error:
                        address = f"{port.host_ip or '0.0.0.0'}:{port.host_port}"
                        raise Conflict(
                            f"bind for {address} failed: port is already allocated",
                            "pydock ps shows who has it",
                        ) from error
        except IntegrityError as error:
            if "endpoint.container_id" in str(error):
                raise Conflict(
                    f"container {row.container_name} is in network {row.network_id[:12]} already",
                    "disconnect it first",
                ) from error
            if "endpoint.ip_address" in str(error):
                raise Conflict(
                    f"address {row.ip_address} is already in use in network {row.network_id[:12]}",
                    "try again",
                ) from error
            raise NotFound(
                f"network {row.network_id[:12]}: it was removed meanwhile", "pydock network ls"
            ) from error

    def set_endpoint_state(self, endpoint_id: str, state: str) -> None:
        pid = os.getpid()
        with self._database.transaction() as cursor:
            cursor.execute(
                "UPDATE endpoint SET state=?, pid=?, pid_start=? WHERE id=?",
                (state, pid, process.start_time(pid), endpoint_id),
            )

    def rename_container(self, container_id: str, name: str) -> None:
        """It has this name wherever it is."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "UPDATE endpoint SET container_name=? WHERE container_id=?", (name, container_id)
            )

    def remove_endpoint(self, endpoint_id: str) -> None:
        """The endpoint and its ports are gone."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM endpoint WHERE id=?", (endpoint_id,))

    def endpoints(
        self, network_id: str | None = None, container_id: str | None = None
    ) -> list[EndpointRow]:
        """All, or those of a network or container."""
        where, values = _where({"network_id": network_id, "container_id": container_id})
        return [
            EndpointRow(*found)
            for found in self._database.query(
                f"SELECT {_ENDPOINT} FROM endpoint {where} ORDER BY ip_address", values
            )
        ]

    def ports(self, endpoint_id: str | None = None) -> dict[str, list[PortMapping]]:
        """Published ports by endpoint, of one endpoint or of all."""
        where, values = _where({"endpoint_id": endpoint_id})
        ports: dict[str, list[PortMapping]] = {}
        for endpoint, container_port, protocol, host_ip, host_port in self._database.query(
            f"SELECT endpoint_id, container_port, protocol, host_ip, host_port FROM port {where} "
            "ORDER BY container_port, protocol, host_ip",
            values,
        ):
            ports.setdefault(endpoint, []).append(
                PortMapping(container_port, protocol, host_ip, host_port)
            )
        return ports

    def new_endpoint(
        self, endpoint_id: str, network_id: str, container_id: str, container_name: str,
        ip_address: str, mac_address: str,
    ) -> EndpointRow:  # fmt: skip
        """A row in state `creating`, owned by this process."""
        pid = os.getpid()
        return EndpointRow(
            endpoint_id, network_id, container_id, container_name, ip_address, mac_address,
            "creating", boot_id(), pid, process.start_time(pid),
        )  # fmt: skip


def _where(conditions: dict[str, str | None]) -> tuple[str, tuple[str, ...]]:
    given = {name: value for name, value in conditions.items() if value is not None}
    text = " AND ".join(f"{name}=?" for name in given)
    return (f"WHERE {text}" if given else ""), tuple(given.values())


def _network(found: tuple[Any, ...]) -> NetworkRow:
    row = NetworkRow(*found)
    return row._replace(internal=bool(row.internal), labels=json.loads(found[8]))
