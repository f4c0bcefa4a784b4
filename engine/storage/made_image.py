"""An image made here: a raw tar on top of layers that are in the store already, and its documents.

The layer goes the way of one that was pulled: it is unpacked by a worker, checked, indexed, synced,
and becomes visible with its image in one transaction.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.named_tuple import NamedTuple
from engine.oci.config import parse_config
from engine.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from engine.oci.digest import DiffID, Digest, ImageID, hasher, sha256_of
from engine.storage import gc
from engine.storage.content import disk_full
from engine.storage.image_store import NewImage
from engine.storage.leases import Lease
from engine.storage.trash import discard, remove_tree
from engine.storage.unpack import Unpacking

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.oci.reference import Reference
    from engine.storage.content import Content
    from engine.storage.metadata import Database
    from engine.storage.sink import OnBytes

EMPTY_LAYER = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""Of a tar of nothing: 1,024 NULs."""


class RawLayer(NamedTuple):
    """A tar as it is: its digest is its diff_id."""

    path: str
    digest: Digest
    size_bytes: int

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(OCI_LAYER, self.digest, self.size_bytes)


@contextlib.contextmanager
def staged(home: Home, database: Database) -> Iterator[str]:
    """A directory for what is on its way in; it goes with the block, or with the process."""
    with Lease(database, "commit") as lease:
        directory = f"{home.root}/staging/{lease.id}"
        os.mkdir(directory, 0o700)
        try:
            yield directory
        finally:
            if place := discard(home, directory):
                remove_tree(place)


def epoch_ns() -> int | None:
    """SOURCE_DATE_EPOCH, for images that come out the same each time:
    reproducible-builds.org/specs/source-date-epoch."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) * 10**9 if text.isascii() and text.isdecimal() else None


def write_raw(archive: IO[bytes], path: str, cancel: Cancel, on_bytes: OnBytes) -> RawLayer:
    """What is in `archive`, decompressed, is in the new file `path`. Raises InvalidInput, Corrupt,
    Unsupported (codec), Unavailable (disk full), Cancelled."""
    from engine.storage.spool import plain_chunks

    found, size = hasher("sha256"), 0
    with open(path, "xb") as file:
        for chunk in plain_chunks(archive, cancel, on_bytes):
            found.update(chunk)
            size += len(chunk)
            try:
                file.write(chunk)
            except OSError as error:
                raise disk_full(path, len(chunk), error) from error
    return RawLayer(path, Digest(f"sha256:{found.hexdigest()}"), size)


def publish(
    home: Home,
    database: Database,
    content: Content,
    base: Sequence[tuple[Descriptor, DiffID]],
    layer: RawLayer | None,
    document: Mapping[str, Any],
    reference: Reference | None,
    *,
    progress: OnProgress | None,
    cancel: Cancel,
) -> ImageID:
    """The image of the layers `base` (bottom first) and, over them, `layer` is in the store, under
    its name. `document` is its config without `rootfs`; `layer`'s file is the store's from then on.

    Raises InvalidInput, Corrupt (no tar), Unavailable, NotFound (a blob of `base`), Cancelled.
    """
    layers = list(base)
    if layer is not None:
        layers.append((layer.descriptor, DiffID(layer.digest)))
    diff_ids = [diff_id for _, diff_id in layers]
    config = _json({**document, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    known = parse_config(config)
    config_blob = Descriptor(OCI_CONFIG, sha256_of(config), len(config))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(config_blob),
            "layers": [_descriptor(each) for each, _ in layers],
        }
    )
    manifest_blob = Descriptor(OCI_MANIFEST, sha256_of(manifest), len(manifest))
    moved_in: list[Digest] = []
    try:
        with Unpacking(home, database, progress=progress, cancel=cancel) as unpacking:
            feeds = []
            for position in unpacking.missing(diff_ids):
                blob, diff_id = layers[position]
                if layer is not None and blob.digest == layer.digest:
                    descriptor = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
                else:
                    descriptor = content.open(blob.digest)
                try:
                    feeds.append(
                        unpacking.feed(
                            position,
                            blob.digest,
                            diff_id,
                            blob.size_bytes,
                            descriptor,
                            complete=True,
                        )
                    )
                finally:
                    os.close(descriptor)
            for feed in feeds:  # before the blobs move in: a bad layer leaves none
                feed.done.wait()
                if feed.failure is not None:
                    raise feed.failure
            moved_in = [config_blob.digest, manifest_blob.digest]
            if layer is not None:
                moved_in.append(layer.digest)
                content.adopt(layer.path, layer.digest)
            content.put(config)
            content.put(manifest)
            blobs = (manifest_blob, config_blob, *(each for each, _ in layers))
            unpacking.publish(
                NewImage(
                    id=ImageID(config_blob.digest),
                    manifest=manifest_blob.digest,
                    index_digest=None,
                    layers=tuple(
                        (each.digest, diff_id, each.size_bytes) for each, diff_id in layers
                    ),
                    blobs=tuple((each.digest, each.size_bytes, each.media_type) for each in blobs),
                    os=known.platform.os or "linux",
                    architecture=known.platform.architecture,
                    variant=known.platform.variant,
                    created_ns=known.created_ns,
                    reference=reference.full if reference else None,
                    origin=None,
                )
            )
    except BaseException:
        if moved_in:  # what failed so late leaves no blob behind either
            gc.sweep(home, database, moved_in)
        raise
    return ImageID(config_blob.digest)


def _descriptor(blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
