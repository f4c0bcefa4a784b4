"""Layers from the registry into the store: a few at a time, each followed by its unpacker."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from engine.engine import Cancel
from engine.errors import (
    Cancelled,
    Corrupt,
    EngineError,
    NotFound,
    Unavailable,
    Unsupported,
)
from engine.named_tuple import NamedTuple
from engine.oci.descriptor import Descriptor
from engine.oci.digest import DiffID
from engine.registry.client import Repository
from engine.registry.progress import Teller, short
from engine.registry.retry import Retry, Transient
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content, Ingest
from engine.storage.unpack import Feed, Unpacking

_READ_BYTES = 256 << 10


class Job(NamedTuple):
    """One layer to bring in."""

    position: int  # in the image, bottom first
    blob: Descriptor
    diff_id: DiffID

    @property
    def name(self) -> str:
        return short(self.blob.digest)


class Downloads:
    """The downloads of one pull, largest first."""

    def __init__(
        self,
        repository: Repository,
        content: Content,
        unpacking: Unpacking,
        teller: Teller,
        timeouts: Timeouts,
        stop: Cancel,
    ) -> None:
        self._repository = repository
        self._content = content
        self._unpacking = unpacking
        self._teller = teller
        self._timeouts = timeouts
        self._stop = stop  # cancelled when one fails: the others are not needed then
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._failure: BaseException | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        """Every blob is here and fed to its unpacker. Raises what the first failing one raised."""
        self._waiting = sorted(jobs, key=lambda job: job.blob.size_bytes)
        threads = [
            threading.Thread(target=self._work, name=f"download-{number}")
            for number in range(min(self._timeouts.downloads, len(jobs)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:  # an interrupt from the keyboard
            self._stop.cancel()
            for thread in threads:
                thread.join()
            raise
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._failure is not None or not self._waiting:
                    return
                job = self._waiting.pop()
            try:
                self._bring_in(job)
            except BaseException as failure:
                with self._lock:
                    # What fails after the first failure fails because of it.
                    self._failure = self._failure or failure
                self._stop.cancel()

    def _bring_in(self, job: Job) -> None:
        """Wrong bytes get one full second try."""
        try:
            self._download(job)
        except Corrupt:
            self._teller.tell(job.name, "retrying", text="digest mismatch")
            try:
                self._download(job)
            except Corrupt as error:
                raise Corrupt(
                    f"layer {job.blob.digest}: the registry sent wrong bytes twice: "
                    f"{error.message}",
                    "pull again later, or without the proxy; then push the image again",
                ) from error

    def _download(self, job: Job) -> None:
        size = job.blob.size_bytes
        ingest = self._content.ingest(
            job.blob.digest,
            size,
            cancel=self._stop,
            on_wait=lambda current: self._teller.tell(job.name, "waiting", current, size),
        )
        if ingest is None:
            descriptor = self._content.open(job.blob.digest)
            try:
                self._feed(job, descriptor, complete=True)
            finally:
                os.close(descriptor)
            return
        with ingest:
            feed = self._feed(job, ingest.descriptor, complete=False)
            try:
                self._receive(job, ingest, feed)
                self._teller.tell(job.name, "verifying", size, size)
                ingest.commit()
            except BaseException:
                feed.abort()
                raise
            feed.complete()

    def _feed(self, job: Job, descriptor: int, *, complete: bool) -> Feed:
        return self._unpacking.feed(
            job.position,
            job.blob.digest,
            job.diff_id,
            job.blob.size_bytes,
            descriptor,
            complete=complete,
        )

    def _receive(self, job: Job, ingest: Ingest, feed: Feed) -> None:
        """The whole blob, over as many connections as it takes."""

        def tell(number: int, error: EngineError) -> None:
            text = f"{error.message} (retry {number})"
            self._teller.tell(job.name, "retrying", ingest.offset, job.blob.size_bytes, text)

        retry = Retry(self._timeouts, self._stop, tell)

        def receive() -> None:
            try:
                self._receive_once(job, ingest, feed, retry)
            except Transient as failure:
                place = f"layer {job.name}, at {ingest.offset} of {job.blob.size_bytes} bytes"
                error = Unavailable(
                    f"{place}: {failure.error.message}",
                    failure.error.hint or "pull again: it goes on from there",
                )
                raise Transient(error, failure.after_seconds) from failure

        try:
            retry.run(receive)
        except NotFound as error:
            if job.blob.is_distributable:
                raise
            raise Unsupported(
                f"layer {job.blob.digest}: foreign: its maker keeps it on a server of his own",
                "pull an image whose layers are all in the registry",
            ) from error

    def _receive_once(self, job: Job, ingest: Ingest, feed: Feed, retry: Retry) -> None:
        size, start = job.blob.size_bytes, ingest.offset
        self._teller.tell(job.name, "downloading", start, size)
        feed.advance(start)
        if start == size:
            return
        with self._repository.open_blob(job.blob, start) as blob:
            skip = start - blob.offset  # it began further back than we asked
            while data := blob.response.read1(_READ_BYTES):
                fresh = memoryview(data)[min(skip, len(data)) :]
                skip -= len(data) - len(fresh)
                try:
                    ingest.write(fresh)
                except (Corrupt, Unavailable):  # too long, or the disk is full: give it back
                    ingest.restart()
                    raise
                feed.advance(ingest.offset)
                self._teller.tell(job.name, "downloading", ingest.offset, size)
                if ingest.offset - start >= self._timeouts.refill_bytes:
                    retry.refill()
                    start = ingest.offset
        if self._stop.cancelled:
            raise Cancelled("cancelled")
        if ingest.offset < size:
            raise Transient(Unavailable("the answer ended too early"))
