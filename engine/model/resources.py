"""What a container may use beside memory, CPUs and processes: the finer limits of its cgroup."""

from typing import Any

from engine.named_tuple import NamedTuple

Rates = tuple[tuple[str, int], ...]  # a device's path, and bytes or operations a second


class Resources(NamedTuple):
    """0 and "" are no limit of its own. `memory_swap_bytes` is memory and swap together, -1 for
    all of the swap."""

    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    oom_kill_disable: bool = False
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    blkio_weight: int = 0
    read_bps: Rates = ()
    write_bps: Rates = ()
    read_iops: Rates = ()
    write_iops: Rates = ()


def resources_of(document: dict[str, Any]) -> Resources:
    """The value whose fields a row's JSON holds."""
    fields: dict[str, Any] = {
        name: tuple((path, rate) for path, rate in value) if isinstance(value, list) else value
        for name, value in document.items()
    }
    return Resources(**fields)
