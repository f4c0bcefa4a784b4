"""Streams that sleep until a directory changes: the journal's readers and the logs'."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from engine.kernel.inotify import Watch

T = TypeVar("T")


class Following(Generic[T]):
    """A Stream whose items the subclass makes in `_items`, sleeping in `self._watch.wait`.

    One thread reads; any thread closes, and a reader that sleeps ends at once.
    """

    def __init__(self, directory: str, mask: int) -> None:
        self._busy = threading.Lock()  # held while an item is made
        self._watch = Watch(directory, mask)
        self._generator = self._items()

    def _items(self) -> Iterator[T]:
        raise NotImplementedError

    def _close_files(self) -> None:
        """The subclass's own descriptors are closed; may be called twice."""

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            with self._busy:
                if self._watch.closed:
                    raise StopIteration
                return next(self._generator)
        except BaseException:  # StopIteration too: there is nothing after it
            self._watch.close()
            raise
        finally:
            if self._watch.closed:
                self._release()

    def close(self) -> None:
        """The reader, waiting or not, gets no more."""
        self._watch.close()
        self._release()

    def _release(self) -> None:
        if self._busy.acquire(blocking=False):  # else the reader does it on its way out
            try:
                self._watch.release()
                self._close_files()
            finally:
                self._busy.release()

    def __del__(self) -> None:
        if hasattr(self, "_generator"):
            self.close()
