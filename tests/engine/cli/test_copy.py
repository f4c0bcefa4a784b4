"""`copy`."""

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

LAYERS = [{"a": 1000}, {"b": 2000}]


def test_a_copy_in_a_pipe_says_what_is_done(pydock: Pydock, double: Double) -> None:
    image = double.add_remote("localhost:5000/a:1", LAYERS)
    said = pydock("copy", "docker://localhost:5000/a:1", "docker://localhost:5000/b:1")
    assert (said.code, said.err) == (0, "")
    *steps, last = said.lines
    for layer in image.layers:
        mine = [step.partition(": ")[2] for step in steps if step.startswith(layer.digest[7:19])]
        assert mine == ["Preparing", "Copying", "Copied"]
    assert last.startswith(f"docker://localhost:5000/b:1: digest: {image.manifest} size: ")
    assert "localhost:5000/b:1" in double.world.remote


def test_quiet_is_quiet(pydock: Pydock, double: Double) -> None:
    double.add_remote("localhost:5000/a:1", LAYERS)
    assert pydock("copy", "-q", "docker://localhost:5000/a:1", "mine:1").out == ""
    assert pydock("images", "-q", "mine:1").out


def test_mistakes_are_one_line_and_a_hint(pydock: Pydock, double: Double) -> None:
    said = pydock("copy", "docker:a", "b")
    assert said.code == 1
    assert said.err.splitlines() == ["pydock: place 'docker:a': // is missing", "hint: docker://a"]
    said = pydock("copy", "nothing", "docker://localhost:5000/a:1")
    assert said.err.startswith("pydock: no such image: nothing\n")
    assert pydock("copy", "one").code == 1
    assert "oci-archive:FILE[:TAG]" in pydock("copy", "--help").out
