"""`cp`: which side is the container's, and what is said."""

import io
import tarfile
from pathlib import Path

import pytest

from engine.cli.cp import split
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


@pytest.fixture(autouse=True)
def web(double: Double) -> None:
    double.add_image("app:1", [{"etc/os": 5, "srv/a": 1}])
    double.add_container("web", image="app:1")


@pytest.mark.parametrize(
    ("text", "container", "path"),
    [
        ("web:/etc", "web", "/etc"),
        ("web:etc", "web", "etc"),
        ("web:", "web", ""),
        ("web:/a:b", "web", "/a:b"),
        ("/a:b", "", "/a:b"),
        ("./a:b", "", "./a:b"),
        ("../a:b", "", "../a:b"),
        ("file", "", "file"),
        ("-", "", "-"),
    ],
)
def test_a_colon_makes_it_the_containers(text: str, container: str, path: str) -> None:
    assert split(text) == (container, path)


def test_files_are_copied_and_that_is_said(pydock: Pydock, tmp_path: Path) -> None:
    said = pydock("cp", "web:/etc", str(tmp_path / "etc"))
    assert (said.code, said.out) == (0, "")
    assert said.err == f"Successfully copied 10.2kB to {tmp_path}/etc\n"
    assert (tmp_path / "etc" / "os").stat().st_size == 5
    said = pydock("container", "cp", str(tmp_path / "etc" / "os"), "web:/srv")
    assert said.err == "Successfully copied 10.2kB to web:/srv\n"
    assert pydock("diff", "web").lines == ["C /srv", "A /srv/os"]
    assert pydock("cp", "-qaL", "web:/etc", str(tmp_path)).err == ""


def test_a_dash_is_a_tar(pydock: Pydock, double: Double) -> None:
    data = pydock("cp", "web:/etc", "-").out.encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["etc", "etc/os"]
    said = pydock("cp", "-", "web:/srv", stdin=data)
    assert (said.code, said.err) == (0, "")
    assert "srv/etc/os" in double.world.get("web").written
    said = pydock("cp", "web:/etc", "-", terminal=True)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: cowardly refusing to write a tar archive to a terminal\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("web:/a", "web:/b"), "copying between containers is not supported"),
        (("a", "b"), "must specify at least one container source"),
        (("", "web:/"), "source can not be empty"),
        (("web:/", ""), "destination can not be empty"),
        (("web:/none", "/tmp/x"), "could not find the file /none in container web"),
        (("nobody:/etc", "/tmp/x"), "no such container: nobody"),
        (("/none/of/it", "web:/"), "/none/of/it: no such file or directory"),
    ],
)
def test_what_cannot_be_copied_is_one_line_and_a_hint(
    pydock: Pydock, words: tuple[str, str], said: str
) -> None:
    got = pydock("cp", *words)
    assert (got.code, got.out) == (1, "")
    first, hint, *rest = got.err.splitlines()
    assert first.startswith(f"pydock: {said}")
    assert hint.startswith("hint: ")
    assert not rest


def test_two_words_are_needed(pydock: Pydock) -> None:
    said = pydock("cp", "web:/etc")
    assert said.code == 1
    assert said.err.startswith("pydock: 'pydock cp' requires 2 arguments")
    assert "SRC_PATH|- CONTAINER:DEST_PATH" in pydock("cp", "--help").out
