"""The networks of one root: rows first, then the kernel, then the row says so.

Everything that changes a network holds the root's network lock. So whoever has it knows that a row
in another state than `up`, and a link without a row, belong to a process that has died.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator, Sequence

from engine.errors import Conflict, InvalidInput, Unavailable, Unsupported
from engine.home import Home, locked
from engine.kernel.namespaces import netns_create, netns_remove
from engine.model.container import PortMapping
from engine.model.network import NetworkMember
from engine.network import bridge, endpoint, ipam, ports, reconcile
from engine.network.endpoint import Endpoint
from engine.network.fabric import DEFAULT, Fabric, choosing
from engine.network.firewall import Published
from engine.storage.network_store import NetworkRow, NetworkStore

_PREDEFINED = ((DEFAULT, "bridge"), ("host", "host"), ("none", "null"))
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_FORWARDING = (
    "ip_forward was off and is on now: this host also passes packets between its other links"
)


class Networking:
    """Networks and the containers in them. Safe from any thread, and beside other processes."""

    def __init__(self, home: Home, store: NetworkStore) -> None:
        self.home = home
        self.store = store
        self._fabric: Fabric | None = None  # between calls; closing it may take 15 ms

    def close(self) -> None:
        """Its sockets are closed; a later call opens them again."""
        fabric, self._fabric = self._fabric, None
        if fabric:
            fabric.close()

    # Networks

    def ensure_default(self) -> None:
        """The networks bridge, host and none have their rows; nothing in the kernel is touched."""
        if all(self.store.find(name) for name, _ in _PREDEFINED):
            return
        with self._working(DEFAULT) as fabric:
            for name, driver in _PREDEFINED:
                if self.store.find(name):
                    continue
                if driver == "bridge":
                    with choosing():
                        self.store.create(_bridge_row(fabric, name))
                else:
                    self.store.create(_row(os.urandom(32).hex(), name, driver))

    def create(
        self, name: str, *, internal: bool = False, subnet: str | None = None,
        labels: Sequence[tuple[str, str]] = (),
    ) -> str:  # fmt: skip
        """The id of a new bridge network; `internal` ones have no way out, and change nothing on
        the host but their own bridge. Raises InvalidInput, Conflict, Unavailable."""
        if not re.fullmatch(_NAME, name):
            raise InvalidInput(
                f"network name {name[:128]!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                "choose another name",
            )
        with self._working(name) as fabric, choosing():
            row = _bridge_row(fabric, name, internal, subnet)._replace(labels=dict(labels))
            self.store.create(row)
            try:
                fabric.make_bridge(row)
            except BaseException:
                fabric.remove_bridge(row)
                self.store.remove(row.id)
                raise
        return row.id

    def remove(self, ref: str) -> None:
        """The network is gone. Raises NotFound, Conflict while containers are in it."""
        with self._working(ref) as fabric:
            row = self.store.get(ref)
            if (row.name, row.driver) in _PREDEFINED:
                raise Conflict(
                    f"{row.name} is a pre-defined network and cannot be removed",
                    "only networks that were created can be removed",
                )
            names = ", ".join(each.container_name for each in self.store.endpoints(row.id))
            if names:
                raise Conflict(
                    f"network {row.name} has active endpoints: {names}",
                    "stop or remove these containers first",
                )
            fabric.remove_bridge(row)
            self.store.remove(row.id)

    def members(self, ref: str) -> tuple[NetworkMember, ...]:
        """The containers in a network, by address. Raises NotFound."""
        row = self.store.get(ref)
        if row.driver != "bridge":
            return ()
        mappings = self.store.ports()
        length = ipam.Subnet.parse(row.subnet).prefix_length
        found = [
            NetworkMember(
                each.container_id, each.container_name, each.id, each.ip_address, length,
                each.mac_address, tuple(mappings.get(each.id, ())),
            )
            for each in self.store.endpoints(row.id)
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda member: ipam.packed(member.ip_address)))

    # Endpoints

    def connect(
        self, ref: str, container_id: str, container_name: str, wanted: Sequence[PortMapping] = ()
    ) -> Endpoint:
        """The container's endpoint in a bridge network, ready for its init to join; `wanted` ports
        lead to it. An exception leaves nothing behind.

        Raises NotFound, Conflict (port, address), InvalidInput, Unavailable, and Unsupported for
        ports on a kernel without nf_tables.
        """
        with self._working(ref) as fabric:
            network = self.store.get(ref)
            if network.driver != "bridge":
                raise InvalidInput(
                    f"network {network.name}: a container cannot be connected to it",
                    "start the container with --network instead",
                )
            if network.internal and wanted:
                raise InvalidInput(
                    f"network {network.name} is internal: its containers cannot publish ports",
                    "leave -p out, or use another network",
                )
            with ports.Reservation(wanted, self._port_owners()) as reservation:
                network, bridge_link = fabric.raise_bridge(network)
                if wanted and not fabric.has_firewall:
                    raise Unsupported(
                        "this kernel has no nf_tables: ports cannot be published",
                        "load the modules nf_tables, nft_nat, nft_masq, nft_fib_inet",
                    )
                warnings: tuple[str, ...] = ()
                if not network.internal and fabric.has_firewall and bridge.allow_forwarding():
                    warnings = (_FORWARDING,)
                made = self._new_endpoint(network, container_id, container_name, reservation.ports)
                with contextlib.ExitStack() as undo:
                    undo.callback(self.store.remove_endpoint, made.id)
                    netns_create(made.netns_path)
                    undo.callback(netns_remove, made.netns_path)
                    endpoint.plug(
                        fabric.netlink, made, bridge_link, self.home.root_id, container_name,
                        internal=network.internal,
                    )  # fmt: skip
                    published = [Published(each, made.ip_address) for each in made.ports]
                    if published:
                        _publish(fabric, published)
                        undo.callback(fabric.firewall.unpublish, published)
                    self.store.set_endpoint_state(made.id, "up")
                    undo.pop_all()
        return made._replace(warnings=warnings)

    def disconnect(self, container_id: str) -> None:
        """The container is in no network any more, whatever of its endpoints was left."""
        if not self.store.endpoints(container_id=container_id):
            return
        with self._working(container_id[:12]) as fabric:
            for row in self.store.endpoints(container_id=container_id):
                self.store.set_endpoint_state(row.id, "removing")
                fabric.remove_endpoint(row)
                self.store.remove_endpoint(row.id)

    def reconcile(self) -> tuple[str, ...]:
        """The kernel and the rows agree again after a crash, a reboot, or a flushed firewall: what
        was repaired, one line each."""
        with self._working("reconcile") as fabric:
            return reconcile.reconcile(fabric)

    # Parts

    @contextlib.contextmanager
    def _working(self, ref: str) -> Iterator[Fabric]:
        """The kernel's side, under the root's lock: one thread of one process at a time."""
        with locked(f"{self.home.run_root}/lock/network"), _explained(ref):
            # After an exception a socket may have answers left, so it is not used again.
            fabric, self._fabric = self._fabric or Fabric(self.home, self.store), None
            try:
                yield fabric
            except BaseException:
                fabric.close()
                raise
            self._fabric = fabric

    def _new_endpoint(
        self, network: NetworkRow, container_id: str, container_name: str,
        mappings: tuple[PortMapping, ...],
    ) -> Endpoint:  # fmt: skip
        """Its row is there, in state `creating`."""
        subnet = ipam.Subnet.parse(network.subnet)
        rows = self.store.endpoints(network.id)
        if any(row.container_id == container_id for row in rows):
            raise Conflict(
                f"container {container_name} is already in network {network.name}", "disconnect it"
            )
        address = subnet.free_address(row.ip_address for row in rows)
        if address is None:
            raise Unavailable(
                f"network {network.name}: no address of {network.subnet} is free",
                "remove containers, or create a larger network",
            )
        id = os.urandom(32).hex()
        mac = ipam.mac_address(network.id, address).hex(":")
        row = self.store.new_endpoint(id, network.id, container_id, container_name, address, mac)
        self.store.add_endpoint(row, mappings)
        return Endpoint(
            id, network.id, network.name, container_id, address, subnet.prefix_length,
            "" if network.internal else network.gateway, mac,
            self.home.netns_path(id), endpoint.interface_name(id), mappings,
        )  # fmt: skip

    def _port_owners(self) -> dict[PortMapping, str]:
        names = {row.id: row.container_name for row in self.store.endpoints()}
        return ports.owners((names[id], found) for id, found in self.store.ports().items())


def _publish(fabric: Fabric, published: Sequence[Published]) -> None:
    try:
        fabric.firewall.publish(published)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        numbers = ", ".join(str(each.mapping.host_port) for each in published)
        raise Conflict(
            f"port {numbers}: already allocated in table inet {fabric.firewall.table}",
            "pydock fsck --repair",
        ) from error


def _bridge_row(
    fabric: Fabric, name: str, internal: bool = False, subnet: str | None = None
) -> NetworkRow:
    """A new network with the subnet that is asked for, or a free one; not stored yet."""
    taken = fabric.taken()
    chosen = ipam.check_subnet(subnet, taken) if subnet else ipam.free_subnet(taken)
    id = os.urandom(32).hex()
    return _row(id, name, "bridge")._replace(
        subnet=str(chosen),
        gateway=chosen.gateway,
        internal=internal,
        interface=bridge.interface_name(id),
    )


def _row(id: str, name: str, driver: str) -> NetworkRow:
    return NetworkRow(id, name, driver, "", "", False, "", time.time_ns(), {})


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """A kernel's refusal becomes a failure that a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EXFULL:
            raise Conflict(
                f"network {name}: its bridge is full, it has 1023 containers",
                "create another network",
            ) from error
        detail = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        hint = "it needs CAP_NET_ADMIN" if error.errno == errno.EPERM else "pydock fsck"
        raise Unavailable(f"network {name}: {detail}", hint) from error
