import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel.cgroup import Cgroup, Limits, find_hierarchies, open_cgroup
from tests.support.host import CGROUP_PARENT

HYBRID = """\
22 1 0:20 / / rw - ext4 /dev/vda rw
31 22 0:28 / /sys/fs/cgroup rw,relatime shared:4 - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory
34 31 0:30 / /mnt/again rw - cgroup cgroup rw,memory
35 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
36 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
"""


def test_hierarchies_are_found_with_their_controllers(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(HYBRID)
    assert find_hierarchies(str(tmp_path / "mountinfo")) == (
        (
            ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")),
            ("/sys/fs/cgroup/my memory", ("memory",)),
            ("/sys/fs/cgroup/systemd", ("name=systemd",)),
        ),
        "/sys/fs/cgroup/unified",
    )


@pytest.mark.parametrize("path", ["pydock/x", "/", "/a/../b", ""])
def test_path_that_leaves_the_tree_is_refused(path: str) -> None:
    with pytest.raises(OSError, match="Invalid"):
        open_cgroup(path, ((), "/sys/fs/cgroup"))


def test_host_without_cgroups_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        open_cgroup("/x", ((), ""))


def test_limits_are_a_value() -> None:
    assert Limits(1, 2, 3) == Limits(memory_bytes=1, nano_cpus=2, pids=3)
    assert len({Limits(), Limits()}) == 1
    assert repr(Limits(pids=4)) == "Limits(memory_bytes=0, nano_cpus=0, pids=4)"


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    found = open_cgroup(f"{CGROUP_PARENT}/unit/c")
    yield found
    found.kill()
    found.remove()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.root
def test_limits_read_back_as_they_were_set(cgroup: Cgroup) -> None:
    limits = Limits(memory_bytes=64 << 20, nano_cpus=1_500_000_000, pids=17)
    cgroup.create(limits)
    assert cgroup.limits() == limits


@pytest.mark.root
def test_new_cgroup_is_in_every_hierarchy_and_without_limits(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    assert all(os.path.isdir(each) for each in cgroup.directories)
    assert cgroup.limits() == Limits()
    assert cgroup.pids() == []


@pytest.mark.root
def test_controller_is_found_where_it_lives(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    for controller, file in (("memory", "memory.stat"), ("pids", "pids.max"), ("cpu", "cpu.stat")):
        found = cgroup.directory(controller)
        assert found is not None
        assert os.path.exists(f"{found[1]}/{file}")
    assert cgroup.directory("nonsense") is None


@pytest.mark.root
def test_process_joins_and_is_listed(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.create(Limits())
    cgroup.join(sleeper.pid)
    assert cgroup.pids() == [sleeper.pid]
    for line in Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines():
        assert line.endswith(cgroup.path)


@pytest.mark.root
def test_processes_of_cgroups_below_are_listed_and_removed_too(
    cgroup: Cgroup, sleeper: subprocess.Popen[bytes]
) -> None:
    cgroup.create(Limits())
    below = open_cgroup(f"{cgroup.path}/below/deep")
    below.create(Limits())
    below.join(sleeper.pid)
    assert cgroup.pids() == [sleeper.pid]
    cgroup.kill()
    sleeper.wait()
    cgroup.remove()
    assert not any(os.path.exists(each) for each in cgroup.directories)


@pytest.mark.root
def test_frozen_processes_stand_still_and_can_be_killed(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    process = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    cgroup.join(process.pid)
    cgroup.freeze()
    assert cgroup.is_frozen()
    before = Path(f"/proc/{process.pid}/stat").read_text().split()[13]
    time.sleep(0.05)
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[13] == before
    cgroup.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.root
def test_thawed_processes_go_on(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.create(Limits())
    cgroup.join(sleeper.pid)
    cgroup.freeze()
    cgroup.thaw()
    assert not cgroup.is_frozen()
    cgroup.kill(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM


@pytest.mark.root
def test_fork_bomb_is_killed_whole_without_the_v2_tree(cgroup: Cgroup) -> None:
    """As on hosts that have v1 alone: freeze, signal all, thaw."""
    v1 = open_cgroup(cgroup.path, (cgroup.hierarchies[0], ""))
    if not v1.directories:
        v1 = cgroup
    v1.create(Limits(pids=50))
    bomb = "f() { f & f & sleep 0.01; }; f 2>/dev/null; sleep 60"
    process = subprocess.Popen(
        ["sh", "-c", bomb], preexec_fn=lambda: v1.join(0), stderr=subprocess.DEVNULL
    )
    while len(v1.pids()) < 30:
        time.sleep(0.005)
    v1.kill()
    process.wait()
    assert v1.pids() == []
    v1.remove()


@pytest.mark.root
def test_cgroup_with_processes_is_not_taken_over(
    cgroup: Cgroup, sleeper: subprocess.Popen[bytes]
) -> None:
    cgroup.create(Limits())
    cgroup.join(sleeper.pid)
    with pytest.raises(OSError, match="busy") as caught:
        cgroup.create(Limits())
    assert caught.value.errno == errno.EBUSY
    assert cgroup.pids() == [sleeper.pid]


@pytest.mark.root
def test_refused_limit_leaves_no_cgroup(cgroup: Cgroup) -> None:
    with pytest.raises(OSError, match="Invalid") as caught:
        cgroup.create(Limits(nano_cpus=1))  # 0.1 µs of 100 ms: below what the kernel takes
    assert "cpu" in caught.value.filename
    assert not any(os.path.exists(each) for each in cgroup.directories)


@pytest.mark.root
def test_missing_controller_is_named(cgroup: Cgroup) -> None:
    v1 = tuple(each for each in cgroup.hierarchies[0] if "pids" not in each[1])
    other = Cgroup(cgroup.path, (v1, cgroup.hierarchies[1]))
    if other.directory("pids"):
        return  # a v2 host has it in its one tree
    with pytest.raises(OSError, match="not supported") as caught:
        other.create(Limits(pids=5))
    assert caught.value.filename == "pids"
    assert not any(os.path.exists(each) for each in cgroup.directories)


@pytest.mark.root
def test_devices_are_dockers(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    script = "cat /dev/null && head -c1 /dev/zero && mknod m c 1 1 && ! head -c1 m && rm m"
    process = subprocess.run(
        ["sh", "-c", script],
        preexec_fn=lambda: cgroup.join(0),
        capture_output=True,
        cwd="/run",
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert b"not permitted" in process.stderr


@pytest.mark.root
def test_memory_limit_kills(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory_bytes=16 << 20))
    process = subprocess.run(
        ["sh", "-c", "head -c 64m /dev/zero | tail | wc -c; exit 3"],
        preexec_fn=lambda: cgroup.join(0),
        capture_output=True,
        check=False,
    )
    assert process.stdout.strip() == b"0" or process.returncode != 3
