"""Links, addresses and routes of the network namespace a socket belongs to. rtnetlink(7)

Functions give requests for `Netlink.send`, so that one datagram carries many, or ask at once.
"""

import _socket
import errno
import struct

from engine.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)
from engine.named_tuple import NamedTuple

IFF_UP = 0x1
IF_OPER_UP = 6  # RFC 2863, linux/if.h
RT_TABLE_LOCAL = 255
LOOPBACK = 1  # lo has this index in every network namespace
NAME_BYTES = 15  # IFNAMSIZ without the NUL

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR = 20
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTM_GETSTATS = 94
_NEW = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL

# linux/if_link.h
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_OPERSTATE = 16
_IFLA_LINKINFO = 18
_IFLA_IFALIAS = 20
_IFLA_NET_NS_FD = 28
_IFLA_AF_SPEC = 26
_IFLA_EXT_MASK = 29
_RTEXT_FILTER_SKIP_STATS = 8
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BR_FORWARD_DELAY = 1
_IFLA_BR_MCAST_SNOOPING = 23
_IFLA_BRPORT_MODE = 4  # hairpin
_VETH_INFO_PEER = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_IFLA_STATS_LINK_64 = 1

_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 254, 4, 0, 1

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_STATS = struct.Struct("=BxxxII")  # if_stats_msg: family, index, filter


class Link(NamedTuple):
    """A network device."""

    ifindex: int
    name: str
    flags: int
    mtu: int
    master: int  # index of its bridge, or 0
    alias: str
    operstate: int

    @property
    def is_up(self) -> bool:
        return bool(self.flags & IFF_UP)


class Route(NamedTuple):
    """An IPv4 route."""

    destination: bytes  # 4 bytes
    prefix_length: int
    table: int
    interface: int  # index, or 0


def new_bridge(name: str, mac_address: bytes, mtu: int) -> Request:
    """A bridge, down, that forwards from a port as soon as that has a carrier. Its own address is
    fixed, for otherwise it changes with its ports."""
    return (
        _RTM_NEWLINK,
        _NEW,
        _LINK.pack(0, 0, 0, 0, 0)
        + text(_IFLA_IFNAME, name)
        + u32(_IFLA_MTU, mtu)
        + attribute(_IFLA_ADDRESS, mac_address)
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_KIND, b"bridge"),
            nested(_IFLA_INFO_DATA, u32(_IFLA_BR_FORWARD_DELAY, 0), u8(_IFLA_BR_MCAST_SNOOPING, 0)),
        ),
    )


def new_veth(
    name: str, master: int, peer: str, peer_namespace: int, peer_mac_address: bytes, mtu: int
) -> Request:
    """A pair: `name` here, a port of bridge `master`; `peer` born in the network namespace behind
    descriptor `peer_namespace`. Both are down: a peer cannot be created up (ENOTCONN)."""
    size = u32(_IFLA_MTU, mtu)
    other = (
        _LINK.pack(0, 0, 0, 0, 0)
        + text(_IFLA_IFNAME, peer)
        + size
        + u32(_IFLA_NET_NS_FD, peer_namespace)
        + attribute(_IFLA_ADDRESS, peer_mac_address)
    )
    return (
        _RTM_NEWLINK,
        _NEW,
        _LINK.pack(0, 0, 0, 0, 0)
        + text(_IFLA_IFNAME, name)
        + size
        + u32(_IFLA_MASTER, master)
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_KIND, b"veth"),
            nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
        ),
    )


def set_alias(name: str, alias: str) -> Request:
    """`alias` (255 bytes at most) is what `ip link` shows beside `name`. Not possible at birth."""
    return _RTM_NEWLINK, NLM_F_ACK, _named(name) + attribute(_IFLA_IFALIAS, alias.encode()[:255])


def set_mac_address(name: str, mac_address: bytes) -> Request:
    """The link has this address; with sysctl arp_notify its neighbours are told, even if it had it
    before."""
    return _RTM_NEWLINK, NLM_F_ACK, _named(name) + attribute(_IFLA_ADDRESS, mac_address)


def set_master(name: str, master: int) -> Request:
    """Link `name` is a port of the bridge with index `master`."""
    return _RTM_NEWLINK, NLM_F_ACK, _named(name) + u32(_IFLA_MASTER, master)


def bridge_port_up(name: str) -> Request:
    """Bridge port `name` is up, sends frames back where they came from if need be (a container
    that talks to its own published port), and gives itself no IPv6 address."""
    return (
        _RTM_NEWLINK,
        NLM_F_ACK,
        _LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
        + text(_IFLA_IFNAME, name)
        + nested(
            _IFLA_AF_SPEC,
            nested(_socket.AF_INET6, u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)),
        )
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_SLAVE_KIND, b"bridge"),
            nested(_IFLA_INFO_SLAVE_DATA, u8(_IFLA_BRPORT_MODE, 1)),
        ),
    )


def link_up(index: int) -> Request:
    return _RTM_NEWLINK, NLM_F_ACK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP)


def delete_link(name: str) -> Request:
    """Costs 14 to 33 ms (the kernel waits for a grace period); closing its namespace costs none."""
    return _RTM_DELLINK, NLM_F_ACK, _named(name)


def add_address(index: int, address: bytes, prefix_length: int) -> Request:
    """Link `index` has the IPv4 address."""
    return (
        _RTM_NEWADDR,
        _NEW,
        struct.pack("=BBBBI", _socket.AF_INET, prefix_length, 0, 0, index)
        + attribute(_IFA_LOCAL, address)
        + attribute(_IFA_ADDRESS, address),
    )


def add_default_route(gateway: bytes, interface: int) -> Request:
    return (
        _RTM_NEWROUTE,
        _NEW,
        _ROUTE.pack(
            _socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE,
            _RTN_UNICAST, 0,
        )
        + attribute(_RTA_GATEWAY, gateway)
        + u32(_RTA_OIF, interface),
    )  # fmt: skip


def get_link(netlink: Netlink, name: str) -> Link | None:
    """The link, or None. Since Linux 6.8 its state is up to date: the kernel first finishes what
    a change of carrier has left to do."""
    try:
        (body,) = netlink.get(_RTM_GETLINK, _named(name), 0)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return _link(body)


def links(netlink: Netlink) -> list[Link]:
    """All links."""
    payload = _LINK.pack(0, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    return [_link(body) for body in netlink.get(_RTM_GETLINK, payload)]


def routes(netlink: Netlink) -> list[Route]:
    """All IPv4 routes, of all tables."""
    found: list[Route] = []
    for body in netlink.get(_RTM_GETROUTE, _ROUTE.pack(_socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        _, prefix_length, _, _, table, _, _, _, _ = _ROUTE.unpack_from(body)
        fields = attributes(body, _ROUTE.size)
        found.append(
            Route(
                fields.get(_RTA_DST, bytes(4)),
                prefix_length,
                _number(fields.get(_RTA_TABLE), table),
                _number(fields.get(_RTA_OIF)),
            )
        )
    return found


def byte_counts(netlink: Netlink) -> dict[int, tuple[int, int]]:
    """Received and sent bytes of every link, by index."""
    found: dict[int, tuple[int, int]] = {}
    for body in netlink.get(_RTM_GETSTATS, _STATS.pack(0, 0, 1 << (_IFLA_STATS_LINK_64 - 1))):
        # One attribute, rtnl_link_stats64: packets received and sent, bytes received and sent, …
        _, index, _ = _STATS.unpack_from(body)
        found[index] = struct.unpack_from("=QQ", body, _STATS.size + 4 + 16)
    return found


def _named(name: str) -> bytes:
    return _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    fields = attributes(body, _LINK.size)
    return Link(
        index,
        fields[_IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "surrogateescape"),
        flags,
        _number(fields.get(_IFLA_MTU)),
        _number(fields.get(_IFLA_MASTER)),
        fields.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode("utf-8", "surrogateescape"),
        fields.get(_IFLA_OPERSTATE, b"\0")[0],
    )


def _number(value: bytes | None, default: int = 0) -> int:
    return int(struct.unpack("=I", value)[0]) if value else default
