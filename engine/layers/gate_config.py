"""What a gate asks for: `.pydock-ci.toml`, or dive's `.dive-ci`.

https://github.com/wagoodman/dive#ci-integration
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from engine.errors import InvalidInput
from engine.model.analysis import SEVERITIES
from engine.named_tuple import NamedTuple

# dive's three, with the defaults that it has; by both of its spellings.
DIVE_RULES: Mapping[str, str] = {
    "lowestEfficiency": "0.9",
    "highestWastedBytes": "disabled",
    "highestUserWastedPercent": "0.1",
}
SIZE_RULES = ("max_size", "max_compressed_size", "max_layer_size", "max_wasted")
COUNT_RULES = ("max_layers",)
SHARE_RULES = ("min_efficiency", "max_wasted_share")
LIST_RULES = ("forbid_paths", "forbid_findings")
OTHER_RULES = ("max_severity", "max_growth")
_KNOWN = (*SIZE_RULES, *COUNT_RULES, *SHARE_RULES, *LIST_RULES, *OTHER_RULES)
_OFF = ("", "disabled", "off", "false")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_HINT = "see `pydock analyze --help`, and the README's chapter on sizes"


class Exemption(NamedTuple):
    """What may be, for a while."""

    rule: str  # of the gate, or of a finding; "" for any
    path: str  # a pattern, "" for any
    reason: str
    expires: date | None


class GateConfig(NamedTuple):
    """The rules that are on, by name; values are checked."""

    rules: Mapping[str, Any]
    exemptions: tuple[Exemption, ...] = ()

    @property
    def needs_advice(self) -> bool:
        return bool({"forbid_findings", "max_severity"} & set(self.rules))


def parse_config(text: str, name: str) -> GateConfig:
    """TOML where `name` ends in .toml, else dive's YAML; "" is dive's defaults. Raises
    InvalidInput with the key that is wrong."""
    if name.endswith(".toml"):
        return _from_toml(text, name)
    return _from_dive(text, name)


def parse_bytes(value: Any, what: str) -> int:
    """`20MB` is 20,000,000 and `20MiB` 20,971,520, as dive has it."""
    if type(value) is int and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidInput(f"{what}: {value!r} is no size", "for example 20MB, 1.5GiB")
    base = 1024 if match[3] else 1000
    power = " kmgtp".index(match[2].lower() or " ")
    return int(float(match[1]) * base**power)


# dive


def _from_dive(text: str, name: str) -> GateConfig:
    found = dict(DIVE_RULES)
    for key, value in _yaml_rules(text, name):
        short = key.replace("-", "").replace("_", "").lower()
        rule = next((each for each in DIVE_RULES if each.lower() == short), None)
        if rule is None:
            raise InvalidInput(f"{name}: unknown rule {key[:60]!r}", ", ".join(DIVE_RULES))
        found[rule] = value
    rules: dict[str, Any] = {}
    for rule, value in found.items():
        if value.lower() in _OFF:
            rules[rule] = None
        elif rule == "highestWastedBytes":
            rules[rule] = parse_bytes(value, f"{name}: {rule}")
        else:
            rules[rule] = _share(value, f"{name}: {rule}")
    return GateConfig(rules)


def _yaml_rules(text: str, name: str) -> list[tuple[str, str]]:
    """The pairs below `rules:`; that much of YAML is what dive's file has."""
    pairs: list[tuple[str, str]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(?:^|\s)#.*", "", line).rstrip()
        if not bare.strip() or bare.strip() == "---":
            continue
        key, colon, value = bare.strip().partition(":")
        if not colon:
            raise InvalidInput(f"{name}: line {number}: expected KEY: VALUE", _HINT)
        if not bare.startswith((" ", "\t")):
            inside = key == "rules"
            if value.strip():
                raise InvalidInput(f"{name}: line {number}: expected rules:", _HINT)
        elif inside:
            pairs.append((key.strip(), value.strip().strip("\"'")))
    return pairs


# TOML


def _from_toml(text: str, name: str) -> GateConfig:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{name}: {error}", _HINT) from error
    unknown = set(document) - {"rules", "ignore"}
    if unknown:
        raise InvalidInput(f"{name}: unknown table {min(unknown)[:60]!r}", "rules, ignore")
    table = document.get("rules", {})
    entries = document.get("ignore", [])
    if not isinstance(table, dict) or not isinstance(entries, list):
        raise InvalidInput(f"{name}: expected [rules] and [[ignore]]", _HINT)
    rules = {key: _rule(key, value, name) for key, value in table.items()}
    return GateConfig(rules, tuple(_exemption(each, name) for each in entries))


def _rule(key: str, value: Any, name: str) -> Any:
    what = f"{name}: {key}"
    if key in DIVE_RULES:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return _from_dive(f"rules:\n  {key}: {value if number else str(value)}", name).rules[key]
    if key in SIZE_RULES:
        return parse_bytes(value, what)
    if key in COUNT_RULES:
        if type(value) is not int or value < 0:
            raise InvalidInput(f"{what}: {value!r} is no count", "for example 20")
        return value
    if key in SHARE_RULES:
        return _share(value, what)
    if key in LIST_RULES:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise InvalidInput(f"{what}: expected a list of texts", 'for example ["**/.git/**"]')
        return tuple(value)
    if key == "max_severity":
        if value not in SEVERITIES:
            raise InvalidInput(f"{what}: {value!r} is no severity", ", ".join(SEVERITIES))
        return value
    if key == "max_growth":
        if isinstance(value, str) and value.rstrip().endswith("%"):
            return _share(value.strip()[:-1], what) / 100
        return parse_bytes(value, what)
    raise InvalidInput(f"{name}: unknown rule {key[:60]!r}", ", ".join((*_KNOWN, *DIVE_RULES)))


def _share(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < 1e6:
        raise InvalidInput(f"{what}: {value!r} is no number", "for example 0.9")
    return number


def _exemption(entry: Any, name: str) -> Exemption:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{name}: ignore: expected tables", "[[ignore]]")
    unknown = set(entry) - {"rule", "path", "reason", "expires"}
    if unknown:
        raise InvalidInput(
            f"{name}: ignore: unknown key {min(unknown)[:60]!r}", "rule, path, reason, expires"
        )
    texts = {key: entry.get(key, "") for key in ("rule", "path", "reason")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise InvalidInput(f"{name}: ignore: rule, path and reason are texts", _HINT)
    if not texts["reason"].strip():
        raise InvalidInput(f"{name}: ignore: no reason is given", 'reason = "why"')
    if not texts["rule"] and not texts["path"]:
        raise InvalidInput(f"{name}: ignore: neither rule nor path is given", 'rule = "P01"')
    expires = _date(entry.get("expires"), f"{name}: ignore")
    return Exemption(texts["rule"], texts["path"], texts["reason"], expires)


def _date(value: Any, what: str) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what}: {value!r} is no date", "expires = 2030-12-31") from error
