"""docker's JSON: what scripts look for, and nothing that JSON cannot say."""

from collections.abc import Iterator
from typing import Any

import pytest

from engine import docker_json
from engine.model.container import MountRequest, PortMapping
from engine.model.event import Event
from tests.support.double import Double


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as engine:
        engine.add_container(
            "web", ports=(PortMapping(80, "tcp", "", 8080),), memory_bytes=64 << 20,
            mounts=(
                MountRequest("volume", "data", "/data", True), MountRequest("bind", "/s", "/t"),
            ),
        )  # fmt: skip
        yield engine


def test_a_container_has_what_scripts_look_for(double: Double) -> None:
    document = docker_json.container(double.containers.inspect("web"))
    assert document["Name"] == "/web"
    assert document["Path"] == "sleep"
    assert document["Args"] == ["infinity"]
    assert document["State"]["Running"] is True
    assert document["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["HostConfig"]["Binds"] == ["data:/data:ro", "/s:/t"]
    volume, bind = document["Mounts"]
    assert (volume["Type"], volume["Name"], volume["RW"], volume["Mode"]) == (
        "volume", "data", False, "ro",
    )  # fmt: skip
    assert (bind["Type"], bind["Source"], bind["Destination"]) == ("bind", "/s", "/t")
    assert "Name" not in bind
    settings = document["NetworkSettings"]
    assert settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"] == "10.90.0.2"


def test_a_stopped_container_keeps_its_network_without_addresses(double: Double) -> None:
    double.containers.stop("web")
    document = docker_json.container(double.containers.inspect("web"))
    assert document["State"]["Status"] == "exited"
    assert document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == ""
    assert document["NetworkSettings"]["Ports"] == {}


def test_an_image_tells_size_and_config(double: Double) -> None:
    document = docker_json.image(double.images.inspect("debian:bookworm"))
    assert document["Size"] == 1_000_900
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["RootFS"]["Type"] == "layers"
    assert document["RepoDigests"][0].startswith("debian@sha256:")


def test_a_network_names_its_members(double: Double) -> None:
    document = docker_json.network(double.networks.inspect("bridge"))
    (member,) = document["Containers"].values()
    assert (member["Name"], member["IPv4Address"]) == ("web", "10.90.0.2/24")
    assert document["IPAM"]["Config"] == [{"Subnet": "10.90.0.0/24", "Gateway": "10.90.0.1"}]
    assert docker_json.network(double.networks.inspect("none"))["IPAM"]["Config"] == []


def test_a_volume_tells_its_size_once_measured(double: Double) -> None:
    assert "UsageData" not in docker_json.volume(double.volumes.inspect("data"))
    double.set_usage("data", 5)
    double.volumes.measure("data")
    usage = docker_json.volume(double.volumes.inspect("data"))["UsageData"]
    assert usage == {"RefCount": 1, "Size": 5}


def test_events_have_the_old_fields_too() -> None:
    document = docker_json.event(
        Event(1_500_000_000, "container", "die", "1", "web", {"image": "i"})
    )
    assert (document["status"], document["from"], document["time"]) == ("die", "i", 1)
    assert "status" not in docker_json.event(Event(1, "network", "create", "1", "n", {}))


def test_nothing_in_it_needs_more_than_json(double: Double) -> None:
    def check(value: Any) -> None:
        assert type(value) in (dict, list, str, int, bool, type(None)), value
        for each in value.values() if isinstance(value, dict) else ():
            check(each)
        for each in value if isinstance(value, list) else ():
            check(each)

    check(docker_json.container(double.containers.inspect("web")))
    check(docker_json.image(double.images.inspect("debian:bookworm")))
    check(docker_json.network(double.networks.inspect("bridge")))
    check(docker_json.volume(double.volumes.inspect("data")))
    info = docker_json.info(double.info, double.system.counts())
    check(info)
    assert dict(info["DriverStatus"])["Backing Filesystem"] == "ext4"
    check(docker_json.version(double.info))
