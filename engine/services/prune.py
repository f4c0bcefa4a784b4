"""What nobody uses: first exactly what would go, then exactly that.

A preview sees what is unused once the things before it are gone: containers, then networks and
volumes, then images, then files that nothing leads to. docker's rules for what is unused, but a
network stays while a stopped container wants to go back to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from engine import journal, units
from engine.errors import EngineError, InvalidInput, NotFound
from engine.model.container import UP
from engine.model.prune import Doomed, Kept, Preview, Pruned
from engine.named_tuple import NamedTuple
from engine.oci.reference import parse_reference
from engine.services.filters import has_label
from engine.storage import content, gc, usage
from engine.storage.image_mounts import places
from engine.storage.usage import Measure, Parts

if TYPE_CHECKING:
    from engine.home import Home
    from engine.model.container import ContainerSummary
    from engine.model.network import NetworkSummary
    from engine.model.volume import VolumeSummary
    from engine.services.containers import ContainerService
    from engine.services.networks import NetworkService
    from engine.services.volumes import VolumeService
    from engine.storage.image_store import ImageRow, ImageStore, ListedImage
    from engine.storage.metadata import Database

KINDS = ("container", "network", "volume", "image", "file")
_BUILT_IN = ("bridge", "host", "none")


class Pruning:
    """`prune_preview` and `prune` of the face's `system`."""

    def __init__(
        self,
        home: Home,
        database: Database,
        images: ImageStore,
        containers: ContainerService,
        volumes: VolumeService,
        networks: NetworkService,
    ) -> None:
        self._home = home
        self._database = database
        self._images = images
        self._containers = containers
        self._volumes = volumes
        self._networks = networks

    def preview(
        self,
        kinds: Sequence[str],
        *,
        all_images: bool,
        all_volumes: bool,
        filters: Sequence[tuple[str, str]],
    ) -> Preview:
        """Raises InvalidInput for a kind or filter that it does not know, Unavailable."""
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise InvalidInput(f"kind {', '.join(unknown)}: unknown", ", ".join(KINDS))
        chosen = _Chosen([], [], [], [], gc.Plan((), (), ()), [])
        wanted = _Filter(filters)
        staying = self._containers.list(all=True)
        if "container" in kinds:
            idle = [row for row in staying if row.state not in UP]
            chosen.containers.extend(row for row in idle if wanted.takes(row))
            chosen.kept.extend(
                Kept("container", row.id, row.name, f"it is {row.state}")
                for row in staying
                if row.state in UP
            )
            going = {row.id for row in chosen.containers}
            staying = [row for row in staying if row.id not in going]
        if "network" in kinds:
            self._choose_networks(chosen, wanted, staying)
        if "volume" in kinds:
            self._choose_volumes(chosen, wanted, staying, every=all_volumes)
        if "image" in kinds:
            self._choose_images(chosen, wanted, staying, every=all_images)
        if "file" in kinds:
            plan = gc.plan(self._home, self._database)
            ingests = content.idle_ingests(self._home)
            chosen = chosen._replace(plan=plan._replace(paths=(*plan.paths, *ingests)))
        return self._priced(chosen)

    def _choose_networks(
        self, chosen: _Chosen, wanted: _Filter, staying: Sequence[ContainerSummary]
    ) -> None:
        users = _users((network, row.name) for row in staying for network in row.networks)
        for network in self._networks.list():
            if network.name in _BUILT_IN:
                continue
            names = sorted({*users.get(network.name, ()), *users.get(network.id, ())})
            if names:
                chosen.kept.append(Kept("network", network.id, network.name, _in_use(names)))
            elif wanted.takes(network):
                chosen.networks.append(network)

    def _choose_volumes(
        self,
        chosen: _Chosen,
        wanted: _Filter,
        staying: Sequence[ContainerSummary],
        *,
        every: bool,
    ) -> None:
        left = {row.name for row in staying}
        for volume in self._volumes.list():
            names = [name for name in volume.used_by if name in left]
            if names:
                chosen.kept.append(Kept("volume", volume.name, volume.name, _in_use(names)))
            elif (every or volume.anonymous) and wanted.takes(volume):
                chosen.volumes.append(volume)

    def _choose_images(
        self,
        chosen: _Chosen,
        wanted: _Filter,
        staying: Sequence[ContainerSummary],
        *,
        every: bool,
    ) -> None:
        users = _users((row.image_id, row.name) for row in staying)
        mounted = places(self._home)
        for listed in self._images.list_():
            image = listed.row
            if listed.references and not every:
                continue
            if image.id in users or image.id in mounted:
                reason = (
                    _in_use(users[image.id])
                    if image.id in users
                    else f"it is mounted at {mounted[image.id]}"
                )
                chosen.kept.append(Kept("image", image.id, _name(listed), reason))
            elif wanted.takes_image(image.created_ns, partial(self._labels, image)):
                chosen.images.append(listed)

    def _labels(self, image: ImageRow) -> tuple[tuple[str, str], ...]:
        return self._images.run_config(image).labels

    def _priced(self, chosen: _Chosen) -> Preview:
        """With what each takes, and all of it together."""
        plan = chosen.plan
        measure = Measure(self._home)
        for row in chosen.containers:
            usage.want_container(self._home, measure, row.id)
        measure.add(*(self._place(volume.name) for volume in chosen.volumes), *plan.paths)
        has_parts = bool(chosen.images or plan.layers or plan.blobs)
        if has_parts:
            usage.want_parts(self._home, self._database, measure)
        measure.run()
        parts = Parts({}, {})
        if has_parts:
            parts = usage.parts_of_images(self._home, self._database, measure)
        items = [
            Doomed(
                "container", row.id, row.name, usage.container_bytes(self._home, measure, row.id)
            )
            for row in chosen.containers
        ]
        items += (Doomed("network", row.id, row.name, 0) for row in chosen.networks)
        for volume in chosen.volumes:
            size = measure.of(self._place(volume.name))
            items.append(Doomed("volume", volume.name, volume.name, size, users=volume.used_by))
        users = _users((row.image_id, row.name) for row in chosen.containers)
        unique = parts.unique()
        images = [
            Doomed(
                "image", each.row.id, _name(each), unique.get(each.row.id, 0), _familiar(each),
                tuple(users.get(each.row.id, ())),
            )
            for each in chosen.images
        ]  # fmt: skip
        files = [
            Doomed("file", part, f"{noun} {part}", parts.size([part]))
            for noun, found in (("layer", plan.layers), ("blob", plan.blobs))
            for part in found
        ]
        for path in plan.paths:
            name = path.removeprefix(f"{self._home.root}/")
            files.append(Doomed("file", name, name, measure.of(path)))
        going = parts.held.keys() & {each.row.id for each in chosen.images}
        freed_bytes = parts.size(parts.of(going) - parts.of(parts.held.keys() - going))
        freed_bytes += sum(item.freed_bytes for item in (*items, *files))
        return Preview((*items, *images, *files), tuple(chosen.kept), freed_bytes)

    def _place(self, volume: str) -> str:
        return f"{self._home.root}/volumes/{volume}"

    # -- going

    def run(self, preview: Preview) -> Pruned:
        """Exactly that is gone. What has changed since stays, and is told; so is what fails."""
        measure = Measure(self._home)
        usage.want_parts(self._home, self._database, measure)
        measure.run()
        before = usage.parts_of_images(self._home, self._database, measure)
        removed: list[Doomed] = []
        kept: list[Kept] = []
        removers: dict[str, Callable[[str], None]] = {
            "container": self._containers.remove,
            "network": self._networks.remove,
            "volume": self._volumes.remove,
        }
        for item in preview.items:
            remove = removers.get(item.kind)
            if remove is None:
                continue
            try:
                remove(item.id)
            except NotFound:
                kept.append(Kept(item.kind, item.id, item.name, "it is gone already"))
            except EngineError as error:
                kept.append(Kept(item.kind, item.id, item.name, error.message))
            else:
                removed.append(item)
        freed_bytes = sum(item.freed_bytes for item in removed)
        images = [item for item in preview.items if item.kind == "image"]
        files = [item for item in preview.items if item.kind == "file"]
        chains: tuple[str, ...] = ()
        if images or files:
            wanted = {item.id: _full(item.references) for item in images}
            dropped, swept = gc.remove_images(self._home, self._database, self._images, wanted)
            chains = swept.chains
            for item in images:
                if item.id in dropped.kept:
                    kept.append(Kept("image", item.id, item.name, dropped.kept[item.id]))
                else:
                    removed.append(item)
                    self._tell_image(item)
            gone, left = self._files(files)
            removed += gone
            kept += left
            there = usage.parts_here(self._database)
            freed_bytes += before.size(before.sizes.keys() - there)
            freed_bytes += sum(item.freed_bytes for item in gone if item.id not in before.sizes)
        for kind in dict.fromkeys(item.kind for item in preview.items if item.kind != "file"):
            of_kind = sum(item.freed_bytes for item in removed if item.kind == kind)
            journal.append(
                self._home.events_path, kind, "prune", "", "", {"reclaimed": str(of_kind)}
            )
        return Pruned(tuple(removed), tuple(kept), freed_bytes, chains)

    def _files(self, items: Sequence[Doomed]) -> tuple[list[Doomed], list[Kept]]:
        """After the sweep, which has taken all but the parts of downloads."""
        started = time.time()
        for item in items:
            if item.id.startswith("ingest/"):
                content.drop_ingest(f"{self._home.root}/{item.id}", started)
        here = usage.parts_here(self._database)
        left = {
            item
            for item in items
            if item.id in here or os.path.lexists(f"{self._home.root}/{item.id}")
        }
        kept = [Kept("file", item.id, item.name, "somebody needs it now") for item in left]
        return [item for item in items if item not in left], kept

    def _tell_image(self, item: Doomed) -> None:
        for name in item.references:
            journal.append(self._home.events_path, "image", "untag", item.id, name, {"name": name})
        journal.append(
            self._home.events_path, "image", "delete", item.id, item.name, {"name": item.name}
        )


class _Chosen(NamedTuple):
    """What would go, before anybody has asked how much it takes."""

    containers: list[ContainerSummary]
    networks: list[NetworkSummary]
    volumes: list[VolumeSummary]
    images: list[ListedImage]
    plan: gc.Plan
    kept: list[Kept]


class _Row(Protocol):
    @property
    def created_ns(self) -> int: ...
    @property
    def labels(self) -> tuple[tuple[str, str], ...]: ...


class _Filter:
    """docker's filters of prunes: `until`, all of `label`, not all of `label!`."""

    def __init__(self, filters: Sequence[tuple[str, str]]) -> None:
        self._until_ns: int | None = None
        self._labels: dict[str, list[str]] = {"label": [], "label!": []}
        for name, value in filters:
            if name == "until":
                if self._until_ns is not None:
                    raise InvalidInput("more than one until filter specified", "leave one out")
                self._until_ns = units.parse_moment(value, time.time_ns())
            elif name in self._labels:
                self._labels[name].append(value)
            else:
                raise InvalidInput(f"invalid filter '{name}'", "known ones: label, label!, until")

    def takes(self, row: _Row) -> bool:
        return self.takes_image(row.created_ns, lambda: row.labels)

    def takes_image(self, created_ns: int, labels: Callable[[], Sequence[tuple[str, str]]]) -> bool:
        """`labels` is only asked when they matter: an image's are in a document."""
        if self._until_ns is not None and created_ns >= self._until_ns:
            return False
        if not any(self._labels.values()):
            return True
        found = dict(labels())

        def has_all(wanted: list[str]) -> bool:
            return all(has_label(found, each) for each in wanted)

        return has_all(self._labels["label"]) and not (
            self._labels["label!"] and has_all(self._labels["label!"])
        )


def _users(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names of containers by what they use."""
    users: dict[str, list[str]] = {}
    for used, name in pairs:
        users.setdefault(used, []).append(name)
    return users


def _in_use(names: Sequence[str]) -> str:
    return f"container {', '.join(names)} uses it"


def _familiar(listed: ListedImage) -> tuple[str, ...]:
    return tuple(parse_reference(name).familiar for name in listed.references)


def _full(references: Iterable[str]) -> tuple[str, ...]:
    return tuple(parse_reference(name).full for name in references)


def _name(listed: ListedImage) -> str:
    names = _familiar(listed)
    return names[0] if names else listed.row.id[7:19]
