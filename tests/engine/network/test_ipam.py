import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Conflict, InvalidInput, Unavailable
from engine.network import ipam
from engine.network.ipam import Subnet

subnets = st.builds(
    lambda address, length: Subnet.parse(
        str(ipaddress.ip_network((address, length), strict=False))
    ),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(subnets, subnets)
def test_overlap_is_what_ipaddress_says(one: Subnet, other: Subnet) -> None:
    truth = ipaddress.ip_network(str(one)).overlaps(ipaddress.ip_network(str(other)))
    assert one.overlaps(other) == other.overlaps(one) == truth


@given(subnets)
def test_subnet_reads_back_as_it_is_written(subnet: Subnet) -> None:
    assert Subnet.parse(str(subnet)) == subnet


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.0", "10.0.0/24", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/٣", "10.0.0.0/024",
     "fd00::/64", "a.b.c.d/8", "10.0.0.0/24/1", "010.0.0.0/8", "10.0.0.0/24\n", "x" * 1000],
)  # fmt: skip
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="subnet") as caught:
        Subnet.parse(text)
    assert len(caught.value.message) < 200


def test_host_bits_are_refused_with_the_subnet_that_was_meant() -> None:
    with pytest.raises(InvalidInput, match="host bits") as caught:
        Subnet.parse("10.90.7.9/24")
    assert "10.90.7.0/24" in caught.value.hint


@pytest.mark.parametrize("text", ["10.0.0.0/7", "10.90.0.0/31", "127.0.0.0/24", "224.0.0.0/8",
                                  "0.0.0.0/8", "240.0.0.0/24"])  # fmt: skip
def test_subnet_that_cannot_hold_containers_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        ipam.check_subnet(text, [])


def test_clash_names_the_route() -> None:
    routed = [(Subnet.parse("10.0.0.0/8"), "route of this host by tun0")]
    with pytest.raises(Conflict, match=r"10\.90\.1\.0/24 overlaps 10\.0\.0\.0/8 .*tun0"):
        ipam.check_subnet("10.90.1.0/24", routed)


def test_free_subnets_come_in_order_and_avoid_routes() -> None:
    assert str(ipam.free_subnet([])) == "10.90.0.0/24"
    taken = [(Subnet.parse(text), "x") for text in ("10.90.0.0/24", "10.90.1.128/25")]
    assert str(ipam.free_subnet(taken)) == "10.90.2.0/24"
    corporate = [(Subnet.parse("10.0.0.0/8"), "vpn")]
    assert str(ipam.free_subnet(corporate)) == "172.30.0.0/24"
    everything = [(Subnet.parse("0.0.0.0/1"), "vpn"), (Subnet.parse("128.0.0.0/1"), "vpn")]
    with pytest.raises(Unavailable, match="no free subnet"):
        ipam.free_subnet(everything)


def test_addresses_run_from_the_lowest_to_the_last_before_broadcast() -> None:
    subnet = Subnet.parse("10.90.5.0/29")
    assert subnet.gateway == "10.90.5.1"
    used: list[str] = []
    while address := subnet.free_address(used):
        used.append(address)
    assert used == [f"10.90.5.{number}" for number in range(2, 7)]
    used.remove("10.90.5.4")
    assert subnet.free_address(used) == "10.90.5.4"


def test_mac_belongs_to_the_address_and_the_network() -> None:
    one = ipam.mac_address("ab" * 32, "10.90.0.2")
    assert one.hex(":") == "02:ab:0a:5a:00:02"
    assert one[0] & 3 == 2  # local, unicast
    assert ipam.mac_address("cd" * 32, "10.90.0.2") != one
