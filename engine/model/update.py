"""What `update` changes about a container that is there."""

from typing import TYPE_CHECKING

from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.model.container import RestartPolicy


class Changes(NamedTuple):
    """0, "" and None leave things as they are. `memory_swap_bytes` is memory and swap together, -1
    all of the swap; `pids_limit` -1 is no limit."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    blkio_weight: int = 0
    pids_limit: int = 0
    restart: "RestartPolicy | None" = None
