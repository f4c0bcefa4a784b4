"""Push: from a name in the store to a tag in its repository. The recipe, top to bottom.

    what the name stands for → its tree → layers that lie here raw are compressed → each blob: there
    already, mounted from a neighbour, or sent → manifests, children first → the tag

A tag changes when all that it leads to is there. What was pulled goes back byte for byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

from engine.engine import Cancel, OnProgress
from engine.errors import EngineError, InvalidInput, NotFound
from engine.home import Home
from engine.model.image import Pushed
from engine.model.progress import Phase
from engine.named_tuple import NamedTuple
from engine.oci.descriptor import LAYERS, Descriptor
from engine.oci.digest import Digest
from engine.oci.platform import Platform, compatible_with
from engine.oci.reference import Reference
from engine.oci.tree import Tree, walk
from engine.registry.client import Repository
from engine.registry.hosts import Hosts, address_of
from engine.registry.progress import Teller, short
from engine.registry.retry import Retry
from engine.registry.threads import run_all
from engine.registry.timeouts import Timeouts
from engine.registry.upload import MissingBlobs, Uploads
from engine.storage.content import Content
from engine.storage.deflate import Codec, check_level
from engine.storage.file_bytes import FileBytes
from engine.storage.image_store import ImageRow, ImageStore
from engine.storage.metadata import Database
from engine.storage.origin_store import OriginStore
from engine.storage.repack import Repacking

CODECS: dict[str, Codec | None] = {"gzip": "gzip", "zstd": "zstd", "none": None}
MAX_READABLE = 4  # other repositories that a token is asked for


class Packing(NamedTuple):
    """What becomes of layers that are here raw. Those that a registry gave us raw go back so,
    unless the person asked for a codec."""

    codec: Codec | None = "gzip"  # None: they stay raw
    level: int | None = None
    asked: bool = False


def parse_packing(compression: str | None, level: int | None) -> Packing:
    """What `--compression` and `--compression-level` ask for. Raises InvalidInput."""
    if compression is None:
        check_level("gzip", level)
        return Packing(level=level)
    if compression not in CODECS:
        raise InvalidInput(
            f"compression {compression[:40]!r}: unknown", f"one of {', '.join(CODECS)}"
        )
    check_level(compression, level)
    return Packing(CODECS[compression], level, asked=True)


def push(
    reference: Reference,
    *,
    home: Home,
    database: Database,
    content: Content,
    images: ImageStore,
    platform: Platform | None = None,
    packing: Packing | None = None,
    progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> Pushed:
    """What `reference` names in the registry now: the image that it names here.

    Of an image for several platforms all go, when all of it is here; else the one that is, or that
    `platform` asks for. Raises NotFound (image, platform, repository; not logged in), Unavailable,
    Corrupt, Conflict (an immutable tag), InvalidInput, Unsupported, Cancelled within 200 ms.
    """
    stop = Cancel()  # ends on the caller's, and when a blob fails: the others are not needed then
    if cancel is not None:
        cancel.on_cancel(stop.cancel)
    packing = packing or Packing()
    with Repacking(
        home, database, content, packing.codec or "gzip", packing.level, stop
    ) as repacking:
        work = _Push(
            reference, content, images, OriginStore(database), repacking, packing,
            Teller(progress), stop, timeouts or Timeouts(), hosts or Hosts(),
        )  # fmt: skip
        return work.run(platform)


class _Push:
    """One push's parts, shared by its threads."""

    def __init__(
        self,
        reference: Reference,
        content: Content,
        images: ImageStore,
        origins: OriginStore,
        repacking: Repacking,
        packing: Packing,
        teller: Teller,
        stop: Cancel,
        timeouts: Timeouts,
        hosts: Hosts,
    ) -> None:
        self._reference = reference
        self._content = content
        self._images = images
        self._origins = origins
        self._repacking = repacking
        self._packing = packing
        self._teller = teller
        self._stop = stop
        self._timeouts = timeouts
        self._hosts = hosts
        self._trusting = True  # what the registry says that it has

    def run(self, platform: Platform | None) -> Pushed:
        row, tree = self._hold(platform)
        self._row = row
        for blob in tree.blobs:
            self._tell(blob, "queued")
        address = address_of(self._reference.domain)
        if self._hosts.is_insecure(address):
            text = f"warning: {address} is named insecure: nothing proves who answers"
            self._teller.tell("", "resolving", text=text)
        neighbours = {
            blob.digest: self._origins.neighbours(
                blob.digest, self._reference.domain, self._reference.path
            )
            for blob in tree.blobs
        }
        readable = list(dict.fromkeys(path for each in neighbours.values() for path in each[:1]))
        with contextlib.ExitStack() as opened:
            uploads = self._open(opened, readable[:MAX_READABLE])
            try:  # a token server may refuse all for one repository that we may not read
                self._new_retry("").run(lambda: uploads.has_blob(tree.blobs[0].digest))
            except (NotFound, InvalidInput):
                if not readable:
                    raise
                uploads, neighbours = self._open(opened, ()), {each: [] for each in neighbours}
            pushed = self._send(uploads, tree, neighbours)
        self._repacking.publish(row, tree, pushed, self._images)
        there = (*pushed.blobs, *(document for document, _ in pushed.documents))
        self._origins.record(
            [each.digest for each in there if each.is_distributable],
            self._reference.domain,
            self._reference.path,
        )
        root = pushed.root
        self._teller.tell("", "done", text=f"pushed {self._reference.familiar}")
        return Pushed(self._reference.familiar, root.digest, root.size_bytes)

    def _open(self, opened: contextlib.ExitStack, readable: Sequence[str]) -> Uploads:
        repository = Repository(
            self._reference,
            self._hosts,
            self._timeouts,
            self._stop,
            actions="pull,push",
            readable=readable,
            notice=lambda text: self._teller.tell("", "resolving", text=text),
        )
        opened.callback(repository.close)
        return Uploads(repository, self._timeouts)

    # What is pushed.

    def _hold(self, platform: Platform | None) -> tuple[ImageRow, Tree]:
        """The image and its tree, of which nothing is collected from now on. Another push may just
        put other blobs in their place: then it is looked at again."""
        while True:
            row = self._find()
            try:
                tree = self._choose(row, platform)
                self._repacking.hold(tree)
            except NotFound:
                if self._find() == row:
                    raise
            else:
                if self._find() == row:
                    return row, tree

    def _find(self) -> ImageRow:
        if self._reference.digest:
            raise InvalidInput("cannot push a digest reference", "name a tag")
        row = self._images.find(self._reference.full)
        if row is not None:
            return row
        name = self._reference.familiar_name
        if self._images.tags_of(self._reference):
            raise NotFound(f"tag does not exist: {self._reference.familiar}", "pydock images")
        raise NotFound(
            f"an image does not exist locally with the tag: {name}",
            f"pydock tag IMAGE {self._reference.familiar} gives one that name",
        )

    def _choose(self, row: ImageRow, platform: Platform | None) -> Tree:
        """The tree of the index where all of it is here, else of this host's manifest."""
        own = Platform(row.os, row.architecture, row.variant)
        if platform is not None and own not in compatible_with(platform):
            raise NotFound(
                f"image {self._reference.familiar}: no {platform} of it is here, only {own}",
                f"pydock pull --platform {platform} {self._reference.familiar}",
            )
        single = walk(self._descriptor(row.manifest), self._read)
        if row.index_digest is None or platform is not None:
            return single
        try:
            whole = walk(self._descriptor(row.index_digest), self._read)
        except NotFound:
            whole = None
        if whole is None or any(self._is_missing(blob) for blob in whole.blobs):
            self._teller.tell(
                "",
                "resolving",
                text=f"warning: not all of the multi-platform image is here: only {own} is pushed, "
                f"as {single.root.digest}",
            )
            return single
        return whole

    def _descriptor(self, digest: Digest) -> Descriptor:
        return Descriptor("", digest, len(self._content.read(digest)))

    def _read(self, descriptor: Descriptor) -> bytes:
        return self._content.read(descriptor.digest)

    def _is_missing(self, blob: Descriptor) -> bool:
        return blob.is_distributable and self._content.find(blob.digest) is None

    # On its way.

    def _send(self, uploads: Uploads, tree: Tree, neighbours: dict[Digest, list[str]]) -> Tree:
        """What the registry has now: `tree`, or the same over compressed layers."""
        blobs = [blob for blob in tree.blobs if blob.is_distributable]
        for blob in blobs[self._timeouts.uploads :]:
            self._tell(blob, "waiting")

        def send(blob: Descriptor) -> None:
            self._send_blob(uploads, blob, neighbours[blob.digest])

        while True:
            run_all(blobs, send, self._timeouts.uploads, "push", self._stop)
            pushed = self._repacking.rewrite(tree)
            try:
                for document, data in pushed.documents:
                    is_root = document.digest == pushed.root.digest
                    target = self._reference.target if is_root else document.digest
                    put = partial(uploads.put_manifest, target, document, data)
                    self._new_retry("").run(put)
            except MissingBlobs as missing:
                if not self._trusting:
                    raise missing.error from missing
                self._trusting = False  # it has lost what it said that it had: send everything
            else:
                return pushed

    def _send_blob(self, uploads: Uploads, blob: Descriptor, neighbours: Sequence[str]) -> None:
        wanted = self._packed(blob)
        if not self._trusting:
            neighbours = ()
        elif self._is_there(uploads, blob, wanted):
            return
        if wanted is blob and self._content.find(blob.digest) is None:
            if mounted := uploads.mount_blob(blob, self._new_retry(self._name(blob)), neighbours):
                self._tell(blob, "mounted", blob.size_bytes, 0, mounted)
                return
            wanted, neighbours = self._repacking.held(self._row, self._images, blob), ()
            if self._trusting and self._is_there(uploads, blob, wanted):
                return
        with contextlib.closing(FileBytes(self._repacking.open(wanted))) as source:
            mounted = uploads.put_blob(
                wanted,
                source,
                self._new_retry(self._name(blob)),
                lambda sent: self._tell(blob, "uploading", sent, wanted.size_bytes),
                neighbours,
            )
        phase: Phase = "mounted" if mounted else "done"
        self._tell(blob, phase, wanted.size_bytes, wanted.size_bytes, mounted)

    def _is_there(self, uploads: Uploads, blob: Descriptor, wanted: Descriptor) -> bool:
        retry = self._new_retry(self._name(blob))
        if not retry.run(partial(uploads.has_blob, wanted.digest)):
            return False
        self._tell(blob, "exists", wanted.size_bytes, wanted.size_bytes)
        return True

    def _packed(self, blob: Descriptor) -> Descriptor:
        """What is sent in place of `blob`: itself, or its compressed form."""
        if self._packing.codec is None or not self._repacking.is_raw(blob):
            return blob
        if not self._packing.asked and self._origins.find(blob.digest):
            return blob
        size = blob.size_bytes
        return self._repacking.pack(blob, lambda raw: self._tell(blob, "compressing", raw, size))

    def _name(self, blob: Descriptor) -> str:
        """What its line on the screen is called; configs have none."""
        return short(blob.digest) if blob.media_type in LAYERS else ""

    def _tell(
        self, blob: Descriptor, phase: Phase, current: int = 0, total: int = 0, text: str = ""
    ) -> None:
        if name := self._name(blob):
            self._teller.tell(name, phase, current, total or blob.size_bytes, text)

    def _new_retry(self, name: str) -> Retry:
        def tell(number: int, error: EngineError) -> None:
            self._teller.tell(name, "retrying", text=f"{error.message} (retry {number})")

        return Retry(self._timeouts, self._stop, tell)
