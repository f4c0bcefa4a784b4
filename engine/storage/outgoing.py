"""Images on their way out of the store: which blobs each one is made of, and their bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.errors import Corrupt, NotFound
from engine.oci import manifest
from engine.oci.descriptor import OCI_LAYER, OCI_MANIFEST, Descriptor
from engine.oci.digest import Digest, sha256_of
from engine.oci.manifest import Manifest
from engine.oci.platform import Platform
from engine.storage.archive_writer import ArchivedImage
from engine.storage.compression import suffix_of
from engine.storage.leases import Lease

if TYPE_CHECKING:
    from engine.oci.reference import Reference
    from engine.storage.content import Content
    from engine.storage.image_store import ImageRow, ImageStore
    from engine.storage.metadata import Database

_CHUNK_BYTES = 1 << 20


class Outgoing:
    """A context: what `add` was given stays in the store while it lasts."""

    def __init__(self, database: Database, content: Content, store: ImageStore) -> None:
        self._content = content
        self._store = store
        self._lease = Lease(database, "save")
        self._made: dict[Digest, bytes] = {}
        self.images: list[ArchivedImage] = []

    def __enter__(self) -> Outgoing:
        return self

    def __exit__(self, *_: object) -> None:
        self._lease.release()

    def add(self, row: ImageRow, names: Sequence[Reference]) -> ArchivedImage:
        """The image with its documents and layers, in `images` too; each blob's file is there.

        A layer that the store has in another compression than the manifest says leaves as it is
        here, under a manifest made for that; the image's id is the same. Raises NotFound (a blob
        is missing), Corrupt.
        """
        data = self._content.read(row.manifest)
        document = manifest.parse_manifest(data)
        if not isinstance(document, Manifest):
            raise Corrupt(f"image {row.id[:19]}: its manifest is an index", "pydock fsck")
        held = [self._held(row, layer, at) for at, layer in enumerate(document.layers)]
        descriptor = Descriptor(document.media_type, row.manifest, len(data))
        if held != list(document.layers):
            document = document._replace(media_type=OCI_MANIFEST, layers=tuple(held))
            descriptor = self._write_manifest(document)
        self._lease.add("blob", row.manifest)
        self._lease.add("blob", document.config.digest)
        own = Platform(row.os, row.architecture, row.variant)
        image = ArchivedImage(descriptor._replace(platform=own), document, tuple(names))
        self.images.append(image)
        return image

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        """The bytes of one of its blobs. Raises NotFound."""
        if blob.digest in self._made:
            yield self._made[blob.digest]
            return
        with os.fdopen(self._content.open(blob.digest), "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _held(self, row: ImageRow, layer: Descriptor, position: int) -> Descriptor:
        """The layer as its blob is here; nobody sweeps it from now on."""
        self._lease.add("blob", layer.digest)
        if self._content.has_file(layer.digest, layer.size_bytes):
            return layer
        _, diff_id, blob, _ = self._store.layers_of(row)[position]
        self._lease.add("blob", blob)
        size = self._content.find(blob)
        if size is None:
            raise NotFound(
                f"image {row.id[:19]}: layer {diff_id[:19]}: its blob is not in the store",
                "pull the image again",
            )
        descriptor = self._content.open(blob)
        try:
            return Descriptor(OCI_LAYER + suffix_of(os.pread(descriptor, 4, 0)), blob, size)
        finally:
            os.close(descriptor)

    def _write_manifest(self, document: Manifest) -> Descriptor:
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _json(document.config),
                "layers": [_json(layer) for layer in document.layers],
            }
        ).encode()
        digest = sha256_of(data)
        self._made[digest] = data
        return Descriptor(OCI_MANIFEST, digest, len(data))


def _json(blob: Descriptor) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}
