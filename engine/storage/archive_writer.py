"""Save: images in one tar that is an OCI layout and a docker-archive at once, as docker writes
since version 25.

    oci-layout, index.json, manifest.json, repositories → manifests, configs, layers, each once

Both formats name the same blobs, which are checked on their way out: nothing that is not what its
digest says leaves. The same images give the same bytes. The documents come first, so that who reads
a stream knows early what is in it.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.errors import Corrupt
from engine.named_tuple import NamedTuple
from engine.oci.descriptor import OCI_INDEX, Descriptor
from engine.oci.digest import Digest, hasher
from engine.storage.sink import OnBytes, Sink
from engine.storage.tar_read import DIRECTORY
from engine.storage.tar_write import END, header, padding

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.oci.manifest import Manifest
    from engine.oci.reference import Reference

CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"

ReadBlob = Callable[[Descriptor], Iterable[bytes]]
"""The bytes of a manifest, a config or a layer, in chunks."""


class ArchivedImage(NamedTuple):
    """An image as it stands in an archive: its manifest, read, and all names that lead to it."""

    descriptor: Descriptor  # of the manifest; its platform goes into index.json
    manifest: Manifest
    names: tuple[Reference, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return (self.descriptor, self.manifest.config, *self.manifest.layers)


def write_archive(
    output: IO[bytes],
    images: Sequence[ArchivedImage],
    read: ReadBlob,
    *,
    cancel: Cancel,
    on_bytes: OnBytes | None = None,
) -> None:
    """All of `images` are in `output`, a file or a pipe, which is flushed. Names by digest are left
    out: no format has a place for them.

    Raises Corrupt (a blob is not what its digest says), Unavailable (disk full), BrokenPipeError,
    Cancelled, and what `read` raises.
    """
    blobs = {blob.digest: blob for image in images for blob in image.blobs}
    documents = _documents(images)
    total = sum(len(data) for _, data in documents)
    total += sum(blob.size_bytes for blob in blobs.values())
    out = Sink(output, cancel, on_bytes, total)
    algorithms = sorted({digest.partition(":")[0] for digest in blobs})
    for name in ("blobs", *(f"blobs/{each}" for each in algorithms)):
        out.write(header(f"{name}/".encode(), DIRECTORY, mode=0o755))
    for name, data in documents:
        out.write(header(name.encode(), size=len(data)) + data + padding(len(data)))
    for blob in blobs.values():
        out.write(header(blob_path(blob.digest).encode(), size=blob.size_bytes))
        for chunk in verified(blob, read(blob)):
            out.write(chunk)
        out.write(padding(blob.size_bytes))
    out.write(END)
    out.flush()


def blob_path(digest: Digest) -> str:
    """Where a blob lies in a layout."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def verified(blob: Descriptor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, while they are what the descriptor says. Raises Corrupt, at the latest instead
    of the end."""
    algorithm = blob.digest.partition(":")[0]
    found, size = hasher(algorithm), 0
    for chunk in chunks:
        found.update(chunk)
        size += len(chunk)
        if size > blob.size_bytes:
            break
        yield chunk
    if size != blob.size_bytes or f"{algorithm}:{found.hexdigest()}" != blob.digest:
        problem = "it is damaged" if size == blob.size_bytes else f"{size} bytes were read"
        raise Corrupt(
            f"blob {blob.digest}: expected {blob.size_bytes} bytes of that digest, {problem}",
            "pydock fsck --repair, or pull the image again",
        )


def _documents(images: Sequence[ArchivedImage]) -> list[tuple[str, bytes]]:
    repositories: dict[str, dict[str, str]] = {}
    entries: list[dict[str, Any]] = []
    listing: list[dict[str, Any]] = []
    for image in images:
        layers = [blob_path(layer.digest) for layer in image.manifest.layers]
        names = [name for name in image.names if name.tag and not name.digest]
        entries += [_entry(image.descriptor, name) for name in names] or [
            _entry(image.descriptor, None)
        ]
        listing.append(
            {
                "Config": blob_path(image.manifest.config.digest),
                "RepoTags": [name.familiar for name in names] or None,
                "Layers": layers,
            }
        )
        for name in names:
            top = image.manifest.layers[-1].digest.partition(":")[2]
            repositories.setdefault(name.familiar_name, {})[name.tag or ""] = top
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        ("index.json", _json(index)),
        ("manifest.json", _json(listing)),
        ("repositories", _json(repositories)),
    ]


def _entry(manifest: Descriptor, name: Reference | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size_bytes,
    }
    if name is not None:
        entry["annotations"] = {CONTAINERD_NAME: name.full, REF_NAME: name.tag}
    if manifest.platform is not None:
        known = manifest.platform
        entry["platform"] = {"architecture": known.architecture, "os": known.os}
        if known.variant:
            entry["platform"]["variant"] = known.variant
    return entry


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
