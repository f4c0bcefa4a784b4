"""The double's images: layers with file trees, a registry that can be slow."""

import builtins
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from engine.engine import Cancel, LayerView, OnProgress
from engine.errors import Cancelled, Conflict, InvalidInput, NotFound, Unsupported
from engine.model.analysis import Analysis
from engine.model.comparison import Comparison
from engine.model.gate import Verdict
from engine.model.image import (
    HistoryEntry,
    HistoryStep,
    Image,
    ImageMount,
    ImageSummary,
    Pushed,
    Removed,
)
from engine.model.image_config import ImageConfig
from engine.model.layer import DIRECTORY
from engine.model.progress import Phase, Progress
from engine.oci.digest import DiffID, chain_ids
from engine.oci.reference import Reference, parse_reference
from engine.services.layers import LayerFiles, is_path
from tests.support.double_archives import CREATED_NS, DoubleArchives, sha256
from tests.support.double_layers import DoubleLayerView
from tests.support.double_world import Entry, Layer, Record, StoredImage, World

EMPTY_CONFIG = ImageConfig((), (), ("sh",), "", "", (), (), (), "")
_COPY_PHASES: tuple[Phase, ...] = ("queued", "uploading", "done")
_LIVE = ("running", "paused")

Files = Mapping[str, "int | Entry | None"]
"""What a knob says of a layer: sizes of files, whole entries, None for what it removes."""


def make_layer(number: int, files: Files, command: str = "") -> Layer:
    """A layer with digests that follow from what is in it. Directories are made as needed."""
    entries: dict[str, Entry | None] = {}
    for path, what in files.items():
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts)):
            entries.setdefault("/".join(parts[:depth]), Entry(0, DIRECTORY, 0o755))
        entries["/".join(parts)] = Entry(what) if isinstance(what, int) else what
    stamp = repr((number, command, sorted(entries.items())))
    size = sum(entry.size_bytes for entry in entries.values() if entry)
    return Layer(
        sha256(f"diff {stamp}"), sha256(f"blob {stamp}"), command,
        CREATED_NS + number * 60_000_000_000, size * 2 // 5 + 32, entries,
    )  # fmt: skip


def make_image(
    layers: Sequence[Files | tuple[str, Files]],
    *,
    config: ImageConfig = EMPTY_CONFIG,
    platform: tuple[str, str, str] = ("linux", "amd64", ""),
    origin: str = "",
) -> StoredImage:
    """An image of `layers`, bottom first; each may come with its command."""
    made = []
    for number, each in enumerate(layers):
        command, files = each if isinstance(each, tuple) else (f"layer {number}", each)
        made.append(make_layer(number, files, command))
    stamp = repr((config, platform, [layer.diff_id for layer in made]))
    history = tuple(HistoryEntry(each.created_ns, each.command, "", False) for each in made)
    return StoredImage(
        sha256(f"config {stamp}"), sha256(f"manifest {stamp}"), CREATED_NS, *platform, config,
        history, tuple(made), origin,
    )  # fmt: skip


class DoubleImages(DoubleArchives):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.step_seconds = 0.0  # how long a pull takes for each of a layer's ten steps

    # -- questions

    def list(
        self, *, all: bool = False, filters: Sequence[tuple[str, str]] = ()
    ) -> builtins.list[ImageSummary]:
        from engine.services.filters import filter_images

        with self._world.lock:
            rows = [self._summary(image) for image in self._world.images.values()]
            labels = {image.id: dict(image.config.labels) for image in self._world.images.values()}
        rows.sort(key=lambda row: (-row.created_ns, row.id))
        return filter_images(rows, filters, labels.__getitem__)

    def inspect(self, ref: str) -> Image:
        with self._world.lock:
            image = self.get(ref)
            summary = self._summary(image)
            names = {parse_reference(name).familiar_name for name in summary.references}
            diff_ids = [DiffID(layer.diff_id) for layer in image.layers]
            return Image(
                summary=summary,
                config=image.config,
                history=image.history,
                diff_ids=tuple(diff_ids),
                chain_id=chain_ids(diff_ids)[-1] if diff_ids else "",
                repo_digests=tuple(sorted(f"{name}@{image.manifest}" for name in names)),
                author="",
                comment=next((step.comment for step in image.history[-1:]), ""),
            )

    def history(self, ref: str) -> tuple[HistoryStep, ...]:
        from engine.services.history import pair

        with self._world.lock:
            image = self.get(ref)
            names = self._summary(image).references
            sizes = [layer.size_bytes for layer in image.layers]
            return pair(image.history, sizes, image.id, names)

    def get(self, ref: str) -> StoredImage:
        """By name, id, or a unique beginning of an id."""
        world = self._world
        with world.lock:
            bare = ref.removeprefix("sha256:")
            is_hex = bool(bare) and all(digit in "0123456789abcdef" for digit in bare)
            name = None if is_hex and len(bare) == 64 else parse_reference(ref).full
            if name in world.references:
                return world.images[world.references[name]]
            found = [
                image
                for image in world.images.values()
                if (is_hex and image.id.startswith(f"sha256:{bare}"))
                or (name is not None and name.endswith(f"@{image.manifest}"))
            ]
            if len(found) > 1:
                raise Conflict(f"image id {bare}: more than one image begins so", "more digits")
            if not found:
                raise NotFound(f"no such image: {ref[:200]}", f"pydock pull {ref[:200]}")
            return found[0]

    def _summary(self, image: StoredImage) -> ImageSummary:
        world = self._world
        others = {
            layer.diff_id
            for other in world.images.values()
            if other.id != image.id
            for layer in other.layers
        }
        names = sorted(name for name, target in world.references.items() if target == image.id)
        return ImageSummary(
            id=image.id,
            references=tuple(parse_reference(name).familiar for name in names),
            digest=image.manifest,
            created_ns=image.created_ns,
            size_bytes=sum(layer.size_bytes for layer in image.layers),
            unique_bytes=sum(
                layer.size_bytes for layer in image.layers if layer.diff_id not in others
            ),
            waste_bytes=DoubleLayerView("", image).waste_bytes,
            os=image.os,
            architecture=image.architecture,
            variant=image.variant,
            layers=len(image.layers),
            used_by=tuple(record.name for record in self._users(image)),
        )

    def _users(self, image: StoredImage) -> builtins.list[Record]:
        return [
            record
            for record in self._world.containers.values()
            if record.container.summary.image_id == image.id
        ]

    # -- work

    def pull(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> ImageSummary:
        reference = parse_reference(ref)
        cancel = cancel or Cancel()

        def tell(name: str, phase: Phase, current: int = 0, total: int = 0, text: str = "") -> None:
            if progress is not None:
                progress(Progress(name, phase, current, total, text))

        def check(seconds: float = 0.0) -> None:
            if cancel.wait(seconds) if seconds else cancel.cancelled:
                raise Cancelled(f"pull {reference.familiar}: cancelled", "pull again to go on")

        tell("", "resolving", text=f"{reference.familiar} from {reference.domain}")
        check()
        with self._world.lock:
            image = self._world.remote.get(reference.full)
            known = {layer.diff_id for each in self._world.images.values() for layer in each.layers}
            same = image is not None and self._world.references.get(reference.full) == image.id
        if image is None:
            raise NotFound(
                f"manifest for {reference.familiar} not found: manifest unknown",
                "check the name and the tag",
            )
        if platform and platform not in (image.os, f"{image.os}/{image.architecture}"):
            raise NotFound(f"no image of {reference.familiar} for {platform}", "drop --platform")
        missing = [layer for layer in image.layers if layer.diff_id not in known]
        for layer in image.layers:
            phase: Phase = "queued" if layer in missing else "cached"
            done = 0 if layer in missing else layer.blob_bytes
            tell(layer.digest[7:19], phase, done, layer.blob_bytes)
        steps: tuple[Phase, ...] = ("downloading", "extracting")
        for layer in missing:
            for phase in steps:
                for tenth in range(11):
                    check(self.step_seconds)
                    size = layer.blob_bytes
                    tell(layer.digest[7:19], phase, size * tenth // 10, size)
            tell(layer.digest[7:19], "done", layer.blob_bytes, layer.blob_bytes)
        with self._world.lock:
            origin = f"{reference.domain}/{reference.path}"
            self.put(image._replace(origin=origin), reference.full)
            self._world.tell("image", "pull", image.id, reference.familiar, name=reference.familiar)
            state = "image is up to date" if same else "downloaded newer image"
            tell("", "done", text=f"{state} for {reference.familiar}")
            return self._summary(image)

    def remote_tags(self, ref: str, *, cancel: Cancel | None = None) -> Sequence[str]:
        reference = parse_reference(ref)
        with self._world.lock:
            names = [parse_reference(name) for name in self._world.remote]
        tags = [name.tag for name in names if name[:2] == reference[:2] and name.tag]
        if not tags:
            raise NotFound(f"repository {reference.familiar_name} not found", "check the name")
        return tags

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
        from engine.registry.push import parse_packing

        reference = parse_reference(ref)
        parse_packing(compression, level)
        cancel = cancel or Cancel()
        with self._world.lock:
            image = self._to_push(reference, platform)
            there = {
                layer.digest: name.rpartition(":")[0].partition("/")[2]
                for name, other in self._world.remote.items()
                for layer in other.layers
                if name.startswith(f"{reference.domain}/")
            }

        def tell(layer: Layer, phase: Phase, current: int, text: str = "") -> None:
            if cancel.wait(self.step_seconds) if self.step_seconds else cancel.cancelled:
                raise Cancelled(f"push {reference.familiar}: cancelled", "push again to go on")
            if progress is not None:
                name, size = layer.digest[7:19], layer.blob_bytes
                progress(Progress(name, phase, current, size, text))

        for layer in image.layers:
            tell(layer, "queued", 0)
        for layer in image.layers:
            neighbour = there.get(layer.digest)
            if neighbour == reference.path:
                tell(layer, "exists", layer.blob_bytes)
            elif neighbour:
                tell(layer, "mounted", layer.blob_bytes, neighbour)
            else:
                for tenth in range(11):
                    tell(layer, "uploading", layer.blob_bytes * tenth // 10)
                tell(layer, "done", layer.blob_bytes)
        with self._world.lock:
            self._world.remote[reference.full] = image
            self._world.tell("image", "push", image.id, reference.familiar, name=reference.familiar)
        return Pushed(reference.familiar, image.manifest, 500 + 100 * len(image.layers))

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
        """Between the registry and the store; there are no files here."""
        from engine.services.places import parse_place

        start, end = parse_place(source), parse_place(target)
        if {start.transport, end.transport} - {"docker", "store"}:
            raise Unsupported(f"{source} to {target}: the double has no files", "use names")
        if cancel is not None and cancel.cancelled:
            raise Cancelled("copy: cancelled")
        with self._world.lock:
            if start.transport == "store":
                image = self.get(start.name)
            elif start.reference.full in self._world.remote:
                image = self._world.remote[start.reference.full]
            else:
                raise NotFound(f"manifest for {start.name} not found", "check the name")
            if end.transport == "docker":
                self._world.remote[end.reference.full] = image
            else:
                self.put(image, end.reference.full)
                name = end.reference.familiar
                self._world.tell("image", "load", image.id, name, name=name)
        tell = progress or (lambda step: None)
        for layer in image.layers:
            for phase in _COPY_PHASES:
                done = 0 if phase == "queued" else layer.blob_bytes
                tell(Progress(layer.digest[7:19], phase, done, layer.blob_bytes))
        return Pushed(target, image.manifest, 500 + 100 * len(image.layers))

    def _to_push(self, reference: Reference, platform: str | None) -> StoredImage:
        if reference.digest:
            raise InvalidInput("cannot push a digest reference", "name a tag")
        name = self._world.references.get(reference.full)
        if name is None:
            repository = f"{reference.domain}/{reference.path}:"
            if any(each.startswith(repository) for each in self._world.references):
                raise NotFound(f"tag does not exist: {reference.familiar}", "pydock images")
            raise NotFound(
                "an image does not exist locally with the tag: " + reference.familiar_name,
                f"pydock tag IMAGE {reference.familiar} gives one that name",
            )
        image = self._world.images[name]
        if platform and platform not in (image.os, f"{image.os}/{image.architecture}"):
            raise NotFound(f"no {platform} of {reference.familiar} is here", "drop --platform")
        return image

    def mount(self, ref: str, target: str | None = None) -> str:
        with self._world.lock:
            image = self.get(ref)
            path = target or f"/run/pydock/mounts/{image.id[7:]}"
            if target and not os.path.isdir(target):
                raise NotFound(f"{target}: no such directory", "make it first")
            owner = self._world.mounts.setdefault(path, image.id)
            if owner != image.id:
                raise Conflict(f"{path}: image {owner[7:19]} is mounted there", "unmount it first")
            self._world.tell("image", "mount", image.id, ref, name=ref)
            return path

    def mounts(self) -> builtins.list[ImageMount]:
        return [ImageMount(image, path) for path, image in self._world.mounts.items()]

    def unmount(self, ref: str, *, force: bool = False) -> builtins.list[ImageMount]:
        with self._world.lock:
            if ref.startswith("/"):
                found = [each for each in self.mounts() if each.path == ref]
            else:
                image = self.get(ref).id
                found = [each for each in self.mounts() if each.image_id == image]
            if not found:
                raise Conflict(f"{ref}: not mounted", "pydock image mount lists what is")
            for each in found:
                del self._world.mounts[each.path]
                self._world.tell("image", "unmount", each.image_id, ref, name=ref)
            return found

    def tag(self, ref: str, target: str) -> None:
        with self._world.lock:
            image, reference = self.get(ref), parse_reference(target)
            if reference.digest:
                raise InvalidInput(
                    f"reference {reference.familiar}: refusing to create a tag with a digest "
                    "reference",
                    "name a tag",
                )
            self.put(image, reference.full)
            self._world.tell("image", "tag", image.id, reference.familiar, name=reference.familiar)

    def remove(self, ref: str, *, force: bool = False) -> Removed:
        world = self._world
        with world.lock:
            image = self.get(ref)
            names = [
                name for name, target in sorted(world.references.items()) if target == image.id
            ]
            hexadecimal = image.id.removeprefix("sha256:").startswith(ref.removeprefix("sha256:"))
            by_name = not hexadecimal and "@" not in ref
            going = [parse_reference(ref).full] if by_name else names
            last = going == names
            users = self._users(image)
            if last and image.id in self._world.mounts.values():
                raise Conflict(
                    f"conflict: unable to delete {image.id[7:19]} (cannot be forced): image is "
                    "mounted",
                    f"pydock image unmount {ref}",
                )
            if last:
                self._check_removable(ref, image, users, by_name, names, force)
            for name in going:
                del world.references[name]
            untagged = tuple(parse_reference(name).familiar for name in going)
            for name in untagged:
                world.tell("image", "untag", image.id, name, name=name)
            if not last or users:
                return Removed(untagged, (), 0)
            freed = self._summary(image).unique_bytes
            del world.images[image.id]
            world.tell("image", "delete", image.id, ref, name=ref)
            chains = chain_ids(DiffID(layer.diff_id) for layer in image.layers)
            return Removed(untagged, (image.id, *reversed(chains)), freed)

    def _check_removable(
        self,
        ref: str,
        image: StoredImage,
        users: Sequence[Record],
        by_name: bool,
        names: Sequence[str],
        force: bool,
    ) -> None:
        short = image.id[7:19]
        who = ", ".join(record.name for record in users)
        busy = any(record.state in _LIVE for record in users)
        if by_name and users and not force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{ref}" (must force): container '
                f"{who} is using its image {short}",
                "remove the container first, or use --force to remove the name only",
            )
        if not by_name and busy:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced): image is being used by "
                f"running container {who}",
                "stop and remove the container first",
            )
        if not by_name and not force and (users or len(names) > 1):
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced): image is in use by "
                f"{who or ', '.join(names)}",
                "remove the container first, or use --force",
            )


class DoubleLayers:
    def __init__(self, world: World, images: DoubleImages) -> None:
        self._world = world
        self._images = images

    def open(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> LayerView:
        if is_path(ref):
            with self._files(ref) as (files, paths):
                return files.open(*paths, platform=platform, progress=progress, cancel=cancel)
        with self._world.lock:
            image = self._images.get(ref)
            names = self._images._summary(image).references
            _, tars = self._images._documents.get(image.id) or (b"", ())
            view = DoubleLayerView(names[0] if names else image.id[7:19], image, tars)
            for layer in image.layers:
                sharers = [
                    name
                    for other in self._world.images.values()
                    if other.id != image.id and layer.diff_id in {x.diff_id for x in other.layers}
                    for name in self._images._summary(other).references[:1]
                ]
                view.share(layer.diff_id, tuple(sharers))
            return view

    def analyze(
        self,
        ref: str,
        *,
        advice: bool = False,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Analysis:
        """The real one's, of what `save` writes."""
        with self._files(ref) as (files, paths):
            found = files.analyze(
                *paths, advice=advice, platform=platform, progress=progress, cancel=cancel
            )
            if paths == [ref]:
                return found
            view = self.open(ref)
            return found._replace(reference=view.reference, image_id=view.image_id)

    def check(
        self,
        ref: str,
        *,
        config: str = "",
        config_name: str = ".dive-ci",
        against: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Verdict:
        with self._files(ref, *([against] if against else [])) as (files, paths):
            return files.check(
                paths[0], config=config, config_name=config_name, against="".join(paths[1:]),
                platform=platform, progress=progress, cancel=cancel,
            )  # fmt: skip

    def compare(
        self,
        before: str,
        after: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Comparison:
        with self._files(before, after) as (files, paths):
            return files.compare(*paths, platform=platform, progress=progress, cancel=cancel)

    @contextlib.contextmanager
    def _files(self, *refs: str) -> Iterator[tuple[LayerFiles, builtins.list[str]]]:
        """Images as archives, as `save` writes them; paths stay what they are."""
        with tempfile.TemporaryDirectory() as directory:
            paths = []
            for number, ref in enumerate(refs):
                if is_path(ref):
                    paths.append(ref)
                    continue
                paths.append(f"{directory}/{number}.tar")
                with open(paths[-1], "wb") as archive:
                    self._images.save([ref], archive)
            yield LayerFiles(f"{directory}/cache"), paths
