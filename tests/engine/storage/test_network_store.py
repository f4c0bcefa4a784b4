"""Networks, addresses and ports: nothing is given out twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, NotFound
from engine.model.container import PortMapping
from engine.storage.network_store import EndpointRow, NetworkRow, NetworkStore
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root

BRIDGE = NetworkRow(
    "ab" * 32, "bridge", "bridge", "10.90.0.0/24", "10.90.0.1", False, "pydock0", 1, {"k": "v"}
)


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[NetworkStore]:
    store: Store = open_store(tmp_path)
    networks = NetworkStore(store.database)
    networks.create(BRIDGE)
    yield networks
    store.database.close()


def endpoint(networks: NetworkStore, number: int, *, container: str = "") -> EndpointRow:
    container = container or f"c{number}"
    return networks.new_endpoint(
        f"e{number}", BRIDGE.id, container, container, f"10.90.0.{number}", "02:42:00:00:00:02"
    )


def test_a_network_is_found_by_name_id_and_unique_beginning(networks: NetworkStore) -> None:
    for ref in ("bridge", BRIDGE.id, "abab"):
        assert networks.get(ref) == BRIDGE
    networks.create(BRIDGE._replace(id="abac" + "0" * 60, name="other"))
    with pytest.raises(Conflict, match="more than one network"):
        networks.get("aba")
    with pytest.raises(Conflict, match="network with name other already exists"):
        networks.create(BRIDGE._replace(id="ff" * 32, name="other"))
    with pytest.raises(NotFound):
        networks.get("nobody")
    assert [each.name for each in networks.list_()] == ["bridge", "other"]


def test_an_address_is_given_once(networks: NetworkStore) -> None:
    networks.add_endpoint(endpoint(networks, 2))
    with pytest.raises(Conflict, match=r"address 10\.90\.0\.2 is already in use"):
        networks.add_endpoint(endpoint(networks, 2)._replace(id="e3", container_id="c3"))
    assert [each.id for each in networks.endpoints(BRIDGE.id)] == ["e2"]


def test_a_container_joins_a_network_once(networks: NetworkStore) -> None:
    networks.add_endpoint(endpoint(networks, 2))
    with pytest.raises(Conflict, match=r"c2 is in network .* already"):
        networks.add_endpoint(endpoint(networks, 3, container="c2"))
    with pytest.raises(NotFound, match="it was removed meanwhile"):
        networks.add_endpoint(endpoint(networks, 4)._replace(network_id="ff" * 32))


def test_a_port_is_published_once_and_nothing_is_left_of_the_loser(networks: NetworkStore) -> None:
    port = PortMapping(80, "tcp", "", 8080)
    networks.add_endpoint(endpoint(networks, 2), [port])
    udp = port._replace(protocol="udp", container_port=53)
    with pytest.raises(Conflict, match=r"bind for 0\.0\.0\.0:8080 failed: port is already"):
        networks.add_endpoint(endpoint(networks, 3), [udp, port])
    assert networks.ports() == {"e2": [port]}
    assert networks.endpoints(container_id="c3") == []
    networks.add_endpoint(endpoint(networks, 3), [udp])
    networks.remove_endpoint("e2")
    assert networks.ports() == {"e3": [udp]}


def test_a_network_with_endpoints_is_not_removed(networks: NetworkStore) -> None:
    networks.add_endpoint(endpoint(networks, 2))
    with pytest.raises(Conflict, match="has active endpoints: c2"):
        networks.remove(BRIDGE.id)
    networks.remove_endpoint("e2")
    networks.remove(BRIDGE.id)
    assert networks.list_() == []


def test_an_endpoint_says_who_is_making_it(networks: NetworkStore) -> None:
    networks.add_endpoint(endpoint(networks, 2))
    (row,) = networks.endpoints()
    assert row.state == "creating"
    assert row.pid > 0
    networks.set_endpoint_state("e2", "up")
    assert networks.endpoints()[0].state == "up"


def test_a_container_is_renamed_where_it_is(networks: NetworkStore) -> None:
    networks.add_endpoint(endpoint(networks, 2))
    networks.add_endpoint(endpoint(networks, 3))
    networks.rename_container("c2", "other")
    networks.rename_container("nobody", "other")
    assert [each.container_name for each in networks.endpoints(BRIDGE.id)] == ["other", "c3"]
