"""Copy: an image from one place to another, its digests kept where the formats allow it.

    source: root → tree of documents and blobs → target: each blob that it lacks, documents, name

Nothing has its name at the target before all of it is there. A docker-archive names layers in a
listing of its own, and the store unpacks what comes in: both get there by way of a layout.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Protocol

from engine.engine import Cancel
from engine.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from engine.model.image import Pushed
from engine.model.progress import Phase
from engine.oci.descriptor import LAYERS, Descriptor
from engine.oci.manifest import Index, Manifest, parse_manifest
from engine.oci.platform import Platform
from engine.oci.reference import Reference
from engine.oci.selection import select
from engine.oci.tree import Tree, walk
from engine.registry.hosts import Hosts
from engine.registry.progress import Teller, short
from engine.registry.push import MAX_READABLE
from engine.registry.remote import RegistrySource, RegistryTarget
from engine.registry.threads import run_all
from engine.registry.timeouts import Timeouts
from engine.services.places import Place
from engine.storage.archive import ArchiveDocuments, load
from engine.storage.archive_writer import ArchivedImage, blob_path, write_archive
from engine.storage.file_bytes import FileBytes, ReadAt
from engine.storage.layout import FlatSource, FlatTarget, LayoutSource, LayoutTarget, below
from engine.storage.leases import Lease
from engine.storage.origin_store import OriginStore
from engine.storage.outgoing import Outgoing
from engine.storage.sink import Sink
from engine.storage.spool import Spool
from engine.storage.tar_read import DIRECTORY
from engine.storage.tar_write import END, header, padding
from engine.storage.trash import discard, remove_tree

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.storage.content import Content
    from engine.storage.image_store import ImageStore
    from engine.storage.metadata import Database

_CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """Where an image comes from."""

    def root(self) -> Descriptor: ...
    def read(self, descriptor: Descriptor) -> bytes: ...
    def open(self, blob: Descriptor) -> ReadAt: ...


class Target(Protocol):
    """Where it goes."""

    def prepare(self) -> None: ...
    def put_blob(
        self,
        blob: Descriptor,
        open_source: Callable[[Descriptor], ReadAt],
        on_bytes: Callable[[int], None],
    ) -> Phase: ...
    def put_tree(self, tree: Tree) -> None: ...


class Copying:
    """A context for one copy: what lies in between is gone when it is left."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        store: ImageStore,
        progress: OnProgress | None,
        cancel: Cancel | None,
        timeouts: Timeouts | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._store = store
        self._progress = progress
        self._teller = Teller(progress)
        self._stop = Cancel()
        if cancel is not None:
            cancel.on_cancel(self._stop.cancel)
        self._timeouts = timeouts or Timeouts()
        self._hosts = hosts or Hosts()
        self._origins = OriginStore(database)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Copying:
        self._lease = self._open.enter_context(Lease(self._database, "copy"))
        self._directory = f"{self._home.root}/staging/{self._lease.id}"
        os.mkdir(self._directory, 0o700)
        self._open.callback(self._clean)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _clean(self) -> None:
        if place := discard(self._home, self._directory):
            remove_tree(place)

    def run(self, source: Place, target: Place, wanted: Platform | None, *, every: bool) -> Pushed:
        """The image is at `target`. Of one for several platforms all go with `every`, else the one
        for `wanted`, or for this host. Raises all kinds of error."""
        origin = self._source(source, wanted)
        there = self._target(source, target)
        tree = self._choose(origin, wanted, every=every)
        if target.transport == "docker-archive" and isinstance(_document(tree), Index):
            raise Unsupported(
                f"{target.text}: a docker-archive has no place for several platforms",
                "choose one with --platform, or copy to oci-archive:",
            )
        there.prepare()
        blobs = [blob for blob in tree.blobs if blob.is_distributable]
        for blob in blobs:
            self._tell(blob, "queued", 0)

        def send(blob: Descriptor) -> None:
            def on_bytes(done: int) -> None:
                self._tell(blob, "uploading", done)

            phase = there.put_blob(blob, origin.open, on_bytes)
            self._tell(blob, phase, blob.size_bytes)

        run_all(blobs, send, self._timeouts.uploads, "copy", self._stop)
        there.put_tree(tree)
        if target.transport == "docker":
            self._remember(tree, target)
        root = tree.root
        return Pushed(target.text, root.digest, root.size_bytes)

    def _tell(self, blob: Descriptor, phase: Phase, current: int) -> None:
        if blob.media_type in LAYERS:
            self._teller.tell(short(blob.digest), phase, current, blob.size_bytes)

    def _choose(self, origin: Source, wanted: Platform | None, *, every: bool) -> Tree:
        root = origin.root()
        document = parse_manifest(origin.read(root), root.media_type)
        if wanted is not None or (isinstance(document, Index) and not every):
            selection = select(root, origin.read, wanted)
            if selection.warning:
                self._teller.tell("", "resolving", text=f"warning: {selection.warning}")
            root = selection.descriptor
        return walk(root, origin.read)

    # Where it comes from.

    def _source(self, place: Place, wanted: Platform | None) -> Source:
        if place.transport == "docker":
            registry = RegistrySource(
                place.reference, self._hosts, self._timeouts, self._stop, self._teller
            )
            self._open.callback(registry.close)
            return registry
        if place.transport == "oci":
            return LayoutSource(below(place.path), place.text, place.name)
        if place.transport == "dir":
            return FlatSource(below(place.path), place.text)
        if place.transport == "store":
            return self._stored(place)
        spool = self._spooled(place)
        if place.transport == "oci-archive":

            def locate(name: str) -> str | None:
                member = spool.find(name)
                return member.path if member else None

            return LayoutSource(locate, place.text, place.name)
        return _DockerArchive(ArchiveDocuments(spool, self._content, wanted), place)

    def _stored(self, place: Place) -> Source:
        row = self._store.get(place.name)
        outgoing = self._open.enter_context(Outgoing(self._database, self._content, self._store))
        return _Stored(self._content, outgoing, outgoing.add(row, ()), row.index_digest)

    def _spooled(self, place: Place) -> Spool:
        directory = f"{self._directory}/in"
        os.mkdir(directory, 0o700)
        spool = Spool(directory)

        def on_bytes(current: int, total: int) -> None:
            self._teller.tell("", "verifying", current, total, "reading the archive")

        try:
            with open(place.path, "rb") as file:
                spool.fill(file, self._stop, on_bytes)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NotFound(f"open {place.path}: {reason}", "name an archive") from error
        return spool

    # Where it goes.

    def _target(self, source: Place, place: Place) -> Target:
        if place.transport == "docker":
            registry = RegistryTarget(
                place.reference, self._hosts, self._timeouts, self._stop, self._teller,
                neighbours=self._neighbours(source, place.reference),
            )  # fmt: skip
            self._open.callback(registry.close)
            return registry
        if place.transport == "oci":
            return LayoutTarget(place.path, (place.name, ""), self._stop)
        if place.transport == "dir":
            return FlatTarget(place.path, self._stop)
        if place.transport == "docker-archive" and os.path.exists(place.path):
            raise Conflict(
                f"{place.path}: it is there, and a docker-archive cannot be added to",
                "remove it, or name another file",
            )
        return _ByLayout(self._directory + "/out", place, self._stop, self._bring_in)

    def _neighbours(self, source: Place, target: Reference) -> list[str]:
        """Repositories of the target's registry that have some of it already."""
        if source.transport == "docker":
            same = source.reference.domain == target.domain
            return [source.reference.path] if same else []
        if source.transport != "store":
            return []
        layers = self._store.layers_of(self._store.get(source.name))
        found = [
            path
            for _, _, blob, _ in layers
            for path in self._origins.neighbours(blob, target.domain, target.path)[:1]
        ]
        return list(dict.fromkeys(found))[:MAX_READABLE]

    def _remember(self, tree: Tree, target: Place) -> None:
        """Next time it may be lent from there."""
        there = (*tree.blobs, *(document for document, _ in tree.documents))
        self._origins.record(
            [each.digest for each in there if each.is_distributable],
            target.reference.domain,
            target.reference.path,
        )

    def _bring_in(self, directory: str, place: Place) -> None:
        """The layout in `directory` is an image of the store."""
        packed = f"{directory}.tar"
        with open(packed, "xb") as file:
            _pack(directory, Sink(file, self._stop))
        with open(packed, "rb") as file:
            load(
                file,
                home=self._home,
                database=self._database,
                content=self._content,
                progress=self._progress,
                cancel=self._stop,
            )


class _Stored:
    """An image of this store."""

    def __init__(
        self, content: Content, outgoing: Outgoing, image: ArchivedImage, index: str | None
    ) -> None:
        self._content = content
        self._outgoing = outgoing
        self._image = image
        self._index = index

    def root(self) -> Descriptor:
        """The image of one platform: of others the store has no layers."""
        return self._image.descriptor

    def read(self, descriptor: Descriptor) -> bytes:
        return b"".join(self._outgoing.read(descriptor))

    def open(self, blob: Descriptor) -> ReadAt:
        return FileBytes(self._content.open(blob.digest))


class _DockerArchive:
    """What `docker save` writes, old and new: a manifest is made where there is none."""

    def __init__(self, documents: ArchiveDocuments, place: Place) -> None:
        self._documents = documents
        self._place = place

    def root(self) -> Descriptor:
        roots = self._documents.roots()
        name = self._place.name
        found = [root for root in roots if not name or name in [each.full for each in root.names]]
        if len(found) == 1:
            return found[0].descriptor
        names = ", ".join(each.familiar for root in roots for each in root.names) or "none"
        if not found:
            raise NotFound(f"{self._place.text}: no such image in it", f"its names: {names}")
        raise InvalidInput(
            f"{self._place.text}: {len(found)} images in it", f"name one of them: {names}"
        )

    def read(self, descriptor: Descriptor) -> bytes:
        return self._documents.read(descriptor)

    def open(self, blob: Descriptor) -> ReadAt:
        member = self._documents.spool.by_digest.get(blob.digest)
        if member is None:
            raise NotFound(f"{self._place.text}: blob {blob.digest} is not in it", "save it again")
        return FileBytes(os.open(member.path, os.O_RDONLY | os.O_CLOEXEC))


class _ByLayout:
    """An archive or the store: a layout comes first, then becomes that."""

    def __init__(
        self,
        directory: str,
        place: Place,
        cancel: Cancel,
        bring_in: Callable[[str, Place], None],
    ) -> None:
        name = place.name
        names = (name, "") if name else None
        if place.transport == "store":
            reference = place.reference
            if reference.digest:
                raise InvalidInput(f"{place.text}: a digest cannot be given", "name a tag")
            names = (reference.tag or "", reference.full)
        self._directory = directory
        self._place = place
        self._cancel = cancel
        self._layout = LayoutTarget(directory, names, cancel)
        self._bring_in = bring_in

    def prepare(self) -> None:
        parent = os.path.dirname(self._place.path) or "/"
        if self._place.path and not os.path.isdir(parent):
            raise InvalidInput(f"{parent}: no such directory", "make it first")
        self._layout.prepare()

    def put_blob(
        self,
        blob: Descriptor,
        open_source: Callable[[Descriptor], ReadAt],
        on_bytes: Callable[[int], None],
    ) -> Phase:
        return self._layout.put_blob(blob, open_source, on_bytes)

    def put_tree(self, tree: Tree) -> None:
        self._layout.put_tree(tree)
        if self._place.transport == "store":
            self._bring_in(self._directory, self._place)
            return
        temporary = f"{self._place.path}.{os.urandom(4).hex()}"
        try:
            with open(temporary, "xb") as file:
                if self._place.transport == "oci-archive":
                    _pack(self._directory, Sink(file, self._cancel))
                else:
                    self._write_listed(tree, file)
            os.rename(temporary, self._place.path)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            if isinstance(error, OSError):
                reason = (error.strerror or str(error)).lower()
                raise Unavailable(f"{self._place.path}: {reason}", "name another file") from error
            raise

    def _write_listed(self, tree: Tree, file: IO[bytes]) -> None:
        document = _document(tree)
        assert isinstance(document, Manifest)
        names = (self._place.reference,) if self._place.name else ()

        def read(blob: Descriptor) -> Iterator[bytes]:
            return _chunks(f"{self._directory}/{blob_path(blob.digest)}")

        write_archive(
            file,
            [ArchivedImage(tree.root, document, names)],
            read,
            cancel=self._cancel,
        )


def _document(tree: Tree) -> Manifest | Index:
    descriptor, data = tree.documents[-1]
    return parse_manifest(data, descriptor.media_type)


def _pack(directory: str, out: Sink) -> None:
    """The layout in `directory` is a tar in `out`: the same files, the same bytes."""
    for place, directories, files in os.walk(directory):
        directories.sort()
        below_root = os.path.relpath(place, directory)
        prefix = "" if below_root == "." else f"{below_root}/"
        if prefix:
            out.write(header(prefix.encode(), DIRECTORY, mode=0o755))
        for name in sorted(files):
            path = f"{place}/{name}"
            size = os.stat(path).st_size
            out.write(header(f"{prefix}{name}".encode(), size=size))
            for chunk in _chunks(path):
                out.write(chunk)
            out.write(padding(size))
    out.write(END)
    out.flush()


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
