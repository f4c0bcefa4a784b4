"""Who reaches whom: the table of the network report, packet by packet."""

import contextlib
import re
import socket

import pytest

from engine.errors import Conflict
from engine.kernel.namespaces import inside
from engine.model.container import PortMapping
from engine.network.endpoint import Endpoint
from tests.support.lab import (
    HOST,
    OUTSIDE,
    SILENCE_SECONDS,
    Lab,
    Root,
    ip,
    is_silent,
    ruleset,
    run,
    set_sysctl,
    tcp,
    udp,
)

pytestmark = pytest.mark.root
BRIDGED = "bridge/bridge-nf-call-iptables"


@pytest.fixture
def root(lab: Lab) -> Root:
    """Where bridged packets pass iptables hooks, as beside dockerd, if this kernel can."""
    with contextlib.suppress(FileNotFoundError):
        set_sysctl(BRIDGED, 1)
    return lab.root()


@pytest.fixture
def web(lab: Lab, root: Root) -> Endpoint:
    """Publishes 8080/tcp and 5353/udp everywhere, 8081 on 127.0.0.1, 8082 on the uplink."""
    made = root.networking.connect(
        "bridge",
        "a" * 64,
        "web",
        [
            PortMapping(80, host_port=8080),
            PortMapping(53, "udp", "", 5353),
            PortMapping(80, "tcp", "127.0.0.1", 8081),
            PortMapping(80, "tcp", HOST, 8082),
        ],
    )
    lab.serve(made.netns_path, 80, "web")
    lab.serve(made.netns_path, 53, "dns", "udp")
    lab.serve(lab.outside, 9000, "out")
    lab.serve(lab.outside, 9001, "out", "udp")
    lab.serve(lab.host, 7000, "host")
    return made


@pytest.fixture
def peer(root: Root, web: Endpoint) -> Endpoint:
    return root.networking.connect("bridge", "b" * 64, "peer")


@pytest.fixture
def stranger(root: Root, web: Endpoint) -> Endpoint:
    """In another network of the same root."""
    root.networking.create("other")
    return root.networking.connect("other", "c" * 64, "stranger")


@pytest.fixture
def inmate(lab: Lab, root: Root, web: Endpoint) -> Endpoint:
    """In an internal network."""
    root.networking.create("inside", internal=True)
    made = root.networking.connect("inside", "d" * 64, "inmate")
    lab.serve(made.netns_path, 80, "inmate")
    return made


def test_containers_reach_the_world_behind_the_address_of_the_host(lab: Lab, web: Endpoint) -> None:
    assert tcp(web.netns_path, OUTSIDE, 9000) == f"out {HOST}"
    assert udp(web.netns_path, OUTSIDE, 9001) == f"out {HOST}"


def test_published_ports_are_reached_from_outside_and_keep_the_address_of_the_client(
    lab: Lab, web: Endpoint
) -> None:
    assert tcp(lab.outside, HOST, 8080) == f"web {OUTSIDE}"
    assert udp(lab.outside, HOST, 5353) == f"dns {OUTSIDE}"
    assert tcp(lab.outside, HOST, 8082) == f"web {OUTSIDE}"


def test_published_ports_are_reached_from_the_host(lab: Lab, web: Endpoint) -> None:
    for address, port in (("127.0.0.1", 8080), (HOST, 8080), ("127.0.0.1", 8081), (HOST, 8082)):
        assert tcp(lab.host, address, port) == f"web {web.gateway}", (address, port)
    assert udp(lab.host, "127.0.0.1", 5353) == f"dns {web.gateway}"


def test_port_published_on_one_address_is_closed_on_others(lab: Lab, web: Endpoint) -> None:
    assert tcp(lab.outside, HOST, 8081) == "Connection refused"
    assert tcp(lab.host, "127.0.0.1", 8082) == "Connection refused"


def test_published_ports_are_reached_from_the_own_network_and_from_itself(
    web: Endpoint, peer: Endpoint
) -> None:
    assert tcp(peer.netns_path, HOST, 8080).startswith("web")
    assert udp(peer.netns_path, HOST, 5353).startswith("dns")
    assert tcp(web.netns_path, HOST, 8080).startswith("web")
    assert tcp(web.netns_path, web.gateway, 8080).startswith("web")


def test_neighbours_in_a_network_reach_each_other_as_they_are(
    web: Endpoint, peer: Endpoint
) -> None:
    assert tcp(peer.netns_path, web.ip_address, 80) == f"web {peer.ip_address}"


def test_own_network_and_itself_are_reached_without_br_netfilter_too(
    web: Endpoint, peer: Endpoint
) -> None:
    with contextlib.suppress(FileNotFoundError):
        set_sysctl(BRIDGED, 0)
    assert tcp(peer.netns_path, HOST, 8080).startswith("web")
    assert udp(peer.netns_path, HOST, 5353).startswith("dns")
    assert tcp(web.netns_path, HOST, 8080).startswith("web")
    assert tcp(peer.netns_path, web.ip_address, 80) == f"web {peer.ip_address}"


def test_networks_do_not_reach_each_other_but_by_published_ports(
    web: Endpoint, stranger: Endpoint
) -> None:
    assert is_silent(stranger.netns_path, web.ip_address, 80)
    assert tcp(stranger.netns_path, HOST, 8080) == f"web {stranger.ip_address}"


def test_containers_reach_services_of_the_host(web: Endpoint) -> None:
    assert tcp(web.netns_path, web.gateway, 7000).startswith("host")


def test_containers_do_not_reach_the_loopback_of_the_host(lab: Lab, web: Endpoint) -> None:
    run(web.netns_path, "ip", "route", "flush", "table", "local")
    run(web.netns_path, "ip", "route", "add", "127.0.0.1", "via", web.gateway)
    set_sysctl_in(web.netns_path, "ipv4/conf/all/route_localnet", 1)
    run(web.netns_path, "ip", "route", "add", "local", web.ip_address, "dev", "eth0")
    assert tcp(web.netns_path, web.gateway, 7000, source=web.ip_address).startswith("host")
    assert is_silent(web.netns_path, "127.0.0.1", 7000, source=web.ip_address)


def test_neighbour_of_the_host_reaches_neither_its_loopback_nor_what_is_published_there(
    lab: Lab, web: Endpoint
) -> None:
    set_sysctl("ipv4/conf/u0/route_localnet", 1)  # the worst case, not our doing
    set_sysctl_in(lab.outside, "ipv4/conf/all/route_localnet", 1)
    run(lab.outside, "ip", "route", "delete", "table", "local", "127.0.0.0/8", "dev", "lo")
    run(lab.outside, "ip", "route", "delete", "table", "local", "127.0.0.1", "dev", "lo")
    run(lab.outside, "ip", "route", "add", "127.0.0.1", "via", HOST)
    assert tcp(lab.outside, HOST, 7000).startswith("host")  # and they know each other's MAC now
    assert is_silent(lab.outside, "127.0.0.1", 7000, source=OUTSIDE)
    assert is_silent(lab.outside, "127.0.0.1", 8081, source=OUTSIDE)


def test_neighbour_of_the_host_that_routes_to_containers_does_not_reach_them(
    lab: Lab, web: Endpoint, inmate: Endpoint
) -> None:
    run(lab.outside, "ip", "route", "add", "10.90.0.0/16", "via", HOST)
    assert is_silent(lab.outside, web.ip_address, 80)
    assert is_silent(lab.outside, inmate.ip_address, 80)
    assert tcp(lab.host, inmate.ip_address, 80).startswith("inmate")


def test_internal_network_has_no_way_out_even_with_a_route(
    lab: Lab, root: Root, web: Endpoint, inmate: Endpoint
) -> None:
    place = inmate.netns_path
    friend = root.networking.connect("inside", "e" * 64, "friend")
    assert tcp(friend.netns_path, inmate.ip_address, 80) == f"inmate {friend.ip_address}"
    assert tcp(place, OUTSIDE, 9000) == "Network is unreachable"
    gateway = root.store.get("inside").gateway
    run(place, "ip", "route", "add", "default", "via", gateway)
    assert is_silent(place, OUTSIDE, 9000)
    assert is_silent(place, web.ip_address, 80)
    assert is_silent(place, gateway, 7000)
    assert is_silent(place, HOST, 7000)
    assert is_silent(place, HOST, 8080)


def test_port_goes_back_to_the_host_with_its_container(lab: Lab, root: Root, web: Endpoint) -> None:
    root.networking.disconnect("a" * 64)
    assert tcp(lab.outside, HOST, 8080) == "Connection refused"
    assert "10.90.0.2" not in ruleset(lab.host)
    lab.serve(lab.host, 8080, "host")
    assert tcp(lab.outside, HOST, 8080) == f"host {OUTSIDE}"


def test_udp_flow_that_began_before_the_port_was_published_arrives(
    lab: Lab, root: Root, web: Endpoint
) -> None:
    with inside(lab.outside):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.bind((OUTSIDE, 45000))  # the same port each time: one flow to the kernel
        answer = udp(lab.outside, HOST, 6000, client, seconds=SILENCE_SECONDS)
        assert answer in ("Connection refused", "timeout")
        late = root.networking.connect(
            "bridge", "f" * 64, "late", [PortMapping(53, "udp", "", 6000)]
        )
        lab.serve(late.netns_path, 53, "late", "udp")
        assert udp(lab.outside, HOST, 6000, client) == f"late {OUTSIDE}"


def test_fifty_ports_are_published_and_all_lead_to_the_container(lab: Lab, root: Root) -> None:
    ports = [PortMapping(8000 + number, host_port=20000 + number) for number in range(50)]
    made = root.networking.connect("bridge", "a" * 64, "many", ports)
    lab.serve(made.netns_path, 8000, "first")
    lab.serve(made.netns_path, 8049, "last")
    assert tcp(lab.outside, HOST, 20000) == f"first {OUTSIDE}"
    assert tcp(lab.outside, HOST, 20049) == f"last {OUTSIDE}"
    with pytest.raises(Conflict, match=r"20049.*container many"):
        root.networking.connect("bridge", "b" * 64, "more", [PortMapping(1, host_port=20049)])


def test_two_roots_leave_each_other_alone(lab: Lab, root: Root, web: Endpoint) -> None:
    second = lab.root("b")
    assert ruleset(lab.host).count("table inet pydock_") == 1
    other = second.networking.connect(
        "bridge", "b" * 64, "other", [PortMapping(80, host_port=9090)]
    )
    assert other.ip_address != web.ip_address  # the default network of the second has moved
    lab.serve(other.netns_path, 80, "other")
    assert tcp(lab.outside, HOST, 8080) == f"web {OUTSIDE}"
    assert tcp(lab.outside, HOST, 9090) == f"other {OUTSIDE}"
    assert is_silent(other.netns_path, web.ip_address, 80)
    assert tcp(other.netns_path, HOST, 8080).startswith("web")
    assert root.networking.reconcile() == second.networking.reconcile() == ()
    second.networking.disconnect("b" * 64)
    assert tcp(lab.outside, HOST, 8080) == f"web {OUTSIDE}"


def test_tables_and_links_of_others_are_left_alone(lab: Lab, root: Root) -> None:
    run(lab.host, "nft", "add", "table", "inet", "theirs")
    run(lab.host, "ip", "link", "add", "pd-other", "type", "bridge")
    root.networking.connect("bridge", "a" * 64, "web")
    root.networking.reconcile()
    root.networking.disconnect("a" * 64)
    assert "table inet theirs" in ruleset(lab.host)
    assert "pd-other" in [link["ifname"] for link in ip(lab.host, "link", "show")]


def test_version_of_the_rules_is_the_comment_of_the_table(lab: Lab, root: Root) -> None:
    root.networking.connect("bridge", "a" * 64, "web")
    assert re.search(r'comment "pydock [0-9a-f]{8}"', ruleset(lab.host))


def set_sysctl_in(where: str, name: str, value: int) -> None:
    with inside(where):
        set_sysctl(name, value)
