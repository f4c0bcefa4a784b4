"""What was written is on the disk: syncfs(2), begun early and ended before the rows.

One call at the end of a pull would have all of a large image to write while nothing else happens
(1.5 s for 200,000 files); begun while other layers unpack and indexes are made it has little left.
"""

from __future__ import annotations

import os
import threading

from engine.kernel.files import syncfs


class DiskSync:
    """Of the file system that `path` is on. With PYDOCK_SYNC=off it does nothing."""

    def __init__(self, path: str) -> None:
        self.is_on = os.environ.get("PYDOCK_SYNC") != "off"
        # Open before the first byte is written: the kernel tells each descriptor of an error once,
        # and of none that somebody heard of before it was opened.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._early: threading.Thread | None = None
        self._failure: OSError | None = None

    def begin(self) -> None:
        """What is written now is on its way to the disk. Does not wait."""
        with self._lock:
            if self.is_on and self._early is None:
                descriptor = os.dup(self._descriptor)
                self._early = threading.Thread(
                    target=self._sync, args=(descriptor,), name="sync", daemon=True
                )
                self._early.start()

    def _sync(self, descriptor: int) -> None:
        try:
            syncfs(descriptor)
        except OSError as error:
            self._failure = error
        finally:
            os.close(descriptor)
            with self._lock:
                self._early = None

    def finish(self) -> None:
        """All that was written before is on the disk. Raises OSError, an early one's too."""
        if not self.is_on:
            return
        early = self._early
        if early is not None:
            early.join()
        if self._failure is not None:
            raise self._failure
        syncfs(self._descriptor)

    def close(self) -> None:
        """An early one goes on by itself."""
        os.close(self._descriptor)
