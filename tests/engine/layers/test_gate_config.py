"""Rules of a gate, read from both kinds of files."""

from datetime import date

import pytest

from engine.errors import InvalidInput
from engine.layers.gate_config import Exemption, parse_bytes, parse_config

DEFAULTS = {
    "lowestEfficiency": 0.9, "highestWastedBytes": None, "highestUserWastedPercent": 0.1
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", {}),
        ("---\n# nothing\n", {}),
        ("rules:\n", {}),
        ("rules:\n  lowestEfficiency: 0.95\n", {"lowestEfficiency": 0.95}),
        ("rules:\n  lowest-efficiency: '0.96'  # new\n", {"lowestEfficiency": 0.96}),
        ('rules:\n  highestWastedBytes: "20MB"\n', {"highestWastedBytes": 20_000_000}),
        ("rules:\n  highestWastedBytes: 20MiB\n", {"highestWastedBytes": 20 << 20}),
        ("rules:\n  highestUserWastedPercent: off\n", {"highestUserWastedPercent": None}),
        ("log:\n  enabled: true\nrules:\n    lowestEfficiency: 0\n", {"lowestEfficiency": 0}),
    ],
)
def test_dives_file(text: str, rules: dict[str, object]) -> None:
    assert parse_config(text, ".dive-ci").rules == DEFAULTS | rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n  lowest: 1\n", "unknown rule 'lowest'"),
        ("rules:\n  lowestEfficiency: high\n", "lowestEfficiency: 'high' is no number"),
        ("rules:\n  highestWastedBytes: many\n", "highestWastedBytes: 'many' is no size"),
        ("rules: 3\n", "line 1: expected rules:"),
        ("rules:\n  - a\n", "line 2: expected KEY: VALUE"),
    ],
)
def test_a_bad_file_of_dives_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as failure:
        parse_config(text, ".dive-ci")
    assert failure.value.message.startswith(".dive-ci: ")
    assert failure.value.hint


OWN = """
[rules]
max_size = "500MB"
max_layers = 20
min_efficiency = 0.95
max_growth = "5%"
forbid_paths = ["**/.git/**"]
forbid_findings = ["P01"]
max_severity = "medium"
lowestEfficiency = 0.8

[[ignore]]
rule = "P01"
reason = "needed at run time"
expires = 2030-12-31

[[ignore]]
path = "/usr/share/**"
reason = "docs are wanted"
expires = "2031-01-01"
"""


def test_our_own_file() -> None:
    config = parse_config(OWN, "ci/.pydock-ci.toml")
    assert config.rules == {
        "max_size": 500_000_000, "max_layers": 20, "min_efficiency": 0.95, "max_growth": 0.05,
        "forbid_paths": ("**/.git/**",), "forbid_findings": ("P01",), "max_severity": "medium",
        "lowestEfficiency": 0.8,
    }  # fmt: skip
    assert config.exemptions == (
        Exemption("P01", "", "needed at run time", date(2030, 12, 31)),
        Exemption("", "/usr/share/**", "docs are wanted", date(2031, 1, 1)),
    )
    assert config.needs_advice
    assert not parse_config("", "x.toml").needs_advice


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules", "a.toml: "),
        ("[rule]\n", "unknown table 'rule'"),
        ("[rules]\nmax = 1\n", "unknown rule 'max'"),
        ("[rules]\nmax_size = true\n", "max_size: True is no size"),
        ("[rules]\nmax_size = '-1'\n", "max_size: '-1' is no size"),
        ("[rules]\nmax_layers = 1.5\n", "max_layers: 1.5 is no count"),
        ("[rules]\nmin_efficiency = true\n", "min_efficiency: True is no number"),
        ("[rules]\nforbid_paths = 'x'\n", "forbid_paths: expected a list of texts"),
        ("[rules]\nmax_severity = 'bad'\n", "max_severity: 'bad' is no severity"),
        ("[rules]\nmax_growth = 'much'\n", "max_growth: 'much' is no size"),
        ("ignore = 1\n", r"expected \[rules\] and \[\[ignore\]\]"),
        ("ignore = [1]\n", "ignore: expected tables"),
        ("[[ignore]]\nrule = 'P01'\n", "ignore: no reason is given"),
        ("[[ignore]]\nreason = 'x'\n", "ignore: neither rule nor path is given"),
        ("[[ignore]]\nrule = 'a'\nreason = 'x'\nuntil = 1\n", "unknown key 'until'"),
        ("[[ignore]]\nrule = 'a'\nreason = 'x'\nexpires = 'soon'\n", "'soon' is no date"),
        ("[[ignore]]\nrule = 'a'\nreason = 'x'\nexpires = 5\n", "5 is no date"),
        ("[[ignore]]\nrule = 1\nreason = 'x'\n", "rule, path and reason are texts"),
    ],
)
def test_a_bad_file_of_ours_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as failure:
        parse_config(text, "a.toml")
    assert failure.value.hint


@pytest.mark.parametrize(
    ("text", "size"), [("20", 20), ("1.5kB", 1500), ("2 GiB", 2 << 30), ("3m", 3_000_000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text, "x") == size
