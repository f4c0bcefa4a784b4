"""Keeping and forgetting credentials, where docker, podman and pydock find them again.

A helper when docker's config.json names one for the registry, else that file itself, as base64:
https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from engine.errors import EngineError, Unavailable
from engine.named_tuple import NamedTuple
from engine.oci.reference import DOCKER_HUB
from engine.registry import credentials
from engine.registry.credentials import HUB_KEYS, TOKEN_USER, Credential
from engine.registry.helper import erase_from_helper, tell_helper
from engine.registry.timeouts import Timeouts


class Kept(NamedTuple):
    """Where a credential lies now."""

    place: str  # a file, or a helper
    is_encrypted: bool
    hidden_by: str  # a file that is asked before and knows the registry too


def own_file() -> str:
    """The file that a login changes: what the environment names, else docker's."""
    named = os.environ.get("PYDOCK_AUTH_FILE") or os.environ.get("REGISTRY_AUTH_FILE")
    return named or credentials.auth_files()[-1]


def keep(domain: str, credential: Credential, timeouts: Timeouts) -> Kept:
    """The credential is kept for `domain`, and nothing else in the file has changed. Raises
    Unavailable (a disk, a permission, a helper), InvalidInput (the file cannot be read)."""
    file = own_file()
    key = HUB_KEYS[0] if domain == DOCKER_HUB else domain
    with _locked(file) as directory:
        document = credentials.read(file) or {}
        helper = _helper_for(document, domain)
        entry: dict[str, str] = {}
        if helper:
            user, secret = credential.user, credential.password
            if credential.identity_token:
                user, secret = TOKEN_USER, credential.identity_token
            tell_helper(helper, key, user, secret, timeouts.helper_seconds)
        else:
            joined = f"{credential.user}:{credential.password.reveal()}".encode()
            entry["auth"] = base64.b64encode(joined).decode()
            if credential.identity_token:
                entry["identitytoken"] = credential.identity_token.reveal()
        auths = document.get("auths")
        auths = dict(auths) if isinstance(auths, dict) else {}
        for old in _keys_of(auths, domain):
            del auths[old]
        auths[key] = entry  # an empty one beside a helper, as docker has it
        _write(file, document | {"auths": auths}, directory)
    first = next(iter(_who_know(domain, timeouts)), file)
    place = f"docker-credential-{helper}" if helper else file
    return Kept(place, bool(helper), "" if first == file else first)


def forget(domain: str, timeouts: Timeouts) -> tuple[bool, list[str]]:
    """True when something was kept for `domain`, and it is no more; and the files that still know
    it, which are not ours to change. Raises as `keep`."""
    file = own_file()
    was_kept = False
    with _locked(file) as directory:
        document = credentials.read(file) or {}
        helper = _helper_for(document, domain)
        if helper:
            for key in HUB_KEYS if domain == DOCKER_HUB else (domain,):
                was_kept |= erase_from_helper(helper, key, timeouts.helper_seconds)
        auths = document.get("auths")
        auths = dict(auths) if isinstance(auths, dict) else {}
        old = _keys_of(auths, domain)
        if old:
            was_kept |= any(auths[key] for key in old)
            document["auths"] = {key: auths[key] for key in auths if key not in old}
            _write(file, document, directory)
    return was_kept, _who_know(domain, timeouts)


def _who_know(domain: str, timeouts: Timeouts) -> list[str]:
    """The files that have a credential for `domain`, the one that wins first."""
    found = []
    for file in credentials.auth_files():
        with contextlib.suppress(EngineError):  # a broken one is for who needs it
            if credentials.find_credential(domain, "", timeouts, (file,)):
                found.append(file)
    return found


def _helper_for(document: dict[str, Any], domain: str) -> str:
    """The name of the helper that keeps it; "" for the file."""
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for host in HUB_KEYS if domain == DOCKER_HUB else (domain,):
            if isinstance(helpers.get(host), str) and helpers[host]:
                return str(helpers[host])
    store = document.get("credsStore")
    return store if isinstance(store, str) else ""


def _keys_of(auths: dict[str, Any], domain: str) -> list[str]:
    """Every way in which `domain` is written there."""
    hosts = HUB_KEYS if domain == DOCKER_HUB else (domain,)
    return [key for key in auths if key in hosts or credentials.host_of(key) in hosts]


@contextlib.contextmanager
def _locked(file: str) -> Iterator[int]:
    """A descriptor of the file's directory, which is made: one login at a time changes it."""
    directory = os.path.dirname(os.path.realpath(file))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_write(file, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(file: str, document: dict[str, Any], directory: int) -> None:
    """A new file in place of the old one, readable by its owner alone; a link stays a link."""
    path = os.path.realpath(file)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".config.json.", dir=os.path.dirname(path))
        with open(descriptor, "w", encoding="utf-8") as stream:
            with contextlib.suppress(OSError):  # under sudo it stays the person's own file
                old = os.stat(path)
                os.fchown(stream.fileno(), old.st_uid, old.st_gid)
            json.dump(document, stream, indent="\t", ensure_ascii=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
        os.fsync(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _cannot_write(file, error) from error
        raise


def _cannot_write(file: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"credentials not saved: {file}: {(error.strerror or str(error)).lower()}",
        "make it writable, or name another file in PYDOCK_AUTH_FILE",
    )
