"""What every engine says of a container whose limits are changed."""

import pytest

from engine.engine import Engine
from engine.errors import InvalidInput, NotFound
from engine.model.container import CreateOptions, RestartPolicy
from engine.model.update import Changes

MIB = 1 << 20


@pytest.mark.parametrize("running", [True, False])
def test_what_was_changed_is_shown_and_the_rest_stays(
    engine: Engine, image: str, running: bool
) -> None:
    ref = engine.containers.create(
        CreateOptions(
            image, "box", command=("sleep", "1000"), network="none", memory_bytes=64 * MIB
        )
    )
    if running:
        engine.containers.start(ref)
    engine.containers.update("box", Changes(memory_bytes=32 * MIB, pids_limit=50, cpu_shares=512))
    engine.containers.update("box", Changes(restart=RestartPolicy("on-failure", 3)))
    found = engine.containers.inspect(ref)
    assert found.summary.memory_limit_bytes == 32 * MIB
    assert (found.pids_limit, found.nano_cpus) == (50, 0)
    assert found.resources is not None
    assert found.resources.cpu_shares == 512
    assert found.restart == RestartPolicy("on-failure", 3)
    engine.containers.update("box", Changes(pids_limit=-1, restart=RestartPolicy()))
    found = engine.containers.inspect(ref)
    assert (found.pids_limit, found.restart) == (0, RestartPolicy())
    assert found.resources is not None
    assert found.resources.cpu_shares == 512
    engine.containers.remove(ref, force=True)


def test_what_cannot_be_is_refused_and_nothing_changes(engine: Engine, image: str) -> None:
    ref = engine.containers.create(
        CreateOptions(image, "box", network="none", memory_bytes=64 * MIB)
    )
    before = engine.containers.inspect(ref)
    for changes, said in (
        (Changes(memory_bytes=MIB, cpu_shares=5), "minimum memory limit allowed is 6MB"),
        (Changes(nano_cpus=10**15, cpu_shares=5), "range of CPUs is from 0.01"),
        (Changes(memory_bytes=256 * MIB), "smaller than already set memoryswap limit"),
    ):
        with pytest.raises(InvalidInput, match=said):
            engine.containers.update("box", changes)
    with pytest.raises(NotFound, match="no such container: nobody"):
        engine.containers.update("nobody", Changes(cpu_shares=5))
    assert engine.containers.inspect(ref) == before
