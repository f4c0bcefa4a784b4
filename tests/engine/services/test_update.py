"""`update` of containers that run: what the kernel says, and what stays after a refusal."""

import pytest

from engine.errors import Conflict, InvalidInput
from engine.kernel.cgroup import Limits, find_hierarchies, open_cgroup
from engine.kernel.files import read_file
from engine.local import LocalEngine
from engine.model.container import CreateOptions, RestartPolicy
from engine.model.resources import Resources
from engine.model.update import Changes
from tests.support.waiting import until

pytestmark = pytest.mark.root
MIB = 1 << 20
V1 = {name for _, names in find_hierarchies()[0] for name in names}
IS_V1 = pytest.mark.skipif("memory" not in V1, reason="the memory controller is v2's here")


def started(engine: LocalEngine, image: str, *argv: str, memory_bytes: int = 0) -> str:
    """Its cgroup's path."""
    ref = engine.containers.create(
        CreateOptions(
            image, "box", command=argv or ("sleep", "1000"), network="none",
            memory_bytes=memory_bytes,
        )
    )  # fmt: skip
    engine.containers.start(ref)
    return engine.containers.inspect(ref).cgroup


def found(path: str, controller: str, name: str) -> str:
    place = open_cgroup(path).directory(controller)
    assert place is not None
    return read_file(f"{place[1]}/{name}").decode().strip()


def test_a_running_container_has_the_new_limits_and_so_has_its_next_run(
    engine: LocalEngine, image: str
) -> None:
    path = started(engine, image, memory_bytes=64 * MIB)
    engine.containers.update("box", Changes(memory_bytes=32 * MIB, nano_cpus=500_000_000))
    engine.containers.update("box", Changes(pids_limit=77))
    wanted = Limits(32 * MIB, 500_000_000, 77)
    assert open_cgroup(path).limits() == wanted
    engine.containers.stop("box", timeout_seconds=0)
    engine.containers.update("box", Changes(pids_limit=78))
    engine.containers.start("box")
    assert open_cgroup(path).limits() == Limits(32 * MIB, 500_000_000, 78)


@IS_V1
def test_memory_grows_and_shrinks_with_its_swap(engine: LocalEngine, image: str) -> None:
    path = started(engine, image, memory_bytes=64 * MIB)
    for memory, swap in ((256, 300), (32, 40), (512, -1), (16, 16)):
        engine.containers.update(
            "box",
            Changes(memory_bytes=memory * MIB, memory_swap_bytes=swap * MIB if swap > 0 else swap),
        )
        assert found(path, "memory", "memory.limit_in_bytes") == str(memory * MIB)
        said = int(found(path, "memory", "memory.memsw.limit_in_bytes"))
        assert said == swap * MIB if swap > 0 else said > 1 << 60
    engine.containers.update("box", Changes(memory_reservation_bytes=8 * MIB, cpu_shares=700))
    assert found(path, "memory", "memory.soft_limit_in_bytes") == str(8 * MIB)
    assert found(path, "cpu", "cpu.shares") == "700"
    shown = engine.containers.inspect("box")
    assert shown.resources == Resources(
        memory_swap_bytes=16 * MIB, memory_reservation_bytes=8 * MIB, cpu_shares=700
    )


@IS_V1
def test_less_memory_than_is_in_use_is_refused_and_nothing_has_changed(
    engine: LocalEngine, image: str
) -> None:
    fill = "busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null"
    path = started(
        engine, image, "sh", "-c", f"{fill}; echo up; sleep 1000", memory_bytes=512 * MIB
    )
    stream = engine.containers.logs("box", follow=True)
    assert next(stream).text == b"up"
    stream.close()
    before = engine.containers.inspect("box")
    with pytest.raises(Conflict, match=r"cannot update container box: memory\."):
        engine.containers.update(
            "box",
            Changes(memory_bytes=8 * MIB, memory_swap_bytes=8 * MIB, pids_limit=9, cpu_shares=5),
        )
    assert engine.containers.inspect("box") == before
    assert open_cgroup(path).limits() == Limits(512 * MIB, 0, 0)
    assert found(path, "cpu", "cpu.shares") == "1024"


def test_one_way_to_limit_the_cpu_at_a_time(engine: LocalEngine, image: str) -> None:
    path = started(engine, image)
    engine.containers.update("box", Changes(cpu_quota_us=20_000, cpu_period_us=50_000))
    assert open_cgroup(path).limits().nano_cpus == 400_000_000
    with pytest.raises(
        InvalidInput, match="NanoCPUs cannot be updated as CPU Quota has already been set"
    ):
        engine.containers.update("box", Changes(nano_cpus=10**9))


def test_a_policy_that_says_no_ends_the_wait_for_a_start(engine: LocalEngine, image: str) -> None:
    engine.containers.create(
        CreateOptions(
            image, "box", command=("false",), network="none", restart=RestartPolicy("always")
        )
    )
    engine.containers.start("box")
    until(lambda: engine.containers.inspect("box").summary.state == "restarting")
    engine.containers.update("box", Changes(restart=RestartPolicy()))
    engine.containers.update("box", Changes(restart=RestartPolicy()))
    until(lambda: engine.containers.inspect("box").summary.state == "exited")
    assert engine.containers.wait("box") == 1


def test_a_container_that_removes_itself_has_no_policy(engine: LocalEngine, image: str) -> None:
    engine.containers.create(CreateOptions(image, "box", network="none", auto_remove=True))
    with pytest.raises(InvalidInput, match="because AutoRemove is enabled"):
        engine.containers.update("box", Changes(restart=RestartPolicy("always")))
