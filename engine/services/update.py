"""`update`: other limits and another restart policy for a container, whether it runs or not.

Docker's rules and words: github.com/moby/moby/blob/master/daemon/container/container_unix.go,
UpdateContainer.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, InvalidInput, Unavailable, Unsupported
from engine.kernel.cgroup import open_cgroup
from engine.kernel.cgroup_update import update as update_cgroup
from engine.model.container import CreateOptions
from engine.model.resources import Resources, resources_of
from engine.services.container_config import check_limits
from engine.services.resources import check_resources

if TYPE_CHECKING:
    from engine.home import Home
    from engine.model.update import Changes
    from engine.services.restarts import Restarts
    from engine.storage.container_store import ContainerRow, ContainerStore

_PERIOD_US = 100_000
_FINER = (
    "memory_swap_bytes", "memory_reservation_bytes", "cpu_shares", "cpu_period_us", "cpu_quota_us",
    "cpuset_cpus", "cpuset_mems", "blkio_weight",
)  # fmt: skip
# What the specification calls them.
_NAMES = {
    "memory_bytes": "memory.limit", "memory_swap_bytes": "memory.swap",
    "memory_reservation_bytes": "memory.reservation", "cpu_shares": "cpu.shares",
    "cpu_period_us": "cpu.period", "cpu_quota_us": "cpu.quota", "cpuset_cpus": "cpuset.cpus",
    "cpuset_mems": "cpuset.mems", "blkio_weight": "blockIO.weight", "pids_limit": "pids.limit",
}  # fmt: skip


def update(
    home: Home, store: ContainerStore, restarts: Restarts, row: ContainerRow, changes: Changes
) -> None:
    """They hold, in the kernel and in the row, or nothing has changed. The container's lock is
    held. Raises Conflict, InvalidInput, NotFound, Unavailable, Unsupported."""
    config = _merged(row, changes)
    settings = _settings(changes)
    if settings and row.state in ("running", "paused"):
        try:
            update_cgroup(open_cgroup(home.cgroup_path(row.id)), settings)
        except OSError as error:
            raise _explain(error, row) from error
    store.set_config(row.id, config)
    if changes.restart is not None and changes.restart.name == "no" and "restart" in row.config:
        restarts.hold(row, final=True, by_person=False)  # one that waits has ended now


def _merged(row: ContainerRow, changes: Changes) -> dict[str, Any]:
    """The row's config with them. Raises as `update`."""
    config = dict(row.config)
    before = resources_of(config["resources"]) if "resources" in config else Resources()
    _check(config, before, changes)
    for name in ("memory_bytes", "nano_cpus"):
        config[name] = getattr(changes, name) or config[name]
    if changes.pids_limit:
        config["pids_limit"] = max(changes.pids_limit, 0)
    given = {name: value for name in _FINER if (value := getattr(changes, name))}
    if changes.memory_bytes and row.config["memory_bytes"] and "memory_swap_bytes" not in given:
        # It stays what it was, as docker has it: also where nobody has said it.
        given["memory_swap_bytes"] = before.memory_swap_bytes or 2 * row.config["memory_bytes"]
    resources = before._replace(**given)
    options = CreateOptions(
        row.image,
        memory_bytes=config["memory_bytes"],
        nano_cpus=config["nano_cpus"],
        resources=resources,
    )
    check_limits(options)
    check_resources(options)
    if resources != Resources():
        config["resources"] = resources._asdict()
    if changes.restart is not None:
        if row.auto_remove and changes.restart.name != "no":
            raise InvalidInput(
                "restart policy cannot be updated because AutoRemove is enabled for the container",
                "leave --restart out",
            )
        config.pop("restart", None)
        if changes.restart.name != "no":
            config["restart"] = list(changes.restart)
    return config


def _check(config: dict[str, Any], before: Resources, changes: Changes) -> None:
    quota, period = before.cpu_quota_us, before.cpu_period_us
    for asked, name, other, there in (
        (changes.nano_cpus, "NanoCPUs", "CPU Quota", quota),
        (changes.nano_cpus, "NanoCPUs", "CPU Period", period),
        (changes.cpu_quota_us, "CPU Quota", "NanoCPUs", config["nano_cpus"]),
        (changes.cpu_period_us, "CPU Period", "NanoCPUs", config["nano_cpus"]),
    ):
        if asked and there:
            raise InvalidInput(
                f"conflicting options: {name} cannot be updated as {other} has already been set",
                "--cpus is one way to say it, --cpu-quota with --cpu-period the other",
            )
    swap = before.memory_swap_bytes or 2 * config["memory_bytes"]
    if not changes.memory_swap_bytes and 0 < swap < changes.memory_bytes:
        raise InvalidInput(
            "memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time",
            "add --memory-swap: memory and swap together, or -1",
        )


def _settings(changes: Changes) -> dict[str, Any]:
    found = {key: value for name, key in _NAMES.items() if (value := getattr(changes, name))}
    if changes.nano_cpus:
        found["cpu.period"] = _PERIOD_US
        found["cpu.quota"] = changes.nano_cpus * _PERIOD_US // 1_000_000_000
    return found


def _explain(error: OSError, row: ContainerRow) -> Conflict | Unavailable | Unsupported:
    name = os.path.basename(os.fsdecode(error.filename or ""))
    said = f"cannot update container {row.name}: {name}: {(error.strerror or '').lower()}"
    if error.errno == errno.EBUSY:
        return Conflict(said, "it uses more than that now: choose more, or stop it first")
    if error.errno == errno.EOPNOTSUPP:
        return Unsupported(said, "this host's kernel has no such limit")
    return Unavailable(said, "pydock inspect shows what holds now")
