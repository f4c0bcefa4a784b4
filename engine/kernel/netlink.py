"""Netlink sockets: many requests in one datagram, one acknowledgement for each. netlink(7)

A request is (type, flags, payload); header, sequence number and padding are added here. The kernel
says in words what it dislikes (NETLINK_EXT_ACK): that text becomes the exception's.
"""

import _socket
import os
import struct
from collections.abc import Iterator, Sequence

Request = tuple[int, int, bytes]

# linux/netlink.h
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 4 << 20  # a batch with thousands of ports is one datagram
_READ_BYTES = 1 << 18

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = struct.Struct("=i")


def attribute(kind: int, value: bytes = b"") -> bytes:
    """One attribute, padded. Its length is a 16 bit number."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A string attribute, with its NUL."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    """In the host's byte order, as rtnetlink has its numbers."""
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """In network byte order, as netfilter has its numbers; negative ones as two's complement."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def elements(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` from `offset` on, as (type, value)."""
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The same as a dictionary; of repeated types the last one."""
    return dict(elements(data, offset))


class Netlink:
    """A socket of one protocol, in the network namespace that the opening thread was in."""

    def __init__(self, protocol: int) -> None:
        """Raises OSError EPROTONOSUPPORT when the kernel lacks the protocol."""
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, kind, protocol)
        self._sequence = 0
        try:
            for level, option, value in (
                (_socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES),
                (_socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES),
                (_SOL_NETLINK, _NETLINK_EXT_ACK, 1),
                (_SOL_NETLINK, _NETLINK_CAP_ACK, 1),
            ):
                self._socket.setsockopt(level, option, value)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, requests: Sequence[Request], *, ignore: tuple[int, ...] = ()) -> None:
        """All requests are carried out: they travel in one datagram.

        Raises OSError for the first that failed with an errno that is not in `ignore`. Only those
        with NLM_F_ACK are waited for.
        """
        datagram: list[bytes] = []
        waiting: dict[int, int] = {}
        for position, (kind, flags, payload) in enumerate(requests):
            datagram.append(self._pack(kind, flags, payload))
            if flags & NLM_F_ACK:
                waiting[self._sequence] = position
        self._socket.send(b"".join(datagram))
        failure: OSError | None = None
        while waiting:
            for kind, flags, sequence, body in _messages(self._socket.recv(_READ_BYTES)):
                if kind != _NLMSG_ERROR:
                    continue
                number = -_ERROR.unpack_from(body)[0]
                position = waiting.pop(sequence, -1)
                if number and position < 0:
                    waiting.clear()  # the frame of a batch failed: nothing in it is answered
                if number and failure is None and number not in ignore:
                    failure = _failure(number, flags, body)
                    failure.add_note(f"request {position}")
        if failure:
            raise failure

    def get(self, kind: int, payload: bytes, flags: int = NLM_F_DUMP) -> list[bytes]:
        """The bodies of all replies to one request; `flags` 0 asks for a single object.

        Read to the end in any case: half a dump would make the next one EBUSY.
        """
        self._socket.send(self._pack(kind, flags if flags & NLM_F_DUMP else NLM_F_ACK, payload))
        replies: list[bytes] = []
        while True:
            for kind, flags, sequence, body in _messages(self._socket.recv(_READ_BYTES)):
                if sequence != self._sequence:
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    number = -_ERROR.unpack_from(body)[0]
                    if number:
                        raise _failure(number, flags, body)
                    return replies
                replies.append(body)

    def _pack(self, kind: int, flags: int, payload: bytes) -> bytes:
        self._sequence += 1
        header = _HEADER.pack(
            _HEADER.size + len(payload), kind, flags | NLM_F_REQUEST, self._sequence, 0
        )
        return header + payload + bytes(-len(payload) % 4)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _failure(number: int, flags: int, body: bytes) -> OSError:
    """An error with the kernel's own words after errno's, where it gave any."""
    said = ""
    if flags & _NLM_F_ACK_TLVS:
        # The error, the (capped) header of the request, then attributes.
        found = attributes(body, _ERROR.size + _HEADER.size)
        said = found.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace")
    known = os.strerror(number)
    return OSError(number, f"{known} ({said})" if said else known)
