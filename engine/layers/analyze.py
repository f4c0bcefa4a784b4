"""An image taken apart: its numbers, what is wasted and why, what it holds."""

from __future__ import annotations

from collections.abc import Sequence

from engine.layers.advisor.advise import advise
from engine.layers.advisor.ledger import Case
from engine.layers.base import base_layers
from engine.layers.contents import Contents
from engine.layers.dive_compat import measure
from engine.layers.files import Files
from engine.layers.packages import Installed, as_package, find_packages
from engine.layers.secrets import find_secrets
from engine.layers.tree import ImageLayers
from engine.model.analysis import Analysis, Duplicate, Finding, Special
from engine.model.image import HistoryEntry
from engine.oci.config import ImageDocument

_SHOWN = 1000  # rows of a list; who wants more opens the tree


def analyze(
    view: ImageLayers,
    *,
    history: Sequence[HistoryEntry] = (),
    config: ImageDocument | None = None,
    contents: Contents | None = None,
) -> Analysis:
    """What `view` shows, in numbers; with `contents`, packages and advice too."""
    files = Files(view.merged, view.indexes)
    base = base_layers(history, len(view.layers))
    packages: Sequence[Installed] = ()
    findings: Sequence[Finding] = ()
    if contents is not None:
        packages = find_packages(files, contents)
        findings = advise(
            Case(
                files, contents, view.reference, config,
                [layer.command for layer in view.layers],
                [step.created_by for step in history], packages, base,
            )
        )  # fmt: skip
    return Analysis(
        reference=view.reference,
        image_id=view.image_id,
        layers=view.layers,
        size_bytes=view.size_bytes,
        live_bytes=view.size_bytes - view.waste_bytes,
        compressed_bytes=files.compressed_bytes,
        waste_bytes=view.waste_bytes,
        efficiency=view.efficiency,
        losses=tuple(view.losses()),
        waste=tuple(view.waste()[:_SHOWN]),
        base_layers=base,
        dive=measure(view.merged, view.indexes),
        duplicates=tuple(_duplicates(files)),
        packages=tuple(map(as_package, packages)),
        specials=_specials(files),
        findings=tuple(findings),
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
