"""Whether a container may have what its request's Resources say: docker's rules and words.

Only for containers that have some. Facts: github.com/moby/moby/blob/master/daemon/daemon_unix.go,
verifyPlatformContainerResources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidInput, Unsupported
from engine.kernel.cgroup import find_hierarchies
from engine.runtime.allot import allot

if TYPE_CHECKING:
    from engine.model.container import CreateOptions
    from engine.model.resources import Resources

MINIMUM_MEMORY_BYTES = 6 << 20  # docker's
_ONLINE_CPUS = "/sys/devices/system/cpu/online"
_ONLINE_NODES = "/sys/devices/system/node/online"


def check_resources(options: CreateOptions) -> None:
    """`options` have resources. Raises InvalidInput, NotFound, Unsupported."""
    wanted = options.resources
    assert wanted is not None
    _check_memory(wanted, options.memory_bytes)
    _check_cpu(wanted, options.nano_cpus)
    _check_cpuset("cpuset cpus", "CPUs", wanted.cpuset_cpus, _ONLINE_CPUS)
    _check_cpuset("cpuset mems", "memory nodes", wanted.cpuset_mems, _ONLINE_NODES)
    if wanted.blkio_weight and not 10 <= wanted.blkio_weight <= 1000:
        raise InvalidInput(
            "range of blkio weight is from 10 to 1000", "change --blkio-weight; 0 is the default"
        )
    allot({"linux": {"resources": {}}}, wanted)  # every device is there


def _check_memory(wanted: Resources, memory_bytes: int) -> None:
    swap, reservation = wanted.memory_swap_bytes, wanted.memory_reservation_bytes
    if swap and not memory_bytes and swap > 0:
        raise InvalidInput(
            "you should always set the Memory limit when using Memoryswap limit, see usage",
            "add --memory",
        )
    if 0 < swap < memory_bytes:
        raise InvalidInput(
            "minimum memoryswap limit should be larger than memory limit, see usage",
            "--memory-swap is memory and swap together",
        )
    if 0 < reservation < MINIMUM_MEMORY_BYTES:
        raise InvalidInput(
            "minimum memory reservation allowed is 6MB", "raise --memory-reservation"
        )
    if memory_bytes and reservation > memory_bytes:
        raise InvalidInput(
            "minimum memory limit can not be less than memory reservation limit, see usage",
            "raise --memory, or lower --memory-reservation",
        )
    if wanted.oom_kill_disable and not any(
        "memory" in controllers for _, controllers in find_hierarchies()[0]
    ):
        raise Unsupported(
            "--oom-kill-disable: cgroup v2 has no such setting", "leave it out, or raise --memory"
        )


def _check_cpu(wanted: Resources, nano_cpus: int) -> None:
    if wanted.cpu_shares < 0:
        raise InvalidInput(
            f"invalid CPU shares ({wanted.cpu_shares}): value must be a positive integer",
            "1024 is the default",
        )
    for name, value in (("Period", wanted.cpu_period_us), ("Quota", wanted.cpu_quota_us)):
        if nano_cpus and value:
            raise InvalidInput(
                f"conflicting options: Nano CPUs and CPU {name} cannot both be set",
                f"leave --cpus or --cpu-{name.lower()} out",
            )
    if wanted.cpu_period_us and not 1000 <= wanted.cpu_period_us <= 1_000_000:
        raise InvalidInput(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            "change --cpu-period",
        )
    if 0 < wanted.cpu_quota_us < 1000:
        raise InvalidInput(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)", "change --cpu-quota"
        )


def _check_cpuset(name: str, what: str, text: str, online: str) -> None:
    if not text:
        return
    wanted = parse_list(text)
    if wanted is None:
        raise InvalidInput(f"invalid value {text} for {name}", "for example 0-3 or 0,2")
    try:
        with open(online) as file:
            listed = file.read().strip()
    except FileNotFoundError:  # a kernel without NUMA
        listed = "0"
    if not wanted <= (parse_list(listed) or set()):
        raise InvalidInput(
            f"requested {what} are not available - requested {text}, available: {listed}",
            f"choose from {listed}",
        )


def parse_list(text: str) -> set[int] | None:
    """The numbers of `0-2,7`, cpuset(7)'s list format; None when it is none."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = (first, last if dash else first)
        if not all(each.isascii() and each.isdecimal() and len(each) < 6 for each in numbers):
            return None
        low, high = map(int, numbers)
        if high < low:
            return None
        found.update(range(low, high + 1))
    return found
