"""`analyze --ci`: outcomes, formats, exit codes."""

import json
import xml.etree.ElementTree
from pathlib import Path

import pytest

from engine.cli.gate import FORMATS
from tests.engine.cli.conftest import Pydock
from tests.support.images import make_image, write_layout

BASE = {"bin": None, "bin/sh": b"s" * 9000, "junk": b"j" * 3000}
TOP = {".wh.junk": b"", "app": b"a" * 1000, "id_rsa": b"key", "bad|name<x>\n": b"1"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bloated image; the directory where it is has no rules yet."""
    write_layout(tmp_path / "layout", {"app:1": make_image([BASE, TOP])})
    monkeypatch.chdir(tmp_path)
    return "./layout"


def test_dives_rules_hold_when_there_are_no_others(pydock: Pydock, layout: str) -> None:
    said = pydock("analyze", "--ci", "--dive-compat", layout)
    assert (said.code, said.err) == (1, "")
    assert said.lines[0] == "Analysis:"
    at = said.lines.index("Evaluation:")
    assert said.lines[at + 1].startswith(
        "  FAIL  highestUserWastedPercent (too many bytes wasted, relative to the user bytes added "
    )
    assert said.lines[at + 2 : at + 4] == [
        "  SKIP  highestWastedBytes (disabled)",
        f"  FAIL  lowestEfficiency (image efficiency is too low (efficiency={10_004 / 13_004}"
        " < threshold=0.9))",
    ]
    assert said.lines[-1] == "FAIL [pass:0 fail:2 skip:1]"


def test_the_file_of_rules_here_is_read(pydock: Pydock, layout: str) -> None:
    Path(".dive-ci").write_text(
        "rules:\n  lowestEfficiency: 0.7\n  highestUserWastedPercent: off\n"
    )
    assert pydock("analyze", "--ci", layout).lines[-1] == "PASS [pass:1 fail:0 skip:2]"
    Path(".pydock-ci.toml").write_text("[rules]\nmax_size = 1\n")
    said = pydock("analyze", "--ci", layout)
    assert (said.code, said.lines[-1]) == (1, "FAIL [pass:0 fail:1 skip:0]")
    assert said.lines[-3] == "  FAIL  max_size (the image has 13kB, at most 1B)"
    assert pydock("analyze", "--ci", "--config", ".dive-ci", layout).code == 0


def test_a_bloated_image_fails_and_the_fixed_one_passes(
    pydock: Pydock, layout: str, tmp_path: Path
) -> None:
    Path(".pydock-ci.toml").write_text("[rules]\nmax_wasted = 0\nforbid_paths = ['**/id_rsa']\n")
    assert pydock("analyze", "--ci", layout).code == 1
    write_layout(tmp_path / "fixed", {"app:2": make_image([{"bin/sh": b"s" * 9000, "app": b"a"}])})
    assert pydock("analyze", "--ci", "./fixed").code == 0


def test_growth_is_measured_by_another_image(pydock: Pydock, layout: str, tmp_path: Path) -> None:
    write_layout(tmp_path / "old", {"app:0": make_image([{"bin/sh": b"s" * 9000}])})
    Path(".pydock-ci.toml").write_text("[rules]\nmax_growth = '10%'\n")
    said = pydock("analyze", "--ci", "--against", "./old", layout)
    assert said.code == 1
    assert "  FAIL  max_growth (+4kB against app:0, at most +900B)" in said.lines


def test_what_is_agreed_is_told_and_what_is_past_is_warned_of(pydock: Pydock, layout: str) -> None:
    Path(".pydock-ci.toml").write_text(
        "[rules]\nforbid_paths = ['id_rsa']\n[[ignore]]\npath = 'id_rsa'\nreason = 'a test key'\n"
        "[[ignore]]\nrule = 'P01'\nreason = 'old'\nexpires = 2001-02-03\n"
    )
    said = pydock("analyze", "--ci", layout)
    assert said.code == 0
    assert "  IGNORED  forbid_paths (id_rsa /id_rsa): a test key" in said.lines
    assert said.err == "warning: ignore P01: past its date 2001-02-03: old\n"


RULES = (
    "[rules]\nmax_size = 1\nmax_layers = 5\nmax_severity = 'critical'\nhighestWastedBytes = 'off'\n"
)


def report(pydock: Pydock, layout: str, style: str) -> str:
    Path(".pydock-ci.toml").write_text(RULES + "forbid_paths = ['bad*']\n")
    said = pydock("analyze", "--ci", "--format", style, layout)
    assert (said.code, said.err) == (1, "")
    return said.out


def test_json(pydock: Pydock, layout: str) -> None:
    found = json.loads(report(pydock, layout, "json"))
    assert found["Passed"] is False
    assert {each["Rule"]: each["Outcome"] for each in found["Checks"]} == {
        "forbid_paths": "fail", "highestWastedBytes": "skip", "max_layers": "pass",
        "max_severity": "pass", "max_size": "fail",
    }  # fmt: skip
    assert found["Image"]["WastedSize"] == 3000


def test_junit(pydock: Pydock, layout: str) -> None:
    (suite,) = xml.etree.ElementTree.fromstring(report(pydock, layout, "junit"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["forbid_paths", "max_size"]


def test_sarif(pydock: Pydock, layout: str) -> None:
    found = json.loads(report(pydock, layout, "sarif"))
    assert found["version"] == "2.1.0"
    (run,) = found["runs"]
    by_rule = {each["ruleId"]: each for each in run["results"]}
    assert {each["id"] for each in run["tool"]["driver"]["rules"]} == set(by_rule)
    assert by_rule["max_size"]["level"] == "error"
    assert by_rule["L01"]["message"]["text"].startswith("file removed in a later layer: 3000 bytes")
    (place,) = by_rule["forbid_paths"]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "bad%7Cname%3Cx%3E%0A"


def test_markdown(pydock: Pydock, layout: str) -> None:
    text = report(pydock, layout, "markdown")
    assert text.startswith("### app:1: failed\n")
    assert "| max_size | fail | the image has 13kB, at most 1B |" in text
    assert "| forbid_paths | fail | bad* /bad\\|name&lt;x>\\\\n |" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--ci", "none:1"), 2, "no such image: none:1"),
        (("--ci", "--config", "none.toml", "./layout"), 2, "open none.toml: no such file"),
        (("--ci", "--config", "bad.toml", "./layout"), 2, "bad.toml: unknown rule 'x'"),
        (("--ci", "--config", ".", "./layout"), 2, "open .: is a directory"),
        (("--ci", "--against", "./none", "./layout"), 2, "./none: no such file"),
        (("--ci", "--format", "xml", "./layout"), 1, "unknown format: xml"),
        (("--config", "bad.toml", "./layout"), 1, "--config is for --ci"),
        (("--format", "sarif", "./layout"), 1, "unknown format: sarif"),
    ],
)
def test_what_cannot_be_judged_is_told(
    pydock: Pydock, layout: str, words: tuple[str, ...], code: int, said: str
) -> None:
    Path("bad.toml").write_text("[rules]\nx = 1\n")
    told = pydock("analyze", *words)
    assert (told.code, told.out) == (code, "")
    assert said.lower() in told.err.lower()
    assert len(told.err.splitlines()) == 2


def test_every_format_is_in_the_help(pydock: Pydock) -> None:
    text = " ".join(pydock("analyze", "--help").out.split())
    assert all(f'"{name}"' in text for name in FORMATS)
