from pathlib import Path

import pytest

from engine.kernel import cgroup_v2
from engine.kernel.cgroup import Cgroup, Limits


def fake(tmp_path: Path, controllers: str = "cpuset cpu io memory hugetlb pids") -> cgroup_v2.Tree:
    """A tree of ordinary files: what is written is what one reads."""
    (tmp_path / "cgroup.controllers").write_text(controllers + "\n")
    for part in ("", "pydock"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "cgroup.subtree_control").write_text("")
    directory = tmp_path / "pydock/x"
    directory.mkdir()
    names = "memory.max memory.swap.max cpu.max pids.max cgroup.freeze cgroup.procs cgroup.kill"
    for name in names.split():
        (directory / name).write_text("")
    return cgroup_v2.Tree("/pydock/x", str(tmp_path))


def test_every_parent_hands_down_the_controllers(tmp_path: Path) -> None:
    fake(tmp_path).create()
    for part in ("", "pydock"):
        text = (tmp_path / part / "cgroup.subtree_control").read_text()
        assert text == "+cpu +io +memory +pids"
    assert not (tmp_path / "pydock/x/cgroup.subtree_control").exists()


def test_tree_without_controllers_is_left_alone(tmp_path: Path) -> None:
    """Hybrid hosts: v1 has them all."""
    fake(tmp_path, "hugetlb").create()
    assert (tmp_path / "cgroup.subtree_control").read_text() == ""


def test_limits_are_written_in_the_units_of_v2(tmp_path: Path) -> None:
    tree = fake(tmp_path)
    tree.limit(64 << 20, 1_500_000_000, 9)
    directory = tmp_path / "pydock/x"
    assert (directory / "memory.max").read_text() == str(64 << 20)
    assert (directory / "memory.swap.max").read_text() == str(64 << 20)
    assert (directory / "cpu.max").read_text() == "150000 100000"
    assert (directory / "pids.max").read_text() == "9"
    assert tree.limits() == (64 << 20, 1_500_000_000, 9)


def test_no_limit_reads_as_zero(tmp_path: Path) -> None:
    tree = fake(tmp_path)
    directory = tmp_path / "pydock/x"
    (directory / "memory.max").write_text("max\n")
    (directory / "cpu.max").write_text("max 100000\n")
    (directory / "pids.max").unlink()
    assert tree.limits() == (0, 0, 0)


def test_freezing_waits_for_the_kernels_event(tmp_path: Path) -> None:
    tree = fake(tmp_path)
    (tmp_path / "pydock/x/cgroup.events").write_text("populated 1\nfrozen 1\n")
    tree.freeze()
    assert (tmp_path / "pydock/x/cgroup.freeze").read_text() == "1"
    assert tree.is_frozen()
    tree.thaw()
    assert not tree.is_frozen()


def test_freezing_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = fake(tmp_path)
    (tmp_path / "pydock/x/cgroup.events").write_text("populated 1\nfrozen 0\n")
    monkeypatch.setattr(cgroup_v2, "_FREEZE_SECONDS", 0)
    with pytest.raises(OSError, match="busy"):
        tree.freeze()
    assert not tree.is_frozen()


def test_pure_v2_host_is_used_by_one_tree_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path)
    allowed: list[tuple[str, ...]] = []
    monkeypatch.setattr(cgroup_v2.Tree, "allow_devices", lambda _, rules: allowed.append(rules))
    cgroup = Cgroup("/pydock/x", ((), str(tmp_path)))
    limits = Limits(memory_bytes=8 << 20, nano_cpus=10_000_000, pids=3)
    cgroup.create(limits, ("c 1:3 rwm",))
    assert cgroup.limits() == limits
    assert allowed == [("c 1:3 rwm",)]
    assert not cgroup.needs_join
    cgroup.join(42)
    assert (tmp_path / "pydock/x/cgroup.procs").read_text() == "42"
    assert cgroup.pids() == [42]
    cgroup.kill()
    assert (tmp_path / "pydock/x/cgroup.kill").read_text() == "1"
    assert cgroup.directory("memory") == (2, f"{tmp_path}/pydock/x")
