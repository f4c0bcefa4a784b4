"""`images`, `pull`, `load`, `tag`, `rmi`."""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

from engine import journal
from engine.errors import Conflict, EngineError
from engine.model.image import (
    HistoryEntry,
    HistoryStep,
    Image,
    ImageMount,
    ImageSummary,
    Pushed,
    Removed,
)
from engine.oci.digest import ImageID
from engine.oci.reference import familiar, parse_reference
from engine.storage import gc

if TYPE_CHECKING:
    from engine.engine import Cancel, OnProgress
    from engine.home import Home
    from engine.oci.config import ImageDocument
    from engine.storage.content import Content
    from engine.storage.image_store import ImageStore, ListedImage
    from engine.storage.metadata import Database
    from engine.storage.snapshots import Snapshots

Filters = Sequence[tuple[str, str]]


class ImageService:
    """The face's `images`. `users` tells which containers have an image: id → names."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        store: ImageStore,
        users: Callable[[], dict[str, list[str]]],
        snapshots: Snapshots,
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._store = store
        self._users = users
        self._snapshots = snapshots

    def list(self, *, all: bool = False, filters: Filters = ()) -> builtins.list[ImageSummary]:
        users = self._users()
        rows = [self._summary(listed, users) for listed in self._store.list_()]
        if filters:
            from engine.services.filters import filter_images

            rows = filter_images(rows, filters, self._labels)
        return rows

    def _labels(self, image_id: str) -> dict[str, str]:
        return dict(self._store.run_config(self._store.get(image_id)).labels)

    def _summary(self, listed: ListedImage, users: dict[str, builtins.list[str]]) -> ImageSummary:
        row = listed.row
        return ImageSummary(
            id=row.id,
            references=tuple(map(familiar, listed.references)),
            digest=row.index_digest or row.manifest,
            created_ns=row.created_ns,
            size_bytes=row.size_bytes,
            unique_bytes=listed.unique_bytes,
            waste_bytes=row.waste_bytes,
            os=row.os,
            architecture=row.architecture,
            variant=row.variant,
            layers=row.layers,
            used_by=tuple(users.get(row.id, ())),
        )

    def inspect(self, ref: str) -> Image:
        from engine.storage.image_configs import config_of

        row = self._store.get(ref)
        document = self._store.config(row)
        listed = self._store.listed(row)
        digests = {
            f"{parse_reference(name).familiar_name}@{row.index_digest or row.manifest}"
            for name in listed.references
        }
        return Image(
            summary=self._summary(listed, self._users()),
            config=config_of(document),
            history=history_of(document),
            diff_ids=document.diff_ids,
            chain_id=row.chain_id or "",
            repo_digests=tuple(sorted(digests)),
            author=document.author,
            comment=document.comment or next((step.comment for step in document.history[-1:]), ""),
        )

    def history(self, ref: str) -> tuple[HistoryStep, ...]:
        """How it came to be, newest step first."""
        from engine.services.history import pair

        row = self._store.get(ref)
        names = tuple(parse_reference(name).familiar for name in self._store.references(row.id))
        sizes = [raw_bytes for *_, raw_bytes in self._store.layers_of(row)]
        return pair(history_of(self._store.config(row)), sizes, row.id, names)

    def pull(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> ImageSummary:
        """The image is here, unpacked, under its name. See registry.pull."""
        from engine.oci.platform import parse_platform
        from engine.registry.pull import pull

        reference = parse_reference(ref)
        image = pull(
            reference,
            parse_platform(platform) if platform else None,
            home=self._home,
            database=self._database,
            content=self._content,
            images=self._store,
            progress=progress,
            cancel=cancel,
        )
        self._measure_waste(image)
        self._tell("pull", image, reference.familiar)
        return self._summary(self._store.listed(self._store.get(image)), self._users())

    def remote_tags(self, ref: str, *, cancel: Cancel | None = None) -> Sequence[str]:
        from engine.registry.tags import find_tags

        return find_tags(parse_reference(ref), cancel=cancel)

    def save(
        self,
        refs: Sequence[str],
        output: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """One archive of all of them is in `output`: see services.transfers.save."""
        from engine.services import transfers

        transfers.save(
            self._database, self._content, self._store, refs, output, platform, progress, cancel
        )

    def load(
        self,
        archive: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> builtins.list[str]:
        """References (or ids, where untagged) of the images that were in it."""
        from engine.oci.platform import parse_platform
        from engine.storage.archive import load

        names = load(
            archive,
            home=self._home,
            database=self._database,
            content=self._content,
            wanted=parse_platform(platform) if platform else None,
            progress=progress,
            cancel=cancel,
        )
        for name in names:
            row = self._store.get(name)
            self._measure_waste(row.id)
            self._tell("load", row.id, name)
        return names

    def push(
        self,
        ref: str,
        *,
        platform: str | None = None,
        compression: str | None = None,
        level: int | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Pushed:
        """What `ref` names in its registry now. See registry.push."""
        from engine.oci.platform import parse_platform
        from engine.registry.push import parse_packing, push

        reference = parse_reference(ref)
        pushed = push(
            reference,
            home=self._home,
            database=self._database,
            content=self._content,
            images=self._store,
            platform=parse_platform(platform) if platform else None,
            packing=parse_packing(compression, level),
            progress=progress,
            cancel=cancel,
        )
        row = self._store.find(reference.full)
        self._tell("push", row.id if row else pushed.digest, reference.familiar)
        return pushed

    def import_(
        self,
        archive: IO[bytes],
        target: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        """The id of a new image of one layer: see services.transfers.import_."""
        from engine.services import transfers

        identity = transfers.import_(
            self._home,
            self._database,
            self._content,
            archive,
            target,
            changes,
            message,
            platform,
            progress,
            cancel,
        )
        self._measure_waste(identity)
        self._tell("import", identity, parse_reference(target).familiar if target else identity)
        return identity

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | None = None,
        every: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Pushed:
        """What `target` is now. See services.copying."""
        from engine.oci.platform import parse_platform
        from engine.services.copying import Copying
        from engine.services.places import parse_place

        wanted = parse_platform(platform) if platform else None
        to = parse_place(target)
        with Copying(
            self._home, self._database, self._content, self._store, progress, cancel
        ) as copying:
            copied = copying.run(parse_place(source), to, wanted, every=every)
        if to.transport == "store":
            row = self._store.get(to.name)
            self._measure_waste(row.id)
            self._tell("load", row.id, to.reference.familiar)
        return copied

    def mount(self, ref: str, target: str | None = None) -> str:
        """See storage.image_mounts, as for the two below."""
        from engine.storage import image_mounts

        row = self._store.get(ref)
        path = image_mounts.mount(self._home, self._database, self._snapshots, row, target)
        self._tell("mount", row.id, self._shown(row.id))
        return path

    def mounts(self) -> builtins.list[ImageMount]:
        from engine.storage import image_mounts

        return image_mounts.mounted(self._home)

    def unmount(self, ref: str, *, force: bool = False) -> builtins.list[ImageMount]:
        from engine.storage import image_mounts

        if ref.startswith("/"):
            path = os.path.realpath(ref)
            found = [each for each in self.mounts() if each.path == path]
        else:
            image = self._store.get(ref).id
            found = [each for each in self.mounts() if each.image_id == image]
        if not found:
            raise Conflict(f"{ref}: not mounted", "pydock image mount lists what is")
        for each in reversed(found):
            image_mounts.unmount(self._home, each.path, force=force)
            self._tell("unmount", each.image_id, self._shown(each.image_id))
        return found

    def _shown(self, image: str) -> str:
        names = self._store.references(ImageID(image))
        return parse_reference(names[0]).familiar if names else image

    def tag(self, ref: str, target: str) -> None:
        row = self._store.get(ref)
        reference = parse_reference(target)
        self._store.tag(row.id, reference)
        self._tell("tag", row.id, reference.familiar)

    def remove(self, ref: str, *, force: bool = False) -> Removed:
        """By docker's rules: see storage.gc.remove_image."""
        row = self._store.get(ref)
        removed = gc.remove_image(self._home, self._database, self._store, ref, force=force)
        for name in removed.untagged:
            self._tell("untag", row.id, name)
        if removed.deleted:
            self._tell("delete", row.id, ref)
        return removed

    def _measure_waste(self, image: ImageID) -> None:
        """For lists, once, while the indexes are warm. A list can do without."""
        row = self._store.get(image)
        if row.waste_bytes >= 0:
            return
        from engine.layers.tree import waste_of  # only when there is something to measure

        layers = self._store.layers_of(row)
        with contextlib.suppress(EngineError, OSError):
            paths = [f"{self._home.layer_dir(layer[0])}/layer.pdl" for layer in layers]
            self._store.set_waste(image, waste_of(paths))

    def _tell(self, action: str, image: str, name: str) -> None:
        journal.append(self._home.events_path, "image", action, image, name, {"name": name})


def history_of(document: ImageDocument) -> tuple[HistoryEntry, ...]:
    """The steps of an image as clients see them, oldest first."""
    return tuple(
        HistoryEntry(step.created_ns, step.created_by, step.comment, step.empty_layer)
        for step in document.history
    )
