"""A container's place in a bridge network: a network namespace with one end of a veth pair."""

from __future__ import annotations

import contextlib
import time

from engine.kernel import rtnetlink
from engine.kernel.files import write_file
from engine.kernel.namespaces import inside
from engine.kernel.netlink import NETLINK_ROUTE, Netlink
from engine.model.container import PortMapping
from engine.named_tuple import NamedTuple
from engine.network.bridge import alias
from engine.network.ipam import packed

INNER_NAME = "eth0"
_PREFIX = "pdv"
_CARRIER_SECONDS = 2.0


class Endpoint(NamedTuple):
    """What a container needs to know of its network, and others of it."""

    id: str
    network_id: str
    network: str
    container_id: str
    ip_address: str
    prefix_length: int
    gateway: str  # empty in internal networks: no default route
    mac_address: str
    netns_path: str  # its init joins this network namespace
    interface: str  # the host's end, for its byte counts
    ports: tuple[PortMapping, ...]  # with real host ports
    warnings: tuple[str, ...] = ()  # what this has changed on the host, one sentence each


def interface_name(endpoint_id: str) -> str:
    """The host's end of an endpoint's veth pair."""
    return f"{_PREFIX}{endpoint_id[:8]}"


def is_interface(name: str) -> bool:
    """Whether a link of ours is the end of an endpoint, not a bridge."""
    return name.startswith(_PREFIX)


def plug(
    netlink: Netlink, endpoint: Endpoint, bridge: rtnetlink.Link, root_id: str, name: str,
    *, internal: bool,
) -> None:  # fmt: skip
    """The (fresh) namespace of `endpoint` has eth0 with address and route, and the first packet
    through it arrives. `netlink` is a socket of the host's namespace. Raises OSError."""
    host = endpoint.interface
    mac = bytes.fromhex(endpoint.mac_address.replace(":", ""))
    with inside(endpoint.netns_path), Netlink(NETLINK_ROUTE) as inner:
        with open("/proc/thread-self/ns/net", "rb") as namespace:
            netlink.send(
                [
                    rtnetlink.new_veth(
                        host, bridge.ifindex, INNER_NAME, namespace.fileno(), mac, bridge.mtu
                    ),
                    rtnetlink.set_alias(host, alias(root_id, name)),
                    rtnetlink.bridge_port_up(host),
                ]
            )
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            write_file(f"/proc/sys/net/ipv6/conf/{INNER_NAME}/disable_ipv6", b"1")
        link = rtnetlink.get_link(inner, INNER_NAME)
        assert link is not None  # made above, in a namespace that nobody else knows
        requests = [
            rtnetlink.link_up(rtnetlink.LOOPBACK),
            rtnetlink.link_up(link.ifindex),
            rtnetlink.add_address(
                link.ifindex, packed(endpoint.ip_address), endpoint.prefix_length
            ),
        ]
        if not internal:
            requests.append(rtnetlink.add_default_route(packed(endpoint.gateway), link.ifindex))
        inner.send(requests)
        _wait_for_carrier(netlink, host)
        _wait_for_carrier(netlink, bridge.name)  # its first port gives it one
        # The bridge, and neighbours, learn where the address is now. To set a MAC again makes the
        # kernel send a gratuitous ARP; a packet socket would wait for a grace period to be closed.
        write_file(f"/proc/sys/net/ipv4/conf/{INNER_NAME}/arp_notify", b"1")
        inner.send([rtnetlink.set_mac_address(INNER_NAME, mac)])


def replug(netlink: Netlink, host: str, bridge: int) -> None:
    """The host's end is a port of (a new) bridge again."""
    netlink.send([rtnetlink.set_master(host, bridge), rtnetlink.bridge_port_up(host)])


def _wait_for_carrier(netlink: Netlink, name: str) -> None:
    """Packets pass: the port forwards, the bridge has a queue. The kernel notices a carrier later,
    in a worker; what is sent until then is lost. Asking makes it look at once (Linux 6.8)."""
    deadline = time.monotonic() + _CARRIER_SECONDS
    while time.monotonic() < deadline:
        link = rtnetlink.get_link(netlink, name)
        if link is None or link.operstate == rtnetlink.IF_OPER_UP:
            return
        time.sleep(0.0005)
