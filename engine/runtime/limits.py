"""What a container may use: its cgroup, made by whoever starts it, before its first process."""

from __future__ import annotations

from engine.kernel.cgroup import Cgroup, Limits
from engine.runtime.failure import StepError, Where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def create_cgroup(plan: dict[str, Any]) -> Cgroup | None:
    """The container's cgroup, made with the plan's limits; None without one. Raises StepError."""
    if plan["cgroup"] is None:
        return None
    cgroup = Cgroup(*plan["cgroup"])
    where = Where()
    where.at("cgroup", cgroup.path)
    try:
        cgroup.create(Limits(*plan["limits"]), plan["device_rules"], plan["settings"])
    except OSError as error:
        raise StepError(*where.describe(error)) from error
    return cgroup
