"""What takes the disk, and whose it is: every byte below the root counted once.

Layers were measured when they were unpacked; what changes (what containers write, volumes, parts of
downloads) is measured by one worker process. Layers are never walked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.errors import Unavailable
from engine.model.disk import ContainerUse, DiskUsage, ImageUse, Share, VolumeUse
from engine.named_tuple import NamedTuple
from engine.oci.reference import parse_reference
from engine.storage import content, leases
from engine.storage.du import Amount
from engine.storage.volume_store import VolumeStore
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.metadata import Database

_LIVE = ("running", "paused")
_DIRECTORIES = (
    "blobs", "layers", "upper", "containers", "volumes", "ingest", "staging", "trash"
)  # fmt: skip
# Every (image, layer) pair, by walking each image's chain to its bottom.
_IMAGE_LAYERS = """
    WITH RECURSIVE walk(image, layer, parent) AS (
        SELECT image.id, chain.layer, chain.parent FROM image JOIN chain USING(chain_id)
        UNION ALL
        SELECT walk.image, chain.layer, chain.parent
        FROM walk JOIN chain ON chain.chain_id = walk.parent
    ) SELECT image, layer FROM walk
"""


class Parts(NamedTuple):
    """Layers (by id) and blobs (by digest): what each takes, and which of them images have."""

    sizes: dict[str, int]
    held: dict[str, set[str]]  # by image id

    def of(self, images: Iterable[str]) -> set[str]:
        """What these images are made of."""
        return set().union(*(self.held[image] for image in images))

    def size(self, parts: Iterable[str]) -> int:
        return sum(self.sizes.get(part, 0) for part in parts)

    def unique(self) -> dict[str, int]:
        """Bytes that no other image has, by image id."""
        owners: dict[str, str] = {}
        for image, parts in self.held.items():
            for part in parts:
                owners[part] = "" if part in owners else image
        unique = dict.fromkeys(self.held, 0)
        for part, image in owners.items():
            if image:
                unique[image] += self.sizes.get(part, 0)
        return unique


class Measure:
    """One look at the disk. Ask for what is needed, then for what it takes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._whole: list[str] = []
        self._each: list[str] = []
        self._flat: list[str] = []
        self._amounts: dict[str, Amount] = {}
        self._entries: dict[str, dict[str, Amount]] = {}

    def add(self, *paths: str) -> None:
        """These, with all that is below them."""
        self._whole += paths

    def add_each(self, *directories: str) -> None:
        """Every entry of these directories of the root."""
        self._each += (f"{self._home.root}/{name}" for name in directories)

    def add_flat(self, *paths: str) -> None:
        """These directories and their files."""
        self._flat += paths

    def run(self) -> None:
        """Everything asked for is known. Raises Unavailable."""
        task = (self._whole, self._each, self._flat)
        try:
            amounts, entries = Worker("engine.storage.du:measure", task).run()
        except WorkerDied as death:
            raise Unavailable(f"the process that measures the disk died: {death}") from death
        self._amounts = {path: Amount(*amount) for path, amount in amounts.items()}
        self._entries = {
            path: {name: Amount(*amount) for name, amount in found.items()}
            for path, found in entries.items()
        }

    def amount(self, path: str) -> Amount:
        """What is at a path that was asked for; nothing for one that is not there."""
        return self._amounts.get(path, Amount(0, 0, 0))

    def of(self, path: str) -> int:
        """Its bytes."""
        return self.amount(path).disk_bytes

    def entries(self, place: str) -> dict[str, Amount]:
        """What a directory of the root has, by name; itself is "."."""
        return self._entries.get(f"{self._home.root}/{place}", {})

    @property
    def places(self) -> list[str]:
        """Directories of the root whose entries are known."""
        return [path.removeprefix(f"{self._home.root}/") for path in self._entries]


def parts_of_images(home: Home, database: Database, measure: Measure) -> Parts:
    """Of `measure`, after its run: `want_parts` has asked for them."""
    sizes: dict[str, int] = {
        layer: disk_bytes + measure.of(home.layer_dir(layer))
        for layer, disk_bytes in database.query("SELECT id, disk_bytes FROM layer")
    }
    for algorithm in ("sha256", "sha512"):
        for name, amount in measure.entries(f"blobs/{algorithm}").items():
            if name != ".":
                sizes[f"{algorithm}:{name}"] = amount.disk_bytes
    held: dict[str, set[str]] = {
        image: set() for (image,) in database.query("SELECT id FROM image")
    }
    for pairs in (_IMAGE_LAYERS, "SELECT image, digest FROM image_blob"):
        for image, part in database.query(pairs):
            held.setdefault(image, set()).add(part)
    return Parts(sizes, held)


def want_parts(home: Home, database: Database, measure: Measure) -> None:
    """Layers' own files and blobs are among what `measure` will look at."""
    measure.add_each("blobs/sha256", "blobs/sha512")
    rows = database.query("SELECT id FROM layer")
    measure.add_flat(*(home.layer_dir(layer) for (layer,) in rows))


def parts_here(database: Database) -> set[str]:
    """Layers and blobs that have a row."""
    both = "SELECT id FROM layer UNION ALL SELECT digest FROM blob"
    return {part for (part,) in database.query(both)}


def want_container(home: Home, measure: Measure, container_id: str) -> None:
    """So is what this container has."""
    measure.add(home.upper_dir(container_id), home.container_dir(container_id))


def container_bytes(home: Home, measure: Measure, container_id: str) -> int:
    """Its writable layer, its logs and files."""
    return measure.of(home.upper_dir(container_id)) + measure.of(home.container_dir(container_id))


def disk_usage(home: Home, database: Database) -> DiskUsage:
    """Everything below the root, now; sizes of volumes are remembered for lists. What others do
    meanwhile may be in it or not. Raises Unavailable."""
    layers = {layer for (layer,) in database.query("SELECT id FROM layer")}
    strange = [
        home.layer_dir(name) for name in os.listdir(f"{home.root}/layers") if name not in layers
    ]
    others = [
        f"{home.root}/{name}"
        for name in os.listdir(home.root)
        if name not in _DIRECTORIES and os.path.isdir(f"{home.root}/{name}")
    ]
    busy = _busy_downloads(home, database)
    measure = Measure(home)
    want_parts(home, database, measure)
    measure.add_each("upper", "containers", "volumes", "ingest", "staging", "trash")
    measure.add(*strange, *others)
    measure.add_flat(home.root, f"{home.root}/blobs", f"{home.root}/layers")
    measure.run()

    parts = parts_of_images(home, database, measure)
    images, each_image = _images(database, parts)
    states = dict(database.query("SELECT id, state FROM container"))
    containers, each_container = _containers(measure, states)
    rows = {row.name: row.used_by for row in VolumeStore(database).list_()}
    volumes, each_volume = _volumes(measure, rows)
    _remember(database, measure, rows)

    leased = {key for (key,) in database.query("SELECT key FROM lease_item")}
    nobodys = parts.sizes.keys() - parts.of(parts.held)
    coming = nobodys & leased
    arriving = {
        f"{place}/{name}": amount.disk_bytes
        for place in ("ingest", "staging")
        for name, amount in _entries(measure, place)
    }
    downloads = Share(
        len(arriving) + len(coming),
        len(arriving.keys() & busy) + len(coming),
        sum(arriving.values()) + parts.size(coming),
        sum(size for name, size in arriving.items() if name not in busy),
    )
    garbage = [parts.sizes[part] for part in nobodys - coming] + [*map(measure.of, strange)]
    garbage += [amount.disk_bytes for _, amount in _entries(measure, "trash")]
    for place, known in (("upper", states), ("containers", states)):
        garbage += [each.disk_bytes for name, each in _entries(measure, place) if name not in known]
    # A volume without a row is a person's data: fsck takes it in.
    lost = [each.disk_bytes for name, each in _entries(measure, "volumes") if name not in rows]
    leftovers = Share(len(garbage) + len(lost), 0, sum(garbage) + sum(lost), sum(garbage))

    themselves = [measure.entries(place)["."].disk_bytes for place in measure.places]
    metadata = sum(themselves) + sum(map(measure.of, others))
    metadata += sum(measure.of(f"{home.root}{name}") for name in ("", "/blobs", "/layers"))
    return DiskUsage(
        images, containers, volumes, downloads, leftovers, metadata,
        each_image, each_container, each_volume,
    )  # fmt: skip


def _entries(measure: Measure, place: str) -> list[tuple[str, Amount]]:
    return [(name, each) for name, each in measure.entries(place).items() if name != "."]


def _busy_downloads(home: Home, database: Database) -> set[str]:
    """Those that a living process is at, as place/name."""
    dead = set(leases.dead(database))
    lives = [lease for (lease,) in database.query("SELECT id FROM lease") if lease not in dead]
    busy = {f"staging/{lease}" for lease in lives}
    for name in content.busy_ingests(home):
        busy |= {f"ingest/{name}", f"ingest/{name}.lock"}
    return busy


def _images(database: Database, parts: Parts) -> tuple[Share, tuple[ImageUse, ...]]:
    users = dict(database.query("SELECT image_id, count(*) FROM container GROUP BY image_id"))
    names: dict[str, list[str]] = {}
    for image, name in database.query("SELECT image, name FROM reference ORDER BY name"):
        names.setdefault(image, []).append(parse_reference(name).familiar)
    unique = parts.unique()
    each = []
    for image, created_ns in database.query(
        "SELECT id, created_ns FROM image ORDER BY created_ns DESC, id"
    ):
        size, alone = parts.size(parts.held[image]), unique[image]
        references = tuple(names.get(image, ()))
        each.append(
            ImageUse(image, references, created_ns, size, size - alone, alone, users.get(image, 0))
        )
    everything = parts.of(parts.held)
    free = parts.size(everything - parts.of(parts.held.keys() & users.keys()))
    active = sum(bool(image.containers) for image in each)
    return Share(len(each), active, parts.size(everything), free), tuple(each)


def _containers(measure: Measure, states: dict[str, str]) -> tuple[Share, tuple[ContainerUse, ...]]:
    uppers, files = measure.entries("upper"), measure.entries("containers")
    each = tuple(
        ContainerUse(
            container,
            sum(found[container].disk_bytes for found in (uppers, files) if container in found),
        )
        for container in states
    )
    idle = [use.size_bytes for use in each if states[use.id] not in _LIVE]
    total = sum(use.size_bytes for use in each)
    return Share(len(each), len(each) - len(idle), total, sum(idle)), each


def _volumes(
    measure: Measure, rows: dict[str, tuple[str, ...]]
) -> tuple[Share, tuple[VolumeUse, ...]]:
    found = measure.entries("volumes")
    each = tuple(
        VolumeUse(name, users, found[name].disk_bytes if name in found else 0)
        for name, users in rows.items()
    )
    idle = [use.size_bytes for use in each if not use.used_by]
    total = sum(use.size_bytes for use in each)
    return Share(len(each), len(each) - len(idle), total, sum(idle)), each


def _remember(database: Database, measure: Measure, names: Iterable[str]) -> None:
    found = measure.entries("volumes")
    VolumeStore(database).set_usages({name: found[name] for name in names if name in found})
