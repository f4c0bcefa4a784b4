"""`run`'s options about a container's share of its host: from docker's words to Resources.

Imported only when one of them is given. The rules are docker/cli's `opts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.model.resources import Resources
from engine.units import parse_size

if TYPE_CHECKING:
    from engine.cli.call import Call

_HIGHEST = (1 << 64) - 1


def resources(given: Call) -> Resources:
    """What the flags ask for."""
    return Resources(
        memory_swap_bytes=given.value("memory-swap", 0),
        memory_reservation_bytes=given.value("memory-reservation", 0),
        oom_kill_disable=given.on("oom-kill-disable"),
        cpu_shares=given.value("cpu-shares", 0),
        cpu_period_us=given.value("cpu-period", 0),
        cpu_quota_us=given.value("cpu-quota", 0),
        cpuset_cpus=given.one("cpuset-cpus"),
        cpuset_mems=given.one("cpuset-mems"),
        blkio_weight=given.value("blkio-weight", 0),
        read_bps=tuple(given.many("device-read-bps")),
        write_bps=tuple(given.many("device-write-bps")),
        read_iops=tuple(given.many("device-read-iops")),
        write_iops=tuple(given.many("device-write-iops")),
    )


def swap(text: str) -> int:
    """A size, or -1. Raises InvalidInput."""
    return -1 if text == "-1" else parse_size(text)


def bytes_rate(text: str) -> tuple[str, int]:
    """`/dev/sda:1mb`. Raises InvalidInput in docker's words."""
    path, value = _device(text)
    try:
        return path, parse_size(value)
    except InvalidInput as error:
        raise InvalidInput(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>"
            "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from error


def operations_rate(text: str) -> tuple[str, int]:
    """`/dev/sda:1000`. Raises InvalidInput in docker's words."""
    path, value = _device(text)
    if not value.isascii() or not value.isdecimal() or int(value[:30]) > _HIGHEST:
        raise InvalidInput(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return path, int(value)


def _device(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise InvalidInput(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise InvalidInput(f"bad format for device path: {text}")
    return path, value


def weight(text: str) -> int:
    """A uint16. Raises InvalidInput in Go's words."""
    if not text.isascii() or not text.isdecimal():
        raise InvalidInput(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > 5 or int(text) > 65535:
        raise InvalidInput(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
