"""Manifest lists on their way to a registry, and documents that are there."""

from engine.named_tuple import NamedTuple


class ManifestEntry(NamedTuple):
    """One image of a list: where it is, and what the list says of it."""

    reference: str  # full, as it was named: docker.io/library/debian:bookworm
    media_type: str
    digest: str
    size_bytes: int
    os: str
    architecture: str
    variant: str
    os_version: str
    os_features: tuple[str, ...]
    data: bytes  # of the manifest; empty where it was not asked for


class ManifestChange(NamedTuple):
    """What `annotate` says of an image; None leaves it."""

    os: str | None = None
    architecture: str | None = None
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None


class ManifestView(NamedTuple):
    """A document as a registry has it, or as it will have it."""

    reference: str  # full
    media_type: str
    data: bytes
    is_list: bool
    entries: tuple[ManifestEntry, ...]  # of a list, or the one image itself
