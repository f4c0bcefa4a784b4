"""Other limits for the double's containers."""

from engine.errors import InvalidInput
from engine.model.container import CreateOptions
from engine.model.resources import Resources
from engine.model.update import Changes
from engine.services.container_config import check_limits
from tests.support.double_world import World

_FINER = frozenset(Resources._fields)


class DoubleUpdate:
    """The part of the double's containers that changes what they may use."""

    _world: World

    def update(self, ref: str, changes: Changes) -> None:
        record = self._world.get(ref)
        before = record.container
        summary = before.summary
        check_limits(
            CreateOptions("", memory_bytes=changes.memory_bytes, nano_cpus=changes.nano_cpus)
        )
        resources = before.resources or Resources()
        swap = resources.memory_swap_bytes or 2 * summary.memory_limit_bytes
        if not changes.memory_swap_bytes and 0 < swap < changes.memory_bytes:
            raise InvalidInput(
                "memory limit should be smaller than already set memoryswap limit, update the "
                "memoryswap at the same time",
                "add --memory-swap",
            )
        given = {name: value for name, value in changes._asdict().items() if value}
        memory_bytes = changes.memory_bytes or summary.memory_limit_bytes
        record.container = before._replace(
            summary=summary._replace(memory_limit_bytes=memory_bytes),
            nano_cpus=changes.nano_cpus or before.nano_cpus,
            pids_limit=max(changes.pids_limit, 0) if changes.pids_limit else before.pids_limit,
            resources=resources._replace(**{k: v for k, v in given.items() if k in _FINER}),
            restart=changes.restart or before.restart,
        )
        self._world.tell("container", "update", summary.id, summary.name)
