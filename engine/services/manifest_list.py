"""A manifest list or index written from its entries: the same entries, the same bytes.

https://distribution.github.io/distribution/spec/manifest-v2-2/#manifest-list ·
https://github.com/opencontainers/image-spec/blob/main/image-index.md
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from engine.model.manifest import ManifestEntry
from engine.oci.descriptor import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST

# What Go runs on, and so what docker takes.
_ARCHITECTURES = {
    "aix": "ppc64",
    "android": "386 amd64 arm arm64",
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm arm64",
    "js": "wasm",
    "linux": "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x",
    "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm arm64",
    "plan9": "386 amd64",
    "solaris": "amd64",
    "wasip1": "wasm",
    "windows": "386 amd64 arm arm64",
}


def is_platform(os: str, architecture: str) -> bool:
    """Whether there is such a pair."""
    return architecture in _ARCHITECTURES.get(os, "").split()


def build_list(entries: Sequence[ManifestEntry]) -> tuple[str, bytes]:
    """Media type and bytes. It is OCI's when the first manifest is, as docker has it."""
    is_oci = bool(entries) and entries[0].media_type == OCI_MANIFEST
    media_type = OCI_INDEX if is_oci else DOCKER_INDEX
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [descriptor_json(entry) for entry in entries],
    }
    return media_type, json.dumps(document, indent=3).encode()


def descriptor_json(entry: ManifestEntry) -> dict[str, Any]:
    """The entry's descriptor, keys in docker's order."""
    platform: dict[str, Any] = {"architecture": entry.architecture, "os": entry.os}
    for key, value in (
        ("os.version", entry.os_version),
        ("os.features", list(entry.os_features)),
        ("variant", entry.variant),
    ):
        if value:
            platform[key] = value
    return {
        "mediaType": entry.media_type,
        "size": entry.size_bytes,
        "digest": entry.digest,
        "platform": platform,
    }


def replace_entry(
    entries: Iterable[ManifestEntry], new: ManifestEntry
) -> tuple[ManifestEntry, ...]:
    """`entries` with `new` in the place of the one with the same reference, else at the end."""
    result = [new if each.reference == new.reference else each for each in entries]
    return tuple(result if new in result else [*result, new])
