"""What a prune would take, and what it took."""

from engine.named_tuple import NamedTuple


class Doomed(NamedTuple):
    """One thing that would go."""

    kind: str  # container, network, volume, image, file
    id: str
    name: str  # as a person knows it
    freed_bytes: int  # on the disk, by it alone; what others share comes free with the last of them
    references: tuple[str, ...] = ()  # an image's names, which go with it
    users: tuple[str, ...] = ()  # containers that have it now, and go before it


class Kept(NamedTuple):
    """One thing that stays, and why."""

    kind: str
    id: str
    name: str
    reason: str


class Preview(NamedTuple):
    """What exactly a prune would take, in that order; `freed_bytes` by all of it together."""

    items: tuple[Doomed, ...]
    kept: tuple[Kept, ...]
    freed_bytes: int


class Pruned(NamedTuple):
    """What became of a preview: `kept` are those of its items that are not as they were."""

    removed: tuple[Doomed, ...]
    kept: tuple[Kept, ...]
    freed_bytes: int
    chains: tuple[str, ...] = ()  # of layers that went with their images
