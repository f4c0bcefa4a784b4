"""`analyze`."""

import json
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.images import make_image, write_layout
from tests.support.tarball import END, directory, file

BASE = {"bin": None, "bin/sh": b"s" * 9000, "etc": None, "etc/a": b"1234", "junk": b"j" * 3000}
TOP = {"etc": None, "etc/a": b"12345", ".wh.junk": b""}


@pytest.fixture
def layout(tmp_path: Path) -> str:
    write_layout(tmp_path / "layout", {"app:1": make_image([BASE, TOP])})
    return str(tmp_path / "layout")


def test_an_image_is_told_in_numbers(pydock: Pydock, layout: str) -> None:
    said = pydock("analyze", layout)
    assert (said.code, said.err) == (0, "")
    fields = dict(line.split(":", 1) for line in said.lines[:5])
    assert fields["Stored"].split(",")[0].strip() == "12kB in 2 layers"
    assert fields["Live"].strip() == "9.01kB"
    assert fields["Wasted"].strip() == "3kB (25 %)"
    assert fields["Efficiency"].strip() == "74.9 %"
    assert [line.split()[:2] for line in said.lines[7:9]] == [["0", "12kB"], ["1", "5B"]]
    assert said.lines[7].split()[-3:] == ["3kB", "layer", "0"]
    assert "3kB      deleted       0            1" in said.lines
    assert "4B       overwritten   0            1" in said.lines
    assert "3kB      0            1            /junk" in said.lines
    assert "4B       0, 1         -            /etc/a" in said.lines


def test_an_image_here_is_told_by_its_name(pydock: Pydock, double: Double) -> None:
    double.add_image("app:1", [{"a": 1000}, {"a": 500}])
    lines = pydock("analyze", "app:1").lines
    assert lines[0].startswith("Image:       app:1 (")
    assert lines[2].split() == ["Live:", "500B"]


def test_it_is_the_same_for_programs(pydock: Pydock, layout: str) -> None:
    found = json.loads(pydock("analyze", "--format", "json", layout).out)
    assert found["Size"] == found["LiveSize"] + found["WastedSize"] == 12_009
    assert sum(each["Size"] for each in found["Losses"]) == found["WastedSize"] == 3004
    assert [each["Size"] for each in found["Layers"]] == [12_004, 5]
    assert found["Waste"][0] == {
        "Path": "/junk", "Size": 3000, "WrittenIn": [0], "RemovedIn": 1
    }  # fmt: skip


def test_dives_figures_are_dives(pydock: Pydock, layout: str) -> None:
    lines = pydock("analyze", "--dive-compat", layout).lines
    assert lines[:4] == [
        "Analysis:",
        "  efficiency:        74.98 %",
        "  wastedBytes:       3009 bytes (3.0 kB)",
        "  userWastedPercent: 60180.00 %",
    ]
    assert [line.split() for line in lines[5:]] == [
        ["Inefficient", "Files:"], ["Count", "Wasted", "Space", "File", "Path"],
        ["2", "3.0", "kB", "/junk"], ["2", "9", "B", "/etc/a"],
    ]  # fmt: skip
    found = json.loads(pydock("analyze", "--dive-compat", "--format", "json", layout).out)
    assert found["image"]["inefficientBytes"] == 3009
    assert [each["sizeBytes"] for each in found["layer"]] == [12_004, 5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("analyze", "none:1"), "no such image: none:1"),
        (("analyze", "./none.tar"), "./none.tar: no such file or directory"),
        (("analyze", "/etc/passwd"), "/etc/passwd: not a tar archive"),
        (("analyze", "--format", "xml", "x"), "unknown format: xml"),
        (("analyze",), "'pydock analyze' requires 1 argument"),
    ],
)
def test_what_cannot_be_analyzed_is_told(pydock: Pydock, words: tuple[str], said: str) -> None:
    told = pydock(*words)
    assert told.code == 1
    assert said.lower() in told.err.lower()
    assert len(told.err.splitlines()) == 2


def test_advice_has_bytes_and_a_fix(pydock: Pydock, tmp_path: Path) -> None:
    base = {
        "root": None,
        "root/.cache": None,
        "root/.cache/pip": None,
        "root/.cache/pip/a": b"p" * 4000,
    }
    write_layout(tmp_path / "layout", {"app:1": make_image([base, {"a": b"1"}])})
    said = pydock("analyze", "--advice", str(tmp_path / "layout"))
    at = next(number for number, line in enumerate(said.lines) if line.startswith("Y01"))
    assert said.lines[at - 2].startswith("To save:     4kB, ")
    assert said.lines[at].startswith("Y01  critical: cache of pip, uv or poetry: 4kB, ")
    assert said.lines[at + 1 : at + 3] == [
        "     certain, can be made again", "     layer 0: layer 0",
    ]  # fmt: skip
    assert said.lines[at + 3].endswith("/.cache/pip/a")
    assert said.lines[at + 4].startswith("     > RUN --mount=type=cache")
    found = json.loads(pydock("analyze", "--advice", "--format", "json", f"{tmp_path}/layout").out)
    assert (found["Findings"][0]["Rule"], found["Findings"][0]["Size"]) == ("Y01", 4000)


def test_there_may_be_nothing_to_advise(pydock: Pydock, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"app:1": make_image([{"a": b"1"}])})
    said = pydock("analyze", "--advice", str(tmp_path / "layout"))
    assert said.lines[-1] == "Nothing was found that would make it smaller."


def test_hostile_names_reach_no_terminal(pydock: Pydock, tmp_path: Path) -> None:
    base = directory(b"d") + file(b"d/\xff\x1b[31m\n.key", b"k" * 50) + END
    image = make_image([base, file(b"d/.wh.\xff\x1b[31m\n.key") + END])
    write_layout(tmp_path / "layout", {"app:1": image})
    for terminal in (False, True):
        said = pydock("analyze", "--advice", str(tmp_path / "layout"), terminal=terminal)
        assert said.code == 0
        assert "\x1b" not in said.out
        assert "/d/\\xff\\x1b[31m\\n.key" in said.out
    found = json.loads(pydock("analyze", "--format", "json", str(tmp_path / "layout")).out)
    assert found["Waste"][0]["Path"] == "/d/\udcff\x1b[31m\n.key"
    assert found["Specials"][0]["Removed"] is True
