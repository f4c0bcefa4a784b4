"""An image in a registry as the end of a copy: read from there, or written to there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from engine.engine import Cancel
from engine.errors import Corrupt, EngineError, Unavailable
from engine.model.progress import Phase
from engine.oci import config
from engine.oci.descriptor import CONFIGS, Descriptor
from engine.oci.reference import Reference
from engine.oci.tree import Tree
from engine.registry.client import Blob, Repository
from engine.registry.hosts import Hosts
from engine.registry.progress import Teller
from engine.registry.retry import Retry, Transient
from engine.registry.timeouts import Timeouts
from engine.registry.upload import MissingBlobs, Uploads
from engine.storage.file_bytes import ReadAt


class RemoteBytes:
    """A blob of a registry. Read forward it is one answer, taken up where it breaks off."""

    def __init__(
        self, repository: Repository, blob: Descriptor, timeouts: Timeouts, retry: Retry
    ) -> None:
        self._repository = repository
        self._blob = blob
        self._timeouts = timeouts
        self._retry = retry
        self._open: Blob | None = None
        self._position = 0
        self._fresh = 0  # bytes since the budget was last filled

    def read_at(self, offset: int, size: int) -> bytes:
        size = min(size, self._blob.size_bytes - offset)
        return self._retry.run(partial(self._read, offset, size)) if size > 0 else b""

    def _read(self, offset: int, size: int) -> bytes:
        try:
            if self._open is None or self._position != offset:
                self._begin_at(offset)
            assert self._open is not None
            data = self._open.response.read1(size)
            if not data:
                raise Transient(Unavailable("the answer ended too early"))
        except BaseException:
            self.close()
            raise
        self._position += len(data)
        self._fresh += len(data)
        if self._fresh >= self._timeouts.refill_bytes:
            self._fresh = 0
            self._retry.refill()
        return data

    def _begin_at(self, offset: int) -> None:
        self.close()
        self._open = self._repository.open_blob(self._blob, offset)
        skip = offset - self._open.offset  # it may begin further back
        while skip > 0:
            data = self._open.response.read1(min(skip, 256 << 10))
            if not data:
                raise Transient(Unavailable("the answer ended too early"))
            skip -= len(data)
        self._position = offset

    def close(self) -> None:
        if self._open is not None:
            self._open.response.close()
            self._open = None


class RegistrySource:
    """What a reference names in its registry."""

    def __init__(
        self,
        reference: Reference,
        hosts: Hosts,
        timeouts: Timeouts,
        cancel: Cancel,
        teller: Teller,
    ) -> None:
        self.reference = reference
        self._timeouts = timeouts
        self._cancel = cancel
        self._teller = teller
        self._repository = Repository(
            reference, hosts, timeouts, cancel, notice=partial(_notice, teller)
        )
        self._documents: dict[str, bytes] = {}

    def root(self) -> Descriptor:
        """Raises NotFound, Unavailable …"""
        get = partial(self._repository.get_manifest, self.reference.target)
        document = self._new_retry().run(get)
        self._documents[document.descriptor.digest] = document.data
        return document.descriptor

    def read(self, descriptor: Descriptor) -> bytes:
        digest = descriptor.digest
        if digest not in self._documents:
            if descriptor.media_type in CONFIGS:
                get = partial(self._repository.get_blob, descriptor, config.MAX_BYTES)
                self._documents[digest] = self._new_retry().run(get)
            else:
                fetch = partial(self._repository.get_manifest, digest)
                self._documents[digest] = self._new_retry().run(fetch).data
        data = self._documents[digest]
        if len(data) != descriptor.size_bytes:
            raise Corrupt(
                f"document {digest}: expected {descriptor.size_bytes} bytes, got {len(data)}",
                "the image is broken at its source: push it again",
            )
        return data

    def open(self, blob: Descriptor) -> RemoteBytes:
        return RemoteBytes(self._repository, blob, self._timeouts, self._new_retry())

    def close(self) -> None:
        self._repository.close()

    def _new_retry(self) -> Retry:
        return Retry(self._timeouts, self._cancel, partial(_tell_retry, self._teller))


class RegistryTarget:
    """A tag (or a digest) that gets an image. `neighbours` are repositories of the same registry
    that have its blobs."""

    def __init__(
        self,
        reference: Reference,
        hosts: Hosts,
        timeouts: Timeouts,
        cancel: Cancel,
        teller: Teller,
        *,
        neighbours: Sequence[str] = (),
    ) -> None:
        self._reference = reference
        self._timeouts = timeouts
        self._cancel = cancel
        self._teller = teller
        self._neighbours = [path for path in neighbours if path != reference.path]
        self._repository = Repository(
            reference, hosts, timeouts, cancel,
            actions="pull,push", readable=self._neighbours, notice=partial(_notice, teller),
        )  # fmt: skip
        self._uploads = Uploads(self._repository, timeouts)

    def prepare(self) -> None:
        """Nothing: a registry makes room when the first blob comes."""

    def put_blob(
        self,
        blob: Descriptor,
        open_source: Callable[[Descriptor], ReadAt],
        on_bytes: Callable[[int], None],
    ) -> Phase:
        """The repository has the blob, and how it came there."""
        if self._new_retry().run(partial(self._uploads.has_blob, blob.digest)):
            return "exists"
        source = open_source(blob)
        try:
            mounted = self._uploads.put_blob(
                blob, source, self._new_retry(), on_bytes, self._neighbours
            )
        finally:
            source.close()
        return "mounted" if mounted else "done"

    def put_tree(self, tree: Tree) -> None:
        """The tag names the tree's root, all of which is there."""
        for document, data in tree.documents:
            is_root = document.digest == tree.root.digest
            target = self._reference.target if is_root else document.digest
            if is_root and self._reference.digest:
                target = document.digest
            put = partial(self._uploads.put_manifest, target, document, data)
            try:
                self._new_retry().run(put)
            except MissingBlobs as missing:
                raise missing.error from missing

    def close(self) -> None:
        self._repository.close()

    def _new_retry(self) -> Retry:
        return Retry(self._timeouts, self._cancel, partial(_tell_retry, self._teller))


def _notice(teller: Teller, text: str) -> None:
    teller.tell("", "resolving", text=text)


def _tell_retry(teller: Teller, number: int, error: EngineError) -> None:
    teller.tell("", "retrying", text=f"{error.message} (retry {number})")
