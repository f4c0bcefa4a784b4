"""What an image's bytes are spent on, what of it is waste, and what would save it."""

from __future__ import annotations

from engine.model.layer import LayerInfo, WasteRow
from engine.named_tuple import NamedTuple

SEVERITIES = ("critical", "high", "medium", "low", "info")


class Loss(NamedTuple):
    """Wasted bytes of one cause between two layers: a cell of the waste matrix."""

    brought: int  # layer
    hidden: int  # layer
    cause: str  # "deleted", "overwritten", "metadata only" …
    size_bytes: int


class DiveFile(NamedTuple):
    """A path that dive calls inefficient."""

    times: int
    size_bytes: int  # of all its copies, the one that stays included
    path: str  # with a leading slash


class DiveNumbers(NamedTuple):
    """dive's figures, as it counts them."""

    efficiency: float
    size_bytes: int
    user_size_bytes: int  # without the bottom layer
    wasted_bytes: int
    wasted_user_share: float  # wasted / user; 0 for one layer
    files: tuple[DiveFile, ...]  # most bytes first


class Finding(NamedTuple):
    """Advice with its bytes. Of several findings no two count the same byte."""

    rule: str  # stable id: "L01", "P03" …
    title: str
    severity: str  # one of SEVERITIES, by compressed bytes of the image
    confidence: str  # "certain", "likely", "advice"
    safety: str  # "S0" dead bytes … "S4" another base: how much could break
    raw_bytes: int
    compressed_bytes: int  # estimate, as a registry stores them
    layers: tuple[tuple[int, int], ...]  # (layer, raw bytes)
    paths: tuple[str, ...]  # the biggest
    path_count: int
    command: str  # the Dockerfile line of the layer with most bytes
    fix: str  # text to apply


class Package(NamedTuple):
    """An installed package and what its files take."""

    kind: str  # "deb", "apk", "rpm"
    name: str
    version: str
    layer: int  # the one that most of its bytes came with
    size_bytes: int
    compressed_bytes: int


class Duplicate(NamedTuple):
    """One content under several live paths, without hard links."""

    paths: tuple[str, ...]
    size_bytes: int  # of one copy

    @property
    def waste_bytes(self) -> int:
        return self.size_bytes * (len(self.paths) - 1)


class Special(NamedTuple):
    """A path that one wants to know of: a set-id program, or what looks like a secret."""

    kind: str  # "setuid", "setgid", "secret"
    path: str
    layer: int
    size_bytes: int
    gone: bool  # hidden by a later layer, yet in the image


class Analysis(NamedTuple):
    """An image taken apart. `findings` only where advice was asked for."""

    reference: str
    image_id: str
    layers: tuple[LayerInfo, ...]
    size_bytes: int  # stored: all regular files of all layers
    live_bytes: int  # of those that are there at the end
    compressed_bytes: int
    waste_bytes: int  # size_bytes - live_bytes, exactly
    efficiency: float  # live / stored
    losses: tuple[Loss, ...]  # most bytes first; they add up to waste_bytes
    waste: tuple[WasteRow, ...]
    base_layers: int  # how many at the bottom are the base image's
    dive: DiveNumbers
    packages: tuple[Package, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    specials: tuple[Special, ...] = ()
    findings: tuple[Finding, ...] = ()
