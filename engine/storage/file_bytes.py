"""A blob's bytes, from any place in it, as often as needed: what an upload or a copy reads."""

import os
from typing import Protocol


class ReadAt(Protocol):
    """A blob that can be read in pieces."""

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; none behind the end."""
        ...

    def close(self) -> None: ...


class FileBytes:
    """An open file's bytes; the descriptor is closed with it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        os.close(self._descriptor)
