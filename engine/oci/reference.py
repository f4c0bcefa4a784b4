"""What a person types for an image: `[domain/]path[:tag][@digest]`.

https://github.com/distribution/reference — with docker's rules for what is left out.
"""

import re
from typing import NoReturn

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple
from engine.oci.digest import Digest, parse_digest

DOCKER_HUB = "docker.io"
MAX_PATH = 255

# Explicit classes: \w and \d would let other scripts in. Always fullmatch: $ admits a newline.
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::([0-9]{{1,5}}))?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_SCHEME = r"(?:https?|docker|oci)://"
_ID = r"[0-9a-f]{64}"


class Reference(NamedTuple):
    """A name that is complete: it has a tag or a digest. The digest wins where both are given."""

    domain: str  # "docker.io", "localhost:5000"; `h` and `h:443` are two registries
    path: str  # "library/debian"
    tag: str | None
    digest: Digest | None

    @property
    def full(self) -> str:
        """`docker.io/library/debian:bookworm`, or `…@sha256:…`: the key in the store."""
        return f"{self.domain}/{self.path}{self._suffix}"

    @property
    def familiar(self) -> str:
        """`debian:bookworm`: as docker shows it."""
        return f"{self.familiar_name}{self._suffix}"

    @property
    def familiar_name(self) -> str:
        """`debian`: without tag and digest."""
        if self.domain != DOCKER_HUB:
            return f"{self.domain}/{self.path}"
        short = self.path.removeprefix("library/")
        if "/" not in short:
            return short
        first = self.path.partition("/")[0]  # docker.io/h.io/x must not become h.io/x
        return f"{self.domain}/{self.path}" if _looks_like_domain(first) else self.path

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    @property
    def _suffix(self) -> str:
        return f"@{self.digest}" if self.digest else f":{self.tag}"


def parse_reference(text: str) -> Reference:
    """`text` as docker reads it. Raises InvalidInput, Unsupported (digest algorithm)."""
    if not text:
        raise InvalidInput("reference is empty", "name an image, for example debian:bookworm")
    if scheme := re.match(_SCHEME, text):
        raise InvalidInput(
            f"reference {_shown(text)}: a URL is not a reference", f"drop {scheme.group()}"
        )
    if re.fullmatch(_ID, text):
        raise InvalidInput(
            f"reference {_shown(text)}: 64 hex digits are an image id, not a name",
            "name a repository",
        )
    name, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    domain, path, path_column = _split_domain(name, text)
    path, colon, tag_text = path.partition(":")
    _check_path(path, path_column, text)
    if colon and not re.fullmatch(TAG, tag_text):
        column = path_column + len(path) + 1
        _refuse(text, column, "a tag is 1 to 128 letters, digits, '_', '.' and '-'")
    if domain == f"index.{DOCKER_HUB}":
        domain = DOCKER_HUB
    if domain == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if len(path) > MAX_PATH:
        raise InvalidInput(f"reference {_shown(text)}: path longer than {MAX_PATH} characters")
    tag = tag_text if colon else None
    if tag is None and digest is None:
        tag = "latest"
    return Reference(domain, path, tag, digest)


def familiar(full: str) -> str:
    """A full name's familiar form, for names that were parsed before they were stored."""
    if not full.startswith(f"{DOCKER_HUB}/"):
        return full
    short = full.removeprefix(f"{DOCKER_HUB}/library/")
    return short if "/" not in short else parse_reference(full).familiar


def _split_domain(name: str, text: str) -> tuple[str, str, int]:
    """Domain, the rest, and the rest's offset: the first element is a domain if it looks so."""
    first, slash, rest = name.partition("/")
    if not slash or not _looks_like_domain(first):
        return DOCKER_HUB, name, 0
    match = re.fullmatch(_DOMAIN, first)
    if not match or (match.group(1) and int(match.group(1)) > 65535):
        _refuse(text, 0, f"{_shown(first)} is not a registry's host[:port]")
    return first, rest, len(first) + 1


def _looks_like_domain(first: str) -> bool:
    return first == "localhost" or any(c in ".:" or c.isupper() for c in first)


def _check_path(path: str, column: int, text: str) -> None:
    for component in path.split("/"):
        if not component:
            _refuse(text, column, "empty name")
        if not re.fullmatch(_COMPONENT, component):
            if component.lower() != component:
                _refuse(text, column, f"repository name {_shown(component)} must be lower case")
            _refuse(
                text,
                column,
                f"{_shown(component)}: a name is a-z and 0-9, joined by '.', '_', '__' or '-'",
            )
        column += len(component) + 1


def _refuse(text: str, column: int, reason: str) -> NoReturn:
    raise InvalidInput(
        f"reference {_shown(text)}, column {column + 1}: {reason}",
        "write [registry/]repository[:tag][@digest], for example debian:bookworm",
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
