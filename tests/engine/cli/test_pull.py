"""`pull`: what it says in each mode, and every tag of a repository."""

import json

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

NAME = "localhost:5000/debian"


def test_every_tag_comes_with_all_tags(pydock: Pydock, double: Double) -> None:
    double.add_remote(f"{NAME}:bookworm", [{"a": 1000}])
    double.add_remote(f"{NAME}:trixie", [{"a": 1000}, {"b": 2000}])
    double.add_remote("localhost:5000/other:1")
    said = pydock("pull", "-a", NAME)
    assert (said.code, said.err) == (0, "")
    assert f"bookworm: Pulling from {NAME}" in said.lines
    assert f"trixie: Pulling from {NAME}" in said.lines
    assert sum(line.startswith("Digest: sha256:") for line in said.lines) == 2
    assert said.lines[-2:] == [f"Status: Downloaded newer image for {NAME}", NAME]
    names = [name for row in double.images.list() for name in row.references]
    assert sorted(names) == [f"{NAME}:bookworm", f"{NAME}:trixie"]
    assert f"Status: Image is up to date for {NAME}" in pydock("pull", "-a", NAME).lines
    assert pydock("pull", "--all-tags", "-q", NAME).out == f"{NAME}\n"


def test_a_tag_that_is_no_image_for_this_host_is_left_out(pydock: Pydock, double: Double) -> None:
    double.add_remote(f"{NAME}:arm", platform=("linux", "arm64", ""))
    double.add_remote(f"{NAME}:intel", platform=("linux", "amd64", ""))
    said = pydock("pull", "-a", "--platform", "linux/amd64", NAME)
    assert said.code == 0
    assert [line for line in said.lines if "Skipped" in line] == [
        f"arm: Skipped: no image of {NAME}:arm for linux/amd64"
    ]
    assert [row.references for row in double.images.list()] == [(f"{NAME}:intel",)]


def test_all_tags_of_nothing_is_an_error(pydock: Pydock, double: Double) -> None:
    double.add_remote(f"{NAME}:arm", platform=("linux", "arm64", ""))
    said = pydock("pull", "-a", "--platform", "linux/s390x", NAME)
    assert said.code == 1
    assert said.err.startswith(f"pydock: no image of {NAME}:arm for linux/s390x\nhint: ")
    said = pydock("pull", "-a", "localhost:5000/none")
    assert said.code == 1
    assert said.err.startswith("pydock: repository localhost:5000/none not found\nhint: ")


@pytest.mark.parametrize("ref", ["debian:bookworm", "debian@sha256:" + "ab" * 32])
def test_one_tag_and_all_of_them_contradict(pydock: Pydock, ref: str) -> None:
    said = pydock("pull", "-a", ref)
    assert said.code == 1
    assert said.err.splitlines() == [
        "pydock: tag can't be used with --all-tags/-a",
        "hint: pydock pull -a debian",
    ]


def test_programs_read_a_line_of_json_for_each_step(pydock: Pydock, double: Double) -> None:
    image = double.add_remote(f"{NAME}:1", [{"a": 1000}])
    said = pydock("pull", "--progress", "rawjson", f"{NAME}:1")
    assert (said.code, said.err) == (0, "")
    steps = [json.loads(line) for line in said.lines]
    assert steps[0] == {"status": f"Pulling from {NAME}", "id": "1"}
    layer = image.layers[0]
    mine = [step for step in steps if step.get("id") == layer.digest[7:19]]
    assert mine[0]["status"] == "Pulling fs layer"
    downloads = [step["progressDetail"] for step in mine if step["status"] == "Downloading"]
    assert downloads[-1] == {"current": layer.blob_bytes, "total": layer.blob_bytes}
    assert mine[-1]["status"] == "Pull complete"
    assert steps[-2] == {"status": f"Digest: {image.manifest}"}
    assert steps[-1] == {"status": f"Status: Downloaded newer image for {NAME}:1"}


def test_bars_are_drawn_where_asked_for(pydock: Pydock, double: Double) -> None:
    double.add_remote(f"{NAME}:1", [{"a": 1000}])
    assert "\x1b[" in pydock("pull", "--progress=tty", f"{NAME}:1").out
    double.add_remote(f"{NAME}:2", [{"b": 1000}])
    assert "\x1b[" not in pydock("pull", "--progress=plain", f"{NAME}:2").out
    said = pydock("pull", "--progress", "json", f"{NAME}:2")
    assert said.code == 1
    assert said.err.splitlines() == [
        "pydock: invalid progress mode: json",
        "hint: one of auto, plain, tty, rawjson",
    ]
