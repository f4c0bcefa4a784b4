import socket
from pathlib import Path

import pytest

from engine.kernel import conntrack, nftables
from engine.kernel.netlink import NETLINK_NETFILTER, Netlink
from tests.support import lab

pytestmark = pytest.mark.root


def flows() -> int:
    """How many connections this namespace tracks."""
    return int(lab.sysctl("netfilter/nf_conntrack_count"))


def test_connections_are_forgotten_by_port_and_by_address(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns") as here, Netlink(NETLINK_NETFILTER) as netlink:
        lab.run(here, "ip", "link", "set", "lo", "up")
        table = nftables.Table("t")
        established = nftables.connection(nftables.CT_STATE)
        nftables.apply(
            netlink,
            [
                table.create(),
                table.base_chain("out", "filter", nftables.OUTPUT, nftables.PRIORITY_FILTER),
                table.rule("out", established, nftables.verdict(nftables.ACCEPT)),
            ],
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.2", 0))
            for port in range(20000, 20010):
                client.sendto(b"x", ("127.0.0.3", port))
        assert flows() == 10
        conntrack.forget_port(netlink, 17, 20004)
        conntrack.forget_port(netlink, 6, 20005)  # not by this protocol
        conntrack.forget_port(netlink, 17, 20004)  # a second time nothing happens
        assert flows() == 9
        conntrack.forget_address(netlink, bytes((127, 0, 0, 9)))
        assert flows() == 9
        conntrack.forget_address(netlink, bytes((127, 0, 0, 2)))
        assert flows() == 0
