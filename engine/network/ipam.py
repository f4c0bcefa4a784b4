"""IPv4 subnets and addresses: which are free, which clash with what this host already routes."""

from __future__ import annotations

import _socket
from collections.abc import Iterable

from engine.errors import Conflict, InvalidInput, Unavailable
from engine.named_tuple import NamedTuple

# Automatic subnets are /24s of the first pool that has one left; the others serve hosts that
# route all of the first one to somewhere else.
POOLS = ("10.90.0.0/16", "172.30.0.0/16", "192.168.192.0/18")
_AUTOMATIC_LENGTH = 24
_LONGEST = 30  # a gateway and one container
_SHORTEST = 8
_NEVER = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")


class Subnet(NamedTuple):
    """An IPv4 network: its first address as a number, and how many bits are the network's."""

    first: int
    prefix_length: int

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """From "10.90.0.0/24". Raises InvalidInput, for set host bits too."""
        address, _, length = text.partition("/")
        try:
            number = int.from_bytes(_socket.inet_pton(_socket.AF_INET, address))
            if not length.isdecimal() or len(length) > 2 or int(length) > 32:
                raise OSError
        except OSError as error:
            raise InvalidInput(
                f"subnet {text[:64]!r}: expected an IPv4 network such as 10.90.7.0/24",
                "IPv6 networks are not built yet",
            ) from error
        subnet = cls(number & _mask(int(length)), int(length))
        if subnet.first != number:
            raise InvalidInput(f"subnet {text}: has host bits set", f"did you mean {subnet}?")
        return subnet

    def __str__(self) -> str:
        return f"{dotted(self.first)}/{self.prefix_length}"

    @property
    def gateway(self) -> str:
        """The first host address is the host's own end."""
        return dotted(self.first + 1)

    def overlaps(self, other: Subnet) -> bool:
        mask = _mask(min(self.prefix_length, other.prefix_length))
        return self.first & mask == other.first & mask

    def free_address(self, used: Iterable[str]) -> str | None:
        """The lowest address that nobody has, or None. Reuse is harmless: an address has the same
        MAC whoever holds it."""
        taken = {*used, self.gateway}
        size = 1 << (32 - self.prefix_length)
        return next(
            (
                address
                for address in map(dotted, range(self.first + 2, self.first + size - 1))
                if address not in taken
            ),
            None,
        )


def check_subnet(text: str, routed: Iterable[tuple[Subnet, str]]) -> Subnet:
    """The subnet that a user asks for. Raises InvalidInput for what cannot be a network of
    containers, Conflict when it overlaps one of `routed` (subnet, where it leads)."""
    subnet = Subnet.parse(text)
    if not _SHORTEST <= subnet.prefix_length <= _LONGEST:
        raise InvalidInput(
            f"subnet {text}: the prefix must have {_SHORTEST} to {_LONGEST} bits",
            "use a /24 such as 10.90.7.0/24",
        )
    if any(subnet.overlaps(Subnet.parse(each)) for each in _NEVER):
        raise InvalidInput(
            f"subnet {text}: not an address range for hosts", "use one such as 10.90.7.0/24"
        )
    for other, where in routed:
        if subnet.overlaps(other):
            raise Conflict(
                f"subnet {subnet} overlaps {other} ({where})", "choose another one with --subnet"
            )
    return subnet


def free_subnet(routed: Iterable[tuple[Subnet, str]]) -> Subnet:
    """The first automatic subnet that overlaps none of `routed`. Raises Unavailable."""
    taken = [subnet for subnet, _ in routed]
    step = 1 << (32 - _AUTOMATIC_LENGTH)
    for pool in map(Subnet.parse, POOLS):
        near = [subnet for subnet in taken if subnet.overlaps(pool)]
        for first in range(pool.first, pool.first + (1 << (32 - pool.prefix_length)), step):
            subnet = Subnet(first, _AUTOMATIC_LENGTH)
            if not any(subnet.overlaps(other) for other in near):
                return subnet
    raise Unavailable(
        f"no free subnet in {', '.join(POOLS)}: networks and this host's routes use them all",
        "remove a network, or name a subnet with network create --subnet",
    )


def mac_address(network_id: str, address: str) -> bytes:
    """The MAC that goes with an address of a network, for whoever holds it: neighbours keep the
    old one for seconds, and packets to a new one would be lost."""
    return bytes((0x02, int(network_id[:2], 16))) + packed(address)


def packed(address: str) -> bytes:
    """ "10.90.0.1" as the kernel has it."""
    return _socket.inet_pton(_socket.AF_INET, address)


def dotted(number: int) -> str:
    return _socket.inet_ntop(_socket.AF_INET, number.to_bytes(4))


def _mask(length: int) -> int:
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
