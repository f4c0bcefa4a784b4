"""Reading containers' meters: cgroup files that stay open, one look at the host's links.

`memory.stat` is ten times as dear as any other file, so with many containers the slow files are
read of some of them at each tick, in turn.

https://docs.kernel.org/admin-guide/cgroup-v1/ · https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import _socket
import errno
import os
import re
import resource
import time

from engine.kernel import rtnetlink
from engine.kernel.cgroup import Hierarchies, find_hierarchies, open_cgroup
from engine.kernel.files import read_file
from engine.kernel.netlink import NETLINK_ROUTE, Netlink
from engine.model.stats import HostSample, StatsSample
from engine.named_tuple import NamedTuple

_SLOW_AT_ONCE = 25
_READ_BYTES = 16384  # memory.stat has 2 KiB, io.stat a line for each disk
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH)


class _Gauge(NamedTuple):
    """Where a figure is: the sum of what `pattern` finds in a file, or the file as a number."""

    controller: str
    file: str
    pattern: bytes = rb"^(\d+)"  # "max" is no number: no limit
    unit: int = 1


# In v1 and in v2.
_CPU = (
    _Gauge("cpuacct", "cpuacct.usage"),
    _Gauge("cpu", "cpu.stat", rb"^usage_usec (\d+)", 1000),
)
_MEMORY = (_Gauge("memory", "memory.usage_in_bytes"), _Gauge("memory", "memory.current"))
_PIDS = (_Gauge("pids", "pids.current"), _Gauge("pids", "pids.current"))
_INACTIVE = (
    _Gauge("memory", "memory.stat", rb"^total_inactive_file (\d+)"),
    _Gauge("memory", "memory.stat", rb"^inactive_file (\d+)"),
)
_LIMIT = (_Gauge("memory", "memory.limit_in_bytes"), _Gauge("memory", "memory.max"))
_THROTTLED = (
    _Gauge("cpu", "cpu.stat", rb"^throttled_time (\d+)"),
    _Gauge("cpu", "cpu.stat", rb"^throttled_usec (\d+)", 1000),
)
_READ = (
    _Gauge("blkio", "blkio.throttle.io_service_bytes", rb" Read (\d+)"),
    _Gauge("io", "io.stat", rb" rbytes=(\d+)"),
)
_WRITTEN = (
    _Gauge("blkio", "blkio.throttle.io_service_bytes", rb" Write (\d+)"),
    _Gauge("io", "io.stat", rb" wbytes=(\d+)"),
)
_FAST = (_CPU, _MEMORY, _PIDS)
_SLOW = (_INACTIVE, _LIMIT, _THROTTLED, _READ, _WRITTEN)


class Meters:
    """The open meters of some containers. For one thread at a time."""

    def __init__(self, hierarchies: Hierarchies | None = None) -> None:
        """`hierarchies` says where cgroups are mounted; by default the mount table does."""
        self._hierarchies = hierarchies or find_hierarchies()
        self._host_bytes = _meminfo()["MemTotal"]
        self._meters: dict[str, _Meter] = {}
        self._netlink: Netlink | None = None
        self._turn = 0

    def add(self, container_id: str, cgroup_path: str, pid: int = 0, link: str = "") -> None:
        """Read it from now on; nothing happens when it has ended meanwhile.

        Its network is counted at `link`, the host's end of its veth pair, or, dearer, as process
        `pid` sees it; without either it has none.
        """
        self.remove(container_id)
        try:
            meter = _Meter(container_id, cgroup_path, self._hierarchies, pid, link)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            # Seven files for each container: the usual 1024 are enough for 140 of them.
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            meter = _Meter(container_id, cgroup_path, self._hierarchies, pid, link)
        if meter.is_open:
            self._meters[container_id] = meter

    def remove(self, container_id: str) -> None:
        """Do not read it any more."""
        meter = self._meters.pop(container_id, None)
        if meter:
            meter.close()

    def read(self) -> tuple[StatsSample, ...]:
        """A sample of each container that still runs, in the order of their adding."""
        counts = self._link_counts()
        slow = self._whose_turn()
        samples: list[StatsSample] = []
        for container_id, meter in list(self._meters.items()):
            try:
                samples.append(meter.read(counts, container_id in slow, self._host_bytes))
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self.remove(container_id)
        return tuple(samples)

    def close(self) -> None:
        """Nothing is open any more."""
        for container_id in list(self._meters):
            self.remove(container_id)
        if self._netlink:
            self._netlink.close()
            self._netlink = None

    def _whose_turn(self) -> frozenset[str]:
        """The containers whose slow files are read at this tick."""
        ids = list(self._meters)
        if len(ids) <= _SLOW_AT_ONCE:
            return frozenset(ids)
        start = self._turn % len(ids)
        self._turn = start + _SLOW_AT_ONCE
        return frozenset((ids + ids)[start : start + _SLOW_AT_ONCE])

    def _link_counts(self) -> dict[int, tuple[int, int]]:
        if not any(meter.link_index for meter in self._meters.values()):
            return {}
        if self._netlink is None:
            self._netlink = Netlink(NETLINK_ROUTE)
        return rtnetlink.byte_counts(self._netlink)


class _Meter:
    """One container's open files, and what they said last."""

    def __init__(
        self, container_id: str, cgroup_path: str, hierarchies: Hierarchies, pid: int, link: str
    ) -> None:
        self.link_index = _index(link)
        self._id = container_id
        self._pid = pid
        self._cgroup = open_cgroup(cgroup_path, hierarchies)
        self._descriptors: dict[str, int] = {}
        try:
            self._fast = [self._source(gauges) for gauges in _FAST]
            self._slow = [self._source(gauges) for gauges in _SLOW]
        except BaseException:
            self.close()
            raise
        self._slow_values = [0] * len(_SLOW)
        self._last = (0, 0)  # clock, CPU time
        self._network = (0, 0)

    @property
    def is_open(self) -> bool:
        return bool(self._descriptors)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def read(self, counts: dict[int, tuple[int, int]], slow: bool, host_bytes: int) -> StatsSample:
        """Raises OSError ENODEV when its cgroup has gone."""
        now_ns = time.monotonic_ns()
        usage_ns, used_bytes, pids = map(_value, self._fast)
        if slow or not self._last[0]:
            self._slow_values = [_value(source) for source in self._slow]
        inactive_bytes, limit_bytes, throttled_ns, read_bytes, written_bytes = self._slow_values
        last_ns, last_usage_ns = self._last
        percent = 100 * (usage_ns - last_usage_ns) / (now_ns - last_ns) if last_ns else 0.0
        self._last = now_ns, usage_ns
        self._count_network(counts)
        return StatsSample(
            container_id=self._id,
            time_ns=now_ns,
            cpu_percent=percent,
            cpu_usage_ns=usage_ns,
            throttled_ns=throttled_ns,
            memory_bytes=used_bytes - inactive_bytes if inactive_bytes < used_bytes else used_bytes,
            memory_limit_bytes=limit_bytes if 0 < limit_bytes < host_bytes else host_bytes,
            network_received_bytes=self._network[0],
            network_sent_bytes=self._network[1],
            block_read_bytes=read_bytes,
            block_written_bytes=written_bytes,
            pids=pids,
        )

    def _count_network(self, counts: dict[int, tuple[int, int]]) -> None:
        """What the host receives from the container, that has sent it."""
        if self.link_index:
            received, sent = counts.get(self.link_index, self._network[::-1])
            self._network = sent, received
        elif self._pid:
            try:
                # Not kept open: that would keep the network namespace alive.
                text = read_file(f"/proc/{self._pid}/net/dev")
            except OSError as error:
                if error.errno not in (*_GONE, errno.EINVAL):
                    raise
            else:
                self._network = _interface_sums(text)

    def _source(self, gauges: tuple[_Gauge, _Gauge]) -> _Source | None:
        """Where to read it on this host; None when its controller is missing."""
        for version, gauge in enumerate(gauges, 1):
            found = self._cgroup.directory(gauge.controller)
            if found is None or found[0] != version:
                continue
            path = f"{found[1]}/{gauge.file}"
            if path not in self._descriptors:
                try:
                    self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    return None
            pattern = re.compile(gauge.pattern, re.MULTILINE)
            return _Source(self._descriptors[path], pattern, gauge.unit)
        return None


class _Source(NamedTuple):
    descriptor: int
    pattern: re.Pattern[bytes]
    unit: int


def _value(source: _Source | None) -> int:
    if source is None:
        return 0
    numbers = source.pattern.findall(os.pread(source.descriptor, _READ_BYTES, 0))
    return sum(map(int, numbers)) * source.unit


def _index(link: str) -> int:
    """0 when there is no such link."""
    try:
        return _socket.if_nametoindex(link) if link else 0
    except OSError:
        return 0


def _interface_sums(text: bytes) -> tuple[int, int]:
    """Received and sent bytes of all interfaces but lo. proc_pid_net(5), dev"""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        fields = rest.split()
        if name.strip() != b"lo":
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


_host_cpu = (0, 0)  # all time and idle time, when the host was read last


def host_sample(root: str) -> HostSample:
    """The host and the file system that holds `root`; its CPU since the last call of this process,
    in the first one since the host's start. proc_stat(5), proc_meminfo(5)"""
    global _host_cpu
    # The first eight are time; what guests get is in the first two of them.
    times = [int(field) for field in read_file("/proc/stat").split(b"\n", 1)[0].split()[1:9]]
    total, idle = sum(times), times[3] + times[4]  # idle, iowait
    last_total, last_idle = _host_cpu
    _host_cpu = total, idle
    spent = total - last_total
    memory = _meminfo()
    disk = os.statvfs(root)
    return HostSample(
        cpu_percent=100 * (spent - (idle - last_idle)) / spent if spent > 0 else 0.0,
        memory_bytes=memory["MemTotal"] - memory["MemAvailable"],
        memory_total_bytes=memory["MemTotal"],
        disk_bytes=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        disk_total_bytes=disk.f_blocks * disk.f_frsize,
        load_1=os.getloadavg()[0],
        uptime_seconds=int(float(read_file("/proc/uptime").split()[0])),
    )


def _meminfo() -> dict[str, int]:
    """Bytes by name."""
    found: dict[str, int] = {}
    for line in read_file("/proc/meminfo").decode().splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found
