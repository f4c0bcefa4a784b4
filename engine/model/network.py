"""Networks as clients see them."""

from engine.model.container import PortMapping
from engine.named_tuple import NamedTuple


class NetworkMember(NamedTuple):
    """A container in a network; `container_name` stays when the container is stopped."""

    container_id: str
    container_name: str
    endpoint_id: str
    ip_address: str
    prefix_length: int
    mac_address: str
    ports: tuple[PortMapping, ...] = ()


class NetworkSummary(NamedTuple):
    """A row of `network ls`."""

    id: str
    name: str
    driver: str  # bridge, host, null
    subnet: str
    gateway: str
    internal: bool
    created_ns: int
    members: int
    interface: str
    labels: tuple[tuple[str, str], ...] = ()


class Network(NamedTuple):
    """Everything `network inspect` knows."""

    summary: NetworkSummary
    members: tuple[NetworkMember, ...]
