import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel.cgroup import Cgroup, Limits, open_cgroup
from engine.model.stats import StatsSample
from engine.runtime import stats
from engine.runtime.stats import Meters
from tests.support import lab
from tests.support.descriptors import open_now, opened_since
from tests.support.host import CGROUP_PARENT
from tests.support.waiting import until

MEMORY_STAT = "anon 1000\nfile 5000\ninactive_anon 7\nactive_file 100\ninactive_file {}\n"


class FakeTree:
    """A v2 tree of plain files with one cgroup in it."""

    def __init__(self, directory: Path) -> None:
        self.hierarchies = ((), str(directory))
        (directory / "pydock/c").mkdir(parents=True)
        (directory / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
        self._directory = directory / "pydock/c"
        self.write(
            "cpu.stat", "usage_usec 1000000\nuser_usec 5\nthrottled_usec 250\nburst_usec 9\n"
        )
        self.write("memory.current", "9000\n")
        self.write("memory.stat", MEMORY_STAT.format(4000))
        self.write("memory.max", "1048576\n")
        self.write("pids.current", "3\n")
        self.write("io.stat", "8:0 rbytes=100 wbytes=20 rios=3 wios=4 dbytes=9\n"
                              "8:16 rbytes=1 wbytes=2 rios=1 wios=1\n")  # fmt: skip

    def write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def meters(self) -> Meters:
        meters = Meters(self.hierarchies)
        meters.add("c", "/pydock/c")
        return meters


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path)


def one(meters: Meters) -> StatsSample:
    (sample,) = meters.read()
    return sample


def test_v2_sample_has_every_figure(tree: FakeTree) -> None:
    sample = one(tree.meters())
    assert sample.container_id == "c"
    assert sample.cpu_usage_ns == 1_000_000_000
    assert sample.cpu_percent == 0
    assert sample.throttled_ns == 250_000
    assert sample.memory_bytes == 5000
    assert sample.memory_limit_bytes == 1048576
    assert sample.pids == 3
    assert (sample.block_read_bytes, sample.block_written_bytes) == (101, 22)
    assert (sample.network_received_bytes, sample.network_sent_bytes) == (0, 0)


def test_cpu_percent_is_of_one_core_and_of_the_time_between_readings(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10_000_000_000, 11_000_000_000, 13_000_000_000])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    meters = tree.meters()
    assert one(meters).cpu_percent == 0
    tree.write("cpu.stat", "usage_usec 3000000\n")
    assert one(meters).cpu_percent == 200
    tree.write("cpu.stat", "usage_usec 3500000\n")
    assert one(meters).cpu_percent == 25


def test_no_limit_and_limits_above_the_memory_of_the_host_are_the_memory_of_the_host(
    tree: FakeTree,
) -> None:
    total = stats._meminfo()["MemTotal"]
    for text in ("max\n", f"{1 << 60}\n"):
        tree.write("memory.max", text)
        assert one(tree.meters()).memory_limit_bytes == total


def test_memory_is_never_negative(tree: FakeTree) -> None:
    tree.write("memory.stat", MEMORY_STAT.format(9001))
    assert one(tree.meters()).memory_bytes == 9000


def test_missing_controllers_count_as_nothing(tree: FakeTree, tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    sample = one(tree.meters())
    assert (sample.pids, sample.block_read_bytes) == (0, 0)
    assert sample.memory_bytes == 5000


def test_slow_files_are_read_in_turn_when_there_are_many(tmp_path: Path) -> None:
    tree = FakeTree(tmp_path)
    meters = Meters(tree.hierarchies)
    for number in range(60):
        meters.add(f"c{number}", "/pydock/c")
    assert {sample.memory_bytes for sample in meters.read()} == {5000}  # the first is complete
    tree.write("memory.stat", MEMORY_STAT.format(3000))
    fresh = [sum(sample.memory_bytes == 6000 for sample in meters.read()) for _ in range(3)]
    assert fresh[0] == 25
    assert fresh[-1] == 60
    meters.close()


def test_container_that_has_ended_already_is_not_read(tree: FakeTree) -> None:
    meters = Meters(tree.hierarchies)
    meters.add("gone", "/pydock/gone")
    assert meters.read() == ()


def test_nothing_stays_open(tree: FakeTree) -> None:
    before = open_now()
    meters = tree.meters()
    meters.add("c", "/pydock/c")  # again
    meters.add("d", "/pydock/c")
    meters.read()
    meters.remove("d")
    meters.remove("d")
    meters.close()
    assert not opened_since(before)


def test_more_containers_than_descriptors_are_allowed(tree: FakeTree) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        meters = Meters(tree.hierarchies)
        for number in range(30):
            meters.add(f"c{number}", "/pydock/c")
        assert len(meters.read()) == 30
        meters.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    made = open_cgroup(f"{CGROUP_PARENT}/stats/c")
    made.create(Limits(memory_bytes=64 << 20))
    yield made
    made.kill(9)
    made.remove()


def run_in(cgroup: Cgroup, script: str) -> subprocess.Popen[bytes]:
    """A shell that is in the cgroup before its first command."""
    process = subprocess.Popen(["sh", "-c", f"read go; {script}"], stdin=subprocess.PIPE)
    cgroup.join(process.pid)
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.close()
    return process


@pytest.mark.root
def test_real_cgroup_counts_cpu_memory_and_pids(cgroup: Cgroup) -> None:
    meters = Meters()
    meters.add("c", cgroup.path)
    assert one(meters).pids == 0
    process = run_in(cgroup, "x=$(head -c 8000000 /dev/zero | tr '\\0' a); while :; do :; done")
    samples = [one(meters)]

    def has_worked() -> bool:
        samples.append(one(meters))
        worked_ns = samples[-1].cpu_usage_ns - samples[-2].cpu_usage_ns
        return worked_ns > 1_000_000 and samples[-1].memory_bytes >= 8_000_000

    until(has_worked)
    before, sample = samples[-2:]
    passed_ns = sample.time_ns - before.time_ns
    share = 100 * (sample.cpu_usage_ns - before.cpu_usage_ns) / passed_ns
    assert sample.cpu_percent == pytest.approx(share)
    assert sample.pids >= 1
    assert sample.memory_limit_bytes == 64 << 20
    assert sample.cpu_usage_ns > 0
    process.kill()
    process.wait()
    meters.close()


@pytest.mark.root
def test_removed_cgroup_is_no_longer_read(cgroup: Cgroup) -> None:
    meters = Meters()
    meters.add("c", cgroup.path)
    assert len(meters.read()) == 1
    cgroup.remove()
    assert meters.read() == ()
    assert meters.read() == ()
    cgroup.create(Limits())
    meters.close()


def at_rest(meters: Meters) -> tuple[StatsSample, ...]:
    """A reading with nothing under way meanwhile: the one after it is the same."""

    def counted(samples: tuple[StatsSample, ...]) -> list[tuple[int, int]]:
        return [(each.network_received_bytes, each.network_sent_bytes) for each in samples]

    readings = [meters.read()]

    def is_still() -> bool:
        readings.append(meters.read())
        return counted(readings[-1]) == counted(readings[-2])

    until(is_still)
    return readings[-2]


@pytest.mark.root
def test_network_is_counted_as_the_container_sees_it(cgroup: Cgroup, tmp_path: Path) -> None:
    with lab.Lab(tmp_path / "lab") as here:
        made = here.root().networking.connect("bridge", "a" * 64, "web")
        process = subprocess.Popen(["nsenter", f"--net={made.netns_path}", "sleep", "100"])
        here.serve(made.netns_path, 80, "x" * 50)
        meters = Meters()
        meters.add("link", cgroup.path, link=made.interface)
        meters.add("pid", cgroup.path, pid=process.pid)
        meters.add("none", cgroup.path)
        program = f"/proc/{process.pid}/exe"
        until(lambda: not os.readlink(program).endswith("nsenter"))
        before = at_rest(meters)
        for _ in range(20):
            assert lab.tcp(here.host, made.ip_address, 80).startswith("x")
        after = at_rest(meters)
        received = [new.network_received_bytes - old.network_received_bytes
                    for old, new in zip(before, after, strict=True)]  # fmt: skip
        sent = [new.network_sent_bytes - old.network_sent_bytes
                for old, new in zip(before, after, strict=True)]  # fmt: skip
        assert received[0] == received[1] > 0 == received[2]
        assert sent[0] == sent[1] > received[0]  # it sends fifty bytes more in each answer
        process.kill()
        process.wait()
        assert [each.network_sent_bytes for each in meters.read()][1] == after[1].network_sent_bytes
        meters.close()


def test_host_is_read(tmp_path: Path) -> None:
    stats.host_sample(str(tmp_path))
    busy = time.process_time() + 0.1
    while time.process_time() < busy:
        pass
    sample = stats.host_sample(str(tmp_path))
    assert 0 < sample.cpu_percent <= 100
    assert 0 < sample.memory_bytes < sample.memory_total_bytes
    assert 0 < sample.disk_bytes < sample.disk_total_bytes
    assert sample.uptime_seconds > 0
    assert sample.load_1 >= 0
