"""Who we are to a registry: what docker, podman and their helpers have stored.

docker's config.json: https://docs.docker.com/reference/cli/docker/login/ · containers-auth.json(5)
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import Any

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple
from engine.oci.reference import DOCKER_HUB
from engine.registry.helper import ask_helper
from engine.registry.secret import Secret
from engine.registry.timeouts import Timeouts

# How Docker Hub has been called in these files over the years.
HUB_KEYS = (
    "https://index.docker.io/v1/",
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
)
TOKEN_USER = "<token>"  # a helper's way to say that its secret is an identity token


class Credential(NamedTuple):
    """A user with a password, or a token that stands for both."""

    user: str = ""
    password: Secret = Secret("")
    identity_token: Secret = Secret("")  # exchanged for access tokens
    registry_token: Secret = Secret("")  # is the access token


def auth_files() -> tuple[str, ...]:
    """Where credentials may lie, the first one that knows the registry wins."""
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    docker = os.environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    files = [
        os.environ.get("PYDOCK_AUTH_FILE") or os.environ.get("REGISTRY_AUTH_FILE") or "",
        f"{runtime}/containers/auth.json",
        f"{config}/containers/auth.json",
        f"{docker}/config.json",
    ]
    return tuple(file for file in files if file)


def find_credential(
    domain: str, path: str, timeouts: Timeouts, files: tuple[str, ...] | None = None
) -> Credential | None:
    """The credential for a repository, None to be anonymous. Raises InvalidInput for a file that
    cannot be read, Unavailable for a helper that fails."""
    for file in auth_files() if files is None else files:
        document = read(file)
        if document is not None:
            found = _find_in(document, file, domain, path, timeouts)
            if found:
                return found
    return None


def read(file: str) -> dict[str, Any] | None:
    """The file's object; None when it does not exist. Raises InvalidInput."""
    try:
        with open(file, "rb") as stream:
            document = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        # The text of a JSON error quotes nothing from the file.
        raise InvalidInput(f"{file}: {error}", "repair it, or log in again") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{file}: expected an object", "repair it, or log in again")
    return document


def _find_in(
    document: dict[str, Any], file: str, domain: str, path: str, timeouts: Timeouts
) -> Credential | None:
    """docker's order within a file: a helper for this host, stored ones, the helper for all."""
    hosts = HUB_KEYS if domain == DOCKER_HUB else (domain,)
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for host in hosts:
            name = helpers.get(host)
            if isinstance(name, str):
                return _from_helper(name, host, timeouts)
    auths = document.get("auths")
    if isinstance(auths, dict):
        for key, entry in _matching(auths, hosts, path):
            found = _from_entry(entry, f"{file}: {key}")
            if found:
                return found
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        for host in hosts:
            found = _from_helper(store, host, timeouts)
            if found:
                return found
    return None


def _matching(auths: dict[str, Any], hosts: tuple[str, ...], path: str) -> list[tuple[str, Any]]:
    """Entries for the repository, the longest key first; old keys carry a scheme and /v1/."""
    parts = path.split("/")
    names = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    wanted = [f"{host}/{name}" for name in names for host in hosts] + list(hosts)
    by_name: dict[str, tuple[str, Any]] = {}
    for key, entry in auths.items():
        by_name.setdefault(host_of(key), (key, entry))
        by_name.setdefault(key, (key, entry))
    return [by_name[name] for name in wanted if name in by_name]


def host_of(key: str) -> str:
    """`host[:port][/namespace]` of a key, without the scheme and version that old ones carry."""
    name = key.partition("://")[2] if "://" in key else key
    for ending in ("/", "/v1", "/v2"):
        name = name.removesuffix(ending)
    return name


def _from_entry(entry: Any, where: str) -> Credential | None:
    if not isinstance(entry, dict):
        return None

    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    if encoded := text("auth"):
        try:
            decoded = base64.b64decode(encoded, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidInput(f"{where}: auth is not base64", "log in again") from None
        user, _, password = decoded.partition(":")
    credential = Credential(
        user, Secret(password), Secret(text("identitytoken")), Secret(text("registrytoken"))
    )
    return credential if user or any(credential[1:]) else None


def _from_helper(name: str, host: str, timeouts: Timeouts) -> Credential | None:
    answer = ask_helper(name, host, timeouts.helper_seconds)
    if answer is None:
        return None
    user, secret = answer
    if user == TOKEN_USER:
        return Credential(identity_token=Secret(secret))
    return Credential(user, Secret(secret))
