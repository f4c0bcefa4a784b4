"""`compare`."""

import json
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.images import make_image, write_layout


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, str]:
    base = {"bin/sh": b"s" * 9000}
    one = make_image([base, {"old": b"o" * 500}], config={"Env": ["A=1"]})
    two = make_image([base, {"new": b"n" * 700}, {"x": b"1"}], config={"Env": ["A=2"]})
    write_layout(tmp_path / "one", {"app:1": one})
    write_layout(tmp_path / "two", {"app:2": two})
    return str(tmp_path / "one"), str(tmp_path / "two")


def test_two_images_are_told_apart(pydock: Pydock, places: tuple[str, str]) -> None:
    said = pydock("compare", *places)
    assert (said.code, said.err) == (0, "")
    rows = [line.split() for line in said.lines]
    assert rows[0] == ["app:1", "app:2", "CHANGE"]
    assert rows[1] == ["Stored", "9.5kB", "9.7kB", "+201B"]
    assert rows[5] == ["Layers", "2", "3", "+1"]
    assert said.lines[6] == "Shared: 1 layer, 9kB"
    assert said.lines[7] == "Files: 2 added, 0 changed, 1 gone"
    assert ["Env", "A", "1", "2"] in rows
    assert ["+700B", "-", "700B", "/new"] in rows
    assert ["-500B", "500B", "-", "/old"] in rows


def test_it_is_the_same_for_programs(pydock: Pydock, places: tuple[str, str]) -> None:
    found = json.loads(pydock("compare", "--format", "json", *places).out)
    assert (found["Added"], found["Changed"], found["Removed"]) == (2, 0, 1)
    assert found["SharedLayers"] == [[0, 0]]
    assert found["After"]["Size"] - found["Before"]["Size"] == 201
    assert found["Config"] == [{"Name": "Env A", "Before": "1", "After": "2"}]


def test_an_image_here_and_one_in_a_file(
    pydock: Pydock, double: Double, places: tuple[str, str]
) -> None:
    double.add_image("app:0", [{"a": 10}])
    assert "Files: 2 added, 0 changed, 1 gone" in pydock("compare", "app:0", places[0]).lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none:1", "none:2"), "no such image: none:1"),
        (("--format", "xml", "a", "b"), "unknown format: xml"),
        (("a",), "'pydock compare' requires 2 arguments"),
    ],
)
def test_what_cannot_be_compared_is_told(pydock: Pydock, words: tuple[str], said: str) -> None:
    told = pydock("compare", *words)
    assert told.code == 1
    assert said.lower() in told.err.lower()
    assert len(told.err.splitlines()) == 2
