"""What takes the disk: `system df`. All sizes are bytes on the disk, as du(1) counts them."""

from engine.named_tuple import NamedTuple


class ImageUse(NamedTuple):
    """An image with its layers, their indexes and its blobs; shared + unique = size."""

    id: str
    references: tuple[str, ...]  # familiar form
    created_ns: int
    size_bytes: int
    shared_bytes: int  # that other images have too
    unique_bytes: int
    containers: int


class ContainerUse(NamedTuple):
    """A container's writable layer, its logs and files."""

    id: str
    size_bytes: int


class VolumeUse(NamedTuple):
    """A volume; `used_by` are names of containers, running or not."""

    name: str
    used_by: tuple[str, ...]
    size_bytes: int


class Share(NamedTuple):
    """One row of the summary. Every byte below the root is in exactly one of them."""

    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


class DiskUsage(NamedTuple):
    """Everything below the root."""

    images: Share  # what several images share counts once
    containers: Share
    volumes: Share
    downloads: Share  # parts of blobs, and layers that are being unpacked
    leftovers: Share  # what nothing leads to any more
    metadata_bytes: int  # database, locks, links, the directories themselves
    each_image: tuple[ImageUse, ...]  # newest first
    each_container: tuple[ContainerUse, ...]
    each_volume: tuple[VolumeUse, ...]

    @property
    def total_bytes(self) -> int:
        rows = (self.images, self.containers, self.volumes, self.downloads, self.leftovers)
        return sum(row.size_bytes for row in rows) + self.metadata_bytes
