"""`update`: other limits and another restart policy for containers that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import units
from engine.cli import resources, specs
from engine.cli.parser import Command, Flag, integer
from engine.errors import InvalidInput
from engine.model.update import Changes

if TYPE_CHECKING:
    from engine.cli.call import Call


def _update(call: Call) -> int:
    changes = Changes(
        memory_bytes=call.value("memory", 0),
        memory_swap_bytes=call.value("memory-swap", 0),
        memory_reservation_bytes=call.value("memory-reservation", 0),
        nano_cpus=call.value("cpus", 0),
        cpu_shares=call.value("cpu-shares", 0),
        cpu_period_us=call.value("cpu-period", 0),
        cpu_quota_us=call.value("cpu-quota", 0),
        cpuset_cpus=call.one("cpuset-cpus"),
        cpuset_mems=call.one("cpuset-mems"),
        blkio_weight=call.value("blkio-weight", 0),
        pids_limit=_pids(call),
        restart=call.value("restart"),
    )
    if changes == Changes():
        raise InvalidInput(
            "you must provide one or more flags when using this command", "pydock update --help"
        )
    update = call.engine.containers.update
    return call.each(call.words, lambda ref: update(ref, changes))


def _pids(call: Call) -> int:
    """0 where it stays; docker takes 0 and everything below for no limit."""
    limit: int | None = call.value("pids-limit")
    if limit is None:
        return 0
    return limit if limit > 0 else -1


UPDATE = Command(
    "update",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration of one or more containers",
    _update,
    (
        Flag("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable",
             kind="uint16", default="0", read=resources.weight),
        Flag("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period", kind="int",
             read=integer),
        Flag("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota", kind="int",
             read=integer),
        Flag("cpu-shares", "CPU shares (relative weight)", short="c", kind="int", read=integer),
        Flag("cpus", "Number of CPUs", kind="decimal", read=units.parse_cpus),
        Flag("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)", kind="string"),
        Flag("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)", kind="string"),
        Flag("memory", "Memory limit", short="m", kind="bytes", read=units.parse_size),
        Flag("memory-reservation", "Memory soft limit", kind="bytes", read=units.parse_size),
        Flag("memory-swap",
             "Swap limit equal to memory plus swap: '-1' to enable unlimited swap", kind="bytes",
             read=resources.swap),
        Flag("pids-limit", "Tune container pids limit (set -1 for unlimited)", kind="int",
             read=integer),
        Flag("restart", "Restart policy to apply when a container exits", kind="string",
             read=specs.parse_restart),
    ),
    refused="--cpu-rt-period --cpu-rt-runtime --kernel-memory",
    least=1,
    aliases="pydock container update, pydock update",
)  # fmt: skip
