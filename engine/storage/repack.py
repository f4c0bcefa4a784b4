"""An image whose layers lie here raw gets compressed ones: what a push sends, it keeps.

Layers that import and commit make are raw tars, and so are those of an archive of docker's. Their
compressed form is made in staging; nothing of it is the image's before `publish`, and then the
image's manifest names it, so that the next push sends the same bytes.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.errors import NotFound, Unsupported
from engine.oci.descriptor import DOCKER_LAYER, OCI_LAYER, Descriptor
from engine.oci.digest import Digest, sha256_of
from engine.oci.manifest import parse_manifest
from engine.oci.tree import Tree
from engine.storage import gc
from engine.storage.compression import suffix_of
from engine.storage.content import disk_full
from engine.storage.deflate import Codec, deflate
from engine.storage.leases import Lease
from engine.storage.trash import discard, remove_tree

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.content import Content
    from engine.storage.image_store import ImageRow, ImageStore
    from engine.storage.metadata import Database


class Repacking:
    """A context: its compressed layers are in `ROOT/staging` until `publish`, or gone."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        codec: Codec,
        level: int | None,
        cancel: Cancel,
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._codec: Codec = codec
        self._level = level
        self._cancel = cancel
        self._lease = Lease(database, "push")
        self._directory = f"{home.root}/staging/{self._lease.id}"
        self._lock = threading.Lock()
        self._new: dict[Digest, Descriptor] = {}  # what stands for a layer, by its blob's digest
        self._replaced: frozenset[str] = frozenset()  # what the image is not made of any more
        self._made: dict[Digest, str] = {}  # files of those that were made here

    def __enter__(self) -> Repacking:
        return self

    def __exit__(self, *_: object) -> None:
        place = discard(self._home, self._directory)
        self._lease.release()
        if place:
            remove_tree(place)
        if self._replaced:
            gc.sweep(self._home, self._database, self._replaced)

    def hold(self, tree: Tree) -> None:
        """Nobody collects what is in the tree, whatever happens to the image meanwhile."""
        for descriptor in (*(document for document, _ in tree.documents), *tree.blobs):
            self._lease.add("blob", descriptor.digest)

    def is_raw(self, blob: Descriptor) -> bool:
        """Whether it is a layer that is here and not compressed."""
        if blob.media_type not in (OCI_LAYER, DOCKER_LAYER) or self._content.find(blob.digest) is (
            None
        ):
            return False
        descriptor = self._content.open(blob.digest)
        try:
            return suffix_of(os.pread(descriptor, 4, 0)) == ""
        finally:
            os.close(descriptor)

    def pack(self, blob: Descriptor, on_bytes: Callable[[int], None]) -> Descriptor:
        """The raw layer `blob` compressed. `on_bytes` hears how much of it is. Raises Unavailable
        (disk full), Unsupported, Cancelled."""
        with self._lock:
            if blob.digest in self._new:
                return self._new[blob.digest]
        if blob.media_type == DOCKER_LAYER and self._codec != "gzip":
            raise Unsupported(
                f"layer {blob.digest[:19]}: docker's format knows no {self._codec}",
                "use --compression gzip",
            )
        source = self._content.open(blob.digest)
        path = f"{self._directory}/{blob.digest.partition(':')[2]}"
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                found = deflate(
                    source, target, blob.size_bytes, self._codec, self._level,
                    cancel=self._cancel, on_bytes=on_bytes,
                )  # fmt: skip
                os.fsync(target)
            finally:
                os.close(target)
        except OSError as error:
            raise disk_full(path, blob.size_bytes, error) from error
        finally:
            os.close(source)
        packed = blob._replace(
            media_type=_layer_type(blob, self._codec),
            digest=found.digest,
            size_bytes=found.size_bytes,
        )
        with self._lock:
            self._new[blob.digest] = packed
            self._made[packed.digest] = path
        return packed

    def held(self, row: ImageRow, images: ImageStore, blob: Descriptor) -> Descriptor:
        """What is here of a layer that came in another compression before: its blob then, which
        stands for `blob` from now on. Raises NotFound."""
        document = parse_manifest(self._content.read(row.manifest))
        places = [layer.digest for layer in getattr(document, "layers", ())]
        if blob.digest in places:
            _, _, other, _ = images.layers_of(row)[places.index(blob.digest)]
            size = self._content.find(other)
            if size is not None:
                self._lease.add("blob", other)
                descriptor = self._content.open(other)
                try:
                    suffix = suffix_of(os.pread(descriptor, 4, 0))
                finally:
                    os.close(descriptor)
                found = blob._replace(
                    media_type=_layer_type(blob, suffix[1:]), digest=other, size_bytes=size
                )
                with self._lock:
                    self._new[blob.digest] = found
                return found
        raise NotFound(
            f"layer {blob.digest}: its blob is not in the store",
            "pydock fsck --repair may fetch it; else remove the image and pull it again",
        )

    def open(self, blob: Descriptor) -> int:
        """A descriptor of a blob that `pack` made, or that is in the store. Raises NotFound."""
        path = self._made.get(blob.digest)
        if path is None:
            return self._content.open(blob.digest)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def rewrite(self, tree: Tree) -> Tree:
        """The same tree over the compressed layers; `tree` itself when there are none."""
        if not self._new:
            return tree
        new: dict[str, Descriptor] = {str(raw): packed for raw, packed in self._new.items()}
        documents: list[tuple[Descriptor, bytes]] = []
        for descriptor, data in tree.documents:
            document: dict[str, Any] = json.loads(data)
            children = [*document.get("layers", ()), *document.get("manifests", ())]
            changed = [child for child in children if child["digest"] in new]
            for child in changed:
                packed = new[child["digest"]]
                child |= {
                    "mediaType": packed.media_type,
                    "digest": packed.digest,
                    "size": packed.size_bytes,
                }
            if changed:
                data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
                new[descriptor.digest] = descriptor._replace(
                    digest=sha256_of(data), size_bytes=len(data)
                )
                descriptor = new[descriptor.digest]
            documents.append((descriptor, data))
        blobs = tuple(new.get(blob.digest, blob) for blob in tree.blobs)
        return Tree(tuple(documents), blobs)

    def publish(self, row: ImageRow, old: Tree, new: Tree, images: ImageStore) -> None:
        """The image is made of `new`'s blobs in place of `old`'s, on the disk, if it is still
        there. Nothing when they are the same. An index that is not part of `old` named other
        bytes: the image goes without it then."""
        if old is new:
            return
        for digest, path in self._made.items():
            self._lease.add("blob", digest)
            self._content.adopt(path, digest)
        replaced = {raw: packed.digest for raw, packed in self._new.items()}
        for (before, _), (after, data) in zip(old.documents, new.documents, strict=True):
            if before.digest != after.digest:
                self._lease.add("blob", after.digest)
                self._content.put(data)
                replaced[before.digest] = after.digest
        directory = os.open(f"{self._home.root}/blobs/sha256", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.environ.get("PYDOCK_SYNC") != "off":
                os.fsync(directory)
        finally:
            os.close(directory)
        if row.index_digest and row.index_digest not in (each.digest for each, _ in old.documents):
            replaced[row.index_digest] = new.root.digest
        fresh = set(replaced.values())
        blobs = (*new.blobs, *(document for document, _ in new.documents))
        images.replace_blobs(row.id, replaced, [blob for blob in blobs if blob.digest in fresh])
        self._replaced = frozenset(replaced)


def _layer_type(blob: Descriptor, codec: str) -> str:
    """The media type of the same layer in `codec` ("" is none)."""
    if blob.media_type.startswith(DOCKER_LAYER):
        return f"{DOCKER_LAYER}.{codec}".rstrip(".")
    return f"{OCI_LAYER}+{codec}".rstrip("+")
