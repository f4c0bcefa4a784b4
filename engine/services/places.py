"""The ends of a copy: skopeo's names of places, and what stands behind each.

    docker://REF  oci:DIR[:TAG]  oci-archive:FILE[:TAG]  docker-archive:FILE[:REF]  dir:DIR
    store:NAME, or NAME alone: this store

containers-transports(5)
"""

from __future__ import annotations

import os

from engine.errors import InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci.reference import Reference, parse_reference

_WITH_NAME = ("oci", "oci-archive", "docker-archive")
_OTHERS = ("containers-storage", "docker-daemon", "sif", "ostree", "atomic", "tarball")


class Place(NamedTuple):
    """Where an image is or shall be."""

    transport: str  # docker, oci, oci-archive, docker-archive, dir, store
    path: str  # of a file or directory; "" for registries and the store
    name: str  # a reference, a tag, or nothing
    text: str  # as it was written

    @property
    def reference(self) -> Reference:
        return parse_reference(self.name)


def parse_place(text: str) -> Place:
    """Raises InvalidInput, Unsupported (a transport of other tools)."""
    transport, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        name = text.removeprefix("docker://")
        parse_reference(name)
        return Place("docker", "", name, text)
    if colon and transport == "docker":
        raise InvalidInput(f"place {text[:200]!r}: // is missing", f"docker://{rest[:200]}")
    if colon and transport in _WITH_NAME:
        path, _, name = rest.partition(":")
        return Place(transport, _checked(path, text), _checked_name(transport, name), text)
    if colon and transport == "dir":
        return Place("dir", _checked(rest, text), "", text)
    if colon and transport in _OTHERS:
        raise Unsupported(
            f"place {text[:200]!r}: transport {transport} is another tool's",
            "docker://, oci:, oci-archive:, docker-archive:, dir:, or a name in this store",
        )
    name = rest if colon and transport == "store" else text
    if not name:
        raise InvalidInput("place: it is empty", "docker://REF, oci:DIR, or a name in this store")
    return Place("store", "", name, text)


def _checked(path: str, text: str) -> str:
    if not path or "\0" in path:
        raise InvalidInput(f"place {text[:200]!r}: its path is missing", "write TRANSPORT:PATH")
    return os.path.abspath(path)


def _checked_name(transport: str, name: str) -> str:
    if transport == "docker-archive" and name:
        reference = parse_reference(name)
        if reference.digest:
            raise InvalidInput(f"place: {name}: archives know no digests", "name a tag")
        return reference.full
    return name
