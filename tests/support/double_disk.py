"""The double's `df` and `prune`."""

import builtins
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from engine import units
from engine.errors import EngineError, InvalidInput, NotFound
from engine.model.disk import ContainerUse, DiskUsage, ImageUse, Share, VolumeUse
from engine.model.prune import Doomed, Kept, Preview, Pruned
from engine.oci.digest import DiffID, chain_ids
from engine.services.filters import has_label
from tests.support.double_world import World

if TYPE_CHECKING:
    from tests.support.double_containers import DoubleContainers
    from tests.support.double_images import DoubleImages
    from tests.support.double_places import DoubleNetworks, DoubleVolumes

_KINDS = ("container", "network", "volume", "image", "file")
_LIVE = ("running", "paused")
_METADATA_BYTES = 65_536

Labels = Sequence[tuple[str, str]]


class DoubleDisk:
    def __init__(
        self,
        world: World,
        containers: "DoubleContainers",
        images: "DoubleImages",
        volumes: "DoubleVolumes",
        networks: "DoubleNetworks",
    ) -> None:
        self._world = world
        self._containers = containers
        self._images = images
        self._volumes = volumes
        self._networks = networks
        self.leftover_bytes = 0  # of one file that nothing leads to

    def df(self) -> DiskUsage:
        with self._world.lock:
            containers = self._containers.list(all=True)
            images = self._images.list()
            volumes = [(row, max(row.size_bytes, 0)) for row in self._volumes.list()]
            used = {row.image_id for row in containers}
            sizes = {row.id: self._parts(row.id) for row in images}
            everything = _union(sizes.values())
            active = _union(sizes[image] for image in used if image in sizes)
            idle = [row for row in containers if row.state not in _LIVE]
            return DiskUsage(
                Share(len(images), len(used), sum(everything.values()),
                      sum(everything.values()) - sum(active.values())),
                Share(len(containers), len(containers) - len(idle), 0, 0),
                Share(len(volumes), sum(bool(row.used_by) for row, _ in volumes),
                      sum(size for _, size in volumes),
                      sum(size for row, size in volumes if not row.used_by)),
                Share(0, 0, 0, 0),
                Share(int(self.leftover_bytes > 0), 0, self.leftover_bytes, self.leftover_bytes),
                _METADATA_BYTES,
                tuple(
                    ImageUse(row.id, row.references, row.created_ns, row.size_bytes,
                             row.size_bytes - row.unique_bytes, row.unique_bytes,
                             len(row.used_by))
                    for row in images
                ),
                tuple(ContainerUse(row.id, 0) for row in containers),
                tuple(VolumeUse(row.name, row.used_by, size) for row, size in volumes),
            )  # fmt: skip

    def _parts(self, image: str) -> dict[str, int]:
        return {layer.diff_id: layer.size_bytes for layer in self._world.images[image].layers}

    def prune_preview(
        self,
        kinds: Sequence[str],
        *,
        all_images: bool = False,
        all_volumes: bool = False,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Preview:
        if set(kinds) - set(_KINDS):
            raise InvalidInput(f"kind {', '.join(kinds)}: unknown", ", ".join(_KINDS))
        takes = _filter(filters)
        items: builtins.list[Doomed] = []
        kept: builtins.list[Kept] = []
        with self._world.lock:
            staying = self._containers.list(all=True)
            if "container" in kinds:
                for row in list(staying):
                    if row.state in _LIVE:
                        kept.append(Kept("container", row.id, row.name, f"it is {row.state}"))
                    elif takes(row.created_ns, row.labels):
                        items.append(Doomed("container", row.id, row.name, 0))
                        staying.remove(row)
            left = {row.name for row in staying}
            if "network" in kinds:
                for network in self._networks.list():
                    users = [row.name for row in staying if network.name in row.networks]
                    if network.name in ("bridge", "host", "none"):
                        continue
                    if users:
                        kept.append(Kept("network", network.id, network.name, _in_use(users)))
                    elif takes(network.created_ns, network.labels):
                        items.append(Doomed("network", network.id, network.name, 0))
            if "volume" in kinds:
                for volume in self._volumes.list():
                    users = [name for name in volume.used_by if name in left]
                    if users:
                        kept.append(Kept("volume", volume.name, volume.name, _in_use(users)))
                    elif (all_volumes or volume.anonymous) and takes(
                        volume.created_ns, volume.labels
                    ):
                        size = max(volume.size_bytes, 0)
                        items.append(
                            Doomed("volume", volume.name, volume.name, size, (), volume.used_by)
                        )
            freed_bytes = sum(item.freed_bytes for item in items)
            if "image" in kinds:
                found = self._unused_images(left, takes, kept, every=all_images)
                going = {item.id for item in found}
                stays = _union(
                    self._parts(each) for each in self._world.images if each not in going
                )
                parts = _union(self._parts(each) for each in going)
                freed_bytes += sum(size for part, size in parts.items() if part not in stays)
                items += found
            if "file" in kinds and self.leftover_bytes:
                name = "trash/0badcafe"
                items.append(Doomed("file", name, name, self.leftover_bytes))
                freed_bytes += self.leftover_bytes
        return Preview(tuple(items), tuple(kept), freed_bytes)

    def _unused_images(
        self,
        left: set[str],
        takes: Callable[[int, Labels], bool],
        kept: builtins.list[Kept],
        *,
        every: bool,
    ) -> builtins.list[Doomed]:
        found = []
        for row in self._images.list():
            if row.references and not every:
                continue
            name = row.references[0] if row.references else row.id[7:19]
            users = [user for user in row.used_by if user in left]
            if users:
                kept.append(Kept("image", row.id, name, _in_use(users)))
            elif takes(row.created_ns, self._world.images[row.id].config.labels):
                found.append(
                    Doomed("image", row.id, name, row.unique_bytes, row.references, row.used_by)
                )
        return found

    def prune(self, preview: Preview) -> Pruned:
        removed: builtins.list[Doomed] = []
        kept: builtins.list[Kept] = []
        chains: builtins.list[str] = []
        before = dict(self._world.images)
        removers: dict[str, Callable[[str], None]] = {
            "container": self._containers.remove,
            "network": self._networks.remove,
            "volume": self._volumes.remove,
        }
        for item in preview.items:
            try:
                if item.kind == "image":
                    self._remove_image(item)
                elif item.kind == "file":
                    self.leftover_bytes = 0
                else:
                    removers[item.kind](item.id)
            except NotFound:
                kept.append(Kept(item.kind, item.id, item.name, "it is gone already"))
            except EngineError as error:
                kept.append(Kept(item.kind, item.id, item.name, error.message))
            else:
                removed.append(item)
        left = _union(self._parts(each) for each in self._world.images)
        freed_bytes = sum(item.freed_bytes for item in removed if item.kind != "image")
        for image in (item.id for item in removed if item.kind == "image"):
            layers = before[image].layers
            for layer in layers:
                if layer.diff_id not in left:
                    left[layer.diff_id] = 0
                    freed_bytes += layer.size_bytes
            chains += reversed(chain_ids(DiffID(layer.diff_id) for layer in layers))
        for kind in dict.fromkeys(item.kind for item in preview.items if item.kind != "file"):
            self._world.tell(kind, "prune", "", "")
        return Pruned(tuple(removed), tuple(kept), freed_bytes, tuple(dict.fromkeys(chains)))

    def _remove_image(self, item: Doomed) -> None:
        world = self._world
        with world.lock:
            row = self._images.inspect(item.id).summary
            more = sorted(set(row.references) - set(item.references))
            if row.used_by or more:
                reason = _in_use(row.used_by) if row.used_by else f"it has a new name, {more[0]}"
                raise EngineError(reason)
            for name in [name for name, image in world.references.items() if image == item.id]:
                del world.references[name]
            for name in item.references:
                world.tell("image", "untag", item.id, name, name=name)
            del world.images[item.id]
            world.tell("image", "delete", item.id, item.name, name=item.name)


def _filter(filters: Sequence[tuple[str, str]]) -> Callable[[int, Labels], bool]:
    until_ns: int | None = None
    labels: dict[str, builtins.list[str]] = {"label": [], "label!": []}
    for name, value in filters:
        if name == "until":
            until_ns = units.parse_moment(value, time.time_ns())
        elif name in labels:
            labels[name].append(value)
        else:
            raise InvalidInput(f"invalid filter '{name}'", "known ones: label, label!, until")

    def takes(created_ns: int, found: Labels) -> bool:
        mine = dict(found)
        refused = labels["label!"]
        return (
            (until_ns is None or created_ns < until_ns)
            and all(has_label(mine, each) for each in labels["label"])
            and not (refused and all(has_label(mine, each) for each in refused))
        )

    return takes


def _union(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in parts:
        found |= each
    return found


def _in_use(names: Sequence[str]) -> str:
    return f"container {', '.join(names)} uses it"
