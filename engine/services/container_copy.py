"""`cp`: files and directories between this host and a container, or a tar and a container.

Two workers and a pipe between them: one reads, the other writes (`tree_copy`).
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.errors import Cancelled, InvalidInput, Unavailable
from engine.model.container import PathStatus
from engine.model.progress import Progress
from engine.services.run import read_state
from engine.services.tree_copy import Status, View
from engine.storage.sink import Sink
from engine.storage.spool import plain_chunks
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.services.lifecycle import Lifecycle
    from engine.services.volumes import VolumeService
    from engine.storage.container_store import ContainerRow, ContainerStore
    from engine.storage.snapshots import Snapshots

_CHUNK_BYTES = 1 << 20
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PACK, _UNPACK = "engine.services.tree_copy:pack", "engine.services.tree_copy:unpack"
_OF_ITS_OWN = ("hosts", "hostname", "resolv.conf")


class ContainerCopy:
    """The part of the face's `containers` that copies."""

    def __init__(
        self,
        home: Home,
        store: ContainerStore,
        snapshots: Snapshots,
        volumes: VolumeService,
        lifecycle: Lifecycle,
    ) -> None:
        self._home = home
        self._store = store
        self._snapshots = snapshots
        self._volumes = volumes
        self._lifecycle = lifecycle

    def stat_path(self, ref: str, path: str) -> PathStatus:
        row = self._store.get(ref)
        with self._view(row) as view:
            argument = (tuple(view), _inside(path))
            worker = Worker("engine.services.tree_copy:look", argument, _descriptors(view))
            found = Status(*_Job(worker, Cancel()).run())
        return PathStatus(
            posixpath.basename(posixpath.normpath(path)) or "/", found.mode, found.size_bytes,
            found.mtime_ns, os.fsdecode(found.link),
        )  # fmt: skip

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
        row = self._store.get(ref)
        owner = None if keep_owner else (os.geteuid(), os.getegid())
        with self._view(row) as view, _host() as host:
            self._lifecycle.tell(row, "archive-path", path=path)
            pack = _packing(view, _inside(path), follow=follow_link)
            unpack = _unpacking(host, _here(target), owner)
            return _copy(pack, unpack, _teller(progress), cancel or Cancel())

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
        row = self._store.get(ref)
        owner = None if keep_owner else (0, 0)
        with self._view(row) as view, _host() as host:
            self._lifecycle.tell(row, "extract-to-dir", path=path)
            pack = _packing(host, _here(source), follow=follow_link)
            unpack = _unpacking(view, _inside(path), owner)
            return _copy(pack, unpack, _teller(progress), cancel or Cancel())

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
        row = self._store.get(ref)
        cancel = cancel or Cancel()
        tell = _teller(progress)
        sink = Sink(output, cancel, lambda done, _: tell(done))
        with self._view(row) as view, _pipe() as (reader, writer):
            self._lifecycle.tell(row, "archive-path", path=path)
            job = _packing(view, _inside(path), follow=follow_link)(writer, cancel)
            job.start(lambda _: None, writer)
            try:
                with open(reader.number, "rb", buffering=0, closefd=False) as pipe:
                    while data := pipe.read(_CHUNK_BYTES):
                        sink.write(data)
                sink.flush()
            except BaseException:
                job.kill()
                job.join()
                raise
            job.result()

    def write_path(
        self,
        ref: str,
        path: str,
        archive: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        row = self._store.get(ref)
        cancel = cancel or Cancel()
        tell = _teller(progress)
        with self._view(row) as view, _pipe() as (reader, writer):
            self._lifecycle.tell(row, "extract-to-dir", path=path)
            job = _unpacking(view, _inside(path), None, into=True)(reader, cancel)
            job.start(lambda _: None, reader)
            try:
                for chunk in plain_chunks(archive, cancel, lambda done, _: tell(done)):
                    _write(writer.number, chunk)
            except BrokenPipeError:
                pass  # the worker says why
            except BaseException:
                job.kill()
                job.join()
                raise
            finally:
                writer.close()
            return int(job.result())

    # -- what a worker is given

    @contextlib.contextmanager
    def _view(self, row: ContainerRow) -> Iterator[View]:
        """The container's files. One that does not run is not started meanwhile, one that runs is
        seen though it ends."""
        settled = self._lifecycle.settle(row)
        if settled is not None and settled.state in ("running", "paused"):
            descriptors = self._open_running(settled)
            if descriptors:
                try:
                    yield View(row.name, descriptors[0])
                finally:
                    for each in descriptors:
                        os.close(each)
                return
        with self._lifecycle.at_rest(row.id) as found:
            if found is None:
                self._store.get(row.id)  # raises NotFound
                return
            if found.state not in ("running", "paused"):
                try:
                    yield self._resting(found)
                finally:
                    self._snapshots.release(row.id)
                return
        with self._view(row) as view:  # it was started meanwhile
            yield view

    def _open_running(self, row: ContainerRow) -> tuple[int, ...]:
        """Its root, and its mount namespace, which keeps all mounts where they are; nothing when
        its first process has ended."""
        state = read_state(self._home.run_dir(row.id))
        if not state:
            return ()
        from engine.kernel.process import is_alive

        found: list[int] = []
        try:
            found.append(os.open(f"/proc/{state['pid']}/root", _PLACE))
            found.append(os.open(f"/proc/{state['pid']}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            # Only now: had the pid been somebody else's, it would not have this start time.
            if is_alive(state["pid"], state["start_time"]):
                return tuple(found)
        except (FileNotFoundError, ProcessLookupError):
            pass
        for each in found:
            os.close(each)
        return ()

    def _resting(self, row: ContainerRow) -> View:
        overlay = self._snapshots.ready(row.id, row.chain_id)
        mounts = [
            (self._volumes.source(each), each["target"], each["read_only"])
            for each in row.config["mounts"]
        ]
        directory = self._home.container_dir(row.id)
        targets = {target for _, target, _ in mounts}
        for name in _OF_ITS_OWN:
            if f"/etc/{name}" not in targets and os.path.isfile(f"{directory}/{name}"):
                mounts.append((f"{directory}/{name}", f"/etc/{name}", False))
        return View(
            row.name, -1, overlay.lower, overlay.upper, overlay.work, self._home.run_root,
            tuple(mounts), row.config.get("confinement", {}).get("read_only", False),
        )  # fmt: skip


# -- two workers


class _End:
    """One end of a pipe, closed once."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)


class _Job:
    """A worker, here or in a thread of its own (it dies with the thread that started it)."""

    def __init__(self, worker: Worker, cancel: Cancel) -> None:
        self._worker = worker
        self._cancel = cancel
        self._value: Any = None
        self.failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def run(self, on_report: Callable[[Any], None] | None = None) -> Any:
        """Its value. Raises what it raised, Cancelled, Unavailable."""
        self._cancel.on_cancel(self._worker.kill)
        try:
            return self._worker.run(on_report)
        except WorkerDied as death:
            if self._cancel.cancelled:
                raise Cancelled("cancelled") from death
            raise Unavailable(
                f"copy: the process that does it died: {death}",
                "see the kernel's log (dmesg): memory may have run out",
            ) from death

    def start(self, on_report: Callable[[Any], None], end: _End) -> None:
        """It runs. Its `end` of the pipe is closed here as soon as it is over, so that the other
        side sees it."""

        def work() -> None:
            try:
                self._value = self.run(on_report)
            except BaseException as error:
                self.failure = error
            finally:
                end.close()

        self._thread = threading.Thread(target=work, name="copy")
        self._thread.start()

    def kill(self) -> None:
        self._worker.kill()

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join()

    def result(self) -> Any:
        """As `run`, once it is over."""
        self.join()
        if self.failure is not None:
            raise self.failure
        return self._value


_Starter = Callable[[_End, Cancel], _Job]


def _packing(view: View, path: bytes, *, follow: bool) -> _Starter:
    def make(end: _End, cancel: Cancel) -> _Job:
        argument = (tuple(view), path, follow, end.number)
        return _Job(Worker(_PACK, argument, (end.number, *_descriptors(view))), cancel)

    return make


def _unpacking(
    view: View, path: bytes, owner: tuple[int, int] | None, *, into: bool = False
) -> _Starter:
    def make(end: _End, cancel: Cancel) -> _Job:
        argument = (tuple(view), path, end.number, owner, into)
        return _Job(Worker(_UNPACK, argument, (end.number, *_descriptors(view))), cancel)

    return make


def _copy(pack: _Starter, unpack: _Starter, tell: Callable[[int], None], cancel: Cancel) -> int:
    """Bytes of the tar that went from one to the other."""
    with _pipe() as (reader, writer):
        packing, unpacking = pack(writer, cancel), unpack(reader, cancel)
        packing.start(tell, writer)
        unpacking.start(lambda _: None, reader)
        unpacking.join()
        packing.join()
        # A writer that refuses stops the reader, which says nothing of it; a reader that fails
        # leaves the writer with a tar that is cut.
        for job in (packing, unpacking):
            if job.failure is not None:
                raise job.failure
        return int(packing.result())


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[_End, _End]]:
    reader, writer = map(_End, os.pipe())
    try:
        yield reader, writer
    finally:
        reader.close()
        writer.close()


@contextlib.contextmanager
def _host() -> Iterator[View]:
    root = os.open("/", _PLACE)
    try:
        yield View("", root)
    finally:
        os.close(root)


def _descriptors(view: View) -> tuple[int, ...]:
    return (view.root,) if view.root >= 0 else ()


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _teller(progress: OnProgress | None) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            progress(Progress("", "exporting", done))

    return tell


# -- paths


def _inside(path: str) -> bytes:
    """A path in a container, from its root; a slash or `/.` at its end stays. Raises
    InvalidInput."""
    return _kept(posixpath.join("/", path), path)


def _here(path: str) -> bytes:
    """The same on this host, from the working directory."""
    return _kept(os.path.abspath(path or "."), path)


def _kept(absolute: str, path: str) -> bytes:
    if "\0" in path:
        raise InvalidInput("path: it has a NUL", "")
    clean = "/" + posixpath.normpath(absolute).lstrip("/")
    if clean != "/":
        if posixpath.basename(path.rstrip("/")) == ".":
            clean += "/."
        elif path.endswith("/"):
            clean += "/"
    return os.fsencode(clean)
