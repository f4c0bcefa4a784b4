"""What this machine's settings say of registries: where they are, whom to trust, what is insecure.

Read are our own settings and, as they are, those of docker, containerd and podman. **Where a
repository is asked for** (mirrors first, the registry at last) says the first of these that knows
the registry; the others are then not looked at:

1. config.toml, the person's, then the machine's: `[registry."host:port"] mirrors = ["other/path"]`
2. hosts.toml below certs.d/<host:port>/, then certs.d/_default/ (containerd's words)
3. registries.conf and registries.conf.d (podman's)
4. daemon.json's `registry-mirrors`, for Docker Hub (docker's)

**Insecure** (plain http is spoken when nothing there speaks TLS, certificates prove nothing) is
what config.toml says; else what the place's own entry in 2 or 3 says; else daemon.json's
`insecure-registries`. **Certificates** come from the first directory certs.d/<host[:port]>/ with
{*.crt CA, *.cert + *.key client}, and from what 2 names beside. The places of certs.d, first to
last: ~/.config/pydock, /etc/pydock, ~/.config/containers, /etc/containers, /etc/docker,
/etc/containerd. See containers-certs.d(5).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from engine.errors import InvalidInput, Unavailable
from engine.model.registry import RegistrySettings
from engine.named_tuple import NamedTuple
from engine.oci.reference import DOCKER_HUB
from engine.registry.fields import Fields, read_toml
from engine.registry.hosts_toml import find_hosts_toml, named_domains
from engine.registry.proxy import is_loopback
from engine.registry.registries_conf import RegistriesConf
from engine.registry.source import Source, Trust, split_location

DOCKER_HUB_ADDRESS = "registry-1.docker.io"


def address_of(domain: str) -> str:
    """`host[:port]` to dial for a reference's domain."""
    return DOCKER_HUB_ADDRESS if domain == DOCKER_HUB else domain


def _shown(mirror: Source) -> str:
    """Its address, as it may be written in settings."""
    scheme = f"{mirror.scheme}://" if mirror.scheme else ""
    below = mirror.base.removesuffix("/v2") + (f"/{mirror.path}" if mirror.path else "")
    return f"{scheme}{mirror.name}{below}".rstrip("/")


class _Own(NamedTuple):
    """What config.toml says of a registry."""

    insecure: bool | None
    mirrors: tuple[tuple[str, str, str], ...] | None  # scheme, host, path


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
            f"{etc}/containerd/certs.d",
        )
        self._own: dict[str, _Own] = {}
        for path in (f"{etc}/pydock/config.toml", f"{user}/pydock/config.toml"):
            for name, own in _read_settings(path).items():
                before = self._own.get(name, _Own(None, None))
                self._own[name] = _Own(
                    before.insecure if own.insecure is None else own.insecure,
                    before.mirrors if own.mirrors is None else own.mirrors,
                )
        self._registries_conf = RegistriesConf(etc, user)
        self._insecure, self._mirrors = _read_docker_daemon(f"{etc}/docker/daemon.json")
        self._trusts: dict[str, Trust] = {}  # what was said of the places that we know of
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def sources(self, domain: str, path: str) -> tuple[Source, ...]:
        """Where to ask for a repository, mirrors first, the registry itself at last. Raises
        InvalidInput for broken files, Unavailable when it is blocked."""
        upstream = Source(address_of(domain), path)
        found = self._sources(domain, path, upstream)
        with self._lock:
            for source in found:
                if source.trust != Trust():
                    self._trusts[source.name] = source.trust
        return found

    def registry(self, domain: str) -> Source:
        """The registry itself, without a repository. Raises as `sources`."""
        source = self.sources(domain, "")[-1]
        if source.name != address_of(domain):  # its repositories have moved, not its logins
            source = Source(address_of(domain), "")
        return source

    def describe(self) -> RegistrySettings:
        """All of it, for a person. Raises InvalidInput for broken files."""
        own = [domain for domain, said in self._own.items() if said.mirrors is not None]
        decided = dict.fromkeys([*own, *named_domains(self._certificate_directories)])
        mirrors: list[tuple[str, str]] = []
        for domain in dict.fromkeys([*decided, DOCKER_HUB]):
            name = "*" if domain == "_default" else domain
            with contextlib.suppress(Unavailable):  # it is blocked
                mirrors += [(name, _shown(each)) for each in self.sources(domain, "")[:-1]]
        insecure = [domain for domain, said in self._own.items() if said.insecure]
        for rule in self._registries_conf.rules:
            host = rule.prefix.partition("/")[0]
            if rule.prefix != DOCKER_HUB and not {host, "_default"} & decided.keys():
                mirrors += [(rule.prefix, mirror.location) for mirror in rule.mirrors]
            if rule.is_insecure:
                insecure.append(rule.location or rule.prefix)
        return RegistrySettings(tuple(mirrors), tuple(dict.fromkeys(insecure + self._insecure)))

    def _sources(self, domain: str, path: str, upstream: Source) -> tuple[Source, ...]:
        own = self._own.get(domain)
        if own and own.mirrors is not None:
            mirrors = [
                Source(host, f"{below}/{path}" if below else path, scheme=scheme, is_mirror=True)
                for scheme, host, below in own.mirrors
            ]
            return (*mirrors, upstream)
        found = find_hosts_toml(self._certificate_directories, domain, upstream)
        if found is None:
            found = self._registries_conf.find(domain, path)
            found = found and tuple(each._replace(name=address_of(each.name)) for each in found)
        if found is None and domain == DOCKER_HUB:
            found = (*(mirror._replace(path=path) for mirror in self._mirrors), upstream)
        return found or (upstream,)

    def is_insecure(self, name: str) -> bool:
        """True when the settings say so of `host[:port]`: then certificates are not checked."""
        own = self._own.get(name)
        if own and own.insecure is not None:
            return own.insecure
        if self._trusts.get(name, Trust()).unchecked or name in self._insecure:
            return True
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

    def has_certificates(self, name: str) -> bool:
        """True when the settings have some for `host[:port]`: it will speak TLS."""
        trust = self._trusts.get(name, Trust())
        return bool(trust.authorities or trust.clients) or any(
            os.path.isdir(f"{directory}/{name}") for directory in self._certificate_directories
        )

    def tls_context(self, name: str) -> ssl.SSLContext:
        """How to prove that a server is `host[:port]`. Raises InvalidInput for broken files."""
        with self._lock:
            context = self._contexts.get(name)
            if context is None:
                context = self._contexts[name] = self._make_context(name)
            return context

    def _make_context(self, name: str) -> ssl.SSLContext:
        if self.is_insecure(name):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context()  # loading the machine's authorities is 20 ms
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 sets it; authorities of private registries often lack what it asks for, and
        # docker and podman take them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        for directory in self._certificate_directories:
            place = f"{directory}/{name}"
            if os.path.isdir(place):
                _load_directory(context, place)
                break
        trust = self._trusts.get(name, Trust())
        for path in trust.authorities:
            _load_authority(context, path)
        for certificate, key in trust.clients:
            _load_client(context, certificate, key)
        return context


def _load_directory(context: ssl.SSLContext, place: str) -> None:
    names = sorted(os.listdir(place))
    for name in names:
        path = f"{place}/{name}"
        if name.endswith(".crt"):
            _load_authority(context, path)
        elif name.endswith(".cert"):
            key = name.removesuffix(".cert") + ".key"
            if key not in names:
                raise InvalidInput(f"{path}: its key is missing", f"add {place}/{key}")
            _load_client(context, path, f"{place}/{key}")
        elif name.endswith(".key") and name.removesuffix(".key") + ".cert" not in names:
            certificate = name.removesuffix(".key") + ".cert"
            raise InvalidInput(f"{path}: its certificate is missing", f"add {place}/{certificate}")


def _load_authority(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _broken(path, error) from error


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _broken(certificate, error) from error


def _broken(path: str, error: Exception) -> InvalidInput:
    reason = getattr(error, "reason", None) or error.args[-1]
    return InvalidInput(f"{path}: {reason}", "a PEM file is expected")


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _read_settings(path: str) -> dict[str, _Own]:
    """`[registry."host:port"]`, by host. Raises InvalidInput."""
    document = read_toml(path)
    found: dict[str, _Own] = {}
    for host, fields in Fields(document or {}, path).tables("registry"):
        insecure = fields.flag("insecure") if "insecure" in fields else None
        mirrors = None
        if "mirrors" in fields:
            where = f"{fields.where}: mirrors"
            mirrors = tuple(split_location(each, where) for each in fields.texts("mirrors"))
        found[host] = _Own(insecure, mirrors)
    return found


def _read_docker_daemon(path: str) -> tuple[list[str], list[Source]]:
    """docker's insecure-registries and registry-mirrors. What is wrong in docker's file is
    docker's to say."""
    try:
        with open(path, "rb") as file:
            document: Any = json.load(file)
        insecure = document.get("insecure-registries") or []
        urls = document.get("registry-mirrors") or []
        mirrors = []
        for url in urls:
            scheme, name, below = split_location(url, path)
            base = f"/{below}/v2" if below else "/v2"
            mirrors.append(Source(name, "", base, scheme, is_mirror=True))
        return [value for value in insecure if isinstance(value, str)], mirrors
    except (OSError, ValueError, AttributeError, TypeError, InvalidInput):
        return [], []
