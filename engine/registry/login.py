"""Login: a credential that the registry has accepted is kept. Logout: it is forgotten."""

from __future__ import annotations

import contextlib

from engine.engine import Cancel
from engine.errors import EngineError, InvalidInput, Unavailable
from engine.model.registry import LoggedIn, LoggedOut
from engine.oci.reference import DOCKER_HUB, parse_reference
from engine.registry import keyring
from engine.registry.credentials import HUB_KEYS, Credential, find_credential
from engine.registry.hosts import Hosts
from engine.registry.refusal import raise_if_transient
from engine.registry.retry import Retry
from engine.registry.secret import Secret
from engine.registry.server import Server
from engine.registry.timeouts import Timeouts
from engine.registry.transport import Transport

MAX_SECRET = 16 << 10  # cloud keys are JSON documents of two or three thousand characters


def domain_of(server: str) -> str:
    """The registry that `server` ("", a host, or a URL as docker takes it) names. Raises
    InvalidInput."""
    name = server.partition("://")[2] if "://" in server else server
    name = name.partition("/")[0]
    if not server or name in HUB_KEYS:
        return DOCKER_HUB
    try:
        domain = parse_reference(f"{name}/x").domain
    except EngineError:
        domain = ""
    if not name or domain != name:
        shown = server.rpartition("@")[2]  # what stands before it may be a password
        raise InvalidInput(
            f"registry {shown!r}: not a host[:port]",
            "name it as in references, for example registry.example:5000",
        )
    return domain


def user_of(server: str, timeouts: Timeouts | None = None) -> str | None:
    """Who one is to the registry now: "" for a token without a name, None for nobody."""
    credential = find_credential(domain_of(server), "", timeouts or Timeouts())
    return credential.user if credential else None


def log_in(
    server: str,
    user: str,
    password: str,
    *,
    cancel: Cancel | None = None,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> LoggedIn:
    """The registry accepts the credential, and it is kept. Without user and password, what is
    kept already is tried, and stays as it is.

    A token server may give an identity token: that is kept in place of the password. Raises
    InvalidInput when it is refused; what else a request raises.
    """
    domain = domain_of(server)
    timeouts, cancel = timeouts or Timeouts(), cancel or Cancel()
    if not user and not password:
        kept = find_credential(domain, "", timeouts)
        if kept is None:
            raise InvalidInput(f"not logged in to {domain}", "give a user name and a password")
        _ask(domain, kept, hosts or Hosts(), timeouts, cancel, offline=False)
        return LoggedIn(domain, kept.user, "", True, "")
    credential = Credential(user, Secret(password))
    _check(credential)
    identity_token = _ask(domain, credential, hosts or Hosts(), timeouts, cancel, offline=True)
    if identity_token:
        credential = Credential(user, identity_token=identity_token)
    return LoggedIn(domain, user, *keyring.keep(domain, credential, timeouts))


def log_out(server: str, timeouts: Timeouts | None = None) -> LoggedOut:
    """What docker's file, or the helper that it names, has kept for the registry is forgotten."""
    domain = domain_of(server)
    was_kept, remains = keyring.forget(domain, timeouts or Timeouts())
    return LoggedOut(domain, was_kept, tuple(remains))


def _check(credential: Credential) -> None:
    user, password = credential.user, credential.password.reveal()
    if not user or not password:
        raise InvalidInput("user name and password are required, one is empty")
    if ":" in user or not user.isprintable():
        raise InvalidInput("user name: ':' and control characters have no place in one")
    if max(len(user), len(password)) > MAX_SECRET:
        raise InvalidInput(f"user name or password longer than {MAX_SECRET} characters")


def _ask(
    domain: str,
    credential: Credential,
    hosts: Hosts,
    timeouts: Timeouts,
    cancel: Cancel,
    *,
    offline: bool,
) -> Secret:
    """The identity token that came with the registry's yes, if one did."""
    with contextlib.closing(Transport(hosts, timeouts, cancel)) as transport:
        source = hosts.registry(domain)
        server = Server(source, transport, hosts, domain, lambda: credential, (), offline=offline)
        Retry(timeouts, cancel).run(lambda: _verify(server, domain, timeouts))
        return server.authorizer.identity_token


def _verify(server: Server, domain: str, timeouts: Timeouts) -> None:
    with server.request("GET", "", {}) as response:
        status = response.status
        raise_if_transient(response, response.read(timeouts.error_bytes, "error"), domain)
        media_type = str(response.headers.get("Content-Type", ""))
        is_registry = "Docker-Distribution-Api-Version" in response.headers
    if status in (401, 403):
        raise server.authorizer.refusal()
    if status != 200 or ("html" in media_type and not is_registry):
        said = "it answers with a web page" if status == 200 else f"/v2/ answers {status}"
        raise Unavailable(f"{domain} is not a registry: {said}", "check the registry's name")
