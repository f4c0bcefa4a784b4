"""The nf_tables subsystem of netfilter: tables, chains, sets, rules, in atomic batches. nft(8)

Functions give requests; `apply` sends a batch that the kernel takes as a whole or not at all.
`nft --debug=netlink list ruleset` shows the same expressions and registers in its own words.
"""

import errno
import struct
from collections.abc import Iterable, Sequence

from engine.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    be32,
    elements,
    nested,
    text,
)

NFPROTO_INET, NFPROTO_IPV4 = 1, 2

# Hooks and priorities, linux/netfilter.h and netfilter_ipv4.h.
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
PRIORITY_RAW, PRIORITY_DSTNAT, PRIORITY_FILTER, PRIORITY_SRCNAT = -300, -100, 0, 100

DROP, ACCEPT, JUMP = 0, 1, -3  # verdicts

# Data types as nft(8) numbers them, for its display, with their sizes in bytes.
IPV4_ADDR, INET_PROTO, INET_SERVICE, IFNAME = (7, 4), (12, 1), (13, 2), (41, 16)
DataType = tuple[int, int]

# Registers: 1 to 4 hold 16 bytes each; 8 to 23 are the same room in words of 4 bytes.
WIDE_1, WIDE_2 = 1, 2
WORD_0, WORD_1, WORD_2 = 8, 9, 10

META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
CT_STATE, CT_STATUS = 0, 2
CT_STATE_ESTABLISHED, CT_STATE_RELATED = 2, 4
CT_STATUS_DNAT = 0x20
FIB_SADDR, FIB_DADDR = 1, 2
RTN_LOCAL = 2

_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN = 0, 1, 2, 3
_NEWRULE, _NEWSET = 6, 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_FRAME = struct.pack(">BBH", 0, 0, 10)  # nfgenmsg with the subsystem in res_id
_SET_INTERVAL, _SET_MAP, _SET_CONCAT = 0x4, 0x8, 0x80
_ELEMENTS_A_MESSAGE = 500  # an attribute's length is a 16 bit number
_VERDICT_REGISTER = 0
_HOST_BYTE_ORDER = struct.pack("=BBI", 0, 4, 1)  # for nft's display: strings are not numbers
_FIB_RESULT_ADDRTYPE = 3
_NAT_DESTINATION = 1

Element = tuple[bytes, bytes | None]  # key and value; in interval sets first and last key


def apply(netlink: Netlink, requests: Iterable[Request]) -> None:
    """All of it is in effect, or nothing: then OSError for the first request that failed."""
    netlink.send([(_BATCH_BEGIN, 0, _FRAME), *requests, (_BATCH_END, 0, _FRAME)])


def padded(value: bytes) -> bytes:
    """As a part of a concatenation lies in registers: whole words."""
    return value + bytes(-len(value) % 4)


def interface(name: str) -> bytes:
    """An interface's name as a key: 16 bytes."""
    return name.encode().ljust(16, b"\0")


class Table:
    """The requests that concern one table of family inet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._name = text(1, name)  # attribute 1 of every kind of message
        self._sets = 0

    def create(self, comment: str = "") -> Request:
        """The table exists; `comment` is set only at its birth."""
        data = comment.encode() + b"\0"
        return self._request(_NEWTABLE, NLM_F_CREATE, attribute(6, bytes((0, len(data))) + data))

    def delete(self) -> Request:
        """The table and everything in it are gone; it must exist."""
        return self._request(_DELTABLE, 0)

    def base_chain(self, name: str, kind: str, hook: int, priority: int) -> Request:
        """A chain (kind filter or nat) that packets pass at `hook`; its policy is accept."""
        return self._request(
            _NEWCHAIN,
            NLM_F_CREATE,
            text(3, name),
            nested(4, be32(1, hook), be32(2, priority)),
            be32(5, ACCEPT),
            text(7, kind),
        )

    def chain(self, name: str) -> Request:
        """A chain that rules jump to."""
        return self._request(_NEWCHAIN, NLM_F_CREATE, text(3, name))

    def new_set(
        self, name: str, key: Sequence[DataType], value: Sequence[DataType] = (), *,
        interval: bool = False,
    ) -> Request:  # fmt: skip
        """A set, or a map if `value` says what its elements stand for."""
        self._sets += 1
        # The concatenation flag belongs to intervals alone; elsewhere the kernel refuses it.
        flags = (_SET_INTERVAL | _SET_CONCAT if interval else 0) | (_SET_MAP if value else 0)
        number, size = _concatenated(key)
        parts = [text(2, name), be32(3, flags), be32(4, number), be32(5, size)]
        if value:
            number, size = _concatenated(value)
            parts += [be32(6, number), be32(7, size)]
        if interval:
            fields = [nested(1, be32(1, size)) for _, size in key]
            parts.append(nested(9, nested(2, *fields)))
        if key == (IFNAME,):
            parts.append(attribute(13, _HOST_BYTE_ORDER))
        return self._request(_NEWSET, NLM_F_CREATE, *parts, be32(10, self._sets))

    def rule(self, chain: str, *expressions: bytes) -> Request:
        """A rule at the end of `chain`."""
        return self._request(
            _NEWRULE,
            NLM_F_CREATE | NLM_F_APPEND,
            text(2, chain),
            nested(4, *[nested(1, each) for each in expressions]),
        )

    def add(
        self, set_name: str, items: Sequence[Element], *, interval: bool = False,
        exclusive: bool = False,
    ) -> list[Request]:  # fmt: skip
        """The elements are in the set; if `exclusive`, EEXIST when one is there already."""
        flags = NLM_F_CREATE | (NLM_F_EXCL if exclusive else 0)
        return self._elements(_NEWSETELEM, flags, set_name, items, interval)

    def remove(
        self, set_name: str, items: Sequence[Element], *, interval: bool = False
    ) -> list[Request]:
        """The elements are not in the set any more; ENOENT when one was not."""
        return self._elements(_DELSETELEM, 0, set_name, items, interval)

    def comment(self, netlink: Netlink) -> str | None:
        """What `create` has noted; None when there is no such table."""
        try:
            kind, _, payload = self._request(_GETTABLE, 0)
            (body,) = netlink.get(kind, payload, 0)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return attributes(body, 4).get(6, b"\0\0")[2:].rstrip(b"\0").decode("utf-8", "replace")

    def elements(self, netlink: Netlink, set_name: str) -> dict[bytes, bytes]:
        """The elements of a set or map, by key; ENOENT when there is none of this name.

        Some may be missing for a moment after thousands were added: the kernel's hash table is
        still growing.
        """
        kind, _, payload = self._request(_GETSETELEM, 0, text(2, set_name))
        found: dict[bytes, bytes] = {}
        for body in netlink.get(kind, payload):
            for _, item in elements(attributes(body, 4).get(3, b"")):
                fields = attributes(item)
                found[attributes(fields[1])[1]] = attributes(fields.get(2, b"")).get(1, b"")
        return found

    def _elements(
        self, kind: int, flags: int, set_name: str, items: Sequence[Element], interval: bool
    ) -> list[Request]:
        requests: list[Request] = []
        for start in range(0, len(items), _ELEMENTS_A_MESSAGE):
            packed: list[bytes] = []
            for key, value in items[start : start + _ELEMENTS_A_MESSAGE]:
                item = nested(1, attribute(1, key))
                if value is not None:
                    item += nested(10 if interval else 2, attribute(1, value))
                packed.append(nested(1, item))
            requests.append(self._request(kind, flags, text(2, set_name), nested(3, *packed)))
        return requests

    def _request(self, kind: int, flags: int, *parts: bytes) -> Request:
        family = struct.pack("=BBH", NFPROTO_INET, 0, 0)
        return _SUBSYSTEM | kind, NLM_F_ACK | flags, family + self._name + b"".join(parts)


def _concatenated(types: Sequence[DataType]) -> tuple[int, int]:
    """Number and size of a concatenation, of one type as well."""
    if len(types) == 1:
        return types[0]
    number = size = 0
    for each, length in types:
        number = number << 6 | each
        size += (length + 3) & ~3
    return number, size


# Expressions. Attribute numbers: linux/netfilter/nf_tables.h, NFTA_META_*, NFTA_CMP_* …


def meta(key: int, register: int = WIDE_1) -> bytes:
    """What the kernel knows of the packet (META_*) is in `register`."""
    return _expression("meta", be32(2, key), be32(1, register))


def payload(header: int, offset: int, length: int, register: int = WIDE_1) -> bytes:
    """`length` bytes of a header are in `register`."""
    return _expression(
        "payload", be32(1, register), be32(2, header), be32(3, offset), be32(4, length)
    )


def connection(key: int, register: int = WIDE_1) -> bytes:
    """A fact of the tracked connection (CT_*) is in `register`."""
    return _expression("ct", be32(2, key), be32(1, register))


def address_type(flags: int) -> bytes:
    """What the packet's address (FIB_SADDR or FIB_DADDR) is to this host: RTN_LOCAL …"""
    return _expression("fib", be32(1, WIDE_1), be32(2, _FIB_RESULT_ADDRTYPE), be32(3, flags))


def equal(value: bytes, register: int = WIDE_1) -> bytes:
    """Go on if the register holds `value`."""
    return _compare(0, value, register)


def differs(value: bytes, register: int = WIDE_1) -> bytes:
    """Go on if the register does not hold `value`."""
    return _compare(1, value, register)


def any_bit(mask: int) -> tuple[bytes, bytes]:
    """Go on if the number in the first register has one of the bits of `mask`."""
    bits = struct.pack("=I", mask)
    masked = _expression(
        "bitwise", be32(1, WIDE_1), be32(2, WIDE_1), be32(3, len(bits)),
        nested(4, attribute(1, bits)), nested(5, attribute(1, bytes(len(bits)))),
    )  # fmt: skip
    return masked, differs(bytes(len(bits)))


def is_in(set_name: str, register: int = WIDE_1) -> bytes:
    """Go on if the registers from `register` on hold an element of the set."""
    return _expression("lookup", text(1, set_name), be32(2, register))


def is_not_in(set_name: str, register: int = WIDE_1) -> bytes:
    """Go on if they do not."""
    return _expression("lookup", text(1, set_name), be32(2, register), be32(5, 1))


def look_up(map_name: str, register: int, target: int) -> bytes:
    """Go on with what the key stands for in `target`, if the map has it."""
    return _expression("lookup", text(1, map_name), be32(2, register), be32(3, target))


def verdict(code: int, chain: str = "") -> bytes:
    """DROP, ACCEPT, or JUMP to `chain`."""
    target = [text(2, chain)] if chain else []
    return _expression(
        "immediate", be32(1, _VERDICT_REGISTER), nested(2, nested(2, be32(1, code), *target))
    )


def destination_nat(address: int, port: int) -> bytes:
    """The connection goes to the IPv4 address and port in these registers."""
    return _expression(
        "nat", be32(1, _NAT_DESTINATION), be32(2, NFPROTO_IPV4), be32(3, address), be32(5, port)
    )


def masquerade() -> bytes:
    """The connection comes from the address of the interface that it leaves by."""
    return _expression("masq")


def _compare(operation: int, value: bytes, register: int) -> bytes:
    return _expression("cmp", be32(1, register), be32(2, operation), nested(3, attribute(1, value)))


def _expression(name: str, *parts: bytes) -> bytes:
    return text(1, name) + nested(2, *parts)
