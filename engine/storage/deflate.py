"""A raw layer becomes a gzip or zstd blob in a process of its own: the same bytes each time.

`isal` deflates at 0.3 to 0.6 GB/s for levels 1 to 3, zlib at 0.06 for level 6. A gzip header has
room for a time and a name: both stay empty, so that one tar has one digest (on one version of the
library; who has pushed a blob keeps it).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import Cancelled, InvalidInput, Unavailable, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci.digest import Digest, hasher
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.engine import Cancel

Codec = Literal["gzip", "zstd"]

LEVELS = {"gzip": (1, 9), "zstd": (1, 22)}
_DEFAULT_LEVELS = {"gzip": 3, "zstd": 3}
_ISAL_LEVELS = 3  # above, zlib packs tighter
_INPUT_BYTES = 1 << 20
_REPORT_BYTES = 8 << 20


class Deflated(NamedTuple):
    """What came out."""

    digest: Digest
    size_bytes: int


class _Task(NamedTuple):
    source: int
    target: int
    size_bytes: int
    codec: str
    level: int


def check_level(codec: str, level: int | None) -> None:
    """Nothing, when `codec` knows the level. Raises InvalidInput."""
    if level is None:
        return
    if codec not in LEVELS:
        raise InvalidInput(f"compression level {level}: {codec} has none", "leave it out")
    lowest, highest = LEVELS[codec]
    if not lowest <= level <= highest:
        raise InvalidInput(
            f"compression level {level}: {codec} has {lowest} to {highest}",
            "a higher one is smaller and slower",
        )


def deflate(
    source: int,
    target: int,
    size_bytes: int,
    codec: Codec,
    level: int | None = None,
    *,
    cancel: Cancel,
    on_bytes: Callable[[int], None] = lambda raw: None,
) -> Deflated:
    """The first `size_bytes` of the file `source` are in the file `target`, compressed. `on_bytes`
    hears how many of them are. Raises Unavailable (disk full, the process died), Unsupported (no
    zstandard), Cancelled."""
    task = _Task(source, target, size_bytes, codec, level or _DEFAULT_LEVELS[codec])
    worker = Worker("engine.storage.deflate:work", tuple(task), (source, target))
    cancel.on_cancel(worker.kill)
    try:
        digest, size = worker.run(on_bytes)
    except WorkerDied as death:
        if cancel.cancelled:
            raise Cancelled("cancelled") from death
        raise Unavailable(
            f"layer: the process that compresses it died: {death}",
            "see the kernel's log (dmesg): memory may have run out",
        ) from death
    return Deflated(Digest(digest), size)


def work(argument: Any, report: Callable[[int], None]) -> tuple[str, int]:
    """In the worker: digest and size of what is in the target now."""
    task = _Task(*argument)
    packer = _packer(task)
    found = hasher("sha256")
    position = written = told = 0

    def put(data: bytes) -> None:
        nonlocal written
        found.update(data)
        view = memoryview(data)
        while view:
            try:
                count = os.pwrite(task.target, view, written)
            except OSError as error:
                raise Unavailable(
                    f"compressed layer: {error.strerror}".lower(),
                    "free some space: pydock rmi removes images",
                ) from error
            written += count
            view = view[count:]

    while position < task.size_bytes:
        data = os.pread(task.source, min(_INPUT_BYTES, task.size_bytes - position), position)
        if not data:
            raise Unavailable("layer: its file is shorter than it was", "pydock fsck --repair")
        position += len(data)
        put(packer.compress(data))
        if position - told >= _REPORT_BYTES:
            told = position
            report(position)
    put(packer.flush())
    return f"sha256:{found.hexdigest()}", written


def _packer(task: _Task) -> Any:
    if task.codec == "zstd":
        try:
            import zstandard
        except ImportError as error:
            raise Unsupported(
                "compression zstd: it needs the package zstandard", "use --compression gzip"
            ) from error
        return zstandard.ZstdCompressor(level=task.level).compressobj(size=task.size_bytes)
    if task.level <= _ISAL_LEVELS:
        try:
            from isal import isal_zlib
        except ImportError:
            pass
        else:
            return isal_zlib.compressobj(task.level, wbits=31)
    import zlib

    return zlib.compressobj(task.level, wbits=31)
