"""Finer limits in the units of v1 and v2, in ordinary files: what is written is what one reads."""

from pathlib import Path
from typing import Any

import pytest

from engine.kernel.cgroup import Cgroup
from engine.kernel.cgroup_settings import apply, controllers, cpu_weight, io_weight

V1 = (
    "memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.oom_control cpu.shares "
    "cpu.cfs_period_us cpu.cfs_quota_us cpuset.cpus cpuset.mems blkio.weight "
    "blkio.throttle.read_bps_device blkio.throttle.write_iops_device"
)
V2 = "memory.swap.max memory.low cpu.weight cpuset.cpus cpuset.mems io.weight io.max"


def written(directory: Path, version: int, controller: str, **settings: Any) -> dict[str, str]:
    """What the files hold that were written to."""
    for name in (V1 if version == 1 else V2).split():
        (directory / name).write_text("")
    if version == 2:
        (directory / "memory.max").write_text("100\n")
        (directory / "cpu.max").write_text("7 1\n")
    before = {path.name: path.read_text() for path in directory.iterdir()}
    given = {name.replace("_", "."): value for name, value in settings.items()}
    apply(given, version, controller, str(directory))
    after = {path.name: path.read_text() for path in directory.iterdir()}
    return {name: text for name, text in after.items() if before[name] != text}


@pytest.mark.parametrize(
    ("controller", "settings", "v1", "v2"),
    [
        ("memory", {"memory_swap": 150}, {"memory.memsw.limit_in_bytes": "150"},
         {"memory.swap.max": "50"}),
        ("memory", {"memory_swap": -1}, {"memory.memsw.limit_in_bytes": "-1"},
         {"memory.swap.max": "max"}),
        ("memory", {"memory_reservation": 9}, {"memory.soft_limit_in_bytes": "9"},
         {"memory.low": "9"}),
        ("cpu", {"cpu_shares": 1024}, {"cpu.shares": "1024"}, {"cpu.weight": "100"}),
        ("cpu", {"cpu_shares": 1}, {"cpu.shares": "2"}, {"cpu.weight": "1"}),
        ("cpu", {"cpu_period": 5000, "cpu_quota": 2000},
         {"cpu.cfs_period_us": "5000", "cpu.cfs_quota_us": "2000"}, {"cpu.max": "2000 5000"}),
        ("cpu", {"cpu_period": 5000}, {"cpu.cfs_period_us": "5000"}, {"cpu.max": "7 5000"}),
        ("cpu", {"cpu_quota": -1}, {"cpu.cfs_quota_us": "-1"}, {"cpu.max": "max 1"}),
        ("cpuset", {"cpuset_cpus": "0-1", "cpuset_mems": "0"},
         {"cpuset.cpus": "0-1", "cpuset.mems": "0"}, {"cpuset.cpus": "0-1", "cpuset.mems": "0"}),
        ("io", {"blockIO_weight": 500}, {"blkio.weight": "500"}, {"io.weight": "4950"}),
        ("io", {"blockIO_throttleReadBpsDevice": ((8, 0, 77),)},
         {"blkio.throttle.read_bps_device": "8:0 77"}, {"io.max": "8:0 rbps=77"}),
        ("io", {"blockIO_throttleWriteIOPSDevice": ((8, 0, 7),)},
         {"blkio.throttle.write_iops_device": "8:0 7"}, {"io.max": "8:0 wiops=7"}),
        ("cpu", {"memory_reservation": 9}, {}, {}),
    ],
)  # fmt: skip
def test_a_setting_is_written_in_the_units_of_the_version(
    tmp_path: Path,
    controller: str,
    settings: dict[str, Any],
    v1: dict[str, str],
    v2: dict[str, str],
) -> None:
    for version, expected in ((1, v1), (2, v2)):
        directory = tmp_path / str(version)
        directory.mkdir()
        assert written(directory, version, controller, **settings) == expected


def test_the_file_of_the_scheduler_that_is_there_is_written(tmp_path: Path) -> None:
    (tmp_path / "io.bfq.weight").write_text("")
    apply({"blockIO.weight": 500}, 2, "io", str(tmp_path))
    assert (tmp_path / "io.bfq.weight").read_text() == "500"


@pytest.mark.parametrize(
    ("version", "settings", "name"),
    [
        (1, {"memory.swap": 5}, "memory.memsw.limit_in_bytes"),
        (1, {"memory.disableOOMKiller": 1}, "memory.oom_control"),
        (2, {"memory.disableOOMKiller": 1}, "memory.oom_control"),
        (2, {"memory.reservation": 1}, "memory.low"),
    ],
)
def test_what_the_kernel_does_not_have_is_named(
    tmp_path: Path, version: int, settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(OSError, match="not supported") as failure:
        apply(settings, version, "memory", str(tmp_path))
    assert failure.value.filename == f"{tmp_path}/{name}"


def test_weights_are_runcs() -> None:
    assert [cpu_weight(each) for each in (2, 1024, 262144)] == [1, 100, 10000]
    assert [io_weight(each) for each in (10, 1000)] == [1, 10000]


def test_only_the_controllers_that_are_needed_are_enabled(tmp_path: Path) -> None:
    assert controllers({"cpuset.cpus": "0", "blockIO.weight": 5}) == {"cpuset", "io"}
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory\n")
    for part in ("", "x"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "cgroup.subtree_control").write_text("")
    (tmp_path / "x/y").mkdir()
    for name in ("cpuset.cpus", "cgroup.procs"):
        (tmp_path / "x/y" / name).write_text("")
    cgroup = Cgroup("/x/y", ((), str(tmp_path)))
    cgroup._set({"cpuset.cpus": "1"})
    assert (tmp_path / "x/y/cpuset.cpus").read_text() == "1"
    for part in ("", "x"):
        assert (tmp_path / part / "cgroup.subtree_control").read_text() == "+cpuset"
    with pytest.raises(OSError, match="not supported"):
        cgroup._set({"blockIO.weight": 500})
