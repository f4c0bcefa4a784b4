"""An image taken apart: its numbers, what is wasted and why, what it holds."""

from __future__ import annotations

from collections.abc import Sequence

from engine.layers.dive_compat import measure
from engine.layers.files import Files
from engine.layers.secrets import find_secrets
from engine.layers.tree import ImageLayers
from engine.model.analysis import Analysis, Duplicate, Loss, Special

_SHOWN = 1000  # rows of a list; who wants more opens the tree


def analyze(view: ImageLayers, *, base_layers: int = 0) -> Analysis:
    """What `view` shows, in numbers. `base_layers` at the bottom are not the image's own."""
    files = Files(view.merged, view.indexes)
    losses = [Loss(*key, size) for key, size in view.causes.items()]
    losses.sort(key=lambda loss: (-loss.size_bytes, loss))
    return Analysis(
        reference=view.reference,
        image_id=view.image_id,
        layers=view.layers,
        size_bytes=view.size_bytes,
        live_bytes=view.size_bytes - view.waste_bytes,
        compressed_bytes=files.compressed_bytes,
        waste_bytes=view.waste_bytes,
        efficiency=view.efficiency,
        losses=tuple(losses),
        waste=tuple(view.waste()[:_SHOWN]),
        base_layers=base_layers,
        dive=measure(view.indexes),
        duplicates=tuple(_duplicates(files)),
        specials=_specials(files),
    )


def _duplicates(files: Files) -> Sequence[Duplicate]:
    return [
        Duplicate(tuple(_text(file.path) for file in group), group[0].size_bytes)
        for group in files.duplicates()[:_SHOWN]
    ]


def _specials(files: Files) -> tuple[Special, ...]:
    programs = [
        Special(kind, _text(path), layer, size, False) for kind, path, layer, size in files.set_id()
    ]
    return (*programs, *find_secrets(files))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
