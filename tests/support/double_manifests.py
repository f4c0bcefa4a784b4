"""The double's manifest lists, over what its registry has."""

import json
from collections.abc import Sequence

from engine.engine import Cancel, OnProgress
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.image import Pushed
from engine.model.manifest import ManifestChange, ManifestEntry, ManifestView
from engine.oci.descriptor import OCI_MANIFEST
from engine.oci.digest import sha256_of
from engine.oci.reference import parse_reference
from engine.services.manifest_list import build_list, is_platform, replace_entry
from tests.support.double_world import World

Entries = tuple[ManifestEntry, ...]


class DoubleManifests:
    def __init__(self, world: World) -> None:
        self._world = world
        self._lists: dict[str, Entries] = {}
        self._pushed: dict[str, Entries] = {}

    def create(
        self,
        name: str,
        refs: Sequence[str],
        *,
        amend: bool = False,
        cancel: Cancel | None = None,
    ) -> str:
        full = self._name(name)
        if full in self._lists and not amend:
            raise Conflict(
                "refusing to amend an existing manifest list with no --amend flag",
                f"pydock manifest rm {name} forgets it",
            )
        entries = self._lists.get(full, ())
        for ref in refs:
            view = self._remote(ref)
            if view.is_list:
                raise InvalidInput(f"{view.reference} is a manifest list", "name its images")
            entries = replace_entry(entries, view.entries[0])
        self._lists[full] = entries
        return full

    def annotate(self, name: str, ref: str, change: ManifestChange) -> None:
        full = self._name(name)
        entry = self._within(full, ref)
        given = {key: value for key, value in change._asdict().items() if value is not None}
        changed = entry._replace(**given)
        if not is_platform(changed.os, changed.architecture):
            raise InvalidInput(
                "manifest entry for image has unsupported os/arch combination: "
                f"{changed.os}/{changed.architecture}",
                "for example --os linux --arch arm64",
            )
        self._lists[full] = replace_entry(self._lists[full], changed)

    def inspect(
        self,
        ref: str,
        *,
        within: str | None = None,
        children: bool = False,
        cancel: Cancel | None = None,
    ) -> ManifestView:
        full = parse_reference(ref).full
        if within is not None:
            entry = self._within(self._name(within), ref)
            return ManifestView(full, entry.media_type, entry.data, False, (entry,))
        if full in self._lists:
            media_type, data = build_list(self._lists[full])
            return ManifestView(full, media_type, data, True, self._lists[full])
        return self._remote(ref)

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> tuple[Pushed, ...]:
        full = self._name(name)
        entries = self._get(full)
        self._pushed[full] = entries
        if purge:
            del self._lists[full]
        _, data = build_list(entries)
        repository = full.rpartition(":")[0]
        members = [Pushed(f"{repository}@{e.digest}", e.digest, e.size_bytes) for e in entries]
        return (*members, Pushed(full, sha256_of(data), len(data)))

    def remove(self, name: str) -> None:
        self._get(self._name(name))
        del self._lists[self._name(name)]

    def _name(self, text: str) -> str:
        reference = parse_reference(text)
        if reference.digest:
            raise InvalidInput(f"manifest list {text}: a digest cannot be given", "name a tag")
        return reference.full

    def _get(self, full: str) -> Entries:
        if full not in self._lists:
            raise NotFound(f"no such manifest: {full}", "pydock manifest create makes one")
        return self._lists[full]

    def _within(self, full: str, ref: str) -> ManifestEntry:
        wanted = parse_reference(ref).full
        for entry in self._get(full):
            if entry.reference == wanted:
                return entry
        raise NotFound(f"manifest for image {wanted} does not exist in {full}", "inspect it")

    def _remote(self, ref: str) -> ManifestView:
        full = parse_reference(ref).full
        if full in self._pushed:
            media_type, data = build_list(self._pushed[full])
            return ManifestView(full, media_type, data, True, self._pushed[full])
        image = self._world.remote.get(full)
        if image is None:
            raise NotFound(f"no such manifest: {full}", "check the name")
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST}).encode()
        entry = ManifestEntry(
            full, OCI_MANIFEST, image.manifest, len(data), image.os, image.architecture,
            image.variant, "", (), data,
        )  # fmt: skip
        return ManifestView(full, OCI_MANIFEST, data, False, (entry,))
