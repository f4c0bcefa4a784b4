"""The kernel's side of one root's networks: bridges, veth pairs, the firewall."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from engine.errors import Conflict
from engine.home import Home, locked
from engine.kernel import rtnetlink
from engine.kernel.namespaces import netns_remove
from engine.kernel.netlink import NETLINK_ROUTE, Netlink
from engine.kernel.rtnetlink import Link
from engine.network import bridge, firewall, ipam
from engine.network.firewall import Firewall, Published, Wall
from engine.storage.network_store import EndpointRow, NetworkRow, NetworkStore

DEFAULT = "bridge"
_SUBNET_LOCK = "/run/lock/pydock-subnets.lock"


@contextlib.contextmanager
def choosing() -> Iterator[None]:
    """No root of this host chooses a subnet, or makes a bridge, meanwhile."""
    os.makedirs(os.path.dirname(_SUBNET_LOCK), exist_ok=True)
    with locked(_SUBNET_LOCK):
        yield


class Fabric:
    """To be used while the root's network lock is held. Calls raise OSError."""

    def __init__(self, home: Home, store: NetworkStore) -> None:
        self.home = home
        self.store = store
        self.netlink = Netlink(NETLINK_ROUTE)
        self.firewall = Firewall(home.root_id)
        self.has_firewall = True  # until the kernel has said otherwise

    def close(self) -> None:
        self.netlink.close()
        self.firewall.close()

    def raise_bridge(self, network: NetworkRow) -> tuple[NetworkRow, Link]:
        """The network's bridge is up, behind the firewall if this kernel can have one.

        The default network is moved to another subnet, and given back so, when its own has been
        taken before its first member came. Raises Conflict for other networks.
        """
        self.raise_firewall()
        link = bridge.find(self.netlink, network)
        if link:
            return network, link
        with choosing():
            network = self._settled(network)
            return network, self.make_bridge(network)

    def make_bridge(self, network: NetworkRow) -> Link:
        """The bridge of a network whose subnet is free, under the lock for choosing one."""
        self.raise_firewall()
        if self.has_firewall:
            self.firewall.add_wall(wall(network))
        bridge.create(self.netlink, network, self.home.root_id, translated=self.has_firewall)
        link = bridge.find(self.netlink, network)
        if link is None:
            raise OSError(errno.ENODEV, "removed while it was being made", network.interface)
        return link

    def remove_bridge(self, network: NetworkRow) -> None:
        """Nothing of the network is left."""
        bridge.delete(self.netlink, network.interface)
        with self._unless_missing():
            self.firewall.remove_wall(wall(network))

    def remove_endpoint(self, row: EndpointRow) -> None:
        """Nothing of the endpoint is left; its veth goes when its last process has gone."""
        mappings = self.store.ports(row.id).get(row.id, [])
        with self._unless_missing():
            self.firewall.unpublish([Published(each, row.ip_address) for each in mappings])
        netns_remove(self.home.netns_path(row.id))
        with self._unless_missing():
            self.firewall.forget(row.ip_address)

    def raise_firewall(self) -> bool:
        """The table is there, with the rules of this version; True when it was not."""
        self.has_firewall = True
        for attempt in range(2):
            try:
                if self.firewall.is_current():
                    return False
                self.firewall.build(*self.wanted())
                return True
            except OSError as error:
                if not firewall.is_missing(error):
                    raise
                # ENOENT also when somebody has flushed all rules just now: so look once more.
                if error.errno != errno.ENOENT or attempt:
                    self.has_firewall = False
                    return False
        raise AssertionError("unreachable")

    def wanted(self) -> tuple[list[Wall], list[Published]]:
        """What the table should hold: networks that have or need a bridge, ports of what is up."""
        present = {link.name for link in self.links()}
        endpoints = [row for row in self.store.endpoints() if row.state == "up"]
        in_use = {row.network_id for row in endpoints}
        walls = [
            wall(row)
            for row in self.store.list_()
            if row.driver == "bridge" and (row.interface in present or row.id in in_use)
        ]
        addresses = {row.id: row.ip_address for row in endpoints}
        published = [
            Published(mapping, addresses[endpoint_id])
            for endpoint_id, mappings in self.store.ports().items()
            if endpoint_id in addresses
            for mapping in mappings
        ]
        return walls, published

    def links(self) -> list[Link]:
        """The links that carry this root's id."""
        prefix = bridge.alias_prefix(self.home.root_id)
        return [link for link in rtnetlink.links(self.netlink) if link.alias.startswith(prefix)]

    def taken(self, besides: NetworkRow | None = None) -> list[tuple[ipam.Subnet, str]]:
        """Subnets that this host routes or that this root's networks have, and who it is."""
        found = bridge.routed(self.netlink, besides.interface if besides else "")
        found += [
            (ipam.Subnet.parse(row.subnet), f"network {row.name}")
            for row in self.store.list_()
            if row.subnet and (besides is None or row.id != besides.id)
        ]
        return found

    def _settled(self, network: NetworkRow) -> NetworkRow:
        """The network, with a subnet that nobody else has now."""
        taken = self.taken(network)
        try:
            ipam.check_subnet(network.subnet, taken)
            return network
        except Conflict as error:
            if network.name != DEFAULT or self.store.endpoints(network.id):
                raise Conflict(
                    f"network {network.name}: {error.message}",
                    "remove the network and create it again",
                ) from error
        subnet = ipam.free_subnet(taken)
        moved = network._replace(subnet=str(subnet), gateway=subnet.gateway)
        self.store.remove(network.id)
        self.store.create(moved)
        return moved

    @contextlib.contextmanager
    def _unless_missing(self) -> Iterator[None]:
        """Where there can be no firewall, nothing of it can be left."""
        try:
            yield
        except OSError as error:
            if not firewall.is_missing(error):
                raise


def wall(network: NetworkRow) -> Wall:
    return Wall(network.interface, ipam.Subnet.parse(network.subnet), network.internal)
