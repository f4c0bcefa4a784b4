"""The contract double with twelve containers on it, whose figures and times stand still: for the
console's pictures and keys. It moves only when a test moves it."""

import queue
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from engine.model.container import LogLine, MountRequest, PortMapping, State
from engine.model.stats import StatsSample
from tests.support.double import INFO, Double

T = TypeVar("T")
SECOND_NS = 10**9
NOW_NS = 1_735_732_869 * SECOND_NS  # 2025-01-01 12:01:09 UTC: tests put the clock there
MI, GI, DAY = 1 << 20, 1 << 30, 86_400


class Box(NamedTuple):
    """A container of the scene: memory and limit in MiB, rates in kB/s, its age in seconds."""

    name: str
    image: str
    cpu: float = 0.0
    memory: int = 0
    limit: int = 0
    received: int = 0
    sent: int = 0
    pids: int = 0
    port: int = 0
    age: int = 3 * DAY
    state: State = "running"
    exit_code: int = 0


HOST = (
    Box("web-1", "shop/web:2.4", 22.4, 412, 1024, 820, 300, 12, 8080),
    Box("api-1", "shop/api:2.4", 17.9, 1240, 2048, 310, 90, 31),
    Box("db-1", "postgres:16", 91.3, 1890, 2048, 12, 20, 9, 5432),
    Box("cache-1", "redis:7.2", 0.6, 38, 256, 88, 61, 4),
    Box("worker-1", "shop/api:2.4", 4.1, 96, 2048, 2, 1, 3, age=8),
    Box("migrate-1", "shop/api:2.4", age=7300, state="exited", exit_code=1),
    Box("prometheus", "prom/prometheus:v2.53.1", 3.2, 611, 0, 42, 7, 14, 9090, 21 * DAY),
    Box("grafana", "grafana/grafana:11.1.0", 0.8, 187, 512, 3, 9, 11, 3000, 21 * DAY),
    Box("node-exporter", "prom/node-exporter:v1.8.2", 0.2, 21, 0, 1, 6, 5, 9100, 21 * DAY),
    Box("registry", "registry:2", 0.1, 38, 0, 0, 0, 7, 5000, 9 * DAY),
    Box("builder-7", "moby/buildkit:v0.15", 0.0, 121, 4096, pids=6, age=7300, state="paused"),
    Box("old-job", "alpine:3.20", age=12 * DAY, state="exited"),
)
LOG = (
    "GET /cart 200 12ms",
    "GET /cart/items 200 31ms",
    "ERR upstream api-1:9000 timeout after 2000ms",
    "GET /healthz 200 1ms",
    "WARN retry 1 of 3 for POST /checkout",
    "POST /checkout 502 2003ms",
    "GET /static/app.js 304 1ms",
)
ENVIRONMENT = ("PATH=/usr/bin:/bin", "DB_PASSWORD=hunter2", "MODE=\x1b[31mred")


class Tap(Generic[T]):
    """A stream that gives what was put in, and waits for more until it is closed."""

    def __init__(self, *items: T) -> None:
        # Ticks come from a signal's handler, which may interrupt itself: only this one allows that.
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        for item in items:
            self.put(item)

    def put(self, item: T) -> None:
        """One more."""
        self._queue.put(item)

    def close(self) -> None:
        """No more."""
        self._queue.put(None)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._queue.get()
        if item is None:
            raise StopIteration
        return item


class Scene(Double):
    """An Engine. `now_ns` is its clock; `tick` sends the next figures."""

    def __init__(self, boxes: Sequence[Box] = HOST) -> None:
        self.now_ns = NOW_NS
        super().__init__(clock=lambda: self.now_ns, info=INFO._replace(name="vps1"))
        self.set_host(
            cpu_percent=34.0,
            memory_bytes=5 * GI,
            memory_total_bytes=15 * GI,
            disk_bytes=61 * GI,
            disk_total_bytes=100 * GI,
        )
        self._boxes: dict[str, Box] = {}
        self._ticks: list[Tap[tuple[StatsSample, ...]]] = []
        self._tick = 0
        # Figures by the wall clock would differ from run to run.
        self._containers.stats = self._stats  # type: ignore[assignment,method-assign]
        for box in sorted(boxes, key=lambda box: -box.age):
            self._add(box)
        self.now_ns = NOW_NS

    def _add(self, box: Box) -> None:
        began_ns = NOW_NS - box.age * SECOND_NS
        times = {"started_ns": began_ns}
        if box.state == "exited":
            times = {"started_ns": began_ns - 41 * SECOND_NS, "finished_ns": began_ns}
        self.now_ns = began_ns
        data = MountRequest("volume", f"{box.name}_data", "/data")
        container_id = self.add_container(
            box.name,
            image=box.image,
            state=box.state,
            exit_code=box.exit_code,
            ports=(PortMapping(80, "tcp", "0.0.0.0", box.port),) if box.port else (),
            mounts=(data,) if box.port == 5432 else (),
            memory_bytes=box.limit * MI,
            **times,
        )
        record = self.world.get(container_id)
        record.container = record.container._replace(env=ENVIRONMENT)
        first_ns = NOW_NS - len(LOG) * 6 * 389_000_000
        record.log = [
            LogLine(first_ns + n * 389_000_000, "stdout", text.encode())
            for n, text in enumerate(LOG * 6)
        ]
        self._boxes[container_id] = box

    def _stats(self, refs: object = None, *, interval_seconds: float = 1.0) -> Tap[Any]:
        tap = Tap(self._sample({}), self._sample({}))
        self._ticks.append(tap)
        return tap

    def _sample(self, cpu: dict[str, float]) -> tuple[StatsSample, ...]:
        self._tick += 1
        return tuple(
            StatsSample(
                row.id,
                self._tick * SECOND_NS,
                cpu.get(box.name.replace("-", "_"), box.cpu),
                0,
                0,
                box.memory * MI,
                (box.limit or 16_384) * MI,
                box.received * 1000 * self._tick,
                box.sent * 1000 * self._tick,
                0,
                0,
                box.pids,
            )
            for row in self.containers.list()
            if (box := self._boxes.get(row.id))
        )

    def tick(self, **cpu: float) -> None:
        """The next figures come; `web_1=80.0` gives that container others."""
        sample = self._sample(cpu)
        for tap in self._ticks:
            tap.put(sample)

    def state(self, name: str) -> str:
        """The state of a container, "" when it is gone."""
        rows = self.containers.list(all=True)
        return next((row.state for row in rows if row.name == name), "")

    def close(self) -> None:
        for tap in self._ticks:
            tap.close()
        super().close()
