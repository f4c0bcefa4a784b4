"""`image mount` and `image unmount`."""

from pathlib import Path

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_mount_says_where_and_lists(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    image = double.add_image("debian:bookworm")
    assert pydock("image", "mount").out == ""
    (path,) = pydock("image", "mount", "debian:bookworm").lines
    assert pydock("image", "mount", image[7:19], str(tmp_path)).lines == [str(tmp_path)]
    assert pydock("image", "mount").lines == [
        f"debian:bookworm {path}", f"debian:bookworm {tmp_path}",
    ]  # fmt: skip
    said = pydock("rmi", "debian:bookworm")
    assert said.code == 1
    assert "image is mounted" in said.err
    assert pydock("image", "unmount", str(tmp_path)).lines == [image]
    assert pydock("image", "umount", "--all").lines == [image]
    assert pydock("image", "mount").out == ""


def test_unmount_wants_one_of_two(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm")
    for words in ((), ("-a", "debian:bookworm")):
        said = pydock("image", "unmount", *words)
        assert said.code == 1
        assert said.err.startswith("pydock: image and --all are two ways to say it")
    said = pydock("image", "unmount", "debian:bookworm")
    assert (said.code, said.err.splitlines()[0]) == (1, "pydock: debian:bookworm: not mounted")
