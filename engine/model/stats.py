"""One reading of a container's meters."""

from engine.named_tuple import NamedTuple


class StatsSample(NamedTuple):
    """Counters are totals since the start; the consumer takes differences.

    `cpu_percent` is of one core (200 = two cores busy), over the time since the last reading of
    the same stream; 0 in the first. `memory_bytes` leaves out the inactive file cache, as docker.
    """

    container_id: str
    time_ns: int  # monotonic
    cpu_percent: float
    cpu_usage_ns: int
    throttled_ns: int
    memory_bytes: int
    memory_limit_bytes: int  # of the host's memory where there is no limit
    network_received_bytes: int
    network_sent_bytes: int
    block_read_bytes: int
    block_written_bytes: int
    pids: int


class HostSample(NamedTuple):
    """The host beside it, for the status line."""

    cpu_percent: float
    memory_bytes: int
    memory_total_bytes: int
    disk_bytes: int  # of the file system that holds the root
    disk_total_bytes: int
    load_1: float
    uptime_seconds: int
