"""Servers and URLs: what another machine may send us to, and what not."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

from engine.errors import InvalidInput, Unavailable
from engine.named_tuple import NamedTuple
from engine.registry.proxy import is_loopback
from engine.registry.secret import quote_foreign


class Origin(NamedTuple):
    """A server. `name` is `host[:port]` as it was written, the key of settings and certificates."""

    scheme: str
    host: str
    port: int
    name: str

    def is_same(self, other: Origin) -> bool:
        """True when credentials for one may go to the other."""
        return self[:3] == other[:3]


def split_url(url: str) -> tuple[Origin, str]:
    """The server and the request target of an http(s) URL. Raises InvalidInput."""
    shown = quote_foreign(url.partition("?")[0], 200)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(f"URL {shown}: characters that have no place in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"URL {shown}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"URL {shown}: expected http or https")
    if "@" in parts.netloc:
        raise InvalidInput("URL with a user name or password inside")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return Origin(parts.scheme, parts.hostname, port, parts.netloc.lower()), target


def join_url(url: str, location: str) -> str:
    """Where `location` leads from `url`. Raises InvalidInput."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        shown = quote_foreign(location.partition("?")[0], 200)
        raise InvalidInput(f"URL {shown}: {error}") from error


def is_private_address(host: str) -> bool:
    """True for an address (not a name) that the outside cannot mean: private, link-local …"""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host.lower() == "localhost"


def check_leads_outside(first: Origin, other: Origin, what: str) -> None:
    """Nothing, when `first` may send us to `other`. Raises Unavailable: a server must not make
    us talk plain text, or to what only this machine can reach."""
    if other.is_same(first):
        return
    if first.scheme == "https" and other.scheme != "https":
        raise Unavailable(f"{first.name}: {what} from https to http refused")
    if not is_private_address(other.host):
        return
    if other.host == first.host or (is_loopback(first.host) and is_loopback(other.host)):
        return
    raise Unavailable(f"{first.name}: {what} to the private address {other.host} refused")
