"""The face: everything that a client may ask of a host, and nothing else.

Blocking, thread-safe, typed; one Protocol per noun, so that a service is the implementation and
nothing is delegated by hand. Three kinds of call: questions return values at once; work blocks,
reports `Progress` and ends within 200 ms of `cancel.cancel()`; streams are iterators with a
`close()` that any thread may call. Every failure is one of the six kinds of `engine.errors`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Flag, auto
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from engine.model.analysis import Analysis, Loss
    from engine.model.comparison import Comparison
    from engine.model.container import (
        Change,
        Container,
        ContainerSummary,
        CreateOptions,
        LogLine,
        PathStatus,
        PortMapping,
        Process,
    )
    from engine.model.disk import DiskUsage
    from engine.model.event import Event
    from engine.model.gate import Verdict
    from engine.model.image import HistoryStep, Image, ImageMount, ImageSummary, Pushed, Removed
    from engine.model.layer import FileTree, LayerInfo, LifeStep, WasteRow
    from engine.model.manifest import ManifestChange, ManifestView
    from engine.model.network import Network, NetworkSummary
    from engine.model.progress import Progress
    from engine.model.prune import Preview, Pruned
    from engine.model.registry import LoggedIn, LoggedOut, RegistrySettings, SearchResult
    from engine.model.stats import HostSample, StatsSample
    from engine.model.system import Counts, Damage, EngineInfo, Outcome
    from engine.model.update import Changes
    from engine.model.volume import Usage, VolumeSummary

T_co = TypeVar("T_co", covariant=True)
OnProgress = Callable[["Progress"], None]
Source = Literal["stdout", "stderr"]


class Cancel:
    """A token that ends work from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask the work to end; calls what `on_cancel` registered, once."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback` when cancelled: at once if that is past. It must not block."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, timeout_seconds: float) -> bool:
        """True as soon as cancelled, False after the timeout: an interruptible sleep."""
        return self._event.wait(timeout_seconds)


class Capability(Flag):
    """What a target can do."""

    NONE = 0
    LAYERS = auto()
    STATS = auto()
    NETWORKS = auto()
    PORTS = auto()
    LIMITS = auto()
    FREEZE = auto()


class Stream(Protocol[T_co]):
    """Iterator + close(): after `close()`, a waiting reader stops within 100 ms."""

    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    def close(self) -> None: ...


class Session(Protocol):
    """A terminal's or pipe's end at a container process (attach, exec, run)."""

    tty: bool

    def read(self) -> tuple[Source, bytes]:
        """The next output; empty bytes at the end."""
        ...

    def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def signal(self, number: int) -> None: ...
    def detach(self) -> None:
        """Leave; the process lives on and `read` returns the end."""
        ...

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        ...

    def fileno(self) -> int:
        """Readable when `read` will not block."""
        ...

    def close(self) -> None: ...


class Containers(Protocol):
    def list(
        self, *, all: bool = False, filters: Sequence[tuple[str, str]] = ()
    ) -> list[ContainerSummary]: ...
    def inspect(self, ref: str) -> Container: ...
    def create(self, options: CreateOptions) -> str:
        """The new container's id. Raises NotFound when the image is not here: pull first."""
        ...

    def start(self, ref: str, *, size: tuple[int, int] | None = None) -> None:
        """Running when this returns; `size` is (rows, columns) for a tty."""
        ...

    def start_attached(
        self, ref: str, *, stdin: bool = False, size: tuple[int, int] | None = None
    ) -> Session:
        """Start it with a session that misses no byte."""
        ...

    def stop(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None:
        """It has ended: by `signal`, or its own stop signal, and KILL after the timeout."""
        ...

    def restart(
        self, ref: str, *, timeout_seconds: int | None = None, signal: str | None = None
    ) -> None: ...
    def kill(self, ref: str, signal: str = "KILL") -> None: ...
    def pause(self, ref: str) -> None: ...
    def unpause(self, ref: str) -> None: ...
    def rename(self, ref: str, name: str) -> None: ...
    def update(self, ref: str, changes: Changes) -> None:
        """Its limits and its restart policy are others, also while it runs; or nothing is."""
        ...

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None: ...
    def wait(self, ref: str, *, cancel: Cancel | None = None) -> int:
        """The exit code, once it has stopped."""
        ...

    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int = 0,
        until_ns: int = 0,
    ) -> Stream[LogLine]: ...
    def attach(self, ref: str, *, stdin: bool = True, replay: bool = False) -> Session: ...
    def exec(
        self,
        ref: str,
        command: Sequence[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        env: Sequence[str] = (),
        working_directory: str | None = None,
        user: str | None = None,
        privileged: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Session:
        """Another process in it; a `privileged` one has every capability."""
        ...

    def top(self, ref: str) -> Sequence[Process]: ...
    def top_by(self, ref: str, options: Sequence[str]) -> Sequence[Sequence[str]]:
        """What ps(1) with these options says of its processes: the titles, then a row for each."""
        ...

    def changes(self, ref: str) -> Sequence[Change]:
        """What it added, changed and removed in its file system, sorted by path."""
        ...

    def export(
        self,
        ref: str,
        output: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Its whole root file system is in `output`, as a tar; without what is mounted in it."""
        ...

    def commit(
        self,
        ref: str,
        target: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        """The id of a new image of it, under the name `target`; `changes` are instructions of a
        Dockerfile. With `pause` its processes stand still meanwhile."""
        ...

    def stat_path(self, ref: str, path: str) -> PathStatus: ...
    def copy_out(
        self,
        ref: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        """Bytes that went from `path` in it to `target` on this host, by docker's rules of names.
        What is there belongs to the caller, or with `keep_owner` to whom it did. The last link of
        `path` is copied, or with `follow_link` what it leads to."""
        ...

    def copy_in(
        self,
        source: str,
        ref: str,
        path: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        """The other way round; what is there belongs to root, or with `keep_owner` to whom it
        did."""
        ...

    def read_path(
        self,
        ref: str,
        path: str,
        output: IO[bytes],
        *,
        follow_link: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """A tar of what is at `path` is in `output`, under its last name; of what is in it, where
        `path` ends in `/.`."""
        ...

    def write_path(
        self,
        ref: str,
        path: str,
        archive: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        """What the tar `archive`, plain or compressed, has is in its directory `path`; bytes of
        files."""
        ...

    def ports(self, ref: str) -> Sequence[PortMapping]: ...
    def stats(
        self, refs: Sequence[str] | None = None, *, interval_seconds: float = 1.0
    ) -> Stream[tuple[StatsSample, ...]]:
        """Each item is one tick: a sample per running container (of `refs`, or of all)."""
        ...


class Images(Protocol):
    def list(
        self, *, all: bool = False, filters: Sequence[tuple[str, str]] = ()
    ) -> list[ImageSummary]: ...
    def inspect(self, ref: str) -> Image: ...
    def history(self, ref: str) -> Sequence[HistoryStep]:
        """How it came to be, newest step first."""
        ...

    def pull(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> ImageSummary: ...
    def remote_tags(self, ref: str, *, cancel: Cancel | None = None) -> Sequence[str]:
        """The tags of the repository that `ref` names, on its registry."""
        ...

    def save(
        self,
        refs: Sequence[str],
        output: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """One archive of all of them is in `output`. A name without a tag stands for every tag of
        its repository, an id for the image without its names."""
        ...

    def load(
        self,
        archive: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Sequence[str]:
        """References (or ids, where untagged) of the images that were in it."""
        ...

    def push(
        self,
        ref: str,
        *,
        platform: str | None = None,
        compression: str | None = None,
        level: int | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Pushed:
        """What `ref` names in its registry now: the image that it names here. `compression` (gzip,
        zstd, none) and its level are for layers that are here raw."""
        ...

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | None = None,
        every: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Pushed:
        """What `target` is now. Both are places in skopeo's words: docker://REF, oci:DIR[:TAG],
        oci-archive:FILE[:TAG], docker-archive:FILE[:REF], dir:DIR, or a name in this store. With
        `every` all platforms go."""
        ...

    def import_(
        self,
        archive: IO[bytes],
        target: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        """The id of a new image whose one layer is the tar in `archive`, plain or compressed."""
        ...

    def mount(self, ref: str, target: str | None = None) -> str:
        """The directory where it can be looked into, read-only: `target`, or one of the engine's.
        It is not removed while it is mounted."""
        ...

    def mounts(self) -> Sequence[ImageMount]: ...
    def unmount(self, ref: str, *, force: bool = False) -> Sequence[ImageMount]:
        """What was unmounted: all mounts of an image, or the one at a path."""
        ...

    def tag(self, ref: str, target: str) -> None: ...
    def remove(self, ref: str, *, force: bool = False) -> Removed: ...


class Manifests(Protocol):
    """Manifest lists, made here and pushed; and what registries have."""

    def create(
        self,
        name: str,
        refs: Sequence[str],
        *,
        amend: bool = False,
        cancel: Cancel | None = None,
    ) -> str:
        """The list's full name; its images are `refs`, each on its registry."""
        ...

    def annotate(self, name: str, ref: str, change: ManifestChange) -> None: ...
    def inspect(
        self,
        ref: str,
        *,
        within: str | None = None,
        children: bool = False,
        cancel: Cancel | None = None,
    ) -> ManifestView:
        """A list that was made here, an image of the list `within`, or what a registry has under
        that name; with `children` the manifests of a registry's list too."""
        ...

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Sequence[Pushed]:
        """Its images, then the list, as the registry has them now."""
        ...

    def remove(self, name: str) -> None: ...


class LayerView(Protocol):
    """One image, opened for looking inside."""

    reference: str
    image_id: str
    layers: tuple[LayerInfo, ...]
    size_bytes: int
    waste_bytes: int
    efficiency: float  # live bytes / stored bytes, 0 … 1

    def tree(self, layer: int, *, aggregated: bool) -> FileTree:
        """With `aggregated`, the files as they are after `layer` with its changes marked, gone
        ones included; else only what `layer` itself writes and removes."""
        ...

    def waste(self) -> list[WasteRow]:
        """Wasted paths, most bytes first."""
        ...

    def losses(self) -> Sequence[Loss]:
        """The waste matrix: who hid whose bytes, and why; most bytes first, together all waste."""
        ...

    def life(self, path: str) -> Sequence[LifeStep]:
        """What each layer did to a path, bottom first; empty when none has it."""
        ...

    def read(self, layer: int, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """The beginning of a regular file as `layer` wrote it. Raises NotFound when it wrote none
        there, Unavailable when its bytes are not here any more."""
        ...

    def close(self) -> None: ...


class Layers(Protocol):
    """`ref` is an image here, or the path of an archive, a layout or a directory; `PATH:NAME` where
    several images are in it. What was not indexed yet is read first."""

    def open(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> LayerView: ...
    def analyze(
        self,
        ref: str,
        *,
        advice: bool = False,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Analysis:
        """With `advice` packages and findings too: files are read for it."""
        ...

    def check(
        self,
        ref: str,
        *,
        config: str = "",
        config_name: str = ".dive-ci",
        against: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Verdict:
        """Judged by the text of a config: TOML if it is called so, else dive's; empty means dive's
        defaults. Growth is measured by the image `against`."""
        ...

    def compare(
        self,
        before: str,
        after: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Comparison: ...


class Networks(Protocol):
    def list(self) -> list[NetworkSummary]: ...
    def inspect(self, ref: str) -> Network: ...
    def create(self, name: str, *, internal: bool = False, subnet: str | None = None) -> str: ...
    def remove(self, ref: str) -> None: ...


class Volumes(Protocol):
    def list(self) -> list[VolumeSummary]: ...
    def inspect(self, name: str) -> VolumeSummary: ...
    def create(self, name: str | None = None, *, labels: Sequence[tuple[str, str]] = ()) -> str: ...
    def remove(self, name: str, *, force: bool = False) -> None: ...
    def measure(self, name: str) -> Usage: ...


class Registries(Protocol):
    """`server` is a host[:port] or a URL, "" for Docker Hub."""

    def user(self, server: str = "") -> str | None:
        """Who one is to it now: "" for a token without a name, None for nobody."""
        ...

    def login(
        self, server: str = "", *, user: str = "", password: str = "", cancel: Cancel | None = None
    ) -> LoggedIn:
        """The registry accepts the credential, and it is kept. Without one, what is kept already
        is tried. Raises InvalidInput when it is refused."""
        ...

    def logout(self, server: str = "") -> LoggedOut: ...
    def settings(self) -> RegistrySettings:
        """What this host's files say of registries. Raises InvalidInput when one is broken."""
        ...

    def search(
        self, term: str, *, limit: int = 25, cancel: Cancel | None = None
    ) -> Sequence[SearchResult]:
        """Raises Unsupported when the registry can do no such thing."""
        ...


class System(Protocol):
    def boot(self) -> list[Outcome]:
        """Containers that have ended run again if their policy wants that on a host that has
        booted."""
        ...

    def halt(self) -> list[Outcome]:
        """No container runs, as when the host goes down: none counts as stopped by a person."""
        ...

    def counts(self) -> Counts: ...
    def host(self) -> HostSample: ...
    def events(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Stream[Event]:
        """Past ones from `since_ns` on, then what happens; ends at `until_ns` if that is given."""
        ...

    def df(self) -> DiskUsage: ...
    def prune_preview(
        self,
        kinds: Sequence[str],
        *,
        all_images: bool = False,
        all_volumes: bool = False,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Preview:
        """What is unused, of these kinds (container, network, volume, image, file), once what goes
        before it is gone. Images without a name, volumes that were made without one, unless all
        are asked for. `filters` are until, label and label!."""
        ...

    def prune(self, preview: Preview) -> Pruned:
        """Exactly that is gone, but for what has changed since."""
        ...

    def fsck(self, *, repair: bool = False) -> Iterable[Damage]: ...


class Engine(Protocol):
    @property
    def info(self) -> EngineInfo: ...
    @property
    def capabilities(self) -> Capability: ...
    @property
    def containers(self) -> Containers: ...
    @property
    def images(self) -> Images: ...
    @property
    def manifests(self) -> Manifests: ...
    @property
    def layers(self) -> Layers: ...
    @property
    def networks(self) -> Networks: ...
    @property
    def volumes(self) -> Volumes: ...
    @property
    def registries(self) -> Registries: ...
    @property
    def system(self) -> System: ...
    def close(self) -> None:
        """Ends every stream it has given out."""
        ...

    def __enter__(self) -> Engine: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
