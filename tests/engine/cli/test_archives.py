"""`save` and `load`."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support import images
from tests.support.double import Double


def test_load_says_what_was_in_it(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    image = images.make_image([{"a": b"1"}])
    archive = images.layout_tar(tmp_path / "layout", {"localhost/a:1": image})
    file = tmp_path / "image.tar"
    file.write_bytes(archive)
    assert pydock("load", "-i", str(file)).out == "Loaded image: localhost/a:1\n"
    assert pydock("load", "-i", "/nonexistent").err.startswith("pydock: open /nonexistent: no such")
    file.write_bytes(b"x" * 2000)
    assert pydock("load", "-qi", str(file)).code == 1


def test_save_writes_a_whole_file(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    double.add_image("debian:bookworm", [{"a": 1000}])
    file = tmp_path / "image.tar"
    file.write_bytes(b"old")
    said = pydock("save", "-o", str(file), "debian:bookworm")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert tarfile.is_tarfile(file)
    assert os.listdir(tmp_path) == ["image.tar"]
    assert pydock("load", "-i", str(file)).out == "Loaded image: debian:bookworm\n"


def test_save_streams_into_a_pipe(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm", [{"a": 1000}])
    data = pydock("save", "debian").out.encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "manifest.json" in tar.getnames()


def test_save_refuses_a_terminal(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm")
    said = pydock("save", "debian:bookworm", terminal=True)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: cowardly refusing to save to a terminal")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nonexistent/x.tar", 'invalid output path: directory "/nonexistent" does not exist'),
        ("/tmp", 'invalid output path: "/tmp" must be a regular file: it is a directory'),
        ("/dev/null", 'invalid output path: "/dev/null" must be a regular file: it is a device'),
    ],
)
def test_save_refuses_what_can_be_no_file(
    pydock: Pydock, double: Double, path: str, said: str
) -> None:
    double.add_image("debian:bookworm")
    found = pydock("save", "-o", path, "debian:bookworm")
    assert found.code == 1
    assert found.err.startswith(f"pydock: {said}")


def test_a_failed_save_leaves_what_was_there(
    pydock: Pydock, double: Double, tmp_path: Path
) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(b"old")
    assert pydock("save", "-o", str(file), "nothing:1").code == 1
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["image.tar"]
