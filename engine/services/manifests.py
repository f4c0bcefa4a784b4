"""`manifest`: one name for the images of several platforms, made here and pushed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.image import Pushed
from engine.model.manifest import ManifestChange, ManifestEntry, ManifestView
from engine.model.progress import Phase
from engine.oci import config, json_strict
from engine.oci.descriptor import CONFIGS, LAYERS, Descriptor
from engine.oci.digest import Digest, sha256_of
from engine.oci.manifest import Index, Manifest, parse_manifest
from engine.oci.reference import Reference, parse_reference
from engine.oci.tree import Tree
from engine.registry.hosts import Hosts
from engine.registry.progress import Teller, short
from engine.registry.remote import RegistrySource, RegistryTarget
from engine.registry.threads import run_all
from engine.registry.timeouts import Timeouts
from engine.services.manifest_list import build_list, is_platform, replace_entry
from engine.storage.manifest_lists import ManifestLists

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home


class ManifestService:
    """The face's `manifests`. Nothing of an image is fetched before a push but its documents."""

    def __init__(self, home: Home) -> None:
        self._lists = ManifestLists(home)

    def create(
        self,
        name: str,
        refs: Sequence[str],
        *,
        amend: bool = False,
        cancel: Cancel | None = None,
    ) -> str:
        """The list's full name; its images are `refs`, after those that it had when `amend`."""
        target = _name(name)
        known = self._lists.find(target)
        if known is not None and not amend:
            raise Conflict(
                "refusing to amend an existing manifest list with no --amend flag",
                f"pydock manifest rm {target.familiar} forgets it",
            )
        entries = known or ()
        for ref in refs:
            entries = replace_entry(entries, self._fetch(parse_reference(ref), cancel))
        self._lists.put(target, entries)
        return target.full

    def annotate(self, name: str, ref: str, change: ManifestChange) -> None:
        """The list says this of the image. Raises NotFound, InvalidInput (no such platform)."""
        target, reference = _name(name), parse_reference(ref)
        entries = self._lists.get(target)
        entry = _within(entries, reference, target)
        given = {key: value for key, value in change._asdict().items() if value is not None}
        changed = entry._replace(**given)
        if not is_platform(changed.os, changed.architecture):
            raise InvalidInput(
                "manifest entry for image has unsupported os/arch combination: "
                f"{changed.os}/{changed.architecture}",
                "for example --os linux --arch arm64",
            )
        self._lists.put(target, replace_entry(entries, changed))

    def inspect(
        self,
        ref: str,
        *,
        within: str | None = None,
        children: bool = False,
        cancel: Cancel | None = None,
    ) -> ManifestView:
        """A list of ours, an image of the list `within`, or what a registry has under that name;
        with `children` the manifests of a registry's list are fetched too. Raises NotFound …"""
        reference = parse_reference(ref)
        if within is not None:
            target = _name(within)
            entry = _within(self._lists.get(target), reference, target)
            return ManifestView(reference.full, entry.media_type, entry.data, False, (entry,))
        entries = None if reference.digest else self._lists.find(reference)
        if entries is not None:
            media_type, data = build_list(entries)
            return ManifestView(reference.full, media_type, data, True, entries)
        return self._remote(reference, children, cancel)

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> tuple[Pushed, ...]:
        """Its images, then the list, as they are in the registry now; with `purge` the list is
        forgotten here. An image that is in another repository or registry comes along."""
        target = _name(name)
        entries = self._lists.get(target)
        if not entries:
            raise InvalidInput(f"manifest list {target.familiar}: it is empty", "create it anew")
        for entry in entries:
            if not entry.os or not entry.architecture:
                raise InvalidInput(
                    f"manifest {entry.reference} must have an OS and Architecture to be pushed "
                    "to a registry",
                    f"pydock manifest annotate --os linux --arch amd64 {target.familiar} "
                    f"{parse_reference(entry.reference).familiar}",
                )
        stop = Cancel()
        if cancel is not None:
            cancel.on_cancel(stop.cancel)
        with contextlib.ExitStack() as opened:
            root = _send(target, entries, opened, progress, stop)
        if purge:
            with contextlib.suppress(NotFound):
                self._lists.remove(target)
        repository = f"{target.domain}/{target.path}"
        members = (
            Pushed(f"{repository}@{entry.digest}", entry.digest, entry.size_bytes)
            for entry in entries
        )
        return (*members, Pushed(target.full, root.digest, root.size_bytes))

    def remove(self, name: str) -> None:
        """The list is forgotten here. Raises NotFound."""
        self._lists.remove(_name(name))

    # What registries have.

    def _fetch(self, reference: Reference, cancel: Cancel | None) -> ManifestEntry:
        view = self._remote(reference, True, cancel)
        if view.is_list:
            raise InvalidInput(
                f"{reference.full} is a manifest list",
                "name its images by digest; pydock manifest inspect shows them",
            )
        return view.entries[0]

    def _remote(self, reference: Reference, children: bool, cancel: Cancel | None) -> ManifestView:

        with contextlib.closing(_source(reference, cancel, Teller(None))) as source:
            try:
                root = source.root()
            except NotFound as error:
                raise NotFound(f"no such manifest: {reference.full}", error.hint) from error
            data = source.read(root)
            document = parse_manifest(data, root.media_type)
            root = root._replace(media_type=document.media_type)
            if not isinstance(document, Index):
                entry = _described(reference, root, data, source)
                return ManifestView(reference.full, root.media_type, data, False, (entry,))
            entries = tuple(
                _listed(reference, child, source.read(child) if children else b"", raw)
                for child, raw in zip(
                    document.manifests, json.loads(data)["manifests"], strict=True
                )
            )
            return ManifestView(reference.full, root.media_type, data, True, entries)


def _name(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest:
        raise InvalidInput(f"manifest list {text}: a digest cannot be given", "name a tag")
    return reference


def _within(
    entries: Sequence[ManifestEntry], reference: Reference, target: Reference
) -> ManifestEntry:
    for entry in entries:
        if entry.reference == reference.full:
            return entry
    raise NotFound(
        f"manifest for image {reference.full} does not exist in {target.full}",
        f"pydock manifest inspect {target.familiar} lists what is in it",
    )


def _source(reference: Reference, cancel: Cancel | None, teller: Teller) -> RegistrySource:

    return RegistrySource(reference, Hosts(), Timeouts(), cancel or Cancel(), teller)


def _send(
    target: Reference,
    entries: Sequence[ManifestEntry],
    opened: contextlib.ExitStack,
    progress: OnProgress | None,
    stop: Cancel,
) -> Descriptor:
    """The list, after all that it leads to is in its repository: lent by the images' own where
    they are on the same registry, else fetched from there."""

    teller, timeouts = Teller(progress), Timeouts()
    documents: list[tuple[Descriptor, bytes]] = []
    origins: dict[str, RegistrySource] = {}
    blobs: dict[str, Descriptor] = {}
    neighbours: list[str] = []
    for entry in entries:
        reference, digest = parse_reference(entry.reference), Digest(entry.digest)
        source = _source(reference._replace(tag=None, digest=digest), stop, teller)
        opened.callback(source.close)
        if reference.domain == target.domain:
            neighbours.append(reference.path)
        document = parse_manifest(entry.data, entry.media_type)
        assert isinstance(document, Manifest)
        documents.append((Descriptor(entry.media_type, digest, entry.size_bytes), entry.data))
        for blob in (document.config, *document.layers):
            if blob.is_distributable:
                blobs[blob.digest] = blob
                origins.setdefault(blob.digest, source)
    there = RegistryTarget(
        target, Hosts(), timeouts, stop, teller, neighbours=list(dict.fromkeys(neighbours))
    )
    opened.callback(there.close)

    def send(blob: Descriptor) -> None:
        def tell(phase: Phase, current: int) -> None:
            if blob.media_type in LAYERS:
                teller.tell(short(blob.digest), phase, current, blob.size_bytes)

        tell("queued", 0)
        phase = there.put_blob(
            blob, origins[blob.digest].open, lambda sent: tell("uploading", sent)
        )
        tell(phase, blob.size_bytes)

    run_all(list(blobs.values()), send, timeouts.uploads, "push", stop)
    media_type, data = build_list(entries)
    root = Descriptor(media_type, sha256_of(data), len(data))
    there.put_tree(Tree((*documents, (root, data)), tuple(blobs.values())))
    return root


def _described(
    reference: Reference, root: Descriptor, data: bytes, source: RegistrySource
) -> ManifestEntry:
    """An image on its own: its config says for which platform it is."""

    document = parse_manifest(data, root.media_type)
    known: dict[str, Any] = {}
    if isinstance(document, Manifest) and document.config.media_type in CONFIGS:
        known = json_strict.parse_object(source.read(document.config), "image config")
    platform = config.parse_config(json.dumps(known).encode()).platform if known else None
    return ManifestEntry(
        reference.full, root.media_type, root.digest, root.size_bytes,
        platform.os if platform else "", platform.architecture if platform else "",
        platform.variant if platform else "",
        json_strict.get_text(known, "os.version", "image config"),
        json_strict.get_texts(known, "os.features", "image config"), data,
    )  # fmt: skip


def _listed(
    reference: Reference, child: Descriptor, data: bytes, raw: dict[str, Any]
) -> ManifestEntry:
    platform = raw.get("platform") or {}
    return ManifestEntry(
        f"{reference.full}@{child.digest}", child.media_type, child.digest, child.size_bytes,
        str(platform.get("os", "")), str(platform.get("architecture", "")),
        str(platform.get("variant", "")), str(platform.get("os.version", "")),
        tuple(map(str, platform.get("os.features", ()))), data,
    )  # fmt: skip
