"""The finer limits of a cgroup, in the files of v1 and v2: runc's conversions between them.

github.com/opencontainers/cgroups (ConvertCPUSharesToCgroupV2Value, ConvertBlkIOToIOWeightValue);
docs.kernel.org/admin-guide/cgroup-v2, Interface files. Imported only where one is asked for.
"""

import errno
import math
import os

from engine.kernel.files import read_file, write_file
from engine.kernel.libc import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    # Values by what runtime-spec's linux.resources calls them: "memory.swap", "cpu.shares" …
    # A throttle is a tuple of (major, minor, rate).
    Settings = dict[str, Any]
    # Controller; files, of which the first that there is counts; what to write.
    Write = tuple[str, tuple[str, ...], str]

CONTROLLERS = {
    "memory": "memory", "cpu": "cpu", "cpuset": "cpuset", "blockIO": "io", "pids": "pids",
}  # fmt: skip
_THROTTLES = {  # v1's file, v2's key
    "throttleReadBpsDevice": ("read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("write_iops_device", "wiops"),
}
_UNLIMITED = -1
_SHARES = (2, 262144)  # of v1


def controllers(settings: "Settings") -> set[str]:
    """The controllers of v2 that they need."""
    return {CONTROLLERS[name.partition(".")[0]] for name in settings}


def apply(settings: "Settings", version: int, controller: str, directory: str) -> None:
    """The cgroup `directory` of that version, which has `controller`, is as `settings` say.

    Raises OSError EOPNOTSUPP with the name of a file that this kernel does not have.
    """
    for path, text in writes(settings, version, controller, directory):
        write_file(path, text.encode())


def writes(
    settings: "Settings", version: int, controller: str, directory: str
) -> "Iterator[tuple[str, str]]":
    """Paths of files and what to write there, one after the other: the next may depend on what the
    one before has done. Raises as `apply`."""
    found = _v1(settings) if version == 1 else _v2(settings, directory)
    for name, files, text in found:
        if name != controller:
            continue
        path = next(
            (f"{directory}/{each}" for each in files if os.path.exists(f"{directory}/{each}")), ""
        )
        if not path:
            raise failure("write", errno.EOPNOTSUPP, f"{directory}/{files[0]}")
        yield path, text


def _v1(settings: "Settings") -> "Iterator[Write]":
    for name, value in settings.items():
        if name == "memory.limit":
            yield "memory", ("memory.limit_in_bytes",), str(value)
        elif name == "pids.limit":
            yield "pids", ("pids.max",), _or_max(value)
        elif name == "memory.swap":
            yield "memory", ("memory.memsw.limit_in_bytes",), str(value)
        elif name == "memory.reservation":
            yield "memory", ("memory.soft_limit_in_bytes",), str(value)
        elif name == "memory.disableOOMKiller":
            yield "memory", ("memory.oom_control",), str(value)
        elif name == "cpu.shares":
            low, high = _SHARES
            yield "cpu", ("cpu.shares",), str(min(max(value, low), high))
        elif name == "cpu.period":
            yield "cpu", ("cpu.cfs_period_us",), str(value)
        elif name == "cpu.quota":
            yield "cpu", ("cpu.cfs_quota_us",), str(value)
        elif name.startswith("cpuset."):
            yield "cpuset", (name,), str(value)
        elif name == "blockIO.weight":
            yield "io", ("blkio.bfq.weight", "blkio.weight"), str(value)
        else:
            file, _ = _THROTTLES[name.partition(".")[2]]
            for major, minor, rate in value:
                yield "io", (f"blkio.throttle.{file}",), f"{major}:{minor} {rate}"


def _v2(settings: "Settings", directory: str) -> "Iterator[Write]":
    for name, value in settings.items():
        if name == "memory.limit":
            yield "memory", ("memory.max",), str(value)
        elif name == "pids.limit":
            yield "pids", ("pids.max",), _or_max(value)
        elif name == "memory.swap":
            limit = read_file(f"{directory}/memory.max").strip()
            swap = "max"
            if value != _UNLIMITED and limit != b"max":
                swap = str(value - int(limit))
            yield "memory", ("memory.swap.max",), swap
        elif name == "memory.reservation":
            yield "memory", ("memory.low",), str(value)
        elif name == "memory.disableOOMKiller":
            raise failure("write", errno.EOPNOTSUPP, f"{directory}/memory.oom_control")
        elif name == "cpu.shares":
            yield "cpu", ("cpu.weight",), str(cpu_weight(value))
        elif name == "cpu.period" and "cpu.quota" in settings:
            continue  # one file holds both
        elif name in ("cpu.quota", "cpu.period"):
            quota, period = read_file(f"{directory}/cpu.max").decode().split()
            given = settings.get("cpu.quota", quota)
            text = "max" if given == _UNLIMITED else str(given)
            yield "cpu", ("cpu.max",), f"{text} {settings.get('cpu.period', period)}"
        elif name.startswith("cpuset."):
            yield "cpuset", (name,), str(value)
        elif name == "blockIO.weight":
            bfq = os.path.exists(f"{directory}/io.bfq.weight")
            yield "io", ("io.bfq.weight", "io.weight"), str(value if bfq else io_weight(value))
        else:
            _, key = _THROTTLES[name.partition(".")[2]]
            for major, minor, rate in value:
                yield "io", ("io.max",), f"{major}:{minor} {key}={rate}"


def _or_max(value: int) -> str:
    return "max" if value == _UNLIMITED else str(value)


def cpu_weight(shares: int) -> int:
    """1 to 10000 for v1's 2 to 262144, 100 for its default of 1024."""
    low, high = _SHARES
    exponent = math.log2(min(max(shares, low), high))
    return min(math.ceil(10 ** ((exponent**2 + 125 * exponent) / 612 - 7 / 34)), 10000)


def io_weight(weight: int) -> int:
    """1 to 10000 for v1's 10 to 1000."""
    return 1 + (weight - 10) * 9999 // 990
