"""Images as clients see them."""

from engine.model.image_config import ImageConfig
from engine.named_tuple import NamedTuple


class ImageSummary(NamedTuple):
    """A row of `images`: one image, all the references that lead to it."""

    id: str  # digest of its config
    references: tuple[str, ...]  # familiar form: "debian:bookworm"; empty for a dangling image
    digest: str  # of its manifest
    created_ns: int
    size_bytes: int  # unpacked, all layers
    unique_bytes: int  # of layers that no other image has
    waste_bytes: int  # stored but not visible in the image; -1 where no index exists
    os: str
    architecture: str
    variant: str
    layers: int
    used_by: tuple[str, ...]  # names of containers


class HistoryEntry(NamedTuple):
    """One step of the image's history, oldest first."""

    created_ns: int
    created_by: str
    comment: str
    empty_layer: bool


class HistoryStep(NamedTuple):
    """A row of `history`: a step, and what its layer weighs."""

    id: str  # of the image that it ends with, "" where no such image is known
    references: tuple[str, ...]  # of that image
    created_ns: int
    created_by: str
    comment: str
    size_bytes: int


class Image(NamedTuple):
    """Everything `image inspect` knows."""

    summary: ImageSummary
    config: ImageConfig
    history: tuple[HistoryEntry, ...]
    diff_ids: tuple[str, ...]
    chain_id: str
    repo_digests: tuple[str, ...]
    author: str
    comment: str


class ImageMount(NamedTuple):
    """An image that can be looked into at a directory of the host."""

    image_id: str
    path: str


class Removed(NamedTuple):
    """What `rmi` did, in the order of doing."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]
    freed_bytes: int


class Pushed(NamedTuple):
    """What a tag in a registry is now."""

    reference: str  # familiar form
    digest: str  # of the manifest or index
    size_bytes: int  # of that document
