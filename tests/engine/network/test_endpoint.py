import pytest

from engine.kernel.namespaces import inside
from engine.network import endpoint
from tests.support.lab import Lab, ip, run, sysctl, tcp
from tests.support.waiting import until

pytestmark = pytest.mark.root


def test_endpoint_has_link_address_route_and_loopback_and_nothing_of_ipv6(lab: Lab) -> None:
    made = lab.root().networking.connect("bridge", "a" * 64, "web")
    lo, eth0 = ip(made.netns_path, "address", "show")
    assert lo["operstate"] == "UNKNOWN"
    assert "UP" in lo["flags"]
    assert (eth0["ifname"], eth0["operstate"]) == ("eth0", "UP")
    assert eth0["address"] == made.mac_address
    (address,) = eth0["addr_info"]
    assert (address["local"], address["prefixlen"]) == (made.ip_address, made.prefix_length)
    default, own = ip(made.netns_path, "route", "show")
    assert (default["dst"], default["gateway"], default["dev"]) == ("default", made.gateway, "eth0")
    assert own["dst"] == "10.90.0.0/24"
    with inside(made.netns_path):
        assert sysctl("ipv6/conf/eth0/disable_ipv6") == "1"


def test_host_end_is_a_port_that_says_whose_it_is(lab: Lab) -> None:
    root = lab.root()
    made = root.networking.connect("bridge", "a" * 64, "web")
    (link,) = ip(lab.host, "link", "show", made.interface)
    assert link["ifalias"] == f"pydock:{root.home.root_id}:web"
    assert link["master"] == root.store.get("bridge").interface
    assert link["linkinfo"]["info_slave_data"]["state"] == "forwarding"
    assert made.interface == endpoint.interface_name(made.id)
    assert len(made.interface) <= 15


def test_first_packet_arrives_at_once(lab: Lab) -> None:
    """The port forwards when connect returns; a lost SYN would be sent again after a second."""
    root = lab.root()
    root.networking.connect("bridge", "f" * 64, "first")
    gateway = root.store.get("bridge").gateway
    lab.serve(lab.host, 7000, "host")
    for number in range(20):
        made = root.networking.connect("bridge", f"{number:064x}", f"c{number}")
        assert tcp(made.netns_path, gateway, 7000) == f"host {made.ip_address}"


def test_first_packet_through_a_new_bridge_arrives_at_once(lab: Lab) -> None:
    """The bridge has just got its carrier, from its first port."""
    root = lab.root()
    for number in range(20):
        root.networking.create(f"n{number}")
        made = root.networking.connect(f"n{number}", f"{number:064x}", f"c{number}")
        # Nobody listens: the answer is a reset, at once.
        assert tcp(lab.host, made.ip_address, 80) == "Connection refused"


def test_address_that_is_used_again_answers_at_once(lab: Lab) -> None:
    """Neighbours still know the old owner's MAC, and the bridge its port."""
    root = lab.root()
    peer = root.networking.connect("bridge", "b" * 64, "peer")
    before = root.networking.connect("bridge", "a" * 64, "old")
    lab.serve(before.netns_path, 80, "old")
    assert tcp(peer.netns_path, before.ip_address, 80) == f"old {peer.ip_address}"
    assert tcp(lab.host, before.ip_address, 80) == f"old {before.gateway}"
    with open(before.netns_path):  # the old end of the cable lives on
        root.networking.disconnect("a" * 64)
        after = root.networking.connect("bridge", "c" * 64, "new")
        assert after.ip_address == before.ip_address
        assert after.mac_address == before.mac_address
        lab.serve(after.netns_path, 80, "new")
        assert tcp(peer.netns_path, after.ip_address, 80) == f"new {peer.ip_address}"
        assert tcp(lab.host, after.ip_address, 80) == f"new {after.gateway}"


def test_link_goes_with_its_namespace(lab: Lab) -> None:
    root = lab.root()
    made = root.networking.connect("bridge", "a" * 64, "web")
    root.networking.disconnect("a" * 64)
    until(lambda: made.interface not in run(lab.host, "ip", "link", "show"))


def test_small_mtu_of_the_way_out_reaches_the_container(lab: Lab) -> None:
    run(lab.host, "ip", "link", "set", "u0", "mtu", "1380")
    run(lab.host, "ip", "route", "add", "default", "via", "198.51.100.2")
    made = lab.root().networking.connect("bridge", "a" * 64, "web")
    (link,) = ip(made.netns_path, "link", "show", "eth0")
    assert link["mtu"] == 1380
