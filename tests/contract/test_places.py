"""Networks, volumes and the system as every engine has them."""

import pytest

from engine.engine import Engine
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.container import CreateOptions, MountRequest, PortMapping


def test_three_networks_are_there_from_the_start(engine: Engine) -> None:
    rows = engine.networks.list()
    assert [(row.name, row.driver) for row in rows] == [
        ("bridge", "bridge"),
        ("host", "host"),
        ("none", "null"),
    ]
    bridge = rows[0]
    assert len(bridge.id) == 64
    assert bridge.subnet.startswith("10.90.")
    assert bridge.gateway.endswith(".1")
    assert engine.networks.inspect("bridge").summary == bridge
    assert engine.networks.inspect(bridge.id[:12]).summary == bridge
    for name in ("bridge", "host", "none"):
        with pytest.raises(Conflict, match="pre-defined network"):
            engine.networks.remove(name)


def test_networks_come_and_go(engine: Engine) -> None:
    identity = engine.networks.create("mine", internal=True)
    row = engine.networks.inspect("mine").summary
    assert (row.id, row.internal, row.driver, row.members) == (identity, True, "bridge", 0)
    with pytest.raises(Conflict, match="already exists"):
        engine.networks.create("mine")
    with pytest.raises(InvalidInput):
        engine.networks.create("not good")
    engine.networks.remove("mine")
    with pytest.raises(NotFound, match="network mine not found"):
        engine.networks.inspect("mine")


def test_members_and_ports_are_known_while_it_runs(engine: Engine, image: str) -> None:
    containers = engine.containers
    ports = (PortMapping(80, "tcp", "127.0.0.1", 0), PortMapping(53, "udp", "127.0.0.1", 0))
    ref = containers.create(
        CreateOptions(image=image, name="web", command=("sleep", "1000"), ports=ports)
    )
    assert containers.ports(ref) in ([], ())
    containers.start(ref)
    found = engine.networks.inspect("bridge")
    (member,) = found.members
    assert (member.container_id, member.container_name) == (ref, "web")
    assert member.prefix_length == 24
    assert found.summary.members == 1
    (endpoint,) = containers.inspect(ref).endpoints
    assert endpoint.ip_address == member.ip_address
    assert endpoint.gateway == found.summary.gateway
    given = containers.ports(ref)
    assert sorted((port.container_port, port.protocol) for port in given) == [
        (53, "udp"),
        (80, "tcp"),
    ]
    assert all(port.host_port for port in given)
    web = next(port for port in given if port.container_port == 80)
    other = containers.create(
        CreateOptions(image=image, command=("sleep", "1000"), ports=(web._replace(host_ip=""),))
    )
    with pytest.raises(Conflict, match="port is already allocated"):
        containers.start(other)
    assert containers.inspect(other).summary.state == "created"
    containers.remove(ref, force=True)
    assert engine.networks.inspect("bridge").members == ()


def test_a_network_in_use_stays(engine: Engine, image: str) -> None:
    engine.networks.create("mine", internal=True)
    options = CreateOptions(image=image, name="in", command=("sleep", "1000"), network="mine")
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    with pytest.raises(Conflict, match="has active endpoints: in"):
        engine.networks.remove("mine")
    engine.containers.remove(ref, force=True)
    engine.networks.remove("mine")


def test_volumes_come_and_go(engine: Engine) -> None:
    assert engine.volumes.create("data", labels=[("role", "db")]) == "data"
    assert engine.volumes.create("data") == "data"
    anonymous = engine.volumes.create()
    assert len(anonymous) == 64
    rows = {row.name: row for row in engine.volumes.list()}
    assert list(rows) == sorted(["data", anonymous])
    assert rows[anonymous].anonymous
    assert not rows["data"].anonymous
    row = engine.volumes.inspect("data")
    assert dict(row.labels) == {"role": "db"}
    assert row.mountpoint.endswith("data/_data")
    assert (row.size_bytes, row.files) == (-1, -1)
    with pytest.raises(InvalidInput, match="invalid characters"):
        engine.volumes.create("a/b")
    engine.volumes.remove("data")
    with pytest.raises(NotFound, match="no such volume: data"):
        engine.volumes.remove("data")
    engine.volumes.remove("data", force=True)


def test_a_volume_in_use_stays(engine: Engine, image: str) -> None:
    mounts = (MountRequest("volume", "data", "/data"),)
    ref = engine.containers.create(
        CreateOptions(image=image, name="user", network="none", mounts=mounts)
    )
    with pytest.raises(Conflict, match="in use"):
        engine.volumes.remove("data")
    engine.containers.remove(ref, volumes=True)
    engine.volumes.remove("data")  # a named one is not removed with its container


def test_measuring_is_remembered(engine: Engine) -> None:
    engine.volumes.create("data")
    usage = engine.volumes.measure("data")
    assert usage.size_bytes >= 0
    row = engine.volumes.inspect("data")
    assert (row.size_bytes, row.files) == usage[:2]
    with pytest.raises(NotFound):
        engine.volumes.measure("nothing")


def test_counts_follow(engine: Engine, image: str) -> None:
    assert engine.system.counts() == (0, 0, 0, 1)
    options = CreateOptions(image=image, command=("sleep", "1000"), network="none")
    first, second, _ = (engine.containers.create(options) for _ in range(3))
    engine.containers.start(first)
    engine.containers.start(second)
    engine.containers.pause(second)
    assert engine.system.counts() == (1, 1, 1, 1)
    for ref in (first, second):
        engine.containers.remove(ref, force=True)


def test_the_host_is_measured_and_named(engine: Engine) -> None:
    host = engine.system.host()
    assert 0 < host.memory_bytes < host.memory_total_bytes
    assert 0 < host.disk_bytes <= host.disk_total_bytes
    assert engine.info.kind == "embedded"
    assert engine.info.os == "linux"
    assert engine.info.cpus >= 1


def test_a_healthy_store_has_no_damage(engine: Engine, image: str) -> None:
    assert list(engine.system.fsck()) == []
