"""`network ls`, `create`, `rm`."""

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_networks_are_listed(pydock: Pydock) -> None:
    lines = pydock("network", "ls").lines
    assert lines[0] == "NETWORK ID     NAME      DRIVER    SCOPE"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["bridge", "bridge", "local"],
        ["host", "host", "local"],
        ["none", "null", "local"],
    ]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["driver=bridge"], ["bridge", "mine"]),
        (["driver=host", "driver=null"], ["host", "none"]),
        (["name=min"], ["mine"]),
        (["type=custom"], ["mine"]),
        (["type=builtin", "driver=bridge"], ["bridge"]),
        (["scope=local", "label=x"], []),
    ],
)
def test_filters_choose(
    pydock: Pydock, double: Double, filters: list[str], names: list[str]
) -> None:
    double.networks.create("mine")
    flags = [word for text in filters for word in ("-f", text)]
    assert pydock("network", "ls", "--format", "{{.Name}}", *flags).lines == names


def test_networks_are_made_and_removed(pydock: Pydock, double: Double) -> None:
    said = pydock("network", "create", "--internal", "--subnet", "10.1.2.0/24", "mine")
    summary = double.networks.inspect("mine").summary
    assert said.out == f"{summary.id}\n"
    assert (summary.internal, summary.subnet) == (True, "10.1.2.0/24")
    assert pydock("network", "ls", "-q", "-f", "name=mine").out == f"{summary.id[:12]}\n"
    assert pydock("network", "rm", "mine").out == "mine\n"
    assert pydock("network", "rm", "mine").code == 1
    assert pydock("network", "rm", "-f", "mine").code == 0


def test_mistakes_are_told(pydock: Pydock) -> None:
    assert pydock("network", "rm", "bridge").err.startswith("pydock: bridge is a pre-defined")
    assert pydock("network", "create", "-d", "macvlan", "x").err.startswith(
        "pydock: network driver macvlan: not supported by pydock yet"
    )
    assert pydock("network", "create", "--ipv6", "x").code == 125
    assert "invalid filter 'colour=red'" in pydock("network", "ls", "-f", "colour=red").err
