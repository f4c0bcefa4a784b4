"""What this machine's settings say of registries: where they are, whom to trust, what is insecure.

Settings: /etc/pydock/config.toml, then the user's. Certificates lie where other tools keep them:
certs.d/<host[:port]>/{*.crt CA, *.cert + *.key client}. See containers-certs.d(5).
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
import threading
import tomllib
from typing import Any
from urllib.parse import urlsplit

from engine.errors import InvalidInput
from engine.oci.reference import DOCKER_HUB
from engine.registry.proxy import is_loopback

DOCKER_HUB_ADDRESS = "registry-1.docker.io"


def address_of(domain: str) -> str:
    """`host[:port]` to dial for a reference's domain."""
    return DOCKER_HUB_ADDRESS if domain == DOCKER_HUB else domain


class Hosts:
    """The settings, read once. `etc` and the environment are the test's to choose."""

    def __init__(self, etc: str = "/etc") -> None:
        home = os.path.expanduser("~")
        user = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
        self._certificate_directories = (
            f"{user}/pydock/certs.d",
            f"{etc}/pydock/certs.d",
            f"{user}/containers/certs.d",
            f"{etc}/containers/certs.d",
            f"{etc}/docker/certs.d",
        )
        self._insecure: dict[str, bool] = dict.fromkeys(
            _read_docker_daemon(f"{etc}/docker/daemon.json"), True
        )
        for path in (f"{etc}/pydock/config.toml", f"{user}/pydock/config.toml"):
            self._insecure.update(_read_settings(path))
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def is_insecure(self, name: str) -> bool:
        """True when the settings say so of `host[:port]`: then certificates are not checked."""
        if name in self._insecure:
            return self._insecure[name]
        try:
            address = ipaddress.ip_address(urlsplit(f"//{name}").hostname or "")
            return any(
                address in ipaddress.ip_network(entry)
                for entry in self._insecure
                if "/" in entry  # docker's file may name whole networks
            )
        except ValueError:
            return False

    def may_speak_http(self, name: str) -> bool:
        """True for loopback and what the settings call insecure."""
        return self.is_insecure(name) or is_loopback(urlsplit(f"//{name}").hostname or "")

    def tls_context(self, name: str) -> ssl.SSLContext:
        """How to prove that a server is `host[:port]`. Raises InvalidInput for broken files."""
        with self._lock:
            context = self._contexts.get(name)
            if context is None:
                context = self._contexts[name] = self._make_context(name)
            return context

    def _make_context(self, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 sets it; authorities of private registries often lack what it asks for, and
        # docker and podman take them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.is_insecure(name):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for directory in self._certificate_directories:
            place = f"{directory}/{name}"
            if os.path.isdir(place):
                _load_certificates(context, place)
                break
        return context


def _load_certificates(context: ssl.SSLContext, place: str) -> None:
    names = sorted(os.listdir(place))
    for name in names:
        path = f"{place}/{name}"
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert"):
                key = name.removesuffix(".cert") + ".key"
                if key not in names:
                    raise InvalidInput(f"{path}: its key is missing", f"add {place}/{key}")
                context.load_cert_chain(path, f"{place}/{key}", password=_no_password)
            elif name.endswith(".key") and name.removesuffix(".key") + ".cert" not in names:
                certificate = name.removesuffix(".key") + ".cert"
                raise InvalidInput(
                    f"{path}: its certificate is missing", f"add {place}/{certificate}"
                )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or error.args[-1]
            raise InvalidInput(f"{path}: {reason}", "a PEM file is expected") from error


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _read_settings(path: str) -> dict[str, bool]:
    """`[registry."host:port"] insecure = true`, by host."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}") from error
    registries: Any = document.get("registry", {})
    insecure: dict[str, bool] = {}
    for host, settings in registries.items() if isinstance(registries, dict) else ():
        value = settings.get("insecure", False) if isinstance(settings, dict) else None
        if not isinstance(value, bool):
            raise InvalidInput(f"{path}: registry.{host!r}: insecure: expected true or false")
        insecure[host] = value
    return insecure


def _read_docker_daemon(path: str) -> list[str]:
    """docker's insecure-registries. What is wrong in docker's file is docker's to say."""
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        values = document.get("insecure-registries") or []
        return [value for value in values if isinstance(value, str)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
