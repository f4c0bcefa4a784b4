"""`inspect` finds every kind, prints what it found, and tells what it did not."""

import json

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_every_kind_is_found(pydock: Pydock, double: Double) -> None:
    identity = double.add_container("web")
    double.volumes.create("data")
    said = pydock("inspect", "web", "debian:bookworm", "bridge", "data", identity[:8])
    assert said.code == 0
    web, image, bridge, data, again = json.loads(said.out)
    assert web["Name"] == "/web"
    assert image["RepoTags"] == ["debian:bookworm"]
    assert bridge["Driver"] == "bridge"
    assert data["Mountpoint"].endswith("data/_data")
    assert again == web
    assert said.lines[1] == "    {"


def test_what_is_found_is_printed_though_something_is_not(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock("inspect", "nothing", "web")
    assert said.code == 1
    assert len(json.loads(said.out)) == 1
    assert said.err.startswith("pydock: no such object: nothing\n")
    assert pydock("inspect", "nothing").out == "[]\n"
    assert pydock("inspect", "No Name").code == 1


def test_a_type_is_looked_for_alone(pydock: Pydock, double: Double) -> None:
    double.add_container("bridge-like")
    assert pydock("inspect", "--type", "network", "bridge").code == 0
    assert pydock("inspect", "--type", "container", "bridge").code == 1
    assert "not a valid value for --type" in pydock("inspect", "--type", "pod", "x").err
    assert pydock("container", "inspect", "bridge-like").code == 0
    assert pydock("image", "inspect", "bridge-like").err.startswith("pydock: no such image")
    assert pydock("network", "inspect", "nope").err.startswith("pydock: network nope not found")
    assert pydock("volume", "inspect", "nope").err.startswith("pydock: no such volume: nope")


def test_a_container_is_measured_where_that_is_asked_for(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    assert "SizeRw" not in json.loads(pydock("inspect", "web").out)[0]
    for words in (("inspect", "-s"), ("container", "inspect", "--size")):
        (found,) = json.loads(pydock(*words, "web").out)
        assert 0 <= found["SizeRw"] < found["SizeRootFs"]
    assert "SizeRw" not in json.loads(pydock("inspect", "-s", "debian:bookworm").out)[0]


def test_templates_reach_into_it(pydock: Pydock, double: Double) -> None:
    double.add_container("web", labels=(("role", "front"),))
    for template, text in (
        ("{{.State.Status}}", "running"),
        ("{{.Name}} {{.State.Running}}", "/web true"),
        ("{{json .Config.Labels}}", '{"role":"front"}'),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "10.90.0.2"),
        ('{{index .Config.Labels "role"}}', "front"),
        ("{{.HostConfig.PidsLimit}}", "<no value>"),
    ):
        assert pydock("inspect", "-f", template, "web").out == f"{text}\n"
    assert pydock("image", "inspect", "--format", "{{.Size}}", "debian:bookworm").out == "1000900\n"
    said = pydock("inspect", "--format", "{{.Nope}}", "web")
    assert said.code == 1
    assert said.err.startswith("pydock: template parsing error: at <.Nope>: no entry for key")
    assert json.loads(pydock("inspect", "--format", "json", "web").out)[0]["Name"] == "/web"
