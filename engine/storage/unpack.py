"""One image on its way in: layers unpacked while they download, then made visible all at once.

    feed → worker process per layer (staging/<lease>/<n>/{diff,layer.pdl})
    publish → fix-ups in chain order → syncfs → renames → fsync of directories → one transaction

Layers are unpacked independently of each other (2.7 s instead of 3.9 for an image of 1.5 GB), and
one is shared by every image that has its diff_id, unless it leans on the layers below it. Until the
transaction there is nothing that a reader could see; whatever is left when the context is left
without `publish`, or when the process dies, lies in staging/ and goes to the trash.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import Cancelled, Conflict, InvalidInput, Unavailable
from engine.model.progress import Phase, Progress
from engine.named_tuple import NamedTuple
from engine.oci.digest import ChainID, DiffID, Digest, chain_ids
from engine.storage import layer_fixup, name_list
from engine.storage.compression import COMPLETE
from engine.storage.content import Content
from engine.storage.disk_sync import DiskSync
from engine.storage.image_store import ImageStore, NewImage
from engine.storage.layer_index import write_parent
from engine.storage.layer_locks import LayerLocks
from engine.storage.layer_worker import Task, Unpacked
from engine.storage.leases import Lease
from engine.storage.trash import discard, remove_tree
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    import sqlite3

    from engine.engine import Cancel, OnProgress
    from engine.home import Home
    from engine.storage.metadata import Database

MAX_WORKERS = 4
MAX_IMAGE_BYTES = 256 << 30
BOTTOM = "bottom"  # parent_chain of a layer that was put right over no layer at all
_POLL_SECONDS = 0.1
_EARLY_SYNC_SECONDS = 1.0  # a layer that took longer has left much to write


class Feed:
    """The way into one layer's worker. Calls never block and may come from any thread."""

    def __init__(self, index: int, digest: Digest, diff_id: DiffID, size_bytes: int) -> None:
        self.index = index
        self.digest = digest
        self.diff_id = diff_id
        self.size_bytes = size_bytes
        self._lock = threading.Lock()
        self._told = 0
        self._complete = False
        self._news = -1
        self._worker: Worker | None = None
        self.aborted = False
        self.done = threading.Event()
        self.failure: BaseException | None = None
        self.result: Unpacked | None = None  # None when another process unpacked it meanwhile
        self.directory = ""  # where it lies
        self.started = time.monotonic()

    def advance(self, bytes_available: int) -> None:
        """That many bytes of the blob can be read."""
        with self._lock:
            self._tell(bytes_available)

    def complete(self) -> None:
        """All of the blob can be read, and its digest is right."""
        with self._lock:
            self._tell(self.size_bytes)
            if not self._complete and self._news >= 0:
                os.eventfd_write(self._news, COMPLETE)
            self._complete = True

    @property
    def is_complete(self) -> bool:
        return self._complete

    def abort(self) -> None:
        """The blob will not come; the layer may be fed again."""
        with self._lock:
            self.aborted = True
            if self._worker is not None:
                self._worker.kill()

    def _tell(self, bytes_available: int) -> None:
        more = bytes_available - self._told
        if more > 0 and not self._complete:
            self._told = bytes_available
            if self._news >= 0:
                os.eventfd_write(self._news, more)

    def attach(self, directory: str, blob: int) -> Worker:
        """A new worker, and news for it from the start of the blob on."""
        with self._lock:
            if self.aborted:
                raise Cancelled(f"layer {self.digest}: cancelled")
            self._close()
            self._news = os.eventfd(0, os.EFD_CLOEXEC)
            start = self._told + (COMPLETE if self._complete else 0)
            if start:
                os.eventfd_write(self._news, start)
            task = Task(directory, blob, self._news, self.size_bytes, self.digest, self.diff_id)
            target = "engine.storage.layer_worker:unpack"
            self._worker = Worker(target, tuple(task), (blob, self._news))
            return self._worker

    def detach(self) -> None:
        """The worker has ended."""
        with self._lock:
            self._worker = None
            self._close()

    def _close(self) -> None:
        if self._news >= 0:
            os.close(self._news)
            self._news = -1


class _Place(NamedTuple):
    """Where the layer at one position of the chain is."""

    layer_id: str
    directory: str
    new: _NewLayer | None


class _NewLayer(NamedTuple):
    """A row to be."""

    diff_id: DiffID
    parent_chain: str | None
    blob: Digest
    size_bytes: int
    disk_bytes: int
    entries: int


class Unpacking:
    """A context: leaving it without `publish` discards what was unpacked."""

    def __init__(
        self, home: Home, database: Database, *, progress: OnProgress | None, cancel: Cancel
    ) -> None:
        self._home = home
        self._database = database
        self._progress = progress
        self._cancel = cancel
        self._lease = Lease(database, "unpack")
        self._staging = f"{home.root}/staging/{self._lease.id}"
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(min(os.cpu_count() or 1, MAX_WORKERS))
        self._feeds: dict[int, Feed] = {}
        self._every_feed: list[Feed] = []
        self._threads: list[threading.Thread] = []
        self._diff_ids: list[DiffID] = []
        self._fixer: Worker | None = None
        self._held = LayerLocks(f"{home.root}/lock/layers")
        self._sync = DiskSync(home.root)
        self.warnings: list[str] = []
        """What layers held that this host cannot keep, once per cause."""
        os.makedirs(self._staging, mode=0o700)
        cancel.on_cancel(self._kill)

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        for thread in self._threads:
            thread.join()
        self._held.close()
        self._sync.close()
        place = discard(self._home, self._staging)
        if place and self._cancel.cancelled:
            # The caller is answered at once; the interpreter waits for this thread, not he.
            threading.Thread(target=remove_tree, args=(place,), name="trash").start()
        elif place:
            remove_tree(place)
        self._lease.release()

    def missing(self, diff_ids: Sequence[DiffID]) -> list[int]:
        """Which layers (positions, bottom first) must be fed: those that are not here yet, each
        diff_id once. The others stay while this context lasts."""
        self._diff_ids = list(diff_ids)
        chains = chain_ids(diff_ids)
        missing: list[int] = []
        seen: set[DiffID] = set()
        for index, diff_id in enumerate(diff_ids):
            if diff_id not in seen and self._present(chains, diff_ids, index) is None:
                missing.append(index)
            seen.add(diff_id)
        return missing

    def feed(
        self,
        index: int,
        digest: Digest,
        diff_id: DiffID,
        size_bytes: int,
        descriptor: int,
        *,
        complete: bool,
    ) -> Feed:
        """Unpacking of a layer begins, in a worker that follows the blob behind `descriptor`
        (which stays the caller's). A second feed of one index replaces the first."""
        feed = Feed(index, digest, diff_id, size_bytes)
        if complete:
            feed.complete()
        blob = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
        thread = threading.Thread(target=self._run, args=(feed, blob), name=f"unpack-{index}")
        with self._lock:
            self._feeds[index] = feed
            self._every_feed.append(feed)
            self._threads.append(thread)
        self._lease.add("blob", digest)
        thread.start()
        return feed

    def publish(self, image: NewImage) -> ChainID | None:
        """The image is in the store, on the disk and under its name; its chain id (None without
        layers). Waits for the workers. Raises what the first failing one raised, Cancelled."""
        for feed in list(self._feeds.values()):
            feed.done.wait()
        self._check()
        for feed in self._feeds.values():
            if feed.failure is not None:
                raise feed.failure
        for digest, _, _ in image.blobs:
            self._lease.add("blob", digest)
        places = self._placed(image)
        fresh = list(dict.fromkeys(place for place in places if place.new is not None))
        raw_bytes = sum(place.new.size_bytes for place in fresh if place.new)
        if raw_bytes > MAX_IMAGE_BYTES:
            raise InvalidInput(f"image {image.id}: more than {MAX_IMAGE_BYTES >> 30} GiB unpacked")
        self._check()
        # From here on it is finished, cancelled or not.
        chains = chain_ids([diff_id for _, diff_id, _ in image.layers])
        links: dict[_Place, int] = {}
        vain: list[_Place] = fresh
        try:
            self._settle(image, fresh, links)
            images = ImageStore(self._database, Content(self._home, self._database))
            with self._database.transaction(publish=True) as cursor:
                twice = self._insert(cursor, chains, places, links)
                images.record(cursor, image, chains[-1] if chains else None)
            vain = twice
            if image.reference is not None:
                name_list.save(self._database)
        finally:
            for place in vain:
                self._withdraw(place, links.get(place))
        return chains[-1] if chains else None

    def _settle(self, image: NewImage, fresh: list[_Place], links: dict[_Place, int]) -> None:
        """All bytes are on the disk, then under their final names."""
        try:
            self._sync.finish()
            for place in fresh:
                links[place] = self._move_in(place)
            if self._sync.is_on:
                for name in ("layers", "l", "blobs/sha256", "blobs/sha512"):
                    self._sync_directory(name)
        except OSError as error:
            raise Unavailable(
                f"image {image.id[:19]}: {error.filename or self._home.root}: {error.strerror}",
                "check the disk and its free space",
            ) from error

    def _withdraw(self, place: _Place, link: int | None) -> None:
        """A layer that was moved in for nothing is gone again."""
        if link is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._home.root}/l/{link}")
        trash = discard(self._home, self._home.layer_dir(place.layer_id))
        if trash:
            remove_tree(trash)

    # One layer

    def _run(self, feed: Feed, blob: int) -> None:
        """A thread of its own: the worker dies with the thread that started it."""
        try:
            if self._wait_for_others(feed):
                self._tell(feed, "done", feed.size_bytes)
                return
            self._acquire_slot(feed)
            try:
                feed.result = self._unpack(feed, blob)
            finally:
                self._slots.release()
            self._tell(feed, "done", feed.size_bytes)
        except BaseException as error:
            feed.failure = error
        finally:
            os.close(blob)
            feed.done.set()

    def _unpack(self, feed: Feed, blob: int) -> Unpacked:
        for attempt in range(2):
            feed.directory = directory = f"{self._staging}/{secrets.token_hex(8)}"
            os.mkdir(directory, 0o700)
            worker = feed.attach(directory, blob)
            if self._cancel.cancelled:
                worker.kill()
            try:
                result = Unpacked(*worker.run(lambda done: self._report(feed, done)))
            except WorkerDied as death:
                self._check()
                if feed.aborted:
                    raise Cancelled(f"layer {feed.digest}: cancelled") from death
                if attempt:
                    raise Unavailable(
                        f"layer {feed.digest[:19]}: its unpacking process died twice: {death}",
                        "see the kernel's log (dmesg): memory may have run out",
                    ) from death
            else:
                with self._lock:
                    self.warnings += result.warnings
                return result
            finally:
                feed.detach()
        raise AssertionError("unreachable")

    def _acquire_slot(self, feed: Feed) -> None:
        while not self._slots.acquire(timeout=_POLL_SECONDS):
            self._check()
            if feed.aborted:
                raise Cancelled(f"layer {feed.digest}: cancelled")

    def _wait_for_others(self, feed: Feed) -> bool:
        """True when another process unpacked this layer while we waited for it."""
        waited = False
        while not self._held.take(feed.diff_id):
            if not self._held.may_wait(feed.diff_id):
                return False
            waited = True
            self._tell(feed, "waiting", 0)
            self._check()
            if feed.aborted:
                raise Cancelled(f"layer {feed.digest}: cancelled")
            time.sleep(_POLL_SECONDS)
        if waited and self._present(chain_ids(self._diff_ids), self._diff_ids, feed.index):
            self._held.give_back(feed.diff_id)
            return True
        return False

    def _report(self, feed: Feed, done: int) -> None:
        if done == feed.size_bytes and time.monotonic() - feed.started > _EARLY_SYNC_SECONDS:
            self._sync.begin()
        # While it downloads that is what the line shows; current must not run backwards.
        if feed.is_complete:
            self._tell(feed, "extracting", done)

    def _tell(self, feed: Feed, phase: Phase, current: int) -> None:
        if self._progress is not None:
            name = feed.digest.partition(":")[2][:12]
            self._progress(Progress(name, phase, current, feed.size_bytes))

    def _kill(self) -> None:
        with self._lock:
            feeds = list(self._every_feed)
        for feed in feeds:
            feed.abort()
        if self._fixer is not None:
            self._fixer.kill()

    def _check(self) -> None:
        if self._cancel.cancelled:
            raise Cancelled("cancelled")

    # All of them

    def _present(self, chains: list[ChainID], diff_ids: Sequence[DiffID], index: int) -> str | None:
        """The id of the layer that the store has for this position; it stays from now on."""
        below = chains[index - 1] if index else BOTTOM
        for _ in range(2):
            row = self._database.first(
                "SELECT layer FROM chain WHERE chain_id=?", (chains[index],)
            ) or self._database.first(
                "SELECT id FROM layer WHERE diff_id=? AND (parent_chain IS NULL OR parent_chain=?)",
                (diff_ids[index], below),
            )
            if row is None or not os.path.isdir(self._home.layer_dir(row[0])):
                return None
            # It may have been swept between the question and the lease: ask again.
            self._lease.add("layer", row[0])
        return str(row[0])

    def _placed(self, image: NewImage) -> list[_Place]:
        """Where each layer of the chain is, those that were unpacked now put right."""
        diff_ids = [diff_id for _, diff_id, _ in image.layers]
        chains = chain_ids(diff_ids)
        staged = {f.diff_id: f for f in self._feeds.values() if f.result is not None}
        places: list[_Place] = []
        by_diff_id: dict[DiffID, _Place] = {}
        for index, diff_id in enumerate(diff_ids):
            place = by_diff_id.get(diff_id)
            if place is None:
                layer_id = self._present(chains, diff_ids, index)
                if layer_id is not None:
                    place = _Place(layer_id, self._home.layer_dir(layer_id), None)
                elif diff_id in staged:
                    lower = [f"{each.directory}/diff" for each in reversed(places)]
                    place = self._fixed(staged[diff_id], lower, chains[index - 1] if index else "")
                else:
                    raise Conflict(
                        f"layer {diff_id[:19]}: it went away while the image came in", "pull again"
                    )
                by_diff_id[diff_id] = place
            # Twice in one chain, overlayfs would see a loop: the upper one says all that the
            # lower one does, so the mount leaves the lower out (see snapshots).
            places.append(place)
        return places

    def _fixed(self, feed: Feed, lower: list[str], below: str) -> _Place:
        """A layer that was unpacked alone is right over `lower` (diff directories, top first)."""
        result = feed.result
        assert result is not None
        sizes = result.size_bytes, result.disk_bytes, result.entries
        # The root is nobody's to imply: a container's own upper directory shows in its place.
        implied = [path for path in result.implied if path]
        leaning = bool(implied or result.lower_links or result.whiteouts)
        paths = list(dict.fromkeys(lower))
        if leaning and not layer_fixup.is_right(
            [os.fsencode(path) for path in paths], implied, result.lower_links, result.whiteouts
        ):
            argument = (feed.directory, paths, implied, result.lower_links)
            self._fixer = Worker("engine.storage.layer_worker:fix_up", argument)
            self._check()
            try:
                sizes = self._fixer.run()
            except WorkerDied as death:
                self._check()
                raise Unavailable(
                    f"layer {feed.digest[:19]}: the process that fits it in died: {death}"
                ) from death
        layer_id = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        parent_chain = (below or BOTTOM) if leaning else None
        if parent_chain is not None:
            write_parent(f"{feed.directory}/layer.pdl", parent_chain)
        return _Place(
            layer_id, feed.directory, _NewLayer(feed.diff_id, parent_chain, feed.digest, *sizes)
        )

    def _move_in(self, place: _Place) -> int:
        """The layer is in layers/<id>, and l/<n> leads to it; returns n."""
        self._lease.add("layer", place.layer_id)
        os.rename(place.directory, self._home.layer_dir(place.layer_id))
        (link,) = self._database.first("SELECT coalesce(max(link), 0) + 1 FROM layer")
        while True:
            try:
                os.symlink(f"../layers/{place.layer_id}/diff", f"{self._home.root}/l/{link}")
                return int(link)
            except FileExistsError:
                link += 1

    def _sync_directory(self, name: str) -> None:
        descriptor = os.open(f"{self._home.root}/{name}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _insert(
        self,
        cursor: sqlite3.Cursor,
        chains: list[ChainID],
        places: list[_Place],
        links: dict[_Place, int],
    ) -> list[_Place]:
        """Rows of layers and chains; returns the layers that another process brought first."""
        now = time.time_ns()
        vain: list[_Place] = []
        ids: dict[str, str] = {}
        for place, link in links.items():
            new = place.new
            assert new is not None
            row = cursor.execute(
                "SELECT id FROM layer WHERE diff_id=? AND coalesce(parent_chain, '')=?",
                (new.diff_id, new.parent_chain or ""),
            ).fetchone()
            if row is not None:
                vain.append(place)
                ids[place.layer_id] = row[0]
                continue
            cursor.execute(
                "INSERT INTO layer(id, link, diff_id, parent_chain, blob, raw_bytes, disk_bytes, "
                "entries, created_ns) VALUES(?,?,?,?,?,?,?,?,?)",
                (
                    place.layer_id, link, new.diff_id, new.parent_chain, new.blob,
                    new.size_bytes, new.disk_bytes, new.entries, now,
                ),
            )  # fmt: skip
        parent: ChainID | None = None
        for depth, (chain, place) in enumerate(zip(chains, places, strict=True), 1):
            cursor.execute(
                "INSERT OR IGNORE INTO chain(chain_id, parent, layer, depth) VALUES(?,?,?,?)",
                (chain, parent, ids.get(place.layer_id, place.layer_id), depth),
            )
            parent = chain
        return vain
