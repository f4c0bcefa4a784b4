import errno
import struct
from pathlib import Path

import pytest

from engine.kernel import nftables
from engine.kernel.netlink import NETLINK_NETFILTER, Netlink
from engine.kernel.nftables import (
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    Table,
    interface,
    padded,
)
from tests.support import lab
from tests.support.waiting import until

pytestmark = pytest.mark.root
KEY, TARGET = (INET_PROTO, INET_SERVICE), (IPV4_ADDR, INET_SERVICE)


def key(port: int) -> bytes:
    return padded(b"\x06") + padded(struct.pack(">H", port))


def value(last: int) -> bytes:
    return bytes((10, 90, 0, last)) + padded(struct.pack(">H", 80))


def test_table_reads_as_nft_wrote_it_and_nft_takes_it_back(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns") as here, Netlink(NETLINK_NETFILTER) as socket:
        table = Table("t")
        nftables.apply(
            socket,
            [
                table.create("said"),
                table.new_set("links", (IFNAME,)),
                table.new_set("nets", (IFNAME, IPV4_ADDR), interval=True),
                table.new_set("ports", KEY, TARGET),
                table.base_chain("in", "filter", nftables.INPUT, nftables.PRIORITY_FILTER),
                table.chain("more"),
                table.rule(
                    "in", nftables.meta(nftables.META_IIFNAME), nftables.is_in("links"),
                    nftables.verdict(nftables.JUMP, "more"),
                ),
                *table.add("links", [(interface("pd-1"), None)]),
                *table.add(
                    "nets",
                    [(interface("pd-1") + bytes((10, 9, 0, 0)),
                      interface("pd-1") + bytes((10, 9, 0, 255)))],
                    interval=True,
                ),
                *table.add("ports", [(key(8080), value(2))]),
            ],
        )  # fmt: skip
        assert table.comment(socket) == "said"
        assert table.elements(socket, "ports") == {key(8080): value(2)}
        assert table.elements(socket, "links") == {interface("pd-1"): b""}
        text = lab.ruleset(here)
        for line in (
            'comment "said"',
            'elements = { "pd-1" }',
            'elements = { "pd-1" . 10.9.0.0/24 }',
            "elements = { tcp . 8080 : 10.90.0.2 . 80 }",
            "type filter hook input priority filter; policy accept;",
            "iifname @links jump more",
        ):
            assert line in text
        (tmp_path / "rules").write_text("flush ruleset\n" + text)
        lab.run(here, "nft", "-f", str(tmp_path / "rules"))
        assert lab.ruleset(here) == text


def test_batch_with_a_failure_changes_nothing(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns"), Netlink(NETLINK_NETFILTER) as socket:
        table = Table("t")
        nftables.apply(socket, [table.create(), table.new_set("ports", KEY, TARGET)])
        nftables.apply(socket, table.add("ports", [(key(1), value(2))], exclusive=True))
        for batch in (
            table.add("ports", [(key(2), value(3)), (key(1), value(3))], exclusive=True),
            [*table.add("ports", [(key(2), value(3))]), *table.add("ports", [(key(1), value(9))])],
            [
                *table.add("ports", [(key(2), value(3))]),
                *table.add("missing", [(key(1), value(9))]),
            ],
            [*table.add("ports", [(key(2), value(3))]), *table.remove("ports", [(key(7), None)])],
        ):
            with pytest.raises(OSError, match=r"exists|busy|No such") as caught:
                nftables.apply(socket, batch)
            assert caught.value.errno in (errno.EEXIST, errno.EBUSY, errno.ENOENT)
            assert table.elements(socket, "ports") == {key(1): value(2)}
        nftables.apply(socket, table.add("ports", [(key(1), value(2))]))  # the same again is fine


def test_more_elements_than_one_attribute_holds(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns"), Netlink(NETLINK_NETFILTER) as socket:
        table = Table("t")
        items = [(key(port), value(port % 200 + 2)) for port in range(1, 3001)]
        nftables.apply(
            socket,
            [table.create(), table.new_set("ports", KEY, TARGET), *table.add("ports", items)],
        )
        until(lambda: table.elements(socket, "ports") == dict(items))
        nftables.apply(socket, table.remove("ports", items))
        assert table.elements(socket, "ports") == {}


def test_missing_table_has_no_comment(tmp_path: Path) -> None:
    with lab.namespace(tmp_path / "netns"), Netlink(NETLINK_NETFILTER) as socket:
        assert Table("t").comment(socket) is None
        nftables.apply(socket, [Table("t").create("x")])
        nftables.apply(socket, [Table("t").delete()])
        assert Table("t").comment(socket) is None
