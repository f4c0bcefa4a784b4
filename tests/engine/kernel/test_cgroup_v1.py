from pathlib import Path

import pytest

from engine.kernel import cgroup_v1


def tree(tmp_path: Path) -> cgroup_v1.Tree:
    mounts = tuple(
        (str(tmp_path / name), (name,)) for name in ("cpu", "cpuset", "freezer", "memory", "pids")
    )
    for point, _ in mounts:
        Path(point).mkdir()
    return cgroup_v1.Tree("/pydock/x", mounts)


def fill(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_cpusets_are_filled_from_the_top(tmp_path: Path) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "cpuset", cpuset__cpus="0-3\n", cpuset__mems="0\n")
    for part in ("pydock", "pydock/x"):
        fill(tmp_path / "cpuset" / part, cpuset__cpus="\n", cpuset__mems="\n")
    found.create()
    for part in ("pydock", "pydock/x"):
        assert (tmp_path / "cpuset" / part / "cpuset.cpus").read_text().startswith("0-3")


def test_existing_cpuset_stays(tmp_path: Path) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "cpuset", cpuset__cpus="0-3", cpuset__mems="0")
    fill(tmp_path / "cpuset/pydock", cpuset__cpus="1", cpuset__mems="0")
    fill(tmp_path / "cpuset/pydock/x", cpuset__cpus="", cpuset__mems="")
    found.create()
    assert (tmp_path / "cpuset/pydock/x/cpuset.cpus").read_text() == "1"


def test_limits_are_written_in_the_units_of_v1(tmp_path: Path) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "memory/pydock/x", memory__limit_in_bytes="", memory__memsw__limit_in_bytes="")
    fill(tmp_path / "cpu/pydock/x", cpu__cfs_period_us="", cpu__cfs_quota_us="")
    fill(tmp_path / "pids/pydock/x", pids__max="")
    found.limit(64 << 20, 1_500_000_000, 9)
    assert (tmp_path / "memory/pydock/x/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "memory/pydock/x/memory.memsw.limit_in_bytes").read_text() == str(128 << 20)
    assert (tmp_path / "cpu/pydock/x/cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "pids/pydock/x/pids.max").read_text() == "9"
    assert found.limits() == (64 << 20, 1_500_000_000, 9)


def test_kernel_without_swap_accounting_gets_the_memory_limit_alone(tmp_path: Path) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "memory/pydock/x", memory__limit_in_bytes="")
    found.limit(1 << 20, 0, 0)
    assert (tmp_path / "memory/pydock/x/memory.limit_in_bytes").read_text() == str(1 << 20)


def test_no_limit_reads_as_zero(tmp_path: Path) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "memory/pydock/x", memory__limit_in_bytes="9223372036854771712\n")
    fill(tmp_path / "cpu/pydock/x", cpu__cfs_period_us="100000\n", cpu__cfs_quota_us="-1\n")
    fill(tmp_path / "pids/pydock/x", pids__max="max\n")
    assert found.limits() == (0, 0, 0)


def test_freeze_that_never_ends_is_given_up_and_thawed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tree(tmp_path)
    fill(tmp_path / "freezer/pydock/x", freezer__state="")
    monkeypatch.setattr(cgroup_v1, "_FREEZE_SECONDS", 0)
    monkeypatch.setattr(cgroup_v1, "read_file", lambda _: b"FREEZING\n")
    with pytest.raises(OSError, match="busy"):
        found.freeze()
    assert (tmp_path / "freezer/pydock/x/freezer.state").read_text().startswith("THAWED")
