"""`events`: docker's lines, JSON and templates."""

import json

from engine.cli.events import describe
from engine.model.event import Event
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_a_line_is_dockers() -> None:
    event = Event(
        1_767_225_600_000_000_000, "container", "die", "f" * 64, "web",
        {"image": "debian", "exitCode": "3"},
    )  # fmt: skip
    assert describe(event).partition(" ")[2] == (
        f"container die {'f' * 64} (exitCode=3, image=debian, name=web)"
    )


def test_the_past_ends_at_until(pydock: Pydock, double: Double) -> None:
    double.add_container("web", labels=(("role", "front"),))
    double.volumes.create("data")
    said = pydock("events", "--since", "1m", "--until", "0s")
    assert [line.split()[1:3] for line in said.lines] == [
        ["image", "load"],
        ["container", "create"],
        ["container", "start"],
        ["volume", "create"],
    ]
    said = pydock("events", "--since=1m", "--until=0s", "-f", "type=container", "-f", "event=start")
    assert len(said.lines) == 1
    assert "role=front" in said.out


def test_events_have_json_and_templates(pydock: Pydock, double: Double) -> None:
    identity = double.add_container("web")
    words = ("events", "--since=1m", "--until=0s", "--filter", "event=start", "--format")
    document = json.loads(pydock(*words, "json").out)
    assert document["Type"] == "container"
    assert document["Action"] == document["status"] == "start"
    assert document["Actor"]["ID"] == identity
    assert document["Actor"]["Attributes"]["name"] == "web"
    assert document["timeNano"] // 10**9 == document["time"]
    template = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.From}}"
    assert pydock(*words, template).out == "container start web debian:bookworm\n"


def test_a_wrong_moment_is_told(pydock: Pydock) -> None:
    assert pydock("events", "--since", "then").code == 1
