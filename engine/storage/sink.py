"""Where a long stream goes: a file, or a pipe whose reader may be slow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from engine.errors import Cancelled, Unavailable

if TYPE_CHECKING:
    from engine.engine import Cancel

_REPORT_SECONDS = 0.1
_POLL_MS = 100
_PIPE_BYTES = 1 << 20  # sixteen times the usual, so as many switches less

OnBytes = Callable[[int, int], None]
"""Called with how many bytes are written, and of how many (0: not known)."""


class Sink:
    """Writes to `output`; a pipe is waited for in short steps, to hear `cancel`."""

    def __init__(
        self, output: IO[bytes], cancel: Cancel, on_bytes: OnBytes | None = None, total: int = 0
    ) -> None:
        self._file = output
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._total = total
        self._told = 0.0
        self.written = 0
        self._pipe = -1
        self._ready = select.poll()
        try:
            descriptor = output.fileno()
        except (AttributeError, OSError):
            return  # not a file: writing does not block
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            output.flush()
            with contextlib.suppress(OSError):  # beyond what a user may have
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._pipe = descriptor
            self._ready.register(descriptor, select.POLLOUT)

    def write(self, data: bytes) -> None:
        """More of it is on its way. Raises BrokenPipeError, Unavailable (disk full), Cancelled."""
        self._check()
        try:
            view = memoryview(data)
            if self._pipe >= 0:
                self._write_pipe(view)
            while self._pipe < 0 and view:  # a raw file may take less
                view = view[self._file.write(view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _not_written(error) from error
        self.written += len(data)
        if self._on_bytes and time.monotonic() - self._told > _REPORT_SECONDS:
            self._told = time.monotonic()
            self._on_bytes(min(self.written, self._total or self.written), self._total)

    def flush(self) -> None:
        """All of it is out. Raises as `write`."""
        try:
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _not_written(error) from error

    def _write_pipe(self, data: memoryview) -> None:
        while data:
            # A pipe that is ready takes as much as PIPE_BUF without blocking: pipe(7).
            while not self._ready.poll(_POLL_MS):
                self._check()
            data = data[os.write(self._pipe, data[: select.PIPE_BUF]) :]

    def _check(self) -> None:
        if self._cancel.cancelled:
            raise Cancelled("cancelled")


def _not_written(error: OSError) -> Unavailable:
    return Unavailable(
        f"output: could not be written: {(error.strerror or str(error)).lower()}",
        "free some space, or write it to another file system",
    )
