"""Indexes of layers that are not in the store: made once, in worker processes, then kept.

A blob's index is named by what is in it and by how it is packed, so that whoever has such a blob in
another archive finds it too. The oldest go when the cache is above its limit.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, InvalidInput, Unavailable
from engine.layers.scan import Task
from engine.layers.source import Blob
from engine.model.progress import Progress
from engine.storage.layer_index import LayerIndex
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.engine import OnProgress

LIMIT_BYTES = 1 << 30
_STALE_SECONDS = 3600  # an index is written in one go: nobody writes that long
_TARGET = "engine.layers.scan:scan"


class IndexCache:
    """The indexes below `directory`, which exists."""

    def __init__(self, directory: str, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes

    def indexes(
        self,
        blobs: Sequence[Blob],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> list[str]:
        """The path of each blob's index. Raises Corrupt, InvalidInput, Unsupported (what is in the
        blob), Unavailable (the worker died, no room), Cancelled."""
        cancel = cancel or Cancel()
        paths = [self._path(blob) for blob in blobs]
        missing: dict[str, Blob] = {}
        for path, blob in zip(paths, blobs, strict=True):
            if path not in missing and not _is_whole(path):
                missing[path] = blob
        if missing:
            self._make(missing, progress, cancel)
            self._trim(paths)
        for path in paths:
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
        return paths

    def _path(self, blob: Blob) -> str:
        return f"{self._directory}/{blob.diff_id.partition(':')[2]}-{blob.size_bytes}.pdl"

    def _make(self, missing: dict[str, Blob], progress: OnProgress | None, cancel: Cancel) -> None:
        # The biggest first: it decides when all are done.
        order = sorted(missing.items(), key=lambda item: -item[1].size_bytes)
        with ThreadPoolExecutor(max(1, min(len(order), os.cpu_count() or 1))) as pool:
            made = [pool.submit(self._scan, path, blob, progress, cancel) for path, blob in order]
            for each in made:
                try:
                    each.result()
                except BaseException:
                    cancel.cancel()  # the others are of no use
                    raise

    def _scan(self, path: str, blob: Blob, progress: OnProgress | None, cancel: Cancel) -> None:
        if cancel.cancelled:
            raise Cancelled("analyze: cancelled")
        name = (blob.digest or blob.diff_id).partition(":")[2][:12]

        def tell(done_bytes: int) -> None:
            if progress is not None:
                progress(Progress(name, "verifying", done_bytes, blob.size_bytes))

        temporary = f"{path}.{secrets.token_hex(4)}"
        descriptor = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            task = Task(
                descriptor, blob.offset, blob.size_bytes, blob.digest, blob.diff_id, temporary
            )
            worker = Worker(_TARGET, tuple(task), (descriptor,))
            cancel.on_cancel(worker.kill)
            worker.run(tell)
            os.rename(temporary, path)
        except WorkerDied as death:
            if cancel.cancelled:
                raise Cancelled("analyze: cancelled") from death
            raise Unavailable(
                f"layer {name}: the process that reads it died: {death}", "free some memory"
            ) from death
        except OSError as error:
            raise Unavailable(
                f"layer {name}: {error.filename or self._directory}: {error.strerror}"
            ) from error
        finally:
            os.close(descriptor)
            for left in (temporary, f"{temporary}.new"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(left)

    def _trim(self, kept: Iterable[str]) -> None:
        """The cache is below its limit, but for what is needed now; what killed processes left half
        written is gone."""
        needed = set(kept)
        found: list[tuple[float, int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    if entry.name.endswith(".pdl"):
                        found.append((status.st_mtime, status.st_size, entry.path))
                    elif ".pdl." in entry.name and status.st_mtime < time.time() - _STALE_SECONDS:
                        os.unlink(entry.path)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit_bytes:
                return
            if path not in needed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size


def _is_whole(path: str) -> bool:
    try:
        LayerIndex(path).close()
    except FileNotFoundError:
        return False
    except (Corrupt, InvalidInput):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return False
    return True
