"""docker's flags about a container's share of the host, worked into its config.json's resources."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.model.resources import Rates, Resources


def allot(config: dict[str, Any], wanted: Resources) -> None:
    """`config`, as make_config wrote it, has `wanted` in linux.resources. Raises InvalidInput,
    NotFound."""
    resources = config["linux"]["resources"]
    _add(
        resources,
        "memory",
        swap=wanted.memory_swap_bytes,
        reservation=wanted.memory_reservation_bytes,
        disableOOMKiller=wanted.oom_kill_disable,
    )
    _add(
        resources,
        "cpu",
        shares=wanted.cpu_shares,
        period=wanted.cpu_period_us,
        quota=wanted.cpu_quota_us,
        cpus=wanted.cpuset_cpus,
        mems=wanted.cpuset_mems,
    )
    _add(
        resources,
        "blockIO",
        weight=wanted.blkio_weight,
        throttleReadBpsDevice=_throttles(wanted.read_bps),
        throttleWriteBpsDevice=_throttles(wanted.write_bps),
        throttleReadIOPSDevice=_throttles(wanted.read_iops),
        throttleWriteIOPSDevice=_throttles(wanted.write_iops),
    )


def _add(resources: dict[str, Any], section: str, **values: Any) -> None:
    given = {name: value for name, value in values.items() if value}
    if given:
        resources[section] = {**resources.get(section, {}), **given}


def _throttles(rates: Rates) -> list[dict[str, int]]:
    found = []
    for path, rate in rates:
        try:
            status = os.stat(path)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise NotFound(f"{path}: {reason}", "name a block device of this host") from error
        if not stat.S_ISBLK(status.st_mode):
            raise InvalidInput(f"{path}: not a block device", "lsblk -p lists them")
        found.append(
            {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev), "rate": rate}
        )
    return found
