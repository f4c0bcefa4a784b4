"""`push`."""

import os

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

LAYERS = [{"a": 1000}, {"b": 2000}]


def names(double: Double, reference: str) -> list[str]:
    """What its layers are called on the screen."""
    return [layer.digest[7:19] for layer in double.images.get(reference).layers]


def test_a_push_in_a_pipe_says_what_is_done(pydock: Pydock, double: Double) -> None:
    double.add_image("localhost:5000/debian:bookworm", LAYERS)
    said = pydock("push", "localhost:5000/debian:bookworm")
    assert (said.code, said.err) == (0, "")
    first, *steps, last = said.lines
    assert first == "The push refers to repository [localhost:5000/debian]"
    for name in names(double, "localhost:5000/debian:bookworm"):
        mine = [step.partition(": ")[2] for step in steps if step.startswith(name)]
        assert mine == ["Preparing", "Pushing", "Pushed"]
    digest = double.images.inspect("localhost:5000/debian:bookworm").summary.digest
    assert last.startswith(f"bookworm: digest: {digest} size: ")


def test_what_is_there_and_what_is_lent_is_said(pydock: Pydock, double: Double) -> None:
    double.add_image("localhost:5000/a:1", LAYERS)
    double.images.tag("localhost:5000/a:1", "localhost:5000/b:1")
    pydock("push", "localhost:5000/a:1")
    (name, _) = names(double, "localhost:5000/a:1")
    assert f"{name}: Layer already exists" in pydock("push", "localhost:5000/a:1").lines
    assert f"{name}: Mounted from a" in pydock("push", "localhost:5000/b:1").lines


def test_a_name_without_a_tag_means_latest(pydock: Pydock, double: Double) -> None:
    double.add_image("localhost:5000/a:latest", LAYERS)
    assert pydock("push", "localhost:5000/a").lines[0] == "Using default tag: latest"


def test_all_tags_go(pydock: Pydock, double: Double) -> None:
    double.add_image("localhost:5000/a:1", LAYERS)
    double.images.tag("localhost:5000/a:1", "localhost:5000/a:2")
    double.images.tag("localhost:5000/a:1", "localhost:5000/ab:3")
    said = pydock("push", "--all-tags", "localhost:5000/a")
    assert [line[:10] for line in said.lines if "digest:" in line] == ["1: digest:", "2: digest:"]
    assert set(double.world.remote) == {"localhost:5000/a:1", "localhost:5000/a:2"}
    said = pydock("push", "-a", "localhost:5000/a:1")
    assert said.code == 1
    assert "tag can't be used with --all-tags/-a" in said.err
    said = pydock("push", "-a", "localhost:5000/none")
    assert (said.code, said.out) == (1, "The push refers to repository [localhost:5000/none]\n")
    assert "an image does not exist locally with the tag: localhost:5000/none" in said.err


def test_quiet_says_the_name_alone(pydock: Pydock, double: Double) -> None:
    double.add_image("me/a:1", LAYERS)
    assert pydock("push", "-q", "me/a:1").lines == ["docker.io/me/a:1"]


def test_mistakes_are_one_line_and_a_hint(pydock: Pydock, double: Double) -> None:
    said = pydock("push", "nothing:1")
    assert said.code == 1
    assert said.err.splitlines() == [
        "pydock: an image does not exist locally with the tag: nothing",
        "hint: pydock tag IMAGE nothing:1 gives one that name",
    ]
    double.add_image("a:1", LAYERS)
    assert "one of gzip, zstd, none" in pydock("push", "--compression", "rar", "a:1").err
    assert "gzip has 1 to 9" in pydock("push", "--compression-level", "10", "a:1").err
    assert pydock("push").code == 1


def test_a_terminal_shows_a_bar(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd=1: os.terminal_size((140, 40)))
    double.add_image("localhost:5000/a:1", LAYERS)
    out = pydock("push", "localhost:5000/a:1", terminal=True).out
    assert ": Pushing [=====" in out
    assert ": Pushed" in out
