from pathlib import Path

import pytest

from engine.kernel import rtnetlink
from engine.kernel.namespaces import netns_create, netns_remove
from engine.kernel.netlink import NETLINK_ROUTE, Netlink
from tests.support import lab

pytestmark = pytest.mark.root
MAC, OTHER_MAC = bytes((2, 1, 10, 90, 0, 1)), bytes((2, 1, 10, 90, 0, 2))


def test_bridge_and_veth_are_what_iproute2_sees(tmp_path: Path) -> None:
    peer_path = str(tmp_path / "peer")
    with lab.namespace(tmp_path / "netns") as here, Netlink(NETLINK_ROUTE) as socket:
        netns_create(peer_path)
        try:
            socket.send([rtnetlink.new_bridge("br", MAC, 1400), rtnetlink.set_alias("br", "is br")])
            bridge = rtnetlink.get_link(socket, "br")
            assert bridge is not None
            assert not bridge.is_up
            with open(peer_path) as peer:
                socket.send(
                    [
                        rtnetlink.new_veth(
                            "port", bridge.ifindex, "eth0", peer.fileno(), OTHER_MAC, 1400
                        ),
                        rtnetlink.bridge_port_up("port"),
                        rtnetlink.add_address(bridge.ifindex, bytes((10, 90, 0, 1)), 24),
                        rtnetlink.link_up(bridge.ifindex),
                    ]
                )
            (seen,) = lab.ip(here, "link", "show", "br")
            assert seen["address"] == "02:01:0a:5a:00:01"
            assert (seen["mtu"], seen["ifalias"]) == (1400, "is br")
            assert seen["linkinfo"]["info_kind"] == "bridge"
            assert seen["linkinfo"]["info_data"]["forward_delay"] == 0
            assert seen["linkinfo"]["info_data"]["mcast_snooping"] == 0
            (port,) = lab.ip(here, "link", "show", "port")
            assert port["master"] == "br"
            assert port["inet6_addr_gen_mode"] == "none"
            assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
            (inner,) = lab.ip(peer_path, "link", "show", "eth0")
            assert (inner["address"], inner["mtu"]) == ("02:01:0a:5a:00:02", 1400)
            names = {link.name: link for link in rtnetlink.links(socket)}
            assert names["port"].master == bridge.ifindex
            assert names["br"].alias == "is br"
            assert names["br"].is_up
            addresses = lab.ip(here, "address", "show", "br")[0]["addr_info"]
            assert ("10.90.0.1", 24) in [(each["local"], each["prefixlen"]) for each in addresses]
            routes = {
                (route.destination, route.prefix_length): route
                for route in rtnetlink.routes(socket)
            }
            assert routes[bytes((10, 90, 0, 0)), 24].interface == bridge.ifindex
            local = routes[bytes((10, 90, 0, 1)), 32]
            assert local.table == rtnetlink.RT_TABLE_LOCAL
        finally:
            netns_remove(peer_path)


def test_missing_link_is_none_and_long_names_are_refused(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns"), Netlink(NETLINK_ROUTE) as socket:
        assert rtnetlink.get_link(socket, "nothing") is None
        with pytest.raises(OSError, match="range"):
            socket.send([rtnetlink.new_bridge("x" * 16, MAC, 1500)])


def test_byte_counts_are_those_of_the_kernel(tmp_path: Path) -> None:
    with lab.Lab(tmp_path / "lab") as here, Netlink(NETLINK_ROUTE) as socket:
        lab.udp(here.host, lab.OUTSIDE, 9)  # nobody listens there: a datagram, an error back
        (seen,) = lab.ip(here.host, "-s", "link", "show", "u0")
        received, sent = rtnetlink.byte_counts(socket)[seen["ifindex"]]
        assert sent >= seen["stats64"]["tx"]["bytes"] > 0
        assert received >= seen["stats64"]["rx"]["bytes"] > 0
