"""What the double's streams are made of: a queue that one thread reads and any thread closes."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A Stream: what was pushed, in order, until `end` or `close`."""

    def __init__(
        self, wanted: Callable[[T], bool] = lambda item: True, deadline_ns: int = 0
    ) -> None:
        self._items: deque[T] = deque()
        self._wanted = wanted
        self._deadline_ns = deadline_ns
        self._ended = False
        self._changed = threading.Condition()

    def push(self, item: T) -> None:
        with self._changed:
            if not self._ended and self._wanted(item):
                self._items.append(item)
                self._changed.notify_all()

    def end(self) -> None:
        """What was pushed is still read; nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._items.clear()
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            while not self._items:
                left = None
                if self._deadline_ns:
                    left = max(0.0, (self._deadline_ns - time.time_ns()) / 1e9)
                if self._ended or left == 0:
                    raise StopIteration
                self._changed.wait(left)
            return self._items.popleft()
