"""Other limits for a cgroup, in ordinary files: the order of writes, and what is taken back."""

from pathlib import Path
from typing import Any

import pytest

from engine.kernel import cgroup_update
from engine.kernel.cgroup import Cgroup
from engine.kernel.cgroup_update import update
from engine.kernel.files import write_file

V1 = {
    "memory.limit_in_bytes": "100\n", "memory.memsw.limit_in_bytes": "200\n",
    "memory.soft_limit_in_bytes": "9\n", "cpu.shares": "1024\n", "cpu.cfs_period_us": "100000\n",
    "cpu.cfs_quota_us": "-1\n", "pids.max": "max\n",
}  # fmt: skip
V2 = {
    "memory.max": "100\n", "memory.swap.max": "100\n", "memory.low": "0\n",
    "memory.stat": "anon 50\n",
    "cpu.max": "max 100000\n", "cpu.weight": "100\n", "pids.max": "max\n", "cpuset.cpus": "\n",
}  # fmt: skip


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def make(root: Path, version: int) -> tuple[Cgroup, Path]:
    directory = root / "box"
    directory.mkdir()
    for name, text in (V1 if version == 1 else V2).items():
        (directory / name).write_text(text)
    if version == 1:
        return Cgroup("/box", (((str(root), ("memory", "cpu", "pids")),), "")), directory
    (root / "cgroup.controllers").write_text("cpu cpuset memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    return Cgroup("/box", ((), str(root))), directory


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """File and text of every write, in order; ordinary files are cut first."""
    found: list[tuple[str, str]] = []

    def write(path: str, data: bytes) -> None:
        found.append((Path(path).name, data.decode()))
        Path(path).write_text("")
        write_file(path, data)

    monkeypatch.setattr(cgroup_update, "write_file", write)
    return found


@pytest.mark.parametrize(
    ("settings", "v1", "v2"),
    [
        ({"memory.limit": 150, "memory.swap": 300},
         [("memory.memsw.limit_in_bytes", "300"), ("memory.limit_in_bytes", "150")],
         [("memory.max", "150"), ("memory.swap.max", "150")]),
        ({"memory.limit": 80, "memory.swap": 90},
         [("memory.limit_in_bytes", "80"), ("memory.memsw.limit_in_bytes", "90")],
         [("memory.max", "80"), ("memory.swap.max", "10")]),
        ({"memory.limit": 500, "memory.swap": -1},
         [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "500")],
         [("memory.max", "500"), ("memory.swap.max", "max")]),
        ({"memory.limit": 80, "memory.reservation": 70},
         [("memory.limit_in_bytes", "80"), ("memory.soft_limit_in_bytes", "70")],
         [("memory.max", "80"), ("memory.low", "70")]),
        ({"cpu.period": 100000, "cpu.quota": 50000},
         [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
         [("cpu.max", "50000 100000")]),
        ({"pids.limit": 9, "cpu.shares": 1024},
         [("cpu.shares", "1024"), ("pids.max", "9")],
         [("cpu.weight", "100"), ("pids.max", "9")]),
        ({"pids.limit": -1}, [("pids.max", "max")], [("pids.max", "max")]),
    ],
)  # fmt: skip
def test_limits_are_written_in_an_order_that_the_kernel_takes(
    tmp_path: Path, version: int, written: list[tuple[str, str]],
    settings: dict[str, Any], v1: list[tuple[str, str]], v2: list[tuple[str, str]],
) -> None:  # fmt: skip
    cgroup, _ = make(tmp_path, version)
    update(cgroup, settings)
    assert written == (v1 if version == 1 else v2)


def test_what_was_written_is_taken_back_when_the_next_is_refused(
    tmp_path: Path, version: int, written: list[tuple[str, str]]
) -> None:
    cgroup, directory = make(tmp_path, version)
    (directory / "pids.max").unlink()
    before = {path.name: path.read_text().strip() for path in directory.iterdir()}
    with pytest.raises(OSError, match=r"pids\.max"):
        update(cgroup, {"memory.limit": 80, "memory.swap": 90, "cpu.shares": 5, "pids.limit": 7})
    assert len(written) == 6
    assert {path.name: path.read_text().strip() for path in directory.iterdir()} == before


def test_v2_is_not_made_to_kill(tmp_path: Path, written: list[tuple[str, str]]) -> None:
    cgroup, _ = make(tmp_path, 2)
    with pytest.raises(OSError, match="Device or resource busy"):
        update(cgroup, {"memory.limit": 40})
    assert written == []


def test_a_limit_that_the_host_lacks_is_said(tmp_path: Path, version: int) -> None:
    cgroup, _ = make(tmp_path, version)
    with pytest.raises(OSError, match="io"):
        update(cgroup, {"blockIO.weight": 100})
