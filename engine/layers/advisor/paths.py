"""Rules that are told by a path alone, a family at a time in one regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.files import LiveFile
from engine.named_tuple import NamedTuple


class PathRule(NamedTuple):
    """Live files whose whole path `pattern` matches. `least_bytes` is of one file."""

    rule: Rule
    pattern: bytes
    least_bytes: int = 1
    keeps: Callable[[LiveFile, Case], bool] | None = None  # what else must hold
    fix: Callable[[Case, int], str] | None = None  # of the layer with most of it


def claim_by_path(case: Case, ledger: Ledger, rules: Sequence[PathRule]) -> None:
    """Each file goes to the first of `rules` that matches."""
    groups = [b"(?P<r%d>%s)" % (at, rule.pattern) for at, rule in enumerate(rules)]
    match = re.compile(b"|".join(groups), re.DOTALL).fullmatch
    found: dict[int, list[LiveFile]] = {}
    for file in ledger.unclaimed(case.files.live):
        hit = match(file.path)
        if hit is None or hit.lastgroup is None:
            continue
        at = int(hit.lastgroup[1:])
        rule = rules[at]
        if file.size_bytes >= rule.least_bytes and (rule.keeps is None or rule.keeps(file, case)):
            found.setdefault(at, []).append(file)
    for at, files in sorted(found.items()):
        rule = rules[at]
        fix = rule.fix(case, main_layer(files)) if rule.fix else ""
        ledger.claim(rule.rule, files, fix=fix)


def main_layer(files: Sequence[LiveFile]) -> int:
    """The layer that most of their bytes came with."""
    layers: dict[int, int] = {}
    for file in files:
        layers[file.layer] = layers.get(file.layer, 0) + file.size_bytes
    return max(layers, key=lambda layer: (layers[layer], layer))
