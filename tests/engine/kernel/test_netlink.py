import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import netlink, rtnetlink
from engine.kernel.netlink import NETLINK_ROUTE, NLM_F_ACK, Netlink
from tests.support.lab import namespace

KINDS = st.integers(0, 0x3FFF)


@given(st.lists(st.tuples(KINDS, st.binary(max_size=40))))
def test_attributes_come_back_as_they_were_packed(items: list[tuple[int, bytes]]) -> None:
    packed = b"".join(netlink.attribute(kind, value) for kind, value in items)
    assert len(packed) % 4 == 0
    assert list(netlink.elements(packed)) == items
    assert netlink.attributes(b"head" + packed, 4) == dict(items)


@given(KINDS, st.binary(max_size=20), st.binary(max_size=20))
def test_nested_attributes_come_back_without_their_flag(
    kind: int, first: bytes, second: bytes
) -> None:
    packed = netlink.nested(kind, netlink.attribute(1, first), netlink.attribute(2, second))
    ((found, inner),) = netlink.elements(packed)
    assert found == kind
    assert netlink.attributes(inner) == {1: first, 2: second}


@given(st.binary(max_size=60))
def test_any_bytes_can_be_read_as_attributes(data: bytes) -> None:
    list(netlink.elements(data))


def test_numbers_are_packed_in_the_order_of_their_subsystem() -> None:
    assert netlink.be32(1, -300)[4:] == b"\xff\xff\xfe\xd4"
    assert netlink.u32(1, 258)[4:] == (258).to_bytes(4, "little")  # both machines are
    assert netlink.text(1, "eth0")[4:] == b"eth0\0\0\0\0"


@pytest.mark.root
def test_failure_has_errno_and_the_words_of_the_kernel(tmp_path: Path) -> None:
    with namespace(tmp_path / "netns"), Netlink(NETLINK_ROUTE) as socket:
        with pytest.raises(OSError, match=r"\(.+\)") as caught:
            socket.send([rtnetlink.add_default_route(bytes((10, 0, 0, 1)), 1)])
        assert caught.value.errno == errno.ENETUNREACH
        assert "gateway" in str(caught.value)


@pytest.mark.root
def test_one_datagram_carries_many_requests_and_the_first_failure_is_told(tmp_path: Path) -> None:
    with namespace(tmp_path / "netns"), Netlink(NETLINK_ROUTE) as socket:
        good = [rtnetlink.new_bridge(f"b{number}", bytes((2, 0, 0, 0, 0, number)), 1500)
                for number in range(20)]  # fmt: skip
        bad = [rtnetlink.link_up(9999), rtnetlink.new_bridge("b0", bytes(6), 1500)]
        with pytest.raises(OSError, match="No such device") as caught:
            socket.send([*good[:10], *bad, *good[10:]])
        assert caught.value.__notes__ == ["request 10"]
        # What stood behind the failure was carried out, and every answer was read.
        assert len(rtnetlink.links(socket)) == 21
        socket.send([rtnetlink.delete_link("b0")])
        socket.send([rtnetlink.delete_link("b0")], ignore=(errno.ENODEV,))


@pytest.mark.root
def test_socket_stays_in_the_namespace_that_it_was_opened_in(tmp_path: Path) -> None:
    with namespace(tmp_path / "one"):
        socket = Netlink(NETLINK_ROUTE)
        socket.send([rtnetlink.new_bridge("here", bytes((2, 0, 0, 0, 0, 1)), 1500)])
    with namespace(tmp_path / "two"), Netlink(NETLINK_ROUTE) as other:
        assert rtnetlink.get_link(other, "here") is None
        assert rtnetlink.get_link(socket, "lo") is not None
    socket.close()


@pytest.mark.root
def test_unknown_request_is_refused_not_waited_for(tmp_path: Path) -> None:
    with namespace(tmp_path / "netns"), Netlink(NETLINK_ROUTE) as socket:
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            socket.get(1000, b"")
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            socket.send([(1000, NLM_F_ACK, b"")])
