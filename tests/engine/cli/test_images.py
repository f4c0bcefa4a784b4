"""`images`, `pull`, `tag`, `rmi`."""

import io
import json
import re

import pytest

from engine.cli.main import main
from engine.cli.output import Output
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_images_are_listed_by_name(pydock: Pydock, double: Double) -> None:
    first = double.add_image("debian:bookworm", [{"a": 77_812_345}])
    double.images.tag("debian:bookworm", "localhost:5000/b/c:2")
    dangling = double.add_image(None, [{"b": 1000}])
    lines = pydock("images").lines
    assert lines[0].split("  ")[0] == "REPOSITORY"
    assert [line.split()[:3] for line in sorted(lines[1:])] == [
        ["<none>", "<none>", dangling[7:19]],
        ["debian", "bookworm", first[7:19]],
        ["localhost:5000/b/c", "2", first[7:19]],
    ]
    assert all(line.endswith(("77.8MB", "1kB")) for line in lines[1:])
    assert sorted(pydock("images", "-q").lines) == sorted([first[7:19]] * 2 + [dangling[7:19]])
    assert first in pydock("images", "-q", "--no-trunc").lines


def test_a_name_chooses_lines_not_only_images(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm")
    double.images.tag("debian:bookworm", "other:1")
    said = pydock("images", "--format", "{{.Repository}}:{{.Tag}}", "debian")
    assert said.lines == ["debian:bookworm"]
    assert pydock("images", "-q", "debian:trixie").out == ""
    said = pydock("images", "--format", "{{.Repository}}", "-f", "reference=o*")
    assert said.lines == ["other"]
    assert pydock("images", "-q", "-f", "dangling=true").out == ""


def test_digests_are_shown_when_asked_for(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm")
    digest = double.images.inspect("debian:bookworm").summary.digest
    assert digest not in pydock("images").out
    assert digest in pydock("images", "--digests").out
    fields = json.loads(pydock("images", "--format", "json").out)
    assert fields["Digest"] == digest
    assert fields["Containers"] == "0"


def test_a_pull_in_a_pipe_says_what_is_done(pydock: Pydock, double: Double) -> None:
    reference = "localhost:5000/debian:bookworm"
    image = double.add_remote(reference, [{"a": 1000}, {"b": 2000}])
    said = pydock("pull", reference)
    assert (said.code, said.err) == (0, "")
    first, *steps, digest, status, name = said.lines
    assert first == "bookworm: Pulling from localhost:5000/debian"
    for layer in image.layers:
        mine = [step.partition(": ")[2] for step in steps if step.startswith(layer.digest[7:19])]
        assert mine == ["Pulling fs layer", "Downloading", "Extracting", "Pull complete"]
    assert digest == f"Digest: {image.manifest}"
    assert status == f"Status: Downloaded newer image for {reference}"
    assert name == reference
    again = pydock("pull", reference)
    assert f"Status: Image is up to date for {reference}" in again.lines
    assert sum("Already exists" in line for line in again.lines) == 2
    assert pydock("pull", "-q", reference).out == f"{reference}\n"


def test_a_missing_tag_is_latest(pydock: Pydock, double: Double) -> None:
    double.add_remote("busybox")
    said = pydock("pull", "busybox")
    assert said.lines[:2] == ["Using default tag: latest", "latest: Pulling from library/busybox"]
    assert said.lines[-1] == "docker.io/library/busybox:latest"


def test_what_no_registry_has_is_one_line_and_a_hint(pydock: Pydock) -> None:
    said = pydock("pull", "localhost:5000/none:1")
    assert said.code == 1
    assert said.err.count("\n") == 2
    assert said.err.startswith("pydock: manifest for localhost:5000/none:1 not found")
    assert pydock("pull", "UPPER").code == 1


def test_a_terminal_shows_layers_in_place(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(os, "get_terminal_size", lambda fd=1: os.terminal_size((120, 40)))
    reference = "localhost:5000/debian:bookworm"
    double.add_remote(reference, [{"a": 1000}, {"b": 200_000_000}])
    out = io.BytesIO()
    output = Output(out, out, terminal=True)
    assert main(["pull", reference], connect=lambda demo: double, output=output) == 0
    screen = draw(out.getvalue().decode())
    assert screen[0] == "bookworm: Pulling from localhost:5000/debian"
    assert [line.partition(": ")[2] for line in screen[1:3]] == ["Pull complete"] * 2
    assert screen[3].startswith("Digest: sha256:")
    text = out.getvalue().decode()
    assert "Downloading [=========================>                         ]     40MB/80MB" in text


def draw(text: str) -> list[str]:
    """What a terminal shows in the end, of the few sequences that are used."""
    screen, row = [""], 0
    for part in re.findall(r"\x1b\[\d*[AKBm]|\n|\r|[^\x1b\n\r]+", text):
        if part == "\n":
            row += 1
            if row == len(screen):
                screen.append("")
        elif part == "\r":
            continue
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part.endswith("B") and part.startswith("\x1b"):
            row += int(part[2:-1])
        elif part == "\x1b[2K":
            screen[row] = ""
        else:
            screen[row] += part
    return screen


def test_tag_is_silent_and_rmi_tells(pydock: Pydock, double: Double) -> None:
    identity = double.add_image("debian:bookworm")
    assert pydock("tag", "debian:bookworm", "other").out == ""
    assert pydock("rmi", "--no-prune", "other").lines == ["Untagged: other:latest"]
    said = pydock("rmi", "debian:bookworm")
    assert said.lines[:2] == ["Untagged: debian:bookworm", f"Deleted: {identity}"]
    assert pydock("rmi", "debian:bookworm").code == 1
    assert pydock("rmi", "-f", "debian:bookworm").code == 0  # docker: said, but no failure


def test_rmi_of_a_used_image_is_refused(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock("rmi", "debian:bookworm")
    assert said.code == 1
    assert "container web is using its image" in said.err


def test_history_is_told_newest_first(pydock: Pydock, double: Double) -> None:
    long = "RUN " + "x" * 60
    image = double.add_image("debian:bookworm", [("ADD rootfs", {"a": 77_000_000}), (long, {})])
    said = pydock("history", "debian:bookworm")
    assert said.lines[0].split("  ")[0] == "IMAGE"
    newest, oldest = said.lines[1:]
    assert newest.startswith(image[7:19])
    assert long[:44] + "…" in newest
    assert oldest.startswith("<missing>")
    assert "77MB" in oldest
    assert pydock("history", "-q", "debian:bookworm").lines == [image[7:19], "<missing>"]
    assert long in pydock("image", "history", "--no-trunc", "debian:bookworm").out
    plain = pydock("history", "--human=false", "--format", "{{.Size}}", "debian:bookworm")
    assert plain.lines == ["0", "77000000"]
    fields = json.loads(pydock("history", "--format", "json", "debian:bookworm").lines[0])
    assert fields["CreatedAt"].startswith("2026-01-01T")
    assert pydock("history", "nothing").err.startswith("pydock: no such image: nothing")
