import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, InvalidInput, Unsupported
from engine.model.container import PortMapping
from engine.network.ports import Reservation
from tests.support import lab

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def host(tmp_path: Path) -> Iterator[None]:
    with lab.namespace(tmp_path / "netns") as path:
        lab.run(path, "ip", "link", "set", "lo", "up")
        yield


def test_ports_are_bound_until_closed() -> None:
    with Reservation([PortMapping(80, host_port=8080)], {}) as reservation:
        assert reservation.ports == (PortMapping(80, host_port=8080),)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", 8080))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 8080))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["", "0.0.0.0", "127.0.0.1"])
def test_port_of_a_host_program_is_a_conflict(protocol: str, address: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", 8080))
        if protocol == "tcp":
            server.listen()
        with pytest.raises(Conflict, match=r":8080 failed: port is already allocated") as caught:
            Reservation([PortMapping(80, protocol, address, 8080)], {})
        assert "ss " in caught.value.hint


def test_server_on_ipv6_has_the_port_too() -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::", 8080))
        server.listen()
        with pytest.raises(Conflict):
            Reservation([PortMapping(80, host_port=8080)], {})


def test_lingering_connections_of_an_ended_server_do_not_matter() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 8080))
        server.listen()
        with socket.create_connection(("127.0.0.1", 8080)) as client:
            accepted, _ = server.accept()
            accepted.close()  # first: so TIME_WAIT is on the server's side
            client.recv(1)
    Reservation([PortMapping(80, host_port=8080)], {}).close()


def test_port_of_another_container_is_a_conflict_that_names_it() -> None:
    taken = {PortMapping(80, "tcp", "127.0.0.1", 8080): "web"}
    for address in ("", "127.0.0.1"):
        with pytest.raises(Conflict, match="container web"):
            Reservation([PortMapping(80, "tcp", address, 8080)], taken)
    for mapping in (PortMapping(80, "udp", "", 8080), PortMapping(80, "tcp", "127.0.0.2", 8080)):
        Reservation([mapping], taken).close()
    with pytest.raises(Conflict, match="container web"):
        Reservation(
            [PortMapping(80, "tcp", "127.0.0.1", 53)], {PortMapping(1, host_port=53): "web"}
        )


def test_one_port_asked_for_twice_is_a_conflict_and_binds_nothing() -> None:
    with pytest.raises(Conflict, match="twice"):
        Reservation([PortMapping(80, host_port=8080), PortMapping(81, host_port=8080)], {})
    Reservation([PortMapping(80, host_port=8080)], {}).close()


def test_free_ports_are_drawn_in_the_order_asked_and_never_taken_ones() -> None:
    lab.set_sysctl("ipv4/ip_local_port_range", "40000 40007")
    taken = {PortMapping(1, host_port=port): "web" for port in range(40000, 40004)}
    wanted = [PortMapping(80), PortMapping(81, host_port=40004), PortMapping(82), PortMapping(83)]
    with Reservation(wanted, taken) as reservation:
        assert [port.container_port for port in reservation.ports] == [80, 81, 82, 83]
        assert sorted(port.host_port for port in reservation.ports) == [40004, 40005, 40006, 40007]


def test_range_of_fifty_ports_is_bound() -> None:
    wanted = [PortMapping(number, host_port=20000 + number) for number in range(1, 51)]
    with Reservation(wanted, {}) as reservation:
        assert list(reservation.ports) == wanted


@pytest.mark.parametrize(
    "mapping",
    [PortMapping(0, host_port=1), PortMapping(65536, host_port=1), PortMapping(80, host_port=-1),
     PortMapping(80, host_port=65536), PortMapping(80, "tcp", "localhost", 80),
     PortMapping(80, "tcp", "1.2.3", 80), PortMapping(80, "tcp", "a\0b", 80)],
)  # fmt: skip
def test_what_is_no_port_or_address_is_refused(mapping: PortMapping) -> None:
    with pytest.raises(InvalidInput):
        Reservation([mapping], {})


def test_address_that_this_host_has_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not an address of this host"):
        Reservation([PortMapping(80, "tcp", "203.0.113.9", 8080)], {})


@pytest.mark.parametrize(
    "mapping", [PortMapping(80, "sctp", "", 80), PortMapping(80, "tcp", "::1", 80)]
)
def test_what_is_not_built_is_said(mapping: PortMapping) -> None:
    with pytest.raises(Unsupported):
        Reservation([mapping], {})
