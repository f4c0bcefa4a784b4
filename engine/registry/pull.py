"""Pull: from a reference to an image whose layers are unpacked. The recipe, top to bottom.

Nothing is visible before `Unpacking.publish`; what a cancelled or killed pull leaves behind is
partial downloads, which the next one takes up.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from engine.engine import Cancel, OnProgress
from engine.errors import Corrupt, EngineError, NotFound, Unavailable
from engine.home import Home
from engine.oci import config
from engine.oci.descriptor import CONFIGS, Descriptor
from engine.oci.digest import Digest, ImageID
from engine.oci.platform import Platform
from engine.oci.reference import Reference
from engine.oci.selection import Selection, select
from engine.registry.client import Repository
from engine.registry.hosts import Hosts, address_of
from engine.registry.progress import Teller, short
from engine.registry.retry import Retry
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content
from engine.storage.image_store import ImageStore, NewImage
from engine.storage.metadata import Database

if TYPE_CHECKING:
    from engine.registry.download import Job

T = TypeVar("T")

_SPARE = 0.05  # of the free space, which a pull leaves


def pull(
    reference: Reference,
    wanted: Platform | None = None,
    *,
    home: Home,
    database: Database,
    content: Content,
    images: ImageStore,
    progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> ImageID:
    """The image that `reference` names now, unpacked and recorded under that name.

    `wanted` is what `--platform` asks for; this host's best when None. Costs one HEAD when nothing
    is new. Raises every kind of error but none that holds a secret; Cancelled within 200 ms.
    """
    work = _Pull(
        reference,
        home,
        database,
        content,
        images,
        Teller(progress),
        cancel or Cancel(),
        timeouts or Timeouts(),
        hosts or Hosts(),
    )
    with contextlib.closing(work.repository):
        try:
            return work.run(wanted)
        except OSError as error:  # of this machine: no descriptor is left, a disk breaks
            raise _explained(reference, error) from error


def _explained(reference: Reference, error: OSError) -> Unavailable:
    place = f"{error.filename}: " if error.filename else ""
    reason = (error.strerror or str(error)).lower()
    limits = error.errno in (errno.EMFILE, errno.ENFILE)
    return Unavailable(
        f"pull of {reference.familiar}: {place}{reason}",
        "allow more open files: ulimit -n" if limits else "the kernel's log may say more: dmesg",
    )


class _Pull:
    """One pull's parts, shared by its threads."""

    def __init__(
        self,
        reference: Reference,
        home: Home,
        database: Database,
        content: Content,
        images: ImageStore,
        teller: Teller,
        cancel: Cancel,
        timeouts: Timeouts,
        hosts: Hosts,
    ) -> None:
        self._reference = reference
        self._home = home
        self._database = database
        self._content = content
        self._images = images
        self._teller = teller
        self._timeouts = timeouts
        self._hosts = hosts
        # Ends on the caller's cancel, and when a layer fails: the others are not needed then.
        self._stop = Cancel()
        cancel.on_cancel(self._stop.cancel)
        self.repository = Repository(
            reference,
            hosts,
            timeouts,
            self._stop,
            notice=lambda text: teller.tell("", "resolving", text=text),
        )
        self._documents: dict[Digest, bytes] = {}

    def run(self, wanted: Platform | None) -> ImageID:
        address = address_of(self._reference.domain)
        places = ", then ".join(self.repository.places)
        self._teller.tell("", "resolving", text=f"{self._reference.familiar} from {places}")
        if self._hosts.is_insecure(address):
            text = f"warning: {address} is named insecure: nothing proves who answers"
            self._teller.tell("", "resolving", text=text)
        root = self._resolve()
        try:
            selection = select(root, self._read, wanted)
        except NotFound:
            if self._reference.digest or root.digest in self._documents:
                raise
            root = self._get_root()  # the tag has moved since, and what it named is gone
            selection = select(root, self._read, wanted)
        self._teller.tell("", "resolving", text=f"platform {selection.config.platform}")
        if selection.warning:
            self._teller.tell("", "resolving", text=f"warning: {selection.warning}")
        if self._is_here(root, selection):
            for layer in selection.manifest.layers:
                self._teller.tell(short(layer.digest), "cached", layer.size_bytes, layer.size_bytes)
            self._teller.tell(
                "", "done", text=f"image is up to date for {self._reference.familiar}"
            )
            return selection.image_id
        self._bring_in(selection)
        self._teller.tell("", "done", text=f"downloaded newer image for {self._reference.familiar}")
        return selection.image_id

    # What the reference names.

    def _resolve(self) -> Descriptor:
        """The document at the top: by HEAD, or by GET where that tells too little."""
        target = self._reference.target
        digest = self._reference.digest
        if digest and (size := self._content.find(digest)) is not None:
            return Descriptor("", digest, size)  # a digest names the same thing for ever
        retry = self._new_retry("")
        found = retry.run(lambda: self.repository.head_manifest(target))
        if found is None or (digest and found.digest != digest):
            found = self._get_root(retry)
        return found

    def _get_root(self, retry: Retry | None = None) -> Descriptor:
        """The same by GET, which brings the document too."""
        target = self._reference.target
        document = self._twice(lambda: self.repository.get_manifest(target), retry)
        self._documents[document.descriptor.digest] = document.data
        return document.descriptor

    def _read(self, descriptor: Descriptor) -> bytes:
        """A document by its digest: from the store, else from the registry."""
        digest = descriptor.digest
        if digest in self._documents:
            data = self._documents[digest]
        elif self._content.find(digest) is not None:
            data = self._content.read(digest)
        elif descriptor.media_type in CONFIGS:
            data = self._twice(lambda: self.repository.get_blob(descriptor, config.MAX_BYTES))
        else:
            data = self._twice(lambda: self.repository.get_manifest(digest).data)
        if len(data) != descriptor.size_bytes:
            raise Corrupt(
                f"document {digest}: expected {descriptor.size_bytes} bytes, got {len(data)}",
                "the image is broken at its source: push it again",
            )
        self._documents[digest] = data
        return data

    def _twice(self, call: Callable[[], T], retry: Retry | None = None) -> T:
        """Wrong bytes get one full second try."""
        retry = retry or self._new_retry("")
        try:
            return retry.run(call)
        except Corrupt:
            return retry.run(call)

    def _new_retry(self, name: str) -> Retry:
        def tell(number: int, error: EngineError) -> None:
            self._teller.tell(name, "retrying", text=f"{error.message} (retry {number})")

        return Retry(self._timeouts, self._stop, tell)

    def _is_here(self, root: Descriptor, selection: Selection) -> bool:
        """True when the name stands for this already."""
        name = self._reference.full
        if self._images.target(name) != root.digest:
            return False
        known = self._images.find(name)
        return known is not None and known.id == selection.image_id

    # Its layers.

    def _bring_in(self, selection: Selection) -> None:
        # Here: a pull that finds nothing new is a tenth faster without them.
        from engine.registry.download import Downloads, Job
        from engine.storage.unpack import Unpacking

        layers, diff_ids = selection.manifest.layers, selection.config.diff_ids
        with Unpacking(
            self._home, self._database, progress=self._teller.pass_on, cancel=self._stop
        ) as unpacking:
            missing = unpacking.missing(diff_ids)
            for position, layer in enumerate(layers):
                name, size = short(layer.digest), layer.size_bytes
                if position in missing:
                    self._teller.tell(name, "queued", 0, size)
                else:
                    self._teller.tell(name, "cached", size, size)
            jobs = [Job(position, layers[position], diff_ids[position]) for position in missing]
            self._check_space(jobs)
            Downloads(
                self.repository, self._content, unpacking, self._teller, self._timeouts, self._stop
            ).run(jobs)
            unpacking.publish(self._new_image(selection))

    def _check_space(self, jobs: list[Job]) -> None:
        blobs = {job.blob.digest: job.blob.size_bytes for job in jobs}
        needed = sum(size for digest, size in blobs.items() if self._content.find(digest) is None)
        status = os.statvfs(self._home.root)
        free = int(status.f_bavail * status.f_frsize * (1 - _SPARE))
        if needed > free:
            raise Unavailable(
                f"disk full: the layers of {self._reference.familiar} need {needed} bytes, "
                f"{self._home.root} has {free}",
                "free some space: pydock rmi removes images",
            )

    def _new_image(self, selection: Selection) -> NewImage:
        """What publish records: the documents as files of their own, in the registry's bytes."""
        config_descriptor = selection.manifest.config
        documents = (*selection.indexes, selection.descriptor, config_descriptor)
        for document in documents:
            self._keep(document)
        layers = selection.manifest.layers
        # A layer that is unpacked may have come in another blob: then its own is not here.
        blobs = [each for each in layers if os.path.exists(self._home.blob_path(each.digest))]
        platform = selection.config.platform
        return NewImage(
            id=selection.image_id,
            manifest=selection.descriptor.digest,
            index_digest=selection.index_digest,
            layers=tuple(
                (layer.digest, diff_id, layer.size_bytes)
                for layer, diff_id in zip(layers, selection.config.diff_ids, strict=True)
            ),
            blobs=tuple(
                (each.digest, each.size_bytes, each.media_type) for each in (*documents, *blobs)
            ),
            os=platform.os or "linux",
            architecture=platform.architecture,
            variant=platform.variant,
            created_ns=selection.config.created_ns,
            reference=self._reference.full,
            origin=(self._reference.domain, self._reference.path),
        )

    def _keep(self, document: Descriptor) -> None:
        data = self._documents[document.digest]
        ingest = self._content.ingest(document.digest, len(data), cancel=self._stop)
        if ingest is not None:
            with ingest:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
