"""The streams that an engine has given out, so that closing the engine ends them."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class Streams:
    """A weak set: a stream that its reader dropped is not kept alive by it."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[_Closable] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, stream: T) -> T:
        with self._lock:
            self._open.add(stream)
        return stream

    def close(self) -> None:
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.close()
