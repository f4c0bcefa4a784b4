"""What a container calls itself and others, where that is not docker's default."""

from typing import Any

from engine.named_tuple import NamedTuple

HOST_GATEWAY = "host-gateway"  # the address, in the container's network, of its host


class Naming(NamedTuple):
    """`hosts` are pairs of name and address, or HOST_GATEWAY. An empty `dns` is the host's; a
    `dns_search` of "." alone is none."""

    domainname: str = ""
    hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


def naming_of(document: dict[str, Any]) -> Naming:
    """The value whose fields a row's JSON holds."""
    fields: dict[str, Any] = {
        name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
        if isinstance(value, list)
        else value
        for name, value in document.items()
    }
    return Naming(**fields)
