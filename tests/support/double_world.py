"""What the double's nouns share: the rows, the journal, names and ids from a seed, the clock."""

import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.errors import Conflict, NotFound
from engine.model.container import Container, EndpointInfo, LogLine
from engine.model.event import Event
from engine.model.image import HistoryEntry
from engine.model.image_config import ImageConfig
from engine.model.network import NetworkSummary
from engine.model.stats import StatsSample
from engine.model.volume import VolumeSummary
from tests.support.double_process import Process
from tests.support.double_streams import Channel

GIB = 1 << 30


class Entry(NamedTuple):
    """What a layer has at a path. `kind` is one of engine.model.layer's."""

    size_bytes: int
    kind: int = 1
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_seconds: int = 1_767_225_600
    link: str = ""


class Layer(NamedTuple):
    """One layer: entries by path; None where it removes what was there."""

    diff_id: str
    digest: str
    command: str
    created_ns: int
    blob_bytes: int
    entries: dict[str, Entry | None]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries.values() if entry)


class StoredImage(NamedTuple):
    """An image, here or in the double's registry."""

    id: str
    manifest: str
    created_ns: int
    os: str
    architecture: str
    variant: str
    config: ImageConfig
    history: tuple[HistoryEntry, ...]
    layers: tuple[Layer, ...]
    origin: str  # repository, where it was pulled


class Record:
    """A container with its process, its log and its meters."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.process: Process | None = None
        self.execs: list[Process] = []
        self.log: list[LogLine] = []
        self.written: dict[str, Entry | None] = {}  # over the image's layers; None: removed
        self.partial = {"stdout": b"", "stderr": b""}
        self.followers: list[Channel[LogLine]] = []
        self.sample = StatsSample("", 0, 0.5, 0, 0, 12 << 20, 16 * GIB, 0, 0, 0, 0, 1)
        self.stop_code: int | None = None  # what its process ends with at the stop signal

    @property
    def id(self) -> str:
        return self.container.summary.id

    @property
    def name(self) -> str:
        return self.container.summary.name

    @property
    def state(self) -> str:
        return self.container.summary.state

    def change(self, **columns: Any) -> None:
        """Columns of its summary."""
        summary = self.container.summary._replace(**columns)
        self.container = self.container._replace(summary=summary)


class World:
    """Everything there is, under one lock; `changed` tells who waits."""

    def __init__(self, seed: int, clock: Callable[[], int]) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.random = random.Random(seed)
        self.clock = clock
        self.containers: dict[str, Record] = {}
        self.images: dict[str, StoredImage] = {}
        self.references: dict[str, str] = {}  # full name → image id
        self.mounts: dict[str, str] = {}  # path → image id
        self.remote: dict[str, StoredImage] = {}  # full name → what a registry has
        self.networks: dict[str, NetworkSummary] = {}
        self.endpoints: dict[str, EndpointInfo] = {}  # by container id
        self.volumes: dict[str, VolumeSummary] = {}
        self.journal: list[Event] = []
        self.subscribers: list[Channel[Event]] = []
        self.streams: list[Any] = []
        self.root = "/var/lib/pydock"

    def new_id(self) -> str:
        return f"{self.random.getrandbits(256):064x}"

    def tell(self, kind: str, action: str, id: str, name: str, /, **attributes: str) -> None:
        """One more event, and a wake-up for who waits for a change."""
        with self.changed:
            event = Event(self.clock(), kind, action, id, name, attributes)
            self.journal.append(event)
            for channel in list(self.subscribers):
                channel.push(event)
            self.changed.notify_all()

    def get(self, ref: str) -> Record:
        """A container by id, name, or a unique beginning of its id."""
        with self.lock:
            ref = ref.removeprefix("/")
            for record in self.containers.values():
                if ref in (record.id, record.name):
                    return record
            found = [each for each in self.containers.values() if ref and each.id.startswith(ref)]
            if len(found) > 1:
                raise Conflict(
                    f"container id {ref}: more than one container begins so", "give more digits"
                )
            if not found:
                raise NotFound(f"no such container: {ref}", "pydock ps -a lists them")
            return found[0]
