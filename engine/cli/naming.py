"""`run`'s options about names and ports: from docker's words to a Naming and exposed ports.

Imported only when one of them is given. The rules are docker/cli's `opts/hosts.go`, `opts/opts.go`.
"""

from __future__ import annotations

import re
from _socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.model.naming import HOST_GATEWAY, Naming

if TYPE_CHECKING:
    from engine.cli.call import Call

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_EXPOSE_HINT = "write PORT[-PORT][/tcp|udp], for example 8080 or 8000-8010/udp"


def naming(call: Call) -> Naming:
    """What the flags ask for."""
    return Naming(
        domainname=call.one("domainname"),
        hosts=tuple(call.many("add-host")),
        dns=tuple(call.many("dns")),
        dns_search=tuple(call.many("dns-search")),
        dns_options=(*call.many("dns-option"), *call.many("dns-opt")),
    )


def address(text: str) -> str:
    """An IP address. Raises InvalidInput in docker's words."""
    found = text.strip()
    if not _is_address(found):
        raise InvalidInput(f"IP address is not correctly formatted: {text}")
    return found


def _is_address(text: str) -> bool:
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def domain(text: str) -> str:
    """A domain to search in, or "." for none. Raises InvalidInput in docker's words."""
    found = text.strip(" ")
    if found != "." and not (_DOMAIN.fullmatch(found) and re.search("[a-zA-Z]", found)):
        raise InvalidInput(f"{text} is not a valid domain")
    return found


def host(text: str) -> tuple[str, str]:
    """`name:address`, `name=address`, `name:host-gateway`. Raises InvalidInput in docker's
    words."""
    name, separator, found = text.partition("=")
    if not separator:
        name, separator, found = text.partition(":")
    if not separator or not name or not found:
        raise InvalidInput(f'bad format for add-host: "{text}"')
    if found.startswith("[") and found.endswith("]"):
        found = found[1:-1]
    if found != HOST_GATEWAY and not _is_address(found):
        raise InvalidInput(f'invalid IP address in add-host: "{found}"')
    return name, found


def exposed(texts: list[str]) -> tuple[str, ...]:
    """`80/tcp` for each port of `80`, `53/udp`, `8000-8010`. Raises InvalidInput in docker's
    words."""
    found: list[str] = []
    for text in texts:
        if ":" in text:
            raise InvalidInput(f"invalid port format for --expose: {text}", _EXPOSE_HINT)
        ports, _, protocol = text.partition("/")
        first, dash, last = ports.partition("-")
        numbers = (first, last if dash else first)
        protocol = protocol.lower() or "tcp"
        low, high = (
            int(each) if each.isascii() and each.isdecimal() and len(each) < 6 else 0
            for each in numbers
        )
        if not 0 < low <= high <= 65535:
            raise InvalidInput(
                f"invalid range format for --expose: {text}, error: invalid port or range",
                _EXPOSE_HINT,
            )
        if protocol not in ("tcp", "udp"):
            raise InvalidInput(f"invalid proto: {protocol}", "tcp or udp")
        found += [f"{port}/{protocol}" for port in range(low, high + 1)]
    return tuple(dict.fromkeys(found))
