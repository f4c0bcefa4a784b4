"""Manifests and indexes of both families, OCI's and docker's.

https://github.com/opencontainers/image-spec/blob/main/manifest.md · image-index.md ·
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from typing import Any

from engine.errors import InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci import json_strict
from engine.oci.descriptor import (
    CONFIGS,
    LAYERS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    document_kind,
    parse_descriptor,
)

MAX_BYTES = 4 << 20
MAX_LAYERS = 500  # the kernel's limit of overlay lowers
MAX_CHILDREN = 1000


class Manifest(NamedTuple):
    """One image of one platform: a config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""


class Index(NamedTuple):
    """The same image for several platforms; a manifest each, or further indexes."""

    media_type: str
    manifests: tuple[Descriptor, ...]


def parse_manifest(data: bytes, media_type: str = "") -> Manifest | Index:
    """The document in `data`. `media_type` is what its sender called it: a Content-Type, or the
    mediaType of the descriptor that led here. Raises InvalidInput, Unsupported (schema 1)."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"manifest: larger than {MAX_BYTES >> 20} MiB")
    document = json_strict.parse_object(data, "manifest")
    kind = _kind(document, media_type.partition(";")[0].strip().lower())
    own_type = json_strict.get_text(document, "mediaType", "manifest")
    if kind == "index":
        return Index(own_type or OCI_INDEX, _parse_children(document))
    return Manifest(
        own_type or OCI_MANIFEST,
        parse_descriptor(document.get("config"), "manifest: config"),
        _parse_layers(document),
        json_strict.get_text(document, "artifactType", "manifest"),
    )


def _kind(document: dict[str, Any], sent_type: str) -> str:
    """ "index" or "manifest". All that speaks of it must agree: the sender, the document, its
    fields (CVE-2021-41190)."""
    version = document.get("schemaVersion")
    own_type = json_strict.get_text(document, "mediaType", "manifest")
    sent, own = document_kind(sent_type), document_kind(own_type)
    if "schema 1" in (sent, own) or (type(version) is int and version == 1):
        raise Unsupported(
            "manifest of schema 1: docker and containerd have removed it too",
            "build and push the image again with a current tool",
        )
    if type(version) is not int or version != 2:
        raise InvalidInput(f"manifest: schemaVersion: expected 2, got {str(version)[:40]!r}")
    if own_type and own is None:
        raise Unsupported(f"manifest: media type {own_type[:120]!r} is not an image's")
    if sent and own and sent_type != own_type:
        raise InvalidInput(f"manifest: sent as {sent_type}, calls itself {own_type}")
    is_index = document.get("manifests") is not None
    is_manifest = document.get("layers") is not None or document.get("config") is not None
    if is_index and is_manifest:
        raise InvalidInput("manifest: has manifests and layers: it would be two things at once")
    if not is_index and not is_manifest:
        raise InvalidInput("manifest: has neither manifests nor layers")
    shape = "index" if is_index else "manifest"
    for kind in (own, sent):
        if kind and kind != shape:
            raise InvalidInput(f"manifest: called an {kind}, has the fields of an {shape}")
    return shape


def _parse_children(document: dict[str, Any]) -> tuple[Descriptor, ...]:
    children = json_strict.get_list(document, "manifests", "index") or []
    if len(children) > MAX_CHILDREN:
        raise InvalidInput(f"index: {len(children)} manifests, the limit is {MAX_CHILDREN}")
    return tuple(
        parse_descriptor(child, f"index: manifest {n}") for n, child in enumerate(children, 1)
    )


def _parse_layers(document: dict[str, Any]) -> tuple[Descriptor, ...]:
    layers = json_strict.get_list(document, "layers", "manifest")
    if layers is None:
        raise InvalidInput("manifest: layers: expected a list, got null")
    if len(layers) > MAX_LAYERS:
        raise InvalidInput(f"manifest: {len(layers)} layers, the limit is {MAX_LAYERS}")
    return tuple(
        parse_descriptor(layer, f"manifest: layer {n}") for n, layer in enumerate(layers, 1)
    )


def check_runnable(manifest: Manifest) -> None:
    """Nothing, when `manifest` is an image that can be unpacked. Raises Unsupported for artifacts
    (charts, signatures …) and layers that cannot be read, InvalidInput without layers."""
    config_type = manifest.config.media_type
    if manifest.artifact_type or config_type not in CONFIGS:
        name = manifest.artifact_type or config_type
        raise Unsupported(
            f"{name[:120]!r} is an artifact, not a container image",
            "fetch it with the tool that made it",
        )
    if not manifest.layers:
        raise InvalidInput("manifest: no layers")
    for number, layer in enumerate(manifest.layers, 1):
        if layer.media_type not in LAYERS:
            encrypted = "+encrypted" in layer.media_type
            raise Unsupported(
                f"layer {number}: media type {layer.media_type[:120]!r}",
                "decrypt the image first" if encrypted else "",
            )
