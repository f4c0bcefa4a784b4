"""Which proxy leads to a server, by the environment's customs.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in both cases; loopback is never proxied.
"""

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from engine.errors import InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.registry.secret import Secret, basic_authorization


class Proxy(NamedTuple):
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None  # a secret: never part of a message

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def is_loopback(host: str) -> bool:
    """True for localhost and the addresses that never leave this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_proxy(
    scheme: str, host: str, port: int, environment: Mapping[str, str] | None = None
) -> Proxy | None:
    """The proxy for a server, None to go straight. Raises InvalidInput, Unsupported (socks)."""
    values = os.environ if environment is None else environment
    if is_loopback(host):
        return None
    text = _variable(values, f"{scheme}_proxy") or _variable(values, "all_proxy")
    if not text or _is_exempt(host, port, _variable(values, "no_proxy")):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http":
        raise Unsupported(f"proxy of type {parts.scheme[:20]!r}", "use an http proxy")
    try:
        proxy_port = parts.port or 80
    except ValueError as error:
        raise InvalidInput(f"{scheme}_proxy: not a host:port") from error
    if not parts.hostname:
        raise InvalidInput(f"{scheme}_proxy: names no host")
    authorization = None
    if parts.username:
        password = Secret(unquote(parts.password or ""))
        authorization = basic_authorization(unquote(parts.username), password)
    return Proxy(parts.hostname, proxy_port, authorization)


def _variable(values: Mapping[str, str], name: str) -> str:
    """The lower-case one wins, as in curl."""
    return values.get(name) or values.get(name.upper()) or ""


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    host = host.lower().rstrip(".")
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, _, entry_port = entry.rpartition(":")
        if name and ":" not in name and entry_port.isdecimal():
            if int(entry_port) != port:
                continue
            entry = name
        entry = entry.removeprefix("*").strip("[]")
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            suffix = entry.lstrip(".")
            if suffix and (host == suffix or host.endswith(f".{suffix}")):
                return True
    return False
