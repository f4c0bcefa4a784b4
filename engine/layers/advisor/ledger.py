"""Findings, and which bytes they have claimed: a byte is only saved once.

A live file belongs to the first rule that asks for it, in the order of asking; wasted bytes belong
to the rules of layers. So the findings add up to what a rebuild would save.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.layers.advisor.commands import dockerfile_line
from engine.layers.contents import Contents
from engine.layers.files import Files, LiveFile
from engine.layers.packages import Installed
from engine.layers.waste import Death
from engine.model.analysis import SEVERITIES, Finding
from engine.named_tuple import NamedTuple
from engine.oci.config import ImageDocument

_PATHS = 20
# Share of the image's compressed bytes, and compressed bytes: either will do.
_STEPS = (
    ("critical", 0.20, 500_000_000),
    ("high", 0.05, 100_000_000),
    ("medium", 0.01, 10_000_000),
    ("low", 0.001, 1_000_000),
)


class Rule(NamedTuple):
    """What a finding is called, and how sure and how safe it is. `fix` is text to apply."""

    id: str
    title: str
    confidence: str  # "certain", "likely", "advice"
    safety: str  # "S0" … "S4"
    fix: str = ""


class Case(NamedTuple):
    """An image, as rules look at it."""

    files: Files
    contents: Contents
    reference: str
    config: ImageDocument | None
    commands: Sequence[str]  # by layer, as the history has them; "" where it says nothing
    history: Sequence[str]  # all of it, steps without a layer too
    packages: Sequence[Installed]
    base_layers: int

    def line(self, layer: int) -> str:
        """The layer's Dockerfile line."""
        return dockerfile_line(self.commands[layer]) if 0 <= layer < len(self.commands) else ""


class Ledger:
    """The findings so far."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._claimed = bytearray(len(case.files.merged.keys))
        self._compressed_bytes = case.files.compressed_bytes
        self.findings: list[Finding] = []

    def unclaimed(self, files: Iterable[LiveFile]) -> list[LiveFile]:
        """Those that no rule has asked for yet."""
        claimed = self._claimed
        return [file for file in files if not claimed[file.node]]

    def claim(
        self,
        rule: Rule,
        files: Iterable[LiveFile],
        *,
        fix: str = "",
        parts: Mapping[int, int] | None = None,
    ) -> None:
        """A finding of the files that are unclaimed, if there is any. `parts` are the bytes that
        are saved of each, by node, where it is not all of them."""
        free = self.unclaimed(files)
        layers: dict[int, int] = {}
        raw = compressed = 0
        for file in free:
            self._claimed[file.node] = 1
            share = file.size_bytes if parts is None else parts[file.node]
            raw += share
            compressed += file.compressed_bytes * share // max(file.size_bytes, 1)
            layers[file.layer] = layers.get(file.layer, 0) + share
        if not raw:
            return
        free.sort(key=lambda file: (-file.size_bytes, file.path))
        self._add(rule, raw, compressed, layers, [file.path for file in free], fix)

    def claim_dead(self, rule: Rule, deaths: Sequence[Death], *, fix: str = "") -> None:
        """A finding of wasted bytes, which whoever calls gives to one rule only."""
        keys = self._case.files.merged.keys
        sizes: dict[int, int] = {}
        layers: dict[int, int] = {}
        for death in deaths:
            sizes[death.node] = sizes.get(death.node, 0) + death.size_bytes
            layers[death.brought] = layers.get(death.brought, 0) + death.size_bytes
        raw = sum(sizes.values())
        if not raw:
            return
        nodes = sorted(sizes, key=lambda node: (-sizes[node], node))
        paths = [keys[node][1:].replace(b"\0", b"/") for node in nodes]
        compressed = sum(death.compressed_bytes for death in deaths)
        self._add(rule, raw, compressed, layers, paths, fix)

    def note(
        self,
        rule: Rule,
        *,
        fix: str = "",
        paths: Sequence[bytes] = (),
        layers: Mapping[int, int] | None = None,
        severity: str = "info",
    ) -> None:
        """A finding that saves nothing by itself."""
        self._add(rule, 0, 0, layers or {}, paths, fix, severity)

    def _add(
        self,
        rule: Rule,
        raw: int,
        compressed: int,
        layers: Mapping[int, int],
        paths: Sequence[bytes],
        fix: str,
        severity: str = "",
    ) -> None:
        main = max(layers, key=lambda layer: (layers[layer], layer), default=-1)
        fix = fix or rule.fix
        if 0 <= main < self._case.base_layers:
            fix = f"This came with the base image: choose another FROM, or flatten.\n{fix}"
        self.findings.append(
            Finding(
                rule.id,
                rule.title,
                severity or self._severity(compressed if compressed else raw // 3),
                rule.confidence,
                rule.safety,
                raw,
                compressed,
                tuple(sorted(layers.items())),
                tuple(path.decode("utf-8", "surrogateescape") for path in paths[:_PATHS]),
                len(paths),
                self._case.line(main),
                fix.strip(),
            )
        )

    def _severity(self, compressed: int) -> str:
        whole = self._compressed_bytes or self._case.files.live_bytes // 3 or 1
        for name, share, least in _STEPS:
            if compressed >= least or compressed >= share * whole:
                return name
        return "info"

    def sorted(self) -> list[Finding]:
        """The worst first, then most bytes."""
        return sorted(
            self.findings,
            key=lambda each: (
                SEVERITIES.index(each.severity), -each.compressed_bytes, -each.raw_bytes, each.rule
            ),
        )  # fmt: skip
