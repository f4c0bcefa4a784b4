"""Images judged."""

from datetime import date
from pathlib import Path

import pytest

from engine.layers.gate import judge, matches
from engine.layers.gate_config import parse_config
from engine.model.analysis import Analysis
from engine.model.gate import Check, Verdict
from tests.support.advice import analysis_of
from tests.support.tarball import directory, file

TODAY = date(2030, 6, 1)


@pytest.fixture
def bloated(tmp_path: Path) -> Analysis:
    """10,000 bytes stored, 4,000 of them wasted; apt's lists are in it."""
    base = directory(b"d") + file(b"d/a", b"a" * 4000) + file(b"b", b"b" * 3000)
    lists = file(b"var/lib/apt/lists/x", b"l" * 3000) + file(b"d/.wh.a")
    return analysis_of(tmp_path, base, lists)


def judged(analysis: Analysis, text: str, *paths: str, against: Analysis | None = None) -> Verdict:
    name = "a.toml" if "[" in text else ".dive-ci"
    return judge(analysis, paths, parse_config(text, name), against=against, today=TODAY)


def outcomes(analysis: Analysis, rules: str) -> list[tuple[str, str]]:
    found = judged(analysis, f"[rules]\n{rules}")
    return [(check.rule, check.outcome) for check in found.checks]


@pytest.mark.parametrize(
    ("passes", "fails"),
    [
        ("max_size = 10000", "max_size = 9999"),
        ("max_layer_size = 7000", "max_layer_size = 6999"),
        ("max_layers = 2", "max_layers = 1"),
        ("max_wasted = 4000", "max_wasted = 3999"),
        ("min_efficiency = 0.6", "min_efficiency = 0.61"),
        ("max_wasted_share = 0.4", "max_wasted_share = 0.39"),
        ("max_compressed_size = 100000", "max_compressed_size = 1"),
        ("forbid_findings = ['P02']", "forbid_findings = ['P01']"),
        ("max_severity = 'critical'", "max_severity = 'high'"),
    ],
)
def test_each_rule_has_its_limit(bloated: Analysis, passes: str, fails: str) -> None:
    (good,), bad = outcomes(bloated, passes), outcomes(bloated, fails)
    assert good == (passes.partition(" ")[0], "pass")
    assert set(bad) == {(fails.partition(" ")[0], "fail")}


def test_dives_rules_are_judged_by_dives_numbers(bloated: Analysis) -> None:
    found = judged(bloated, "")
    assert not found.passed
    assert [(check.rule, check.outcome, check.text) for check in found.checks] == [
        ("highestUserWastedPercent", "fail",
         "too many bytes wasted, relative to the user bytes added "
         f"(%-user-wasted-bytes={4000 / 3000} > threshold=0.1)"),
        ("highestWastedBytes", "skip", "disabled"),
        ("lowestEfficiency", "fail",
         "image efficiency is too low (efficiency=0.6 < threshold=0.9)"),
    ]  # fmt: skip
    assert judged(bloated, "rules:\n lowestEfficiency: 0.6\n highestUserWastedPercent: 2\n").passed


def test_forbidden_paths_are_named(bloated: Analysis) -> None:
    text = "[rules]\nforbid_paths = ['**/.git/**', '/id_rsa']"
    found = judged(bloated, text, "app/.git/config", ".git/HEAD", "id_rsa", "home/id_rsa", "git/a")
    assert [(check.text, check.path) for check in found.checks] == [
        ("**/.git/**", "/.git/HEAD"), ("**/.git/**", "/app/.git/config"), ("/id_rsa", "/id_rsa"),
    ]  # fmt: skip
    assert judged(bloated, text, "etc/passwd").passed


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.log", "a.log", True), ("*.log", "d/a.log", False), ("**/*.log", "d/a.log", True),
        ("**/*.log", "a.log", True), ("d/**", "d/e/f", True), ("d/*", "d/e/f", False),
        ("a?c", "abc", True), ("a?c", "a/c", False), ("a.c", "abc", False), ("**", "x/y", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_growth_is_measured_by_another_image(bloated: Analysis, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    small = analysis_of(tmp_path / "small", file(b"a", b"a" * 8000))
    for text, passed in (("'2000'", True), ("'1999'", False), ("'25%'", True), ("'24%'", False)):
        assert judged(bloated, f"[rules]\nmax_growth = {text}", against=small).passed is passed
    assert judged(small, "[rules]\nmax_growth = 0", against=bloated).passed
    (check,) = judged(bloated, "[rules]\nmax_growth = 0").checks
    assert (check.outcome, check.text) == ("skip", "no image to compare with")


IGNORE = "\n[[ignore]]\nreason = 'agreed'\n"


def test_what_is_agreed_is_ignored_for_a_while(bloated: Analysis) -> None:
    rules = "[rules]\nforbid_findings = ['P01', 'L01']"
    found = judged(bloated, f"{rules}{IGNORE}rule = 'P01'\nexpires = 2030-06-01")
    assert [each.text[:3] for each in found.checks] == ["L01"]
    (ignored,) = found.ignored
    assert (ignored.reason, ignored.expires) == ("agreed", "2030-06-01")
    assert found.warnings == ()
    late = judged(bloated, f"{rules}{IGNORE}rule = 'P01'\nexpires = 2030-05-31")
    assert len(late.checks) == 2
    assert late.warnings == ("ignore P01: past its date 2030-05-31: agreed",)


def test_a_path_is_ignored_and_no_other(bloated: Analysis) -> None:
    rules = "[rules]\nforbid_paths = ['**/*.log']"
    found = judged(bloated, f"{rules}{IGNORE}path = '/var/**'", "var/a.log", "app/a.log")
    assert found.checks == (Check("forbid_paths", "fail", "**/*.log", "/app/a.log"),)
    assert len(found.ignored) == 1


def test_ignoring_all_that_fails_passes(bloated: Analysis) -> None:
    rules = "[rules]\nmax_severity = 'info'\nmax_layers = 1"
    ignores = [f"{IGNORE}rule = '{rule}'" for rule in ("max_severity", "max_layers")]
    assert judged(bloated, rules + "".join(ignores)).passed
