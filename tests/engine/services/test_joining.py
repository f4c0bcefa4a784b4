"""Namespaces of the host and of other containers, told apart by the kernel."""

import os
from typing import Any

import pytest

from engine.docker_json import container as docker_json
from engine.errors import Conflict, EngineError, InvalidInput, NotFound
from engine.kernel.process import start_time
from engine.local import LocalEngine
from engine.model.confinement import Confinement
from engine.model.container import CreateOptions, PortMapping
from engine.model.naming import Naming
from tests.support.attached import run

pytestmark = pytest.mark.root

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


def running(engine: LocalEngine, image: str, name: str, **options: Any) -> str:
    options = {"network": "none", "command": ("sleep", "1000"), **options}
    ref = engine.containers.create(CreateOptions(image, name, **options))
    engine.containers.start(ref)
    return ref


def shared(engine: LocalEngine, ref: str, pid: int | str = "self") -> set[str]:
    """The kinds of namespaces that a container has in common with process `pid`."""
    own = engine.containers.inspect(ref).summary.pid
    return {
        kind
        for kind in KINDS
        if os.readlink(f"/proc/{own}/ns/{kind}") == os.readlink(f"/proc/{pid}/ns/{kind}")
    }


@pytest.mark.parametrize(
    ("wanted", "network", "expected"),
    [
        (Confinement(init=True), "none", set()),
        (Confinement(pid="host"), "none", {"pid"}),
        (Confinement(ipc="host"), "none", {"ipc"}),
        (Confinement(uts="host"), "none", {"uts"}),
        (Confinement(cgroupns="host"), "none", {"cgroup"}),
        (Confinement(cgroupns="private", userns="host"), "none", set()),
        (Confinement(pid="host", uts="host", ipc="host"), "host", {"pid", "uts", "ipc", "net"}),
    ],
)
def test_namespaces_of_the_host_are_shared(
    engine: LocalEngine, image: str, wanted: Confinement, network: str, expected: set[str]
) -> None:
    ref = running(engine, image, "box", confinement=wanted, network=network)
    assert shared(engine, ref) == expected
    session = engine.containers.exec(ref, ["echo", "inside"])
    assert session.read()[1] == b"inside\n"
    session.close()
    engine.containers.kill(ref)
    assert engine.containers.inspect(ref).summary.exit_code == 137


def test_with_the_hosts_names_a_container_has_its_hostname(engine: LocalEngine, image: str) -> None:
    said = run(engine, image, "busybox", "hostname", confinement=Confinement(uts="host"))
    assert said.text == f"{os.uname().nodename}\n"


def test_what_is_left_of_a_container_in_the_hosts_pid_namespace_ends_with_it(
    engine: LocalEngine, image: str
) -> None:
    script = "sleep 1000 & echo $!"
    said = run(engine, image, "sh", "-c", script, confinement=Confinement(pid="host"))
    with pytest.raises(ProcessLookupError):
        start_time(int(said.text))


def test_namespaces_of_another_container_are_joined(engine: LocalEngine, image: str) -> None:
    donor = running(engine, image, "donor", confinement=Confinement(ipc="shareable"))
    ref = running(
        engine,
        image,
        "guest",
        network="container:donor",
        confinement=Confinement(pid="container:donor", ipc="container:donor"),
    )
    pid = engine.containers.inspect(donor).summary.pid
    assert shared(engine, ref, pid) == {"net", "pid", "ipc"}
    session = engine.containers.exec(ref, ["sh", "-c", "busybox ps | busybox grep -c sleep"])
    assert int(session.read()[1]) >= 2
    session.close()
    config = docker_json(engine.containers.inspect(ref))["HostConfig"]
    assert config["NetworkMode"] == config["PidMode"] == config["IpcMode"] == f"container:{donor}"


def test_a_joined_network_comes_with_its_names(engine: LocalEngine, image: str) -> None:
    running(
        engine, image, "donor", network="bridge", hostname="shown",
        naming=Naming(hosts=(("db", "10.1.2.3"),)),
    )  # fmt: skip
    script = "cat /etc/hosts; busybox hostname; busybox ip addr show eth0 | busybox grep inet"
    said = run(engine, image, "sh", "-c", script, network="container:donor")
    assert said.code == 0
    assert "10.1.2.3\tdb\n" in said.text
    assert "\nshown\n" in said.text
    address = engine.containers.inspect("donor").endpoints[0].ip_address
    assert f"inet {address}/" in said.text


def test_shared_memory_is_the_donors(engine: LocalEngine, image: str) -> None:
    donor = running(engine, image, "donor", confinement=Confinement(ipc="shareable"))
    session = engine.containers.exec(donor, ["sh", "-c", "echo here > /dev/shm/x; echo done"])
    assert session.read()[1] == b"done\n"
    session.close()
    said = run(engine, image, "cat", "/dev/shm/x", confinement=Confinement(ipc="container:donor"))
    assert said == (0, "here\n")


def test_without_shared_memory_there_is_none(engine: LocalEngine, image: str) -> None:
    script = "busybox grep -c ' /dev/shm ' /proc/mounts"
    assert run(engine, image, "sh", "-c", script).text == "1\n"
    said = run(engine, image, "sh", "-c", script, confinement=Confinement(ipc="none"))
    assert said.text == "0\n"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"network": "container:none"}, NotFound, "no such container: none"),
        ({"confinement": Confinement(pid="container:no")}, NotFound, "no such container: no"),
        ({"confinement": Confinement(pid="foo")}, InvalidInput, "invalid PID mode: foo"),
        ({"confinement": Confinement(ipc="foo")}, InvalidInput, "invalid IPC mode: foo"),
        ({"confinement": Confinement(uts="foo")}, InvalidInput, "invalid UTS mode: foo"),
        ({"confinement": Confinement(userns="foo")}, InvalidInput, "invalid USER mode: foo"),
        ({"confinement": Confinement(cgroupns="x")}, InvalidInput, "invalid CGROUP mode: x"),
        (
            {"confinement": Confinement(uts="host"), "hostname": "me"},
            InvalidInput,
            "conflicting options: hostname and the UTS mode",
        ),
        (
            {"network": "container:donor", "hostname": "me"},
            InvalidInput,
            "conflicting options: hostname and the network mode",
        ),
        (
            {"network": "container:donor", "ports": (PortMapping(80),)},
            InvalidInput,
            "port publishing and the container type network mode",
        ),
        (
            {"network": "container:donor", "exposed_ports": ("80/tcp",)},
            InvalidInput,
            "port exposing and the container type network mode",
        ),
        (
            {"network": "container:donor", "naming": Naming(dns=("9.9.9.9",))},
            InvalidInput,
            "conflicting options: dns and the network mode",
        ),
        (
            {"network": "container:donor", "naming": Naming(hosts=(("a", "1.2.3.4"),))},
            InvalidInput,
            "custom host-to-IP mapping and the network mode",
        ),
    ],
)
def test_what_cannot_be_joined_is_told(
    engine: LocalEngine, image: str, options: dict[str, Any], kind: type[EngineError], text: str
) -> None:
    donor = engine.containers.create(CreateOptions(image, "donor", network="none"))
    with pytest.raises(kind, match=text):
        engine.containers.create(CreateOptions(image, **options))
    assert [row.id for row in engine.containers.list(all=True)] == [donor]


def test_a_donor_must_run_and_be_willing(engine: LocalEngine, image: str) -> None:
    engine.containers.create(
        CreateOptions(image, "donor", network="none", command=("sleep", "1000"))
    )
    for options in (
        {"network": "container:donor"},
        {"network": "none", "confinement": Confinement(pid="container:donor")},
    ):
        with pytest.raises(Conflict, match="namespace of a non running container: donor"):
            run(engine, image, "true", **options)
    engine.containers.start("donor")
    with pytest.raises(Conflict, match="non-shareable IPC"):
        run(engine, image, "true", confinement=Confinement(ipc="container:donor"))


def test_parameters_of_a_namespace_that_is_not_its_own_are_refused(
    engine: LocalEngine, image: str
) -> None:
    wanted = Confinement(ipc="host", sysctls=(("kernel.msgmax", "1"),))
    with pytest.raises(InvalidInput, match=r"sysctl kernel\.msgmax: not a parameter"):
        run(engine, image, "true", confinement=wanted)
