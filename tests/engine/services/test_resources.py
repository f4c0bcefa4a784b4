"""A container's finer limits, read back from the kernel's cgroups."""

import os
from typing import Any

import pytest

from engine.docker_json import container as docker_json
from engine.errors import InvalidInput, NotFound
from engine.kernel.cgroup import find_hierarchies, open_cgroup
from engine.kernel.files import read_file
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.model.resources import Resources
from engine.services.resources import parse_list

pytestmark = pytest.mark.root

V1 = {name for _, names in find_hierarchies()[0] for name in names}


def started(engine: LocalEngine, image: str, memory_bytes: int = 0, **limits: Any) -> str:
    """The cgroup path of a container that runs with these limits."""
    ref = engine.containers.create(
        CreateOptions(
            image,
            command=("sleep", "1000"),
            network="none",
            memory_bytes=memory_bytes,
            resources=Resources(**limits),
        )
    )
    engine.containers.start(ref)
    return engine.containers.inspect(ref).cgroup


def found(path: str, controller: str, name: str) -> str:
    place = open_cgroup(path).directory(controller)
    assert place is not None
    return read_file(f"{place[1]}/{name}").decode().strip()


@pytest.mark.skipif("memory" not in V1, reason="the memory controller is v2's here")
def test_memory_is_limited_more_finely(engine: LocalEngine, image: str) -> None:
    path = started(
        engine,
        image,
        64 << 20,
        memory_swap_bytes=80 << 20,
        memory_reservation_bytes=32 << 20,
        oom_kill_disable=True,
    )
    assert found(path, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert found(path, "memory", "memory.memsw.limit_in_bytes") == str(80 << 20)
    assert found(path, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert "oom_kill_disable 1" in found(path, "memory", "memory.oom_control")


@pytest.mark.skipif("memory" not in V1, reason="the memory controller is v2's here")
def test_swap_is_not_limited_when_that_is_asked_for(engine: LocalEngine, image: str) -> None:
    path = started(engine, image, 64 << 20, memory_swap_bytes=-1)
    assert int(found(path, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60


@pytest.mark.skipif("cpu" not in V1, reason="the cpu controller is v2's here")
def test_time_on_cpus_is_shared_and_limited(engine: LocalEngine, image: str) -> None:
    path = started(engine, image, cpu_shares=512, cpu_period_us=50_000, cpu_quota_us=20_000)
    assert found(path, "cpu", "cpu.shares") == "512"
    assert found(path, "cpu", "cpu.cfs_period_us") == "50000"
    assert found(path, "cpu", "cpu.cfs_quota_us") == "20000"
    path = started(engine, image, cpu_quota_us=20_000)
    assert found(path, "cpu", "cpu.cfs_quota_us") == "20000"
    assert found(started(engine, image, cpu_period_us=9000), "cpu", "cpu.cfs_period_us") == "9000"


@pytest.mark.skipif("cpuset" not in V1, reason="the cpuset controller is v2's here")
def test_cpus_and_memory_nodes_are_chosen(engine: LocalEngine, image: str) -> None:
    path = started(engine, image, cpuset_cpus="0", cpuset_mems="0")
    assert found(path, "cpuset", "cpuset.cpus") == "0"
    assert found(path, "cpuset", "cpuset.mems") == "0"
    (row,) = engine.containers.list()
    with open(f"/proc/{row.pid}/status") as file:
        assert "Cpus_allowed_list:\t0\n" in file.read()


@pytest.fixture
def disk() -> str:
    """A block device of this host."""
    for name in sorted(os.listdir("/sys/block")):
        path = f"/dev/{name}"
        if os.path.exists(path):
            return path
    pytest.skip("this host has no block device")


@pytest.mark.skipif("blkio" not in V1, reason="the io controller is v2's here")
def test_a_devices_rates_are_limited(engine: LocalEngine, image: str, disk: str) -> None:
    path = started(
        engine,
        image,
        read_bps=((disk, 1 << 20),),
        write_bps=((disk, 2 << 20),),
        read_iops=((disk, 100),),
        write_iops=((disk, 200),),
    )
    number = os.stat(disk).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    for file, rate in (
        ("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 100), ("write_iops", 200),
    ):  # fmt: skip
        assert found(path, "blkio", f"blkio.throttle.{file}_device") == f"{name} {rate}"


@pytest.mark.skipif("blkio" not in V1, reason="the io controller is v2's here")
def test_a_weight_is_set_where_there_are_some(engine: LocalEngine, image: str) -> None:
    place = open_cgroup(started(engine, image, cpu_shares=2)).directory("blkio")
    assert place is not None
    names = [each for each in ("blkio.bfq.weight", "blkio.weight") if each in os.listdir(place[1])]
    if not names:
        pytest.skip("no I/O scheduler of this kernel has weights")
    path = started(engine, image, blkio_weight=300)
    assert found(path, "blkio", names[0]).split()[-1] == "300"


@pytest.mark.parametrize(
    ("memory_mib", "limits", "text"),
    [
        (0, {"memory_swap_bytes": 1 << 30}, "you should always set the Memory limit"),
        (64, {"memory_swap_bytes": 1 << 20}, "minimum memoryswap limit should be larger than"),
        (0, {"memory_reservation_bytes": 1 << 20}, "minimum memory reservation allowed is 6MB"),
        (64, {"memory_reservation_bytes": 1 << 30}, "can not be less than memory reservation"),
        (0, {"cpu_shares": -5}, r"invalid CPU shares \(-5\)"),
        (0, {"cpu_period_us": 999}, "CPU cfs period can not be less than 1ms"),
        (0, {"cpu_quota_us": 999}, "CPU cfs quota can not be less than 1ms"),
        (0, {"cpuset_cpus": "a"}, "invalid value a for cpuset cpus"),
        (0, {"cpuset_cpus": "3-1"}, "invalid value 3-1 for cpuset cpus"),
        (0, {"cpuset_cpus": "0,9999"}, "requested CPUs are not available - requested 0,9999"),
        (0, {"cpuset_mems": "1-"}, "invalid value 1- for cpuset mems"),
        (0, {"cpuset_mems": "999"}, "requested memory nodes are not available"),
        (0, {"blkio_weight": 5}, "range of blkio weight is from 10 to 1000"),
        (0, {"read_bps": (("/dev/null", 1),)}, "/dev/null: not a block device"),
    ],
)
def test_what_is_wrong_is_told(
    engine: LocalEngine, image: str, memory_mib: int, limits: dict[str, Any], text: str
) -> None:
    options = CreateOptions(image, memory_bytes=memory_mib << 20, resources=Resources(**limits))
    with pytest.raises(InvalidInput, match=text):
        engine.containers.create(options)
    assert engine.containers.list(all=True) == []


def test_cpus_are_given_one_way_alone(engine: LocalEngine, image: str) -> None:
    for name, said in (("cpu_period_us", "Period"), ("cpu_quota_us", "Quota")):
        resources = Resources(**{name: 5000})  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=f"Nano CPUs and CPU {said} cannot both be set"):
            engine.containers.create(
                CreateOptions(image, nano_cpus=500_000_000, resources=resources)
            )


def test_a_device_that_is_not_there_is_told(engine: LocalEngine, image: str) -> None:
    with pytest.raises(NotFound, match="/dev/none: no such file or directory"):
        engine.containers.create(
            CreateOptions(image, resources=Resources(read_iops=(("/dev/none", 1),)))
        )


def test_inspect_says_what_was_asked_for(engine: LocalEngine, image: str) -> None:
    wanted = Resources(cpu_shares=5, cpuset_cpus="0", memory_swap_bytes=-1, blkio_weight=10)
    ref = engine.containers.create(CreateOptions(image, resources=wanted))
    assert engine.containers.inspect(ref).resources == wanted
    config = docker_json(engine.containers.inspect(ref))["HostConfig"]
    assert (config["CpuShares"], config["CpusetCpus"]) == (5, "0")
    assert (config["MemorySwap"], config["BlkioWeight"]) == (-1, 10)


def test_lists_of_numbers() -> None:
    assert parse_list("0-2,7") == {0, 1, 2, 7}
    assert parse_list("4") == {4}
    for text in ("", "-", "1-", "2-1", "a", "1,,2", "٣"):
        assert parse_list(text) is None
