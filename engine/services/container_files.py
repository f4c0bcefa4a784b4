"""What is in a container's file system: `diff`, `export`, `commit`.

Workers read it, never the process of a client: whatever is in there, they follow no link of it.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine import journal
from engine.engine import Cancel
from engine.errors import Cancelled, InvalidInput, NotFound, Unavailable
from engine.model.container import Change
from engine.model.progress import Progress
from engine.oci.config import parse_config
from engine.oci.digest import ChainID, Digest
from engine.oci.instructions import apply_change
from engine.oci.reference import parse_reference
from engine.services.stillness import still
from engine.storage import made_image
from engine.storage.driver import chosen
from engine.storage.layer_worker import MAX_RAW_BYTES
from engine.storage.made_image import EMPTY_LAYER, RawLayer, epoch_ns, staged
from engine.storage.outgoing import Outgoing
from engine.storage.sink import Sink
from engine.storage.snapshots import OVERLAY, VFS
from engine.units import rfc3339
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.services.lifecycle import Lifecycle
    from engine.storage.container_store import ContainerRow, ContainerStore
    from engine.storage.content import Content
    from engine.storage.image_store import ImageStore
    from engine.storage.metadata import Database
    from engine.storage.snapshots import Snapshots

_CHUNK_BYTES = 1 << 20
_STALE = ("author", "comment", "container", "container_config", "docker_version", "parent", "id")


class ContainerFiles:
    """The part of the face's `containers` that is about their files."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        images: ImageStore,
        store: ContainerStore,
        snapshots: Snapshots,
        lifecycle: Lifecycle,
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._images = images
        self._store = store
        self._snapshots = snapshots
        self._lifecycle = lifecycle

    def changes(self, ref: str) -> builtins.list[Change]:
        """What it added, changed and removed, sorted by path."""
        row = self._store.get(ref)
        with self._upper(row) as upper:
            if upper < 0:
                return []
            argument = upper, *self._made(row)
            found = _run(
                Worker("engine.storage.upper:list_changes", argument, (upper,)), Cancel(), row.name
            )
        return [Change(kind, f"/{os.fsdecode(path)}") for kind, path in found]

    def export(
        self,
        ref: str,
        output: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Its whole root file system is in `output`, as a tar; without what is mounted in it."""
        row = self._store.get(ref)
        cancel = cancel or Cancel()
        layers, place = self._seen(row)
        self._lifecycle.tell(row, "export")

        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress("", "exporting", done, total))

        reader, writer = os.pipe()
        worker = Worker("engine.storage.tar_diff:write_tree", (layers, place, writer), (writer,))
        run = _Background(worker, cancel, row.name, writer)
        sink = Sink(output, cancel, tell)
        try:
            with open(reader, "rb", buffering=0) as pipe:
                while data := pipe.read(_CHUNK_BYTES):
                    sink.write(data)
            sink.flush()
        except BaseException:
            worker.kill()
            run.join()
            raise
        run.result()
        tell(sink.written, sink.written)

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
        """The id of a new image: the container's, what it wrote, and its config with `changes`.
        With `pause` its processes stand still while it is read."""
        row = self._store.get(ref)
        cancel = cancel or Cancel()
        reference = parse_reference(target) if target else None
        if reference is not None and reference.digest:
            raise InvalidInput(
                f"reference {reference.familiar}: refusing to create a tag with a digest reference",
                "name a tag",
            )
        now_ns = epoch_ns() or time.time_ns()
        with contextlib.ExitStack() as stack:
            outgoing = stack.enter_context(Outgoing(self._database, self._content, self._images))
            image = self._images.get(row.image_id)
            layers = outgoing.add(image, ()).manifest.layers
            document = json.loads(self._content.read(Digest(image.id)))
            diff_ids = parse_config(json.dumps(document).encode()).diff_ids
            config = document["config"] = self._config(document.get("config") or {}, row)
            for line in changes:
                apply_change(config, line)
            staging = stack.enter_context(staged(self._home, self._database))
            with still(self._home, self._lifecycle, row) if pause else contextlib.nullcontext():
                layer = self._write(row, f"{staging}/layer.tar", progress, cancel)
            is_empty = layer.digest == EMPTY_LAYER
            for key in _STALE:
                document.pop(key, None)
            created = rfc3339(now_ns)
            step: dict[str, Any] = {"created": created, "created_by": " ".join(row.config["argv"])}
            step |= {"author": author} if author else {}
            step |= {"comment": message} if message else {}
            step |= {"empty_layer": True} if is_empty else {}
            document["history"] = [*(document.get("history") or ()), step]
            document |= {"created": created} | ({"author": author} if author else {})
            identity = made_image.publish(
                self._home,
                self._database,
                self._content,
                list(zip(layers, diff_ids, strict=True)),
                None if is_empty else layer,
                document,
                reference,
                progress=progress,
                cancel=cancel,
            )
        name = reference.familiar if reference else ""
        self._lifecycle.tell(row, "commit", comment=message, imageID=identity, imageRef=name)
        shown = name or identity
        journal.append(self._home.events_path, "image", "create", identity, shown, {"name": shown})
        return identity

    # -- what it is made of

    def _lower(self, row: ContainerRow) -> builtins.list[bytes]:
        if row.chain_id is None:
            raise NotFound(f"container {row.name}: its image has no layers", "pydock rm it")
        return [os.fsencode(path) for path in self._snapshots.lower(ChainID(row.chain_id))]

    def _made(self, row: ContainerRow) -> tuple[Any, ...]:
        """What `copied.written` needs beside its directory."""
        layers, mounts = self._lower(row), self._mounts(row)
        if not os.path.isdir(f"{self._home.upper_dir(row.id)}/diff"):
            return layers, mounts  # it never ran
        _, driver, made_ns = self._snapshots.parts(row.id)
        return layers, mounts, driver, made_ns

    def _seen(self, row: ContainerRow) -> tuple[builtins.list[str], str]:
        """The directories, top first, that show together what it sees, and where they can be
        mounted, in a worker's own mount namespace; "" where they can not."""
        layers, place = [os.fsdecode(path) for path in self._lower(row)], self._home.run_root
        upper = f"{self._home.upper_dir(row.id)}/diff"
        if not os.path.isdir(upper):
            return layers, place if chosen(self._home).name == OVERLAY else ""
        made, driver, _ = self._snapshots.parts(row.id)
        if driver == OVERLAY:
            # As a layer: a second mount must not write where the container's own does.
            return [upper, *layers], place
        seen = self._snapshots.get(row.id).lower
        if driver == VFS or os.path.ismount(seen[0]):
            return [*seen], place
        return [made.upper, *made.lower], ""

    @contextlib.contextmanager
    def _upper(self, row: ContainerRow) -> Iterator[int]:
        """A descriptor of what it wrote, -1 when it never ran."""
        try:
            upper = os.open(
                f"{self._home.upper_dir(row.id)}/diff", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            yield -1
            return
        try:
            yield upper
        finally:
            os.close(upper)

    def _mounts(self, row: ContainerRow) -> builtins.list[bytes]:
        """Where something was mounted in it at its last start."""
        try:
            with open(f"{self._home.container_dir(row.id)}/config.json") as file:
                document = json.load(file)
        except FileNotFoundError:
            return []
        return [os.fsencode(each["destination"]) for each in document.get("mounts") or ()]

    def _write(
        self, row: ContainerRow, path: str, progress: OnProgress | None, cancel: Cancel
    ) -> RawLayer:
        def tell(done: int) -> None:
            if progress is not None:
                progress(Progress("", "exporting", done))

        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with self._upper(row) as upper:
                argument = target, MAX_RAW_BYTES, epoch_ns(), upper, *self._made(row)
                passed = (target, upper) if upper >= 0 else (target,)
                worker = Worker("engine.storage.tar_diff:write_layer", argument, passed)
                digest, size, _ = _run(worker, cancel, row.name, tell)
        finally:
            os.close(target)
        return RawLayer(path, Digest(digest), size)

    @staticmethod
    def _config(base: dict[str, Any], row: ContainerRow) -> dict[str, Any]:
        """The image's config as the container has it."""
        own = row.config
        directory, signal = own["working_directory"], own["stop_signal"]
        ports = [*own["exposed_ports"], *(f"{port[0]}/{port[1]}" for port in own["ports"])]
        config = base | {
            "Cmd": own["command"],
            "Entrypoint": own["entrypoint"],
            "Env": own["env"],
            "User": own["user"],
            # What nobody asked for is not the image's.
            "WorkingDir": directory if directory != "/" else base.get("WorkingDir"),
            "StopSignal": signal if signal != "SIGTERM" else base.get("StopSignal"),
            "Labels": own["labels"],
            "ExposedPorts": {port: {} for port in ports},
        }
        return {key: value for key, value in config.items() if value}


class _Background:
    """A worker that runs in a thread of its own (it dies with the thread that started it)."""

    def __init__(self, worker: Worker, cancel: Cancel, name: str, writer: int) -> None:
        self._worker = worker
        self._cancel = cancel
        self._name = name
        self._writer = writer
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="export")
        self._thread.start()

    def _run(self) -> None:
        try:
            _run(self._worker, self._cancel, self._name)
        except BaseException as error:
            self._failure = error
        finally:
            os.close(self._writer)  # the reader sees the end

    def join(self) -> None:
        self._thread.join()

    def result(self) -> None:
        """Raises what it raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure


def _run(worker: Worker, cancel: Cancel, name: str, on_report: Any = None) -> Any:
    """The worker's value. Raises what it raised, Cancelled, Unavailable."""
    cancel.on_cancel(worker.kill)
    try:
        return worker.run(on_report)
    except WorkerDied as death:
        if cancel.cancelled:
            raise Cancelled("cancelled") from death
        raise Unavailable(
            f"container {name}: the process that reads its files died: {death}",
            "see the kernel's log (dmesg): memory may have run out",
        ) from death
