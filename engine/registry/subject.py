"""A manifest that is about another one is found by that one: registries without the referrers API
keep an index of them under the tag `<algorithm>-<hex>`, which the client writes.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
"""

from __future__ import annotations

import json
from typing import Any

from engine.errors import InvalidInput
from engine.oci import json_strict, manifest
from engine.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor, parse_descriptor
from engine.oci.digest import Digest
from engine.registry.client import Repository

MAX_REFERRERS = 1000


def subject_of(document: Descriptor, data: bytes) -> Digest | None:
    """The manifest that this one is about; None for most."""
    if document.media_type not in (OCI_INDEX, OCI_MANIFEST) or b'"subject"' not in data:
        return None
    value = json_strict.parse_object(data, "manifest").get("subject")
    return parse_descriptor(value, "manifest: subject").digest if value is not None else None


def with_referrer(index: bytes | None, document: Descriptor, data: bytes) -> bytes | None:
    """The index under the subject's tag with `document` in it; None when it is in already. `index`
    is what is there now. Raises InvalidInput."""
    whole: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if index is not None:
        whole = json_strict.parse_object(index, "referrers")
    entries = json_strict.get_list(whole, "manifests", "referrers") or []
    if any(isinstance(each, dict) and each.get("digest") == document.digest for each in entries):
        return None
    if len(entries) >= MAX_REFERRERS:
        raise InvalidInput(f"referrers: {len(entries)} of one manifest", "delete some of them")
    content = json_strict.parse_object(data, "manifest")
    entry: dict[str, Any] = {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": document.size_bytes,
    }
    config = json_strict.get_object(content, "config", "manifest") or {}
    kind = content.get("artifactType") or config.get("mediaType")
    if kind:
        entry["artifactType"] = kind
    if content.get("annotations"):
        entry["annotations"] = content["annotations"]
    whole["manifests"] = [*entries, entry]
    return json.dumps(whole, separators=(",", ":")).encode()


def read_index(repository: Repository, tag: str) -> tuple[bytes | None, str]:
    """What is under the tag now, and its ETag ("" where there is none)."""
    headers = {"Accept": OCI_INDEX}
    with repository.request("GET", f"manifests/{tag}", headers) as response:
        if response.status == 404:
            return None, ""
        repository.check(response, (200,), "referrers", tag)
        return response.read(manifest.MAX_BYTES, "referrers"), response.headers.get("ETag", "")
