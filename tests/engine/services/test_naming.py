"""What a container finds under /etc, which of its ports are open, and how it is ended."""

import pytest

from engine.docker_json import container as docker_json
from engine.errors import InvalidInput
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.model.naming import Naming
from tests.support.attached import run

pytestmark = pytest.mark.root


def test_added_hosts_are_in_the_hosts_file(engine: LocalEngine, image: str) -> None:
    naming = Naming(hosts=(("db", "10.1.2.3"), ("six", "fd00::1"), ("me", "host-gateway")))
    gateway = engine.networks.inspect("bridge").summary.gateway
    for network in ("bridge", "none", "host"):
        said = run(engine, image, "cat", "/etc/hosts", naming=naming, network=network)
        lines = said.text.splitlines()
        assert {"10.1.2.3\tdb", "fd00::1\tsix", f"{gateway}\tme"} <= set(lines)
        assert lines[0].startswith("127.0.0.1")


def test_a_neighbour_leaves_the_added_hosts_where_they_are(engine: LocalEngine, image: str) -> None:
    ref = engine.containers.create(
        CreateOptions(
            image, "first", command=("sleep", "1000"), naming=Naming(hosts=(("db", "10.1.2.3"),))
        )
    )
    engine.containers.start(ref)
    other = engine.containers.create(CreateOptions(image, "second", command=("sleep", "1000")))
    engine.containers.start(other)
    session = engine.containers.exec(ref, ["cat", "/etc/hosts"])
    text = session.read()[1].decode()
    session.close()
    assert "10.1.2.3\tdb\n" in text
    assert "\tsecond\n" in text


def test_resolvers_are_those_asked_for(engine: LocalEngine, image: str) -> None:
    naming = Naming(
        dns=("10.9.9.9", "10.9.9.8"), dns_search=("a.test", "b.test"), dns_options=("ndots:3",)
    )
    for network in ("none", "host"):
        said = run(engine, image, "cat", "/etc/resolv.conf", naming=naming, network=network)
        lines = [line for line in said.text.splitlines() if not line.startswith("#")]
        assert [line for line in lines if line.startswith("nameserver")] == [
            "nameserver 10.9.9.9",
            "nameserver 10.9.9.8",
        ]
        assert [line for line in lines if line.startswith(("search", "domain", "options"))] == [
            "search a.test b.test",
            "options ndots:3",
        ]
    said = run(engine, image, "cat", "/etc/resolv.conf", naming=Naming(dns_search=(".",)))
    assert "search" not in said.text
    assert "nameserver" in said.text


def test_a_domain_is_the_containers_own(engine: LocalEngine, image: str) -> None:
    said = run(
        engine,
        image,
        "sh",
        "-c",
        "busybox cat /proc/sys/kernel/domainname; busybox grep box /etc/hosts",
        hostname="box",
        network="bridge",
        naming=Naming(domainname="lan.test"),
    )
    first, second = said.text.splitlines()
    assert first == "lan.test"
    assert "\tbox.lan.test box " in second
    with pytest.raises(InvalidInput, match="longer than 64 bytes"):
        run(engine, image, "true", naming=Naming(domainname="x" * 65))


def test_all_exposed_ports_are_published(engine: LocalEngine, image: str) -> None:
    ref = engine.containers.create(
        CreateOptions(
            image, command=("sleep", "1000"), exposed_ports=("80/tcp", "53/udp"), publish_all=True
        )
    )
    engine.containers.start(ref)
    found = {
        (port.container_port, port.protocol): port.host_port
        for port in engine.containers.inspect(ref).summary.ports
    }
    assert set(found) == {(80, "tcp"), (53, "udp")}
    assert all(found.values())
    document = docker_json(engine.containers.inspect(ref))
    assert document["HostConfig"]["PublishAllPorts"] is True
    assert document["HostConfig"]["PortBindings"] == {}
    assert set(document["Config"]["ExposedPorts"]) == {"80/tcp", "53/udp"}


def test_exposed_ports_alone_stay_inside(engine: LocalEngine, image: str) -> None:
    ref = engine.containers.create(
        CreateOptions(image, command=("sleep", "1000"), exposed_ports=("80/tcp",))
    )
    engine.containers.start(ref)
    (port,) = engine.containers.inspect(ref).summary.ports
    assert (port.container_port, port.host_port) == (80, 0)


def test_it_is_ended_by_its_own_signal_and_after_its_own_time(
    engine: LocalEngine, image: str
) -> None:
    script = "trap 'exit 7' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.01; done"
    ref = engine.containers.create(
        CreateOptions(image, command=("sh", "-c", script), network="none", stop_signal="SIGUSR1")
    )
    engine.containers.start(ref)
    for _ in engine.containers.logs(ref, follow=True):
        break
    engine.containers.stop(ref)
    assert engine.containers.inspect(ref).summary.exit_code == 7
    deaf = engine.containers.create(
        CreateOptions(image, command=("sleep", "1000"), network="none", stop_timeout_seconds=0)
    )
    engine.containers.start(deaf)
    engine.containers.stop(deaf)
    assert engine.containers.inspect(deaf).summary.exit_code == 137
    document = docker_json(engine.containers.inspect(deaf))
    assert document["Config"]["StopTimeout"] == 0


def test_a_signal_that_there_is_not_is_told(engine: LocalEngine, image: str) -> None:
    with pytest.raises(InvalidInput, match="invalid signal: SIGFOO"):
        engine.containers.create(CreateOptions(image, stop_signal="SIGFOO"))
    assert engine.containers.list(all=True) == []


def test_annotations_reach_the_specification(engine: LocalEngine, image: str) -> None:
    ref = engine.containers.create(
        CreateOptions(image, command=("true",), network="none", annotations=(("a", "b=c"),))
    )
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 0
    with open(f"{engine.info.root}/containers/{ref}/config.json") as file:
        assert '"annotations": {"a": "b=c"}' in file.read()
    assert docker_json(engine.containers.inspect(ref))["HostConfig"]["Annotations"] == {"a": "b=c"}
