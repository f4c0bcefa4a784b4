"""An image against the rules of a gate. dive's three rules are judged by dive's numbers, all others
by the true ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache

from engine.layers.gate_config import Exemption, GateConfig
from engine.model.analysis import SEVERITIES, Analysis, DiveNumbers
from engine.model.gate import Check, Ignored, Outcome, Verdict
from engine.units import human_size


def judge(
    analysis: Analysis,
    paths: Iterable[str],
    config: GateConfig,
    *,
    against: Analysis | None = None,
    today: date,
) -> Verdict:
    """The verdict, rules in order of name. `paths` are of all files of all layers, without a
    leading slash; `against` is the image that growth is measured by."""
    found: list[Check] = []
    for rule, limit in sorted(config.rules.items()):
        if limit is None:
            found.append(Check(rule, "skip", "disabled"))
        elif rule in _DIVE:
            found.append(_DIVE[rule](analysis.dive, limit))
        elif rule == "forbid_paths":
            found += _forbidden(paths, limit)
        elif rule == "forbid_findings":
            found += _findings(analysis, limit)
        elif rule == "max_severity":
            found += _severe(analysis, limit)
        elif rule == "max_growth":
            found.append(_growth(analysis, against, limit))
        else:
            found += _NUMBERS[rule](analysis, limit)
    return _excused(analysis, found, config.exemptions, today)


# dive's: https://github.com/wagoodman/dive/blob/v0.13.1/cmd/dive/cli/internal/command/ci/rules.go


def _lowest_efficiency(dive: DiveNumbers, limit: float) -> Check:
    bad = limit > dive.efficiency
    text = f"image efficiency is too low (efficiency={dive.efficiency} < threshold={limit:g})"
    return Check("lowestEfficiency", "fail" if bad else "pass", text if bad else f"{limit:g}")


def _highest_wasted(dive: DiveNumbers, limit: int) -> Check:
    bad = dive.wasted_bytes > limit
    text = f"too many bytes wasted (wasted-bytes={dive.wasted_bytes} > threshold={limit})"
    return Check("highestWastedBytes", "fail" if bad else "pass", text if bad else f"{limit}")


def _highest_share(dive: DiveNumbers, limit: float) -> Check:
    bad = dive.wasted_user_share > limit
    text = (
        "too many bytes wasted, relative to the user bytes added "
        f"(%-user-wasted-bytes={dive.wasted_user_share} > threshold={limit:g})"
    )
    outcome: Outcome = "fail" if bad else "pass"
    return Check("highestUserWastedPercent", outcome, text if bad else f"{limit:g}")


_DIVE = {
    "lowestEfficiency": _lowest_efficiency,
    "highestWastedBytes": _highest_wasted,
    "highestUserWastedPercent": _highest_share,
}


# Numbers


def _at_most(rule: str, value: int, limit: int, what: str) -> Check:
    bad = value > limit
    said = f"{what} {_size(value)}, at most {_size(limit)}"
    return Check(rule, "fail" if bad else "pass", said)


def _max_size(analysis: Analysis, limit: int) -> list[Check]:
    return [_at_most("max_size", analysis.size_bytes, limit, "the image has")]


def _max_compressed(analysis: Analysis, limit: int) -> list[Check]:
    rule = "max_compressed_size"
    return [_at_most(rule, analysis.compressed_bytes, limit, "the image has, compressed,")]


def _max_wasted(analysis: Analysis, limit: int) -> list[Check]:
    return [_at_most("max_wasted", analysis.waste_bytes, limit, "it wastes")]


def _max_layer_size(analysis: Analysis, limit: int) -> list[Check]:
    checks = [
        _at_most("max_layer_size", layer.size_bytes, limit, f"layer {layer.position} has")
        for layer in analysis.layers[analysis.base_layers :]
    ]
    failed = [check for check in checks if check.outcome == "fail"]
    return failed or [Check("max_layer_size", "pass", f"at most {_size(limit)}")]


def _max_layers(analysis: Analysis, limit: int) -> list[Check]:
    count = len(analysis.layers)
    outcome: Outcome = "fail" if count > limit else "pass"
    return [Check("max_layers", outcome, f"the image has {count} layers, at most {limit}")]


def _min_efficiency(analysis: Analysis, limit: float) -> list[Check]:
    outcome: Outcome = "fail" if analysis.efficiency < limit else "pass"
    return [
        Check("min_efficiency", outcome, f"it is {analysis.efficiency:.4f}, at least {limit:g}")
    ]


def _max_wasted_share(analysis: Analysis, limit: float) -> list[Check]:
    """Of the bytes of the layers above the base, what of them, or because of them, is wasted."""
    own = sum(layer.size_bytes for layer in analysis.layers[analysis.base_layers :])
    wasted = sum(loss.size_bytes for loss in analysis.losses if loss.hidden >= analysis.base_layers)
    share = wasted / own if own else float(wasted > 0)
    outcome: Outcome = "fail" if share > limit else "pass"
    text = f"{share:.4f} of the layers above the base, at most {limit:g}"
    return [Check("max_wasted_share", outcome, text)]


_NUMBERS = {
    "max_size": _max_size,
    "max_compressed_size": _max_compressed,
    "max_layer_size": _max_layer_size,
    "max_wasted": _max_wasted,
    "max_layers": _max_layers,
    "min_efficiency": _min_efficiency,
    "max_wasted_share": _max_wasted_share,
}


def _growth(analysis: Analysis, against: Analysis | None, limit: float) -> Check:
    if against is None:
        return Check("max_growth", "skip", "no image to compare with")
    grown = analysis.size_bytes - against.size_bytes
    most = int(limit * against.size_bytes) if isinstance(limit, float) else limit
    outcome: Outcome = "fail" if grown > most else "pass"
    sign = "+" if grown >= 0 else "-"
    text = f"{sign}{_size(abs(grown))} against {against.reference}, at most +{_size(most)}"
    return Check("max_growth", outcome, text)


# Paths and findings


def _forbidden(paths: Iterable[str], patterns: Sequence[str]) -> list[Check]:
    failed = [
        Check("forbid_paths", "fail", pattern, f"/{path}")
        for path in sorted(set(paths))
        for pattern in patterns
        if matches(pattern, path)
    ]
    return failed or [Check("forbid_paths", "pass", ", ".join(patterns))]


def _findings(analysis: Analysis, rules: Sequence[str]) -> list[Check]:
    failed = [
        Check(
            "forbid_findings", "fail", f"{each.rule} {each.title}: {_size(each.raw_bytes)}",
            f"/{each.paths[0]}" if each.paths else "",
        )
        for each in analysis.findings
        if each.rule in rules
    ]  # fmt: skip
    return failed or [Check("forbid_findings", "pass", ", ".join(rules))]


def _severe(analysis: Analysis, worst: str) -> list[Check]:
    limit = SEVERITIES.index(worst)
    failed = [
        Check(
            "max_severity", "fail",
            f"{each.severity}: {each.rule} {each.title}: {_size(each.raw_bytes)}",
            f"/{each.paths[0]}" if each.paths else "",
        )
        for each in analysis.findings
        if SEVERITIES.index(each.severity) < limit
    ]  # fmt: skip
    return failed or [Check("max_severity", "pass", worst)]


def matches(pattern: str, path: str) -> bool:
    """As .gitignore has it: `*` stays in a directory, `**` does not; a leading slash is nothing
    special."""
    return _compiled(pattern.lstrip("/")).fullmatch(path) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        parts.append(
            {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part)
        )
    return re.compile("".join(parts), re.DOTALL)


# What may be


def _excused(
    analysis: Analysis, checks: Sequence[Check], exemptions: Sequence[Exemption], today: date
) -> Verdict:
    kept: list[Check] = []
    ignored: list[Ignored] = []
    for check in checks:
        excuse = next(
            (
                each
                for each in exemptions
                if check.outcome == "fail" and _covers(each, check) and not _is_past(each, today)
            ),
            None,
        )
        if excuse is None:
            kept.append(check)
        else:
            expires = excuse.expires.isoformat() if excuse.expires else ""
            text = f"{check.text} {check.path}" if check.path else check.text
            ignored.append(Ignored(check.rule, text, excuse.reason, expires))
    past = [each for each in exemptions if _is_past(each, today)]
    warnings = [
        f"ignore {each.rule or each.path}: past its date {each.expires}: {each.reason}"
        for each in past
    ]
    return Verdict(analysis, tuple(kept), tuple(ignored), tuple(warnings))


def _covers(exemption: Exemption, check: Check) -> bool:
    """Both of what it names: the gate's rule, or the finding's, and the path."""
    finding = re.match(r"(?:\w+: )?([A-Z]\d\d) ", check.text)
    names = (check.rule, finding[1] if finding else "")
    if exemption.rule and exemption.rule not in names:
        return False
    return not exemption.path or (
        bool(check.path) and matches(exemption.path, check.path.lstrip("/"))
    )


def _is_past(exemption: Exemption, today: date) -> bool:
    return exemption.expires is not None and exemption.expires < today


def _size(size_bytes: int) -> str:
    return human_size(size_bytes, 3)
