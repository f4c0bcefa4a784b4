"""Forgetting tracked connections, by a filter in the kernel (Linux 5.8). conntrack(8), option -D"""

import _socket
import errno
import struct

from engine.kernel.netlink import NLM_F_ACK, Netlink, Request, attribute, nested, u8, u32

_DELETE = (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_IPV4 = struct.pack("=BBH", _socket.AF_INET, 0, 0)

# linux/netfilter/nfnetlink_conntrack.h; what of a tuple counts: net/netfilter/nf_internals.h
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY = 1, 2
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC = 1
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_CTA_FILTER = 25
_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 2
_BY_SOURCE, _BY_PROTOCOL, _BY_DESTINATION_PORT = 0x1, 0x8, 0x20


def forget_address(netlink: Netlink, address: bytes) -> None:
    """No connection from or to the (translated) IPv4 address is known any more."""
    source = nested(_CTA_TUPLE_IP, attribute(_CTA_IP_V4_SRC, address))
    _delete(
        netlink,
        _request(_CTA_TUPLE_ORIG, source, _CTA_FILTER_ORIG_FLAGS, _BY_SOURCE),
        _request(_CTA_TUPLE_REPLY, source, _CTA_FILTER_REPLY_FLAGS, _BY_SOURCE),
    )


def forget_port(netlink: Netlink, protocol: int, port: int) -> None:
    """No connection to this port, as its sender sees it, is known any more: a UDP flow that began
    before the port was published would otherwise never be translated."""
    target = nested(
        _CTA_TUPLE_PROTO,
        u8(_CTA_PROTO_NUM, protocol),
        attribute(_CTA_PROTO_DST_PORT, struct.pack(">H", port)),
    )
    _delete(
        netlink,
        _request(
            _CTA_TUPLE_ORIG, target, _CTA_FILTER_ORIG_FLAGS, _BY_PROTOCOL | _BY_DESTINATION_PORT
        ),
    )


def _request(tuple_kind: int, part: bytes, flags_kind: int, flags: int) -> Request:
    wanted = nested(_CTA_FILTER, u32(flags_kind, flags))
    return _DELETE, NLM_F_ACK, _IPV4 + nested(tuple_kind, part) + wanted


def _delete(netlink: Netlink, *requests: Request) -> None:
    # ENOENT: none was known. EINVAL, EOPNOTSUPP: a kernel without filters, which keeps them.
    netlink.send(requests, ignore=(errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP))
