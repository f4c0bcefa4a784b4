"""`manifest`."""

import json

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

NAME = "localhost:5000/whole:1"
FIRST, SECOND = "localhost:5000/a:1", "localhost:5000/b:1"


@pytest.fixture
def listed(pydock: Pydock, double: Double) -> None:
    double.add_remote(FIRST, [{"a": 1}])
    double.add_remote(SECOND, [{"b": 1}])
    said = pydock("manifest", "create", NAME, FIRST, SECOND)
    assert (said.code, said.out) == (0, f"Created manifest list {NAME}\n")


@pytest.mark.usefixtures("listed")
def test_a_list_is_shown_as_docker_shows_it(pydock: Pydock) -> None:
    said = pydock("manifest", "annotate", NAME, SECOND, "--os", "linux", "--arch", "arm",
                  "--variant", "v7", "--os-features", "a,b")  # fmt: skip
    assert (said.code, said.out) == (0, "")
    out = pydock("manifest", "inspect", NAME).out
    assert out.startswith('{\n   "schemaVersion": 2,\n   "mediaType"')
    second = json.loads(out)["manifests"][1]
    assert second["platform"] == {
        "architecture": "arm", "os": "linux", "os.features": ["a", "b"], "variant": "v7",
    }  # fmt: skip
    assert list(second) == ["mediaType", "size", "digest", "platform"]


@pytest.mark.usefixtures("listed")
def test_verbose_shows_each_image(pydock: Pydock) -> None:
    first, second = json.loads(pydock("manifest", "inspect", "-v", NAME).out)
    assert (first["Ref"], second["Ref"]) == (FIRST, SECOND)
    assert list(first) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
    one = json.loads(pydock("manifest", "inspect", "-v", NAME, SECOND).out)
    assert one == second
    assert pydock("manifest", "inspect", FIRST).out.startswith('{\n\t"schemaVersion": 2,')


@pytest.mark.usefixtures("listed")
def test_a_push_says_each_image_and_the_digest(pydock: Pydock, double: Double) -> None:
    said = pydock("manifest", "push", "--purge", NAME)
    first, second, digest = said.lines
    image = double.world.remote[FIRST].manifest
    assert first == f"Pushed ref localhost:5000/whole@{image} with digest: {image}"
    assert second.startswith("Pushed ref localhost:5000/whole@sha256:")
    assert digest.startswith("sha256:")
    said = pydock("manifest", "rm", NAME)
    assert said.code == 1
    assert said.err.startswith(f"pydock: no such manifest: {NAME}\nhint: ")


@pytest.mark.usefixtures("listed")
def test_mistakes_are_one_line_and_a_hint(pydock: Pydock) -> None:
    said = pydock("manifest", "create", NAME, FIRST)
    assert said.code == 1
    assert "with no --amend flag\nhint: pydock manifest rm" in said.err
    assert pydock("manifest", "create", "--amend", NAME, FIRST).code == 0
    assert pydock("manifest", "create", NAME).code == 1
    said = pydock("manifest", "annotate", NAME, FIRST, "--arch", "vax")
    assert "unsupported os/arch combination: linux/vax" in said.err
    assert pydock("manifest", "inspect", "--insecure", NAME).code == 125
    assert pydock("manifest", "inspect", "localhost:5000/none").err.startswith("pydock: no such")


def test_the_group_has_help(pydock: Pydock) -> None:
    out = pydock("manifest", "--help").out
    assert "Manage image manifests and manifest lists" in out
    assert "annotate    Add additional information to a local image manifest" in out
