"""The last known snapshot of every entity, and what changed in it. No widgets, no engine calls."""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar  # noqa: TID251  # a generic one

from engine.model.container import ContainerSummary
from engine.model.event import Event
from engine.model.image import ImageSummary
from engine.model.network import NetworkSummary
from engine.model.stats import HostSample, StatsSample
from engine.model.volume import VolumeSummary

HISTORY_SECONDS = 300
T = TypeVar("T", bound=Hashable)


class Changes(NamedTuple):
    """Keys of a table's rows that a new snapshot brought, changed or took away."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class Table(Generic[T]):
    """One kind of entity by key, in the engine's order. `known` once a list has come."""

    def __init__(self) -> None:
        self.rows: dict[str, T] = {}
        self.known = False

    def put(self, rows: Iterable[tuple[str, T]]) -> Changes:
        """Take a full list; what differs from the one before."""
        before, after = self.rows, dict(rows)
        self.rows, self.known = after, True
        return Changes(
            frozenset(after.keys() - before.keys()),
            frozenset(k for k in after.keys() & before.keys() if after[k] != before[k]),
            frozenset(before.keys() - after.keys()),
        )


class Meter(NamedTuple):
    """A container's figures at one moment; rates are bytes each second since the one before."""

    time_seconds: float
    cpu_percent: float
    throttled_percent: float
    memory_bytes: int
    memory_limit_bytes: int
    received: float
    sent: float
    read: float
    written: float
    pids: int
    network_received_bytes: int
    network_sent_bytes: int


class History:
    """Five minutes of one container's meters, newest last."""

    def __init__(self) -> None:
        self.meters: deque[Meter] = deque(maxlen=HISTORY_SECONDS)
        self._last: StatsSample | None = None

    @property
    def latest(self) -> Meter:
        return self.meters[-1]

    def put(self, sample: StatsSample) -> None:
        """One more sample; a counter that ran back (a restart) counts from nothing."""
        last = self._last
        if last is not None and sample.time_ns <= last.time_ns:
            return
        elapsed = (sample.time_ns - last.time_ns) / 1e9 if last else 0.0

        def rate(now: int, before: int) -> float:
            return (now - before) / elapsed if last and now >= before else 0.0

        throttled = 0.0
        if last:
            throttled = rate(sample.throttled_ns, last.throttled_ns) / 1e7
        self.meters.append(
            Meter(
                sample.time_ns / 1e9,
                sample.cpu_percent,
                throttled,
                sample.memory_bytes,
                sample.memory_limit_bytes,
                rate(sample.network_received_bytes, last.network_received_bytes if last else 0),
                rate(sample.network_sent_bytes, last.network_sent_bytes if last else 0),
                rate(sample.block_read_bytes, last.block_read_bytes if last else 0),
                rate(sample.block_written_bytes, last.block_written_bytes if last else 0),
                sample.pids,
                sample.network_received_bytes,
                sample.network_sent_bytes,
            )
        )
        self._last = sample


class Store:
    """What the console knows of a host."""

    def __init__(self) -> None:
        self.containers: Table[ContainerSummary] = Table()
        self.images: Table[ImageSummary] = Table()
        self.networks: Table[NetworkSummary] = Table()
        self.volumes: Table[VolumeSummary] = Table()
        self.histories: dict[str, History] = {}  # by container id; running ones only
        self.events: deque[Event] = deque(maxlen=100)  # newest last
        self.host: HostSample | None = None
        self.host_cpu: deque[float] = deque(maxlen=24)

    def put_stats(self, samples: Iterable[StatsSample]) -> frozenset[str]:
        """Take a tick; ids of the containers that have new figures, or none any more."""
        present: set[str] = set()
        for sample in samples:
            present.add(sample.container_id)
            self.histories.setdefault(sample.container_id, History()).put(sample)
        gone = self.histories.keys() - present
        for container_id in gone:
            del self.histories[container_id]
        return frozenset(present | gone)

    def put_host(self, sample: HostSample) -> bool:
        """Take a reading of the host. True when what is shown changed: shares move in steps of
        5 %, so that an idle screen writes nothing."""
        before = self.host
        self.host_cpu.append(round(sample.cpu_percent / 5) * 5)
        if before is not None:
            cpu = _steady(before.cpu_percent, sample.cpu_percent, 100)
            memory = _steady(before.memory_bytes, sample.memory_bytes, sample.memory_total_bytes)
            disk = _steady(before.disk_bytes, sample.disk_bytes, sample.disk_total_bytes)
            sample = sample._replace(
                cpu_percent=cpu, memory_bytes=int(memory), disk_bytes=int(disk), load_1=0.0
            )
        self.host = sample
        changed = before is None or before[:5] != sample[:5]
        return changed or len(set(self.host_cpu)) > 1


def _steady(shown: float, now: float, whole: float) -> float:
    return now if abs(now - shown) >= whole * 0.05 else shown
