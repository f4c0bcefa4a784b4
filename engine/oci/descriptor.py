"""Descriptors and media types: what a blob claims to be.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md · media-types.md
"""

from typing import Any, Literal

from engine.errors import InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci import json_strict, platform
from engine.oci.digest import Digest, parse_digest
from engine.oci.platform import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
# The suffix is a hint: who unpacks looks at the first bytes.
LAYERS = frozenset(
    base + suffix
    for base, suffixes in (
        (OCI_LAYER, ("", "+gzip", "+zstd")),
        (DOCKER_LAYER, ("", ".gzip", ".zstd")),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", ("", "+gzip", "+zstd")),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", ("", ".gzip")),
    )
    for suffix in suffixes
)


class Descriptor(NamedTuple):
    """A blob by its digest, with what the document above says of it."""

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""

    @property
    def is_distributable(self) -> bool:
        """False for layers that only their maker may hand out: they are never pushed."""
        return ".nondistributable." not in self.media_type and ".foreign." not in self.media_type

    @property
    def is_attestation(self) -> bool:
        """True for what lies beside the images of an index and is never one itself."""
        if self.artifact_type:
            return True
        if any(key == "vnd.docker.reference.type" for key, _ in self.annotations):
            return True
        return self.platform is not None and self.platform[:2] == ("unknown", "unknown")


def parse_descriptor(value: Any, what: str) -> Descriptor:
    """The descriptor in `value`; `what` names it in errors. Raises InvalidInput, Unsupported."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{what}: expected a descriptor")
    digest = json_strict.get_text(value, "digest", what)
    size_bytes = json_strict.get_size(value, "size", what)
    try:
        checked = parse_digest(digest)
    except (InvalidInput, Unsupported) as error:
        raise type(error)(f"{what}: {error.message}", error.hint) from error
    return Descriptor(
        json_strict.get_text(value, "mediaType", what),
        checked,
        size_bytes,
        _parse_platform(json_strict.get_object(value, "platform", what), f"{what}: platform"),
        json_strict.get_pairs(value, "annotations", what),
        json_strict.get_text(value, "artifactType", what),
    )


def _parse_platform(value: dict[str, Any] | None, what: str) -> Platform | None:
    if value is None:
        return None
    parsed = platform.normalise(
        json_strict.get_text(value, "os", what),
        json_strict.get_text(value, "architecture", what),
        json_strict.get_text(value, "variant", what),
    )
    return parsed._replace(features=json_strict.get_texts(value, "os.features", what))


def document_kind(media_type: str) -> Literal["index", "manifest", "schema 1"] | None:
    """What a document of this type is; None when the type does not say."""
    if media_type in INDEXES:
        return "index"
    if media_type in MANIFESTS:
        return "manifest"
    if media_type in SCHEMA_1:
        return "schema 1"
    return None
