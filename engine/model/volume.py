"""Volumes as clients see them."""

from engine.named_tuple import NamedTuple


class VolumeSummary(NamedTuple):
    """A row of `volume ls`. Sizes are -1 until measured."""

    name: str
    driver: str
    mountpoint: str
    created_ns: int
    size_bytes: int
    files: int
    written_ns: int  # newest mtime seen; 0 until measured
    used_by: tuple[str, ...]
    anonymous: bool = False
    labels: tuple[tuple[str, str], ...] = ()


class Usage(NamedTuple):
    """What `measure` found in a volume."""

    size_bytes: int
    files: int
    written_ns: int
