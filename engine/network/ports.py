"""Published ports: which are asked for, which are free, and who has the others.

A port is checked by binding it, so a server of the host that uses it is found before anything is
made. `Reservation` holds the bound sockets; a helper that takes them over will keep other programs
from binding the port while the container lives.
"""

from __future__ import annotations

import _socket
import errno
from collections.abc import Iterable, Mapping, Sequence

from engine.errors import Conflict, InvalidInput, Unavailable, Unsupported
from engine.model.container import PortMapping

_KINDS = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_ATTEMPTS = 10
_ANY = ("", "0.0.0.0")


class Reservation:
    """Host ports that are bound until `close`. `ports` are as asked for, 0 replaced."""

    def __init__(self, wanted: Sequence[PortMapping], taken: Mapping[PortMapping, str]) -> None:
        """`taken` says which container has which port. Raises Conflict when a port is in use,
        InvalidInput and Unsupported for mappings that cannot be."""
        self._sockets: list[_socket.socket] = []
        found: dict[int, PortMapping] = {}
        try:
            # First those that name a port, so that no free one is drawn that another one wants.
            for position, mapping in sorted(
                enumerate(map(_checked, wanted)), key=lambda item: item[1].host_port == 0
            ):
                others = {**taken, **dict.fromkeys(found.values(), "")}
                found[position] = self._reserve(mapping, others)
        except BaseException:
            self.close()
            raise
        self.ports = tuple(found[position] for position in range(len(wanted)))

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Anybody may bind them again."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def _reserve(self, mapping: PortMapping, taken: Mapping[PortMapping, str]) -> PortMapping:
        for _ in range(_ATTEMPTS):
            if mapping.host_port:
                _refuse_taken(mapping, taken)
            bound = _bind(mapping)
            self._sockets.append(bound)  # kept while drawing again, or it might come again
            drawn = mapping._replace(host_port=bound.getsockname()[1])
            if mapping.host_port or _owner(drawn, taken) is None:
                return drawn
        raise Unavailable("all ports are allocated", "publish a port that you choose")


def _checked(mapping: PortMapping) -> PortMapping:
    """The same, with host_ip empty for "any"."""
    if mapping.protocol not in _KINDS:
        raise Unsupported(
            f"protocol {mapping.protocol[:32]!r}: only tcp and udp ports can be published",
            "publish the service's tcp or udp port",
        )
    if not 0 < mapping.container_port < 65536 or not 0 <= mapping.host_port < 65536:
        raise InvalidInput(
            f"port {mapping.host_port}:{mapping.container_port}: not a port number",
            "ports are 1 to 65535; host port 0 takes a free one",
        )
    if mapping.host_ip in _ANY:
        return mapping._replace(host_ip="")
    if ":" in mapping.host_ip:
        raise Unsupported(
            f"host address {mapping.host_ip[:64]}: publishing on IPv6 addresses is not built yet",
            "publish on an IPv4 address",
        )
    try:
        _socket.inet_pton(_socket.AF_INET, mapping.host_ip)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"host address {mapping.host_ip[:64]!r}: not an IPv4 address",
            "use one of this host's addresses, as in -p 127.0.0.1:8080:80",
        ) from error
    return mapping


def _owner(mapping: PortMapping, taken: Mapping[PortMapping, str]) -> str | None:
    """Which container has the port on the same address, where "any" is every one."""
    for other, name in taken.items():
        if (other.protocol, other.host_port) == (mapping.protocol, mapping.host_port) and (
            not other.host_ip or not mapping.host_ip or other.host_ip == mapping.host_ip
        ):
            return name
    return None


def _refuse_taken(mapping: PortMapping, taken: Mapping[PortMapping, str]) -> None:
    name = _owner(mapping, taken)
    if name is not None:
        who = f"container {name} has it" if name else "it is asked for twice"
        raise Conflict(
            f"bind for {_address(mapping)} failed: port is already allocated ({who})",
            "choose another host port, or 0 for a free one",
        )


def _bind(mapping: PortMapping) -> _socket.socket:
    kind = _KINDS[mapping.protocol]
    bound = _socket.socket(_socket.AF_INET, kind | _socket.SOCK_CLOEXEC)
    try:
        if mapping.protocol == "tcp":
            # Connections of a server that has ended may linger; one that listens still refuses us.
            bound.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        bound.bind((mapping.host_ip or "0.0.0.0", mapping.host_port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"bind for {_address(mapping)} failed: port is already allocated "
                "(a program of this host has it)",
                f"ss -{mapping.protocol[0]}lpn 'sport = :{mapping.host_port}' shows which",
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidInput(
                f"bind for {_address(mapping)} failed: not an address of this host",
                "ip address shows them; leave it out for all",
            ) from error
        raise
    return bound


def _address(mapping: PortMapping) -> str:
    return f"{mapping.host_ip or '0.0.0.0'}:{mapping.host_port}"


def owners(ports: Iterable[tuple[str, Sequence[PortMapping]]]) -> dict[PortMapping, str]:
    """From (container name, its ports): who has which host port."""
    return {mapping: name for name, mappings in ports for mapping in mappings}
