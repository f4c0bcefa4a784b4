"""A host made of lists: twelve containers with fixed figures, for pictures and keys of the console.

It moves only when a test moves it. How an engine behaves is the contract double's business.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from engine.engine import Capability, Engine
from engine.errors import EngineError
from engine.model.container import (
    Container,
    ContainerID,
    ContainerSummary,
    EndpointInfo,
    LogLine,
    Mount,
    PortMapping,
    Process,
    State,
)
from engine.model.event import Event
from engine.model.image import ImageSummary
from engine.model.network import NetworkSummary
from engine.model.stats import HostSample, StatsSample
from engine.model.system import EngineInfo
from engine.model.volume import VolumeSummary

T = TypeVar("T")
SECOND_NS = 10**9
NOW_NS = 1_735_732_869 * SECOND_NS  # 2025-01-01 12:01:09 UTC: tests put the clock there
MI, GI = 1 << 20, 1 << 30

DAY = 86_400


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
HISTORY = (  # seconds ago, kind, action, name, attributes
    (11_000, "volume", "create", "shop_uploads", {}),
    (7_300, "container", "pause", "builder-7", {}),
    (7_300, "container", "die", "migrate-1", {"exitCode": "1"}),
    (270, "image", "pull", "redis:7.4", {}),
    (61, "container", "kill", "db-1", {"signal": "TERM"}),
    (8, "container", "start", "worker-1", {}),
)


class Tap(Generic[T]):
    """A stream that gives what was put in, and waits for more until it is closed."""

    def __init__(self, *items: T) -> None:
        self._queue: queue.Queue[T | None] = queue.Queue()
        for item in items:
            self.put(item)

    def put(self, item: T) -> None:
        """One more."""
        self._queue.put(item)

    def end(self) -> None:
        """No more."""
        self._queue.put(None)

    close = end

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._queue.get()
        if item is None:
            raise StopIteration
        return item


def identity(number: int) -> ContainerID:
    """The id of the container of this number."""
    return ContainerID(f"{number:04x}" * 16)


class Containers:
    """The rows of HOST. `calls` are the verbs that came, `fails` what they raise."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = {identity(n): box for n, box in enumerate(boxes, 1)}
        self.rows = [self._summary(id, box) for id, box in self._boxes.items()]
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.fails: dict[str, EngineError] = {}
        self.taps: list[Tap[LogLine]] = []
        self.ticks: list[Tap[tuple[StatsSample, ...]]] = []
        self.tick = 0
        self.log_lines = [text.encode() for text in LOG * 6]
        self.release = threading.Event()  # verbs wait for it
        self.release.set()

    @staticmethod
    def _summary(id: ContainerID, box: Box) -> ContainerSummary:
        began_ns, ended = NOW_NS - box.age * SECOND_NS, box.state == "exited"
        data = Mount("volume", f"{box.name}_data", "/v", "/data", False)
        return ContainerSummary(
            id,
            box.name,
            box.image,
            "sha256:" + "a" * 64,
            ("serve",),
            box.state,
            began_ns - 60 * SECOND_NS,
            started_ns=began_ns - 41 * SECOND_NS * ended,
            finished_ns=began_ns if ended else 0,
            exit_code=box.exit_code,
            memory_limit_bytes=box.limit * MI,
            ports=(PortMapping(80, "tcp", "0.0.0.0", box.port),) if box.port else (),
            networks=("bridge",),
            mounts=(data,) if box.port == 5432 else (),
        )

    def list(self, *, all: bool = False, filters: object = ()) -> list[ContainerSummary]:
        return [row for row in self.rows if all or row.state in ("running", "paused")]

    def inspect(self, ref: str) -> Container:
        row = next(row for row in self.rows if row.id == ref)
        endpoint = EndpointInfo("bridge", "n" * 64, "e" * 64, "10.90.0.2", 24, "10.90.0.1", "02:42")
        env = ("PATH=/usr/bin:/bin", "DB_PASSWORD=hunter2", "MODE=\x1b[31mred")
        facts: dict[str, Any] = dict.fromkeys(Container._fields, "")
        facts |= {"summary": row, "env": env, "endpoints": (endpoint,), "network_mode": "bridge"}
        facts |= {"entrypoint": (), "command": ("serve",), "interactive": False, "nano_cpus": 0}
        facts |= {"pids_limit": 0, "requested_ports": (), "exposed_ports": ()}
        return Container(**facts)

    def top(self, ref: str) -> list[Process]:
        return [Process("root", 1, 0, 1.5, "09:00", "?", "00:00:04", "serve --port 80")]

    def logs(self, ref: str, **keywords: object) -> Tap[LogLine]:
        first_ns = NOW_NS - len(self.log_lines) * 389_000_000
        tap: Tap[LogLine] = Tap(
            *(
                LogLine(first_ns + n * 389_000_000, "stdout", text)
                for n, text in enumerate(self.log_lines)
            )
        )
        self.taps.append(tap)
        return tap

    def stats(self, refs: object = None, *, interval_seconds: float = 1.0) -> Tap[Any]:
        tap: Tap[tuple[StatsSample, ...]] = Tap(*(self.sample() for _ in range(2)))
        self.ticks.append(tap)
        return tap

    def sample(self, **cpu: float) -> tuple[StatsSample, ...]:
        """The next tick; `web_1=80.0` gives that container another figure."""
        self.tick += 1
        return tuple(
            StatsSample(
                row.id,
                self.tick * SECOND_NS,
                cpu.get(box.name.replace("-", "_"), box.cpu),
                0,
                0,
                box.memory * MI,
                (box.limit or 16_384) * MI,
                box.received * 1000 * self.tick,
                box.sent * 1000 * self.tick,
                0,
                0,
                box.pids,
            )
            for row in self.list()
            if (box := self._boxes[row.id])
        )

    def __getattr__(self, verb: str) -> Any:
        def call(ref: str, *values: object, **keywords: Any) -> None:
            self.calls.append((verb, next(r.name for r in self.rows if r.id == ref), keywords))
            assert self.release.wait(10)
            if verb in self.fails:
                raise self.fails[verb]
            after = {"stop": "exited", "kill": "exited", "pause": "paused"}.get(verb, "running")
            changed = [
                r._replace(state=cast(State, after)) if r.id == ref else r for r in self.rows
            ]
            self.rows = [r for r in changed if verb != "remove" or r.id != ref]

        return call


class Rows(Generic[T]):
    """What never changes by itself."""

    def __init__(self, *rows: T) -> None:
        self.rows = list(rows)

    def list(self, **keywords: object) -> list[T]:
        return list(self.rows)


class System:
    def __init__(self) -> None:
        self.taps: list[Tap[Event]] = []
        self.sample = HostSample(34.0, 5 * GI, 15 * GI, 61 * GI, 100 * GI, 1.0, 1)

    def host(self) -> HostSample:
        return self.sample

    def events(self, **keywords: object) -> Tap[Event]:
        tap = Tap(
            *(
                Event(NOW_NS - ago * SECOND_NS, kind, action, "", name, attributes)
                for ago, kind, action, name, attributes in HISTORY
            )
        )
        self.taps.append(tap)
        return tap


class Scene:
    """An Engine of these; `engine` is it, typed."""

    def __init__(self, boxes: Sequence[Box] = HOST) -> None:
        everything = Capability.STATS | Capability.FREEZE | Capability.LAYERS | Capability.NETWORKS
        self.capabilities = everything
        self.info = EngineInfo(
            "vps1", "embedded", "0.1.0", "/var/lib/pydock", "/run/pydock", "abcd0123", False,
            "linux", "amd64", "6.1", "Debian", 2, 16 * GI, "v2", "overlay on ext4", True, True,
        )  # fmt: skip
        self.containers = Containers(boxes)
        self.images: Rows[ImageSummary] = Rows()
        self.networks: Rows[NetworkSummary] = Rows()
        self.volumes: Rows[VolumeSummary] = Rows()
        self.system = System()

    @property
    def engine(self) -> Engine:
        return cast(Engine, self)

    def say(self, kind: str, action: str, name: str = "") -> None:
        """An event happens."""
        for tap in self.system.taps:
            tap.put(Event(NOW_NS, kind, action, "", name, {}))

    def tick(self, **cpu: float) -> None:
        """A tick of figures comes."""
        sample = self.containers.sample(**cpu)
        for tap in self.containers.ticks:
            tap.put(sample)

    def close(self) -> None:
        """Ends every stream."""
        for tap in (*self.containers.taps, *self.containers.ticks, *self.system.taps):
            tap.end()
