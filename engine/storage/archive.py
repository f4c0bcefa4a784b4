"""Load: images out of one tar, an OCI layout or what `docker save` writes, old and new.

    spool (one pass, every member hashed) → roots with their names → select → unpack → publish

The documents of all images are read and checked before anything is unpacked. A docker-archive has
no manifests: one is written for each image, over the layers as they lie in the archive.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.errors import InvalidInput, NotFound, Unsupported
from engine.model.progress import Phase, Progress
from engine.named_tuple import NamedTuple
from engine.oci import config, json_strict, manifest, platform
from engine.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from engine.oci.digest import Digest, ImageID, sha256_of
from engine.oci.manifest import Index
from engine.oci.platform import Platform
from engine.oci.reference import Reference, parse_reference
from engine.oci.selection import Selection, select
from engine.storage import gc
from engine.storage.archive_writer import CONTAINERD_NAME, REF_NAME
from engine.storage.compression import suffix_of
from engine.storage.image_store import ImageStore, NewImage
from engine.storage.leases import Lease
from engine.storage.spool import Member, Spool
from engine.storage.trash import discard, remove_tree
from engine.storage.unpack import Unpacking

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.storage.content import Content
    from engine.storage.metadata import Database


class ArchiveRoot(NamedTuple):
    """Where an image begins, and what it is called."""

    descriptor: Descriptor
    names: tuple[Reference, ...]


def load(
    archive: IO[bytes],
    *,
    home: Home,
    database: Database,
    content: Content,
    wanted: Platform | None = None,
    progress: OnProgress | None = None,
    cancel: Cancel | None = None,
) -> list[str]:
    """References (ids, where untagged) of the images that are in the store now: those for `wanted`,
    or for this host, where an image is there for several platforms.

    Each image becomes visible as a whole; when one cannot be unpacked, those before it stay.
    Raises InvalidInput, Corrupt, Unsupported, Unavailable, NotFound (platform), Cancelled.
    """
    cancel = cancel or Cancel()
    tell = progress or (lambda step: None)

    def on_bytes(current: int, total: int) -> None:
        tell(Progress("", "verifying", current, total, "reading the archive"))

    with Lease(database, "load") as lease:
        directory = f"{home.root}/staging/{lease.id}"
        os.mkdir(directory, 0o700)
        try:
            spool = Spool(directory)
            spool.fill(archive, cancel, on_bytes)
            documents = ArchiveDocuments(spool, content, wanted)
            chosen = [
                (select(root.descriptor, documents.read, wanted), root)
                for root in documents.roots()
            ]
            if not chosen:
                raise InvalidInput("archive: there is no image in it")
            loader = _Loader(home, database, content, documents, progress, cancel)
            loaded: list[str] = []
            for selection, root in chosen:
                if selection.warning:
                    tell(Progress("", "resolving", text=f"warning: {selection.warning}"))
                loader.bring_in(selection, root.names)
                names = [name.familiar for name in root.names] or [selection.image_id]
                loaded += names
                tell(Progress("", "done", text=f"loaded {', '.join(names)}"))
            return loaded
        finally:
            if place := discard(home, directory):
                remove_tree(place)


class ArchiveDocuments:
    """What the archive's JSON says."""

    def __init__(self, spool: Spool, content: Content, wanted: Platform | None) -> None:
        self.spool = spool
        self._wanted = wanted
        self.made: dict[Digest, bytes] = {}
        """Manifests that were not in the archive."""
        self._content = content

    def read(self, descriptor: Descriptor) -> bytes:
        """A document by its digest, for `select`."""
        digest = descriptor.digest
        if digest in self.made:
            return self.made[digest]
        member = self.spool.by_digest.get(digest)
        if member is None:
            raise InvalidInput(
                f"archive: blob {digest} is not in it",
                "save the image again, with the platform that you need",
            )
        if member.size_bytes != descriptor.size_bytes:
            raise InvalidInput(
                f"archive: blob {digest}: expected {descriptor.size_bytes} bytes, "
                f"it has {member.size_bytes}"
            )
        return _read(member, str(digest))

    def roots(self) -> list[ArchiveRoot]:
        """Every image of the archive once. Newer docker writes both formats into one archive; the
        layout is the better one, and the other may know more names."""
        index = self.spool.find("index.json")
        listing = self.spool.find("manifest.json")
        if index is not None and self.spool.find("oci-layout") is not None:
            return self._layout_roots(index, listing)
        if listing is not None:
            return self._docker_roots(listing)
        if self.spool.find("repositories") is not None:
            raise Unsupported(
                "archive: written by a docker older than 1.10", "save the image with a newer one"
            )
        raise InvalidInput(
            "archive: neither index.json nor manifest.json is in it: no image",
            "give what docker save or podman save writes",
        )

    # OCI layout

    def _layout_roots(self, index: Member, listing: Member | None) -> list[ArchiveRoot]:
        self._check_layout_version()
        document = manifest.parse_manifest(_read(index, "index.json"))
        if not isinstance(document, Index):
            raise InvalidInput("archive: index.json: expected an index")
        more = self._repository_tags(listing)
        groups: dict[str, list[Descriptor]] = {}
        for entry in document.manifests:
            if not entry.is_attestation:
                groups.setdefault(_name_of(entry), []).append(entry)
        names: dict[Digest, list[Reference]] = {}
        entries: dict[Digest, Descriptor] = {}
        for name, group in groups.items():
            for entry in self._for_one_platform(group, name):
                entries[entry.digest] = entry
                known = names.setdefault(entry.digest, [])
                for each in ([parse_reference(name)] if name else []) + more.get(entry.digest, []):
                    if each not in known:
                        known.append(each)
        return [ArchiveRoot(entry, tuple(names[digest])) for digest, entry in entries.items()]

    def _for_one_platform(self, group: list[Descriptor], name: str) -> Sequence[Descriptor]:
        """Several entries of one name, or of none, are one image for several platforms, if each
        says its platform and no two the same; else images of their own, of which the last one has
        the name."""
        offered = [entry.platform for entry in group if entry.platform is not None]
        if len(group) == 1 or len(set(offered)) < len(group):
            return group[-1:] if name else group
        accepted = (
            platform.compatible_with(self._wanted)
            if self._wanted
            else platform.runs_on(platform.host_platform())
        )
        position = platform.best(accepted, offered)
        if position is None:
            names = ", ".join(sorted(str(each) for each in offered))
            raise NotFound(f"archive: no image for {accepted[0]}, there is {names}")
        return [group[position]]

    def _check_layout_version(self) -> None:
        member = self.spool.find("oci-layout")
        assert member is not None
        layout = json_strict.parse_object(_read(member, "oci-layout"), "oci-layout")
        version = json_strict.get_text(layout, "imageLayoutVersion", "oci-layout")
        if not version.startswith("1."):
            raise Unsupported(f"archive: image layout of version {version[:20]!r}, expected 1.0.0")

    def _repository_tags(self, listing: Member | None) -> dict[Digest, list[Reference]]:
        """Names by the digest of the layout's manifest, where manifest.json has the same config."""
        if listing is None:
            return {}
        tags: dict[Digest, list[Reference]] = {}
        for entry in _listed(listing):
            member = self.spool.find(json_strict.get_text(entry, "Config", "manifest.json"))
            if member is not None:
                tags.setdefault(member.digest, []).extend(_tags(entry))
        found: dict[Digest, list[Reference]] = {}
        for digest in list(self.spool.by_digest):
            config_digest = self._config_of(digest) if tags else None
            if config_digest in tags:
                found[digest] = tags[config_digest]
        return found

    def _config_of(self, digest: Digest) -> Digest | None:
        """The config's digest, if this member is a manifest."""
        member = self.spool.by_digest[digest]
        if member.size_bytes > manifest.MAX_BYTES or _head(member, 1) != b"{":
            return None
        try:
            document = manifest.parse_manifest(_read(member, str(digest)))
        except (InvalidInput, Unsupported):
            return None
        return None if isinstance(document, Index) else document.config.digest

    # docker-archive

    def _docker_roots(self, listing: Member) -> list[ArchiveRoot]:
        roots: dict[Digest, ArchiveRoot] = {}
        for entry in _listed(listing):
            root = self._made_manifest(entry)
            names = (*roots[root.digest].names, *_tags(entry)) if root.digest in roots else None
            roots[root.digest] = ArchiveRoot(root, names or tuple(_tags(entry)))
        return list(roots.values())

    def _made_manifest(self, entry: dict[str, Any]) -> Descriptor:
        what = "manifest.json"
        config_member = self._member(json_strict.get_text(entry, "Config", what))
        layers = [self._member(name) for name in json_strict.get_texts(entry, "Layers", what)]
        config.check_layers(config.parse_config(_read(config_member, "config")), len(layers))
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _descriptor(OCI_CONFIG, config_member),
                "layers": [
                    _descriptor(OCI_LAYER + suffix_of(_head(layer, 4)), layer) for layer in layers
                ],
            }
        ).encode()
        digest = sha256_of(data)
        self.made[digest] = data
        return Descriptor(OCI_MANIFEST, digest, len(data))

    def _member(self, name: str) -> Member:
        member = self.spool.find(os.path.normpath(name))
        if member is None:
            raise InvalidInput(f"archive: manifest.json names {name[:200]!r}, which is not in it")
        return member


def _listed(listing: Member) -> list[dict[str, Any]]:
    """The entries of manifest.json, which is a list."""
    data = b'{"images":' + _read(listing, "manifest.json") + b"}"
    document = json_strict.parse_object(data, "manifest.json")
    entries = json_strict.get_list(document, "images", "manifest.json") or []
    if len(document) != 1 or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput("archive: manifest.json: expected a list of objects")
    return entries


def _tags(entry: dict[str, Any]) -> list[Reference]:
    return [
        parse_reference(text) for text in json_strict.get_texts(entry, "RepoTags", "manifest.json")
    ]


def _name_of(entry: Descriptor) -> str:
    """The full name in a layout's annotations; "" when there is only a tag, or nothing."""
    annotations = dict(entry.annotations)
    if name := annotations.get(CONTAINERD_NAME):
        return name
    name = annotations.get(REF_NAME, "")
    return name if any(sign in name for sign in "/:@") else ""


def _descriptor(media_type: str, member: Member) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": member.digest, "size": member.size_bytes}


def _head(member: Member, count: int) -> bytes:
    with open(member.path, "rb") as file:
        return file.read(count)


def _read(member: Member, what: str) -> bytes:
    if member.size_bytes > config.MAX_BYTES:
        raise InvalidInput(f"archive: {what}: larger than {config.MAX_BYTES >> 20} MiB")
    with open(member.path, "rb") as file:
        return file.read()


class _Loader:
    """Brings one selected image after the other into the store."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        documents: ArchiveDocuments,
        progress: OnProgress | None,
        cancel: Cancel,
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._documents = documents
        self._progress = progress
        self._cancel = cancel
        self._adopted: set[str] = set()
        self._moved_in: list[Digest] = []

    def bring_in(self, selection: Selection, names: Sequence[Reference]) -> None:
        """The image is unpacked and recorded under all of `names`."""
        try:
            self._bring_in(selection, names)
        except BaseException:
            if self._moved_in:  # what failed so late leaves no blob behind either
                gc.sweep(self._home, self._database, self._moved_in)
            raise

    def _bring_in(self, selection: Selection, names: Sequence[Reference]) -> None:
        layers, diff_ids = selection.manifest.layers, selection.config.diff_ids
        with Unpacking(
            self._home, self._database, progress=self._progress, cancel=self._cancel
        ) as unpacking:
            missing = unpacking.missing(diff_ids)
            for position, layer in enumerate(layers):
                if position not in missing:
                    self._tell(layer, "cached")
            feeds = []
            for position in missing:
                layer = layers[position]
                descriptor = self._open(layer)
                try:
                    feeds.append(
                        unpacking.feed(
                            position, layer.digest, diff_ids[position], layer.size_bytes,
                            descriptor, complete=True,
                        )
                    )  # fmt: skip
                finally:
                    os.close(descriptor)
            for feed in feeds:  # before the blobs move in: a bad layer leaves none
                feed.done.wait()
                if feed.failure is not None:
                    raise feed.failure
            reference = names[0].full if names else None
            unpacking.publish(self._new_image(selection, reference))
        images = ImageStore(self._database, self._content)
        for name in names[1:]:
            images.tag(selection.image_id, name)

    def _new_image(self, selection: Selection, reference: str | None) -> NewImage:
        found, known = selection.manifest, selection.config
        blobs = (*selection.indexes, selection.descriptor, found.config, *found.layers)
        for each in blobs:
            self._adopt(each.digest)
        return NewImage(
            id=ImageID(found.config.digest),
            manifest=selection.descriptor.digest,
            index_digest=selection.index_digest,
            layers=tuple(
                (layer.digest, diff_id, layer.size_bytes)
                for layer, diff_id in zip(found.layers, known.diff_ids, strict=True)
            ),
            blobs=tuple((each.digest, each.size_bytes, each.media_type) for each in blobs),
            os=known.platform.os or "linux",
            architecture=known.platform.architecture,
            variant=known.platform.variant,
            created_ns=known.created_ns,
            reference=reference,
            origin=None,
        )

    def _adopt(self, digest: Digest) -> None:
        """The blob's file is in blobs/, if the archive has it."""
        if digest in self._documents.made:
            self._moved_in.append(self._content.put(self._documents.made[digest]))
            return
        member = self._documents.spool.by_digest.get(digest)
        if member is not None and member.path not in self._adopted:
            self._content.adopt(member.path, digest)
            self._moved_in.append(digest)
            self._adopted.add(member.path)

    def _open(self, layer: Descriptor) -> int:
        """The layer's blob, from the archive, else from the store."""
        member = self._documents.spool.by_digest.get(layer.digest)
        if member is not None and member.path not in self._adopted:
            if member.size_bytes != layer.size_bytes:
                raise InvalidInput(
                    f"archive: layer {layer.digest}: expected {layer.size_bytes} bytes, "
                    f"it has {member.size_bytes}"
                )
            return os.open(member.path, os.O_RDONLY | os.O_CLOEXEC)
        if self._content.has_file(layer.digest, layer.size_bytes):
            return self._content.open(layer.digest)
        raise InvalidInput(
            f"archive: layer {layer.digest} is not in it", "save the image again, as a whole"
        )

    def _tell(self, layer: Descriptor, phase: Phase) -> None:
        if self._progress is not None:
            name = layer.digest.partition(":")[2][:12]
            self._progress(Progress(name, phase, layer.size_bytes, layer.size_bytes))
