"""`volume ls`, `create`, `rm`."""

from engine.model.container import MountRequest
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_volumes_are_made_listed_and_removed(pydock: Pydock, double: Double) -> None:
    assert pydock("volume", "ls").out == "DRIVER    VOLUME NAME\n"
    assert pydock("volume", "create", "--label", "role=db", "data").out == "data\n"
    assert len(pydock("volume", "create").out.strip()) == 64
    assert "local     data" in pydock("volume", "ls").lines
    double.add_container("db", mounts=(MountRequest("volume", "data", "/data"),))
    assert pydock("volume", "ls", "-q", "-f", "dangling=false").lines == ["data"]
    assert "data" not in pydock("volume", "ls", "-q", "-f", "dangling=true").lines
    assert pydock("volume", "ls", "-q", "-f", "label=role=db").lines == ["data"]
    both = ("-f", "label=role=db", "-f", "label=more")
    assert pydock("volume", "ls", "-q", *both).lines == []  # labels must all hold
    assert pydock("volume", "ls", "-q", "-f", "name=dat").lines == ["data"]
    said = pydock("volume", "rm", "data")
    assert said.code == 1
    assert "in use by db" in said.err
    double.containers.remove("db", force=True)
    assert pydock("volume", "rm", "data").out == "data\n"
    assert pydock("volume", "rm", "data").code == 1
    assert pydock("volume", "rm", "-f", "data").code == 0


def test_fields_are_formatted(pydock: Pydock, double: Double) -> None:
    double.volumes.create("data")
    template = "{{.Name}} {{.Size}} {{.Links}}"
    assert pydock("volume", "ls", "--format", template).out == "data N/A 0\n"
    double.set_usage("data", 1_500_000)
    double.volumes.measure("data")
    assert pydock("volume", "ls", "--format", template).out == "data 1.5MB 0\n"


def test_mistakes_are_told(pydock: Pydock) -> None:
    assert "not supported" in pydock("volume", "create", "-d", "nfs").err
    assert "invalid characters" in pydock("volume", "create", "a/b").err
    pydock("volume", "create", "data")
    said = pydock("volume", "ls", "-f", "dangling=maybe")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: invalid filter 'dangling=maybe'\n")
