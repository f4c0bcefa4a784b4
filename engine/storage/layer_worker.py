"""What runs in a worker process for one layer: `unpack`, and `fix_up` where it leans on others.

Thread A inflates and hashes, thread B parses, writes and indexes; inflating, hashing and write(2)
release the interpreter's lock, so the two overlap. No network, no credentials, no database here.
"""

import errno
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import Corrupt, EngineError, InvalidInput, Unavailable
from engine.model.layer import DIRECTORY, FILE, SYMLINK
from engine.named_tuple import NamedTuple
from engine.storage import layer_fixup
from engine.storage.compression import Growing, raw_chunks
from engine.storage.layer_index import (
    IMPLIED,
    Facts,
    IndexBuilder,
    LayerIndex,
    Marks,
    write_index,
)
from engine.storage.tar_apply import LayerWriter
from engine.storage.tar_read import TarReader

MAX_RAW_BYTES = 64 << 30
MAX_RATIO = 1100  # deflate's own limit is 1,032
RATIO_FREE_BYTES = 1 << 30  # below this a layer may be as dense as it likes: zstd of zeros is
_RING = 4
_REPORT_SECONDS = 0.1
_INODE_LINK_BYTES = 60  # a shorter link lies in its inode: ext4(5)


class Task(NamedTuple):
    """One layer to be unpacked into `directory`/diff, with `directory`/layer.pdl beside it."""

    directory: str
    blob: int  # descriptor
    news: int  # eventfd, see compression.Growing; -1 when all of the blob is there
    blob_bytes: int
    digest: str
    diff_id: str


class Unpacked(NamedTuple):
    """What became of it."""

    raw_bytes: int
    size_bytes: int
    disk_bytes: int
    entries: int
    implied: list[bytes]
    lower_links: list[tuple[bytes, bytes]]
    whiteouts: list[bytes]
    warnings: list[str]


def unpack(argument: tuple[Any, ...], report: Callable[[int], None]) -> tuple[Any, ...]:
    """An `Unpacked` of the `Task`; reports how many bytes of the blob are done."""
    task = Task(*argument)
    try:
        return tuple(_unpack(task, report))
    except OSError as error:
        raise explain(error, task.directory, task.digest) from error
    except EngineError as error:
        message = error.message.removeprefix("layer ").removeprefix("layer: ")
        raise type(error)(f"layer {task.digest[:19]}: {message}", error.hint) from error


def explain(error: OSError, directory: str, digest: str) -> EngineError:
    """What the disk said, in words that help."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = os.statvfs(directory)
        return Unavailable(
            f"disk full while layer {digest[:19]} was unpacked: "
            f"{free.f_bavail * free.f_frsize >> 20} MiB and {free.f_favail} inodes are free",
            "remove images with `pydock rmi`, or choose another --root",
        )
    return Unavailable(f"layer {digest[:19]}: {error.filename or directory}: {error.strerror}")


def _unpack(task: Task, report: Callable[[int], None]) -> Unpacked:
    marks = Marks()
    blob = Growing(task.blob, task.blob_bytes, None if task.news < 0 else task.news)
    inflater = _Inflater(blob, marks, report)
    diff = f"{task.directory}/diff"
    os.mkdir(diff, 0o755)
    os.chmod(diff, 0o755)
    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    builder = IndexBuilder(task.directory)
    applied = LayerWriter(root, builder).apply(TarReader(inflater.chunks()))
    report(task.blob_bytes)  # all is written; the index is still to be made
    found = f"sha256:{inflater.hash.hexdigest()}"
    if found != task.diff_id:
        raise Corrupt(
            f"diff_id differs: expected {task.diff_id}, got {found}",
            "the image is broken at its source; build or push it again",
        )
    builder.estimate(marks)
    facts = _facts(root, builder, task.digest, task.diff_id, inflater.raw_bytes, task.blob_bytes)
    os.close(root)
    write_index(f"{task.directory}/layer.pdl", builder, facts)
    return Unpacked(
        facts.raw_bytes, facts.size_bytes, facts.disk_bytes, facts.entries,
        applied.implied, applied.lower_links, applied.whiteouts, applied.warnings,
    )  # fmt: skip


def _facts(
    root: int, builder: IndexBuilder, digest: str, diff_id: str, raw_bytes: int, blob_bytes: int
) -> Facts:
    """What there is to say of the layer behind `root`. `disk_bytes` is what du(1) would say: of the
    files, which are most of it, that follows from their rows; only what does not is looked at."""
    block = os.fstatvfs(root).f_frsize
    size_bytes = disk_bytes = entries = 0
    for path, row in builder.rows.items():
        entries += not row.mark & IMPLIED
        size_bytes += row.size
        if row.kind == FILE and row.stored == row.size and not row.xattrs:
            disk_bytes += row.size + -row.size % block
        elif row.kind in (DIRECTORY, FILE) or (
            row.kind == SYMLINK and len(row.link) >= _INODE_LINK_BYTES
        ):
            try:
                blocks = os.stat(path or b".", dir_fd=root, follow_symlinks=False).st_blocks
                disk_bytes += blocks * 512
            except OSError:  # nested deeper than a path is long
                disk_bytes += row.size + -row.size % block or block
    return Facts(
        diff_id, digest, "", raw_bytes, blob_bytes, size_bytes, disk_bytes, entries,
        tuple(builder.shadowed),
    )  # fmt: skip


class _Inflater:
    """Thread A: from the blob to raw chunks, hashed, a few ahead of their reader."""

    def __init__(self, blob: Growing, marks: Marks, report: Callable[[int], None]) -> None:
        self._blob = blob
        self._marks = marks
        self._report = report
        self._reported = 0.0
        self._ring: queue.Queue[bytes | BaseException | None] = queue.Queue(_RING)
        self.hash = hashlib.sha256()
        self.raw_bytes = 0
        threading.Thread(target=self._run, name="inflate", daemon=True).start()

    def _run(self) -> None:
        try:
            for chunk in raw_chunks(self._blob, self._check):
                self.hash.update(chunk)
                self._ring.put(chunk)
            self._ring.put(None)
        except BaseException as error:
            self._ring.put(error)

    def _check(self, raw: int, compressed: int) -> None:
        if raw > MAX_RAW_BYTES:
            raise InvalidInput(f"more than {MAX_RAW_BYTES >> 30} GiB unpacked")
        if raw > RATIO_FREE_BYTES and raw > MAX_RATIO * compressed:
            raise InvalidInput(f"it unpacks to more than {MAX_RATIO} times its size: a bomb")
        self._marks.add(raw, compressed)
        self.raw_bytes = raw
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            self._report(compressed)

    def chunks(self) -> Iterator[bytes]:
        while (item := self._ring.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


def fix_up(argument: tuple[Any, ...], report: Callable[[int], None]) -> tuple[Any, ...]:
    """The layer in `directory` made right over the layers `lower` (their diff directories, top
    first): (size_bytes, disk_bytes, entries)."""
    directory, lower, implied, lower_links = argument
    index = LayerIndex(f"{directory}/layer.pdl")
    try:
        facts, builder = index.facts, index.builder(directory)
    finally:
        index.close()
    try:
        changed = layer_fixup.fix_up(
            os.fsencode(f"{directory}/diff"), [os.fsencode(path) for path in lower],
            builder, implied, lower_links,
        )  # fmt: skip
        if changed:
            root = os.open(f"{directory}/diff", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                facts = _facts(
                    root, builder, facts.blob, facts.diff_id, facts.raw_bytes, facts.blob_bytes
                )
            finally:
                os.close(root)
            write_index(f"{directory}/layer.pdl", builder, facts)
    except OSError as error:
        raise explain(error, directory, facts.blob) from error
    return facts.size_bytes, facts.disk_bytes, facts.entries
