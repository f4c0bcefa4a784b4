"""Networks as services see them: rows, members, and who must not publish."""

import time

import pytest

from engine.errors import Conflict, InvalidInput, NotFound
from engine.local import LocalEngine
from engine.model.container import CreateOptions, PortMapping

pytestmark = pytest.mark.root


def start(engine: LocalEngine, image: str, name: str, network: str, *ports: PortMapping) -> str:
    made = engine.containers.create(
        CreateOptions(image, name, command=("sleep", "900"), network=network, ports=ports)
    )
    engine.containers.start(made)
    return made


def members(engine: LocalEngine) -> dict[str, int]:
    return {row.name: row.members for row in engine.networks.list()}


def test_members_are_counted_in_every_kind_of_network(engine: LocalEngine, image: str) -> None:
    assert members(engine) == {"bridge": 0, "host": 0, "none": 0}
    start(engine, image, "alone", "none")
    shared = start(engine, image, "shared", "host")
    start(engine, image, "first", "bridge")
    start(engine, image, "second", "bridge")
    assert members(engine) == {"bridge": 2, "host": 1, "none": 1}
    engine.containers.pause(shared)
    assert members(engine)["host"] == 1
    engine.containers.stop("second", timeout_seconds=0)
    engine.containers.stop("alone", timeout_seconds=0)
    assert members(engine) == {"bridge": 1, "host": 1, "none": 0}
    (only,) = engine.networks.inspect("host").members
    assert (only.container_id, only.container_name, only.ip_address) == (shared, "shared", "")
    (only,) = engine.networks.inspect("bridge").members
    assert (only.container_name, bool(only.ip_address)) == ("first", True)


def test_a_container_knows_its_place_and_ports(engine: LocalEngine, image: str) -> None:
    ref = start(engine, image, "web", "bridge", PortMapping(80, "tcp", "127.0.0.1", 18080))
    ((container, (attached,)),) = engine.networks.by_container().items()
    assert container == ref
    assert attached.ports == (PortMapping(80, "tcp", "127.0.0.1", 18080),)
    bridge = engine.networks.inspect("bridge").summary
    assert attached.info.network == "bridge"
    assert attached.info.gateway == bridge.gateway
    assert attached.info.prefix_length == int(bridge.subnet.partition("/")[2])
    engine.containers.stop(ref, timeout_seconds=0)
    assert engine.networks.by_container() == {}


def test_an_internal_network_has_no_way_out(engine: LocalEngine, image: str) -> None:
    engine.networks.create("inside", internal=True)
    try:
        ref = start(engine, image, "hidden", "inside")
        ((attached,),) = engine.networks.by_container().values()
        assert attached.info.gateway == ""
        engine.containers.remove(ref, force=True)
        with pytest.raises(InvalidInput, match="is internal: its containers cannot publish ports"):
            start(engine, image, "loud", "inside", PortMapping(80))
        assert engine.containers.list(all=True) == []
    finally:
        engine.networks.remove("inside")


def test_a_new_name_is_known_in_the_network(engine: LocalEngine, image: str) -> None:
    start(engine, image, "caller", "bridge")
    renamed = start(engine, image, "old", "bridge")
    (address,) = [
        each.ip_address
        for each in engine.networks.inspect("bridge").members
        if each.container_id == renamed
    ]

    def hosts(name: str) -> list[str]:
        session = engine.containers.exec(name, ["cat", "/etc/hosts"])
        text = b""
        while (part := session.read())[1]:
            text += part[1]
        session.close()
        return [line for line in text.decode().splitlines() if line.startswith(f"{address}\t")]

    assert hosts("caller") == [f"{address}\told"]
    engine.containers.rename("old", "new")
    assert {each.container_name for each in engine.networks.inspect("bridge").members} == {
        "caller", "new",
    }  # fmt: skip
    assert hosts("caller") == [f"{address}\tnew"]
    assert hosts("new") == [f"{address}\t{renamed[:12]} new"]


def test_networks_are_told_of(engine: LocalEngine, image: str) -> None:
    identity = engine.networks.create("mine")
    with pytest.raises(Conflict, match="mine"):
        engine.networks.create("mine")
    start(engine, image, "user", "mine")
    with pytest.raises(Conflict, match="has active endpoints: user"):
        engine.networks.remove("mine")
    engine.containers.remove("user", force=True)
    engine.networks.remove(identity[:12])
    for missing in ("mine", "", identity):
        with pytest.raises(NotFound):
            engine.networks.remove(missing)
        with pytest.raises(NotFound):
            engine.networks.check(missing, ())
    events = engine.system.events(
        since_ns=1, until_ns=time.time_ns(), filters=[("type", "network")]
    )
    told = [(event.action, event.id, event.name) for event in events]
    assert [each for each in told if each[0] in ("create", "destroy")] == [
        ("create", identity, "mine"),
        ("destroy", identity, "mine"),
    ]
