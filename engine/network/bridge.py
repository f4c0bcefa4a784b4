"""The bridge of a network: one device, the containers' default gateway."""

from __future__ import annotations

import contextlib
import errno

from engine.kernel import rtnetlink
from engine.kernel.files import read_file, write_file
from engine.kernel.netlink import Netlink
from engine.network.ipam import Subnet, mac_address, packed
from engine.storage.network_store import NetworkRow

_MTU = 1500
_IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"


def interface_name(network_id: str) -> str:
    return f"pd-{network_id[:8]}"


def alias(root_id: str, name: str) -> str:
    """What our links are called beside their name: it tells whose they are."""
    return f"{alias_prefix(root_id)}{name}"


def alias_prefix(root_id: str) -> str:
    return f"pydock:{root_id}:"


def find(netlink: Netlink, network: NetworkRow) -> rtnetlink.Link | None:
    """The bridge, if it is there and finished: it comes up last."""
    link = rtnetlink.get_link(netlink, network.interface)
    return link if link and link.is_up else None


def create(netlink: Netlink, network: NetworkRow, root_id: str, *, translated: bool) -> int:
    """The index of the network's bridge, which is up with the gateway's address, whatever was left
    of it. `translated`: the firewall stands, so it may route for 127.0.0.1."""
    name = network.interface
    subnet = Subnet.parse(network.subnet)
    existing = (errno.EEXIST,)
    mac = mac_address(network.id, network.gateway)
    mtu = _MTU if network.internal else _uplink_mtu(netlink)
    netlink.send(
        [
            rtnetlink.new_bridge(name, mac, mtu),
            rtnetlink.set_alias(name, alias(root_id, network.name)),
        ],
        ignore=existing,
    )
    # Without IPv6 the host takes no router advertisement from a container (CVE-2020-13401).
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        write_file(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", b"1")
    if translated and not network.internal:
        # Replies to 127.0.0.1 arrive here when the host talks to a published port.
        write_file(f"/proc/sys/net/ipv4/conf/{name}/route_localnet", b"1")
    link = rtnetlink.get_link(netlink, name)
    if link is None:
        raise OSError(errno.ENODEV, "removed while it was being made", name)
    address = rtnetlink.add_address(link.ifindex, packed(network.gateway), subnet.prefix_length)
    netlink.send([address], ignore=existing)
    netlink.send([rtnetlink.link_up(link.ifindex)])
    return link.ifindex


def delete(netlink: Netlink, name: str) -> None:
    """There is no such link."""
    netlink.send([rtnetlink.delete_link(name)], ignore=(errno.ENODEV,))


def routed(netlink: Netlink, besides: str = "") -> list[tuple[Subnet, str]]:
    """What this host routes already, and where to; not by way of link `besides`, not by default."""
    names = {link.ifindex: link.name for link in rtnetlink.links(netlink)}
    return [
        (
            Subnet(int.from_bytes(route.destination), route.prefix_length),
            f"route of this host by {names.get(route.interface, 'another table')}",
        )
        for route in rtnetlink.routes(netlink)
        if route.prefix_length and (not besides or names.get(route.interface) != besides)
    ]


def allow_forwarding() -> bool:
    """The host passes packets between its links; True when it did not before."""
    if read_file(_IP_FORWARD).strip() != b"0":
        return False
    write_file(_IP_FORWARD, b"1")
    return True


def _uplink_mtu(netlink: Netlink) -> int:
    """The MTU of the link that the default route takes: a tunnel may carry less than 1500 bytes."""
    defaults = {
        route.interface
        for route in rtnetlink.routes(netlink)
        if not route.prefix_length and route.table != rtnetlink.RT_TABLE_LOCAL
    }
    sizes = [link.mtu for link in rtnetlink.links(netlink) if link.ifindex in defaults]
    return min(sizes, default=_MTU)
