"""One nftables table per root, `inet pydock_<root_id>`: constant rules, all state in sets and maps.

A published port is one element of a map, so its cost does not grow with the others. A container
costs nothing else. Every change is one batch: packets see the old state or the new one. Rules of
others are never touched; an administrator's own table with forward priority below 0 comes first.
"""

from __future__ import annotations

import errno
import struct
from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence

from engine.kernel import conntrack, nftables
from engine.kernel.netlink import NETLINK_NETFILTER, Netlink, Request
from engine.kernel.nftables import (
    ACCEPT,
    DROP,
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    JUMP,
    META_IIFNAME,
    META_L4PROTO,
    META_NFPROTO,
    META_OIFNAME,
    NETWORK_HEADER,
    RTN_LOCAL,
    TRANSPORT_HEADER,
    WIDE_2,
    WORD_0,
    WORD_1,
    WORD_2,
    Element,
    address_type,
    any_bit,
    differs,
    equal,
    interface,
    is_in,
    is_not_in,
    look_up,
    meta,
    padded,
    payload,
    verdict,
)
from engine.model.container import PortMapping
from engine.named_tuple import NamedTuple
from engine.network.ipam import Subnet, packed

PROTOCOLS = {"tcp": 6, "udp": 17}

# What a kernel says that lacks nf_tables, or an expression or chain type of it.
_MISSING = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT)
_IPV4_SOURCE, _IPV4_DESTINATION = 12, 16  # offsets in its header
_LOOPBACK_NETWORK = b"\x7f"


class Wall(NamedTuple):
    """A network as the firewall knows it."""

    interface: str
    subnet: Subnet
    internal: bool


class Published(NamedTuple):
    """A port of the host that leads to a container."""

    mapping: PortMapping
    address: str


class Firewall:
    """The table of one root. Raises OSError; see `is_missing`."""

    def __init__(self, root_id: str) -> None:
        self.table = f"pydock_{root_id}"
        self._netlink: Netlink | None = None

    def close(self) -> None:
        if self._netlink:
            self._netlink.close()
            self._netlink = None

    @property
    def netlink(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink(NETLINK_NETFILTER)
        return self._netlink

    def is_current(self) -> bool:
        """Whether the table is there, with the rules of this version."""
        return nftables.Table(self.table).comment(self.netlink) == _version(self.table)

    def build(self, walls: Iterable[Wall], published: Iterable[Published]) -> None:
        """The table holds exactly this, whatever it was before; not a packet sees less."""
        table = nftables.Table(self.table)
        requests = [] if table.comment(self.netlink) is None else [table.delete()]
        requests += [table.create(_version(self.table)), *_base(table)]
        for wall in walls:
            for name, items, interval in _wall_elements(wall):
                requests += table.add(name, items, interval=interval)
        for name, items in _port_elements(published):
            requests += table.add(name, items)
        nftables.apply(self.netlink, requests)

    def delete(self) -> None:
        """The table is gone."""
        table = nftables.Table(self.table)
        if table.comment(self.netlink) is not None:
            nftables.apply(self.netlink, [table.delete()])

    def add_wall(self, wall: Wall) -> None:
        """Its traffic is masqueraded and kept apart from other networks."""
        table = nftables.Table(self.table)
        requests: list[Request] = []
        for name, items, interval in _wall_elements(wall):
            requests += table.add(name, items, interval=interval)
        nftables.apply(self.netlink, requests)

    def remove_wall(self, wall: Wall) -> None:
        """Nothing here knows the network any more."""
        self._remove(list(_wall_elements(wall)))

    def publish(self, published: Sequence[Published]) -> None:
        """The ports lead to their containers. OSError EEXIST, and none does, when one is taken."""
        table = nftables.Table(self.table)
        requests: list[Request] = []
        for name, items in _port_elements(published):
            requests += table.add(name, items, exclusive=True)
        if requests:
            nftables.apply(self.netlink, requests)
        try:
            for each in published:
                if each.mapping.protocol == "udp":
                    conntrack.forget_port(self.netlink, PROTOCOLS["udp"], each.mapping.host_port)
        except BaseException:
            self.unpublish(published)
            raise

    def unpublish(self, published: Iterable[Published]) -> None:
        """The ports are the host's again."""
        self._remove([(name, items, False) for name, items in _port_elements(published)])

    def forget(self, address: str) -> None:
        """Connections of a container are unknown from now on: its address may get a new owner."""
        conntrack.forget_address(self.netlink, packed(address))

    def differs(self, walls: Iterable[Wall], published: Iterable[Published]) -> bool:
        """Whether the table holds something else than `build` with these would make."""
        table = nftables.Table(self.table)
        wanted: dict[str, dict[bytes, bytes]] = {name: {} for name in _STATE}
        for wall in walls:
            for name, items, _ in _wall_elements(wall):
                wanted[name].update((key, b"") for key, _ in items)
        for name, items in _port_elements(published):
            wanted[name].update((key, value or b"") for key, value in items)
        return any(table.elements(self.netlink, name) != wanted[name] for name in _STATE)

    def _remove(self, parts: Sequence[tuple[str, Sequence[Element], bool]]) -> None:
        """The elements are gone, whether they were there or not."""
        table = nftables.Table(self.table)
        requests: list[Request] = []
        for name, items, interval in parts:
            requests += table.remove(name, items, interval=interval)
        if not requests:
            return
        try:
            nftables.apply(self.netlink, requests)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            if len(requests) == 1 and len(parts[0][1]) == 1:
                return
            # Some are gone already, and a batch is all or nothing: so one at a time.
            for name, items, interval in parts:
                for item in items:
                    self._remove([(name, [item], interval)])


def is_missing(error: OSError) -> bool:
    """Whether building the table failed because this kernel cannot do it."""
    return error.errno in _MISSING


# Sets and maps.
_BRIDGES = "bridges"  # every bridge of this root
_OUTWARD = "outward"  # those whose containers reach the world
_INTERNAL = "internal"  # those whose containers do not
_WITHIN = "within"  # pairs of a bridge with itself
_SUBNETS = "subnets"  # a bridge with its addresses
_PORTS = "ports"  # on any address of the host
_ADDRESS_PORTS = "address_ports"  # on one of them
_STATE = (_BRIDGES, _OUTWARD, _INTERNAL, _WITHIN, _SUBNETS, _PORTS, _ADDRESS_PORTS)


def _base(table: nftables.Table) -> list[Request]:
    """Sets, chains and rules. No name may be one of nft's own words: its parser refuses them."""
    rule = table.rule
    ipv4 = (meta(META_NFPROTO), equal(bytes((nftables.NFPROTO_IPV4,))))
    ipv4_2 = (meta(META_NFPROTO, WIDE_2), equal(bytes((nftables.NFPROTO_IPV4,)), WIDE_2))
    to_host = (address_type(nftables.FIB_DADDR), equal(struct.pack("=I", RTN_LOCAL)))
    from_host = (address_type(nftables.FIB_SADDR), equal(struct.pack("=I", RTN_LOCAL)))
    to_bridge = (meta(META_OIFNAME), is_in(_BRIDGES))
    established = (
        nftables.connection(nftables.CT_STATE),
        *any_bit(nftables.CT_STATE_ESTABLISHED | nftables.CT_STATE_RELATED),
    )
    published = (nftables.connection(nftables.CT_STATUS), *any_bit(nftables.CT_STATUS_DNAT))
    target = (IPV4_ADDR, INET_SERVICE)
    return [
        table.new_set(_BRIDGES, (IFNAME,)),
        table.new_set(_OUTWARD, (IFNAME,)),
        table.new_set(_INTERNAL, (IFNAME,)),
        table.new_set(_WITHIN, (IFNAME, IFNAME)),
        table.new_set(_SUBNETS, (IFNAME, IPV4_ADDR), interval=True),
        table.new_set(_PORTS, (INET_PROTO, INET_SERVICE), target),
        table.new_set(_ADDRESS_PORTS, (IPV4_ADDR, INET_PROTO, INET_SERVICE), target),
        table.base_chain("arrival", "filter", nftables.PREROUTING, nftables.PRIORITY_RAW),
        table.base_chain("prerouting", "nat", nftables.PREROUTING, nftables.PRIORITY_DSTNAT),
        table.base_chain("local_output", "nat", nftables.OUTPUT, nftables.PRIORITY_DSTNAT),
        table.base_chain("postrouting", "nat", nftables.POSTROUTING, nftables.PRIORITY_SRCNAT),
        table.base_chain("forwarding", "filter", nftables.FORWARD, nftables.PRIORITY_FILTER),
        table.base_chain("local_input", "filter", nftables.INPUT, nftables.PRIORITY_FILTER),
        table.chain("host_ports"),
        # `route_localnet` on our bridges would let a container, and a neighbour of a host that has
        # it on its uplink, talk to what listens on 127.0.0.1.
        rule(
            "arrival", meta(META_IIFNAME), differs(interface("lo")), *ipv4,
            payload(NETWORK_HEADER, _IPV4_DESTINATION, 1), equal(_LOOPBACK_NETWORK), verdict(DROP),
        ),
        rule("prerouting", *to_host, verdict(JUMP, "host_ports")),
        rule("local_output", *to_host, verdict(JUMP, "host_ports")),
        rule(
            "host_ports", *ipv4, payload(NETWORK_HEADER, _IPV4_DESTINATION, 4, WORD_0),
            meta(META_L4PROTO, WORD_1), payload(TRANSPORT_HEADER, 2, 2, WORD_2),
            look_up(_ADDRESS_PORTS, WORD_0, WORD_0), nftables.destination_nat(WORD_0, WORD_1),
        ),
        rule(
            "host_ports", *ipv4, meta(META_L4PROTO, WORD_0),
            payload(TRANSPORT_HEADER, 2, 2, WORD_1), look_up(_PORTS, WORD_0, WORD_0),
            nftables.destination_nat(WORD_0, WORD_1),
        ),
        rule(
            "postrouting", meta(META_IIFNAME), is_in(_OUTWARD), meta(META_OIFNAME),
            is_not_in(_BRIDGES), nftables.masquerade(),
        ),
        # From 127.0.0.1 to a published port: the container could not answer that address.
        rule("postrouting", *to_bridge, *published, *from_host, nftables.masquerade()),
        # A container to a port published by one on its own bridge. The source address tells, not
        # iifname: with br_netfilter the packet is bridged and has none here.
        rule(
            "postrouting", meta(META_OIFNAME), *ipv4_2,
            payload(NETWORK_HEADER, _IPV4_SOURCE, 4, WIDE_2), is_in(_SUBNETS), *published,
            nftables.masquerade(),
        ),
        rule("forwarding", *established, verdict(ACCEPT)),
        rule(
            "forwarding", meta(META_IIFNAME), meta(META_OIFNAME, WIDE_2), is_in(_WITHIN),
            verdict(ACCEPT),
        ),
        rule("forwarding", meta(META_IIFNAME), is_in(_INTERNAL), verdict(DROP)),
        rule("forwarding", *published, *to_bridge, verdict(ACCEPT)),
        rule("forwarding", *to_bridge, verdict(DROP)),
        rule("local_input", *established, verdict(ACCEPT)),
        rule("local_input", meta(META_IIFNAME), is_in(_INTERNAL), verdict(DROP)),
    ]  # fmt: skip


def _version(table_name: str) -> str:
    """Says which rules a table has: it is its comment."""
    rules = b"".join(payload for _, _, payload in _base(nftables.Table(table_name)))
    return f"pydock {crc32(rules):08x}"


def _wall_elements(wall: Wall) -> Iterator[tuple[str, list[Element], bool]]:
    """What a network adds to which set, and whether that holds intervals."""
    name = interface(wall.interface)
    first = wall.subnet.first
    last = first + (1 << (32 - wall.subnet.prefix_length)) - 1
    yield _BRIDGES, [(name, None)], False
    yield _INTERNAL if wall.internal else _OUTWARD, [(name, None)], False
    yield _WITHIN, [(name + name, None)], False
    yield _SUBNETS, [(name + first.to_bytes(4), name + last.to_bytes(4))], True


def _port_elements(published: Iterable[Published]) -> Iterator[tuple[str, list[Element]]]:
    """The elements of each of the two maps of ports."""
    anywhere: list[Element] = []
    somewhere: list[Element] = []
    for mapping, address in published:
        port = padded(bytes((PROTOCOLS[mapping.protocol],)))
        port += padded(struct.pack(">H", mapping.host_port))
        target = packed(address) + padded(struct.pack(">H", mapping.container_port))
        if mapping.host_ip:
            somewhere.append((packed(mapping.host_ip) + port, target))
        else:
            anywhere.append((port, target))
    if anywhere:
        yield _PORTS, anywhere
    if somewhere:
        yield _ADDRESS_PORTS, somewhere
