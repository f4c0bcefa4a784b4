"""What is in the files of layers, read where they lie: unpacked, or in a blob.

A compressed blob is inflated once for all that is wanted of it, and only as far as needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from engine.errors import EngineError
from engine.kernel.files import open_in_root
from engine.layers.files import LiveFile
from engine.layers.scan import Section
from engine.layers.source import Blob
from engine.named_tuple import NamedTuple
from engine.storage.compression import raw_chunks

_LARGEST_BYTES = 64 << 20
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


class Ends(NamedTuple):
    """The first and the last bytes of a file; a short one is all in `head`."""

    head: bytes
    tail: bytes


class Contents(Protocol):
    def ends(
        self, files: Iterable[LiveFile], head_bytes: int, tail_bytes: int = 0
    ) -> Iterator[tuple[int, Ends]]:
        """By node, one at a time, in no order; without those that cannot be read."""
        ...


def read(contents: Contents, files: Sequence[LiveFile]) -> dict[int, bytes]:
    """Whole files by node, but for those above 64 MiB."""
    small = [file for file in files if file.size_bytes <= _LARGEST_BYTES]
    return {node: ends.head for node, ends in contents.ends(small, _LARGEST_BYTES)}


class UnpackedContents:
    """Layers that lie unpacked below `directories`, bottom first."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories

    def ends(
        self, files: Iterable[LiveFile], head_bytes: int, tail_bytes: int = 0
    ) -> Iterator[tuple[int, Ends]]:
        with contextlib.ExitStack() as stack:
            roots: dict[int, int] = {}
            for file in files:
                if file.layer not in roots:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                    roots[file.layer] = os.open(self._directories[file.layer], flags)
                    stack.callback(os.close, roots[file.layer])
                ends = self._ends_of(roots[file.layer], file, head_bytes, tail_bytes)
                if ends is not None:
                    yield file.node, ends

    def _ends_of(self, root: int, file: LiveFile, head_bytes: int, tail_bytes: int) -> Ends | None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        try:
            descriptor = open_in_root(root, file.path, flags, links=False)
            try:
                return _ends(descriptor, 0, file.size_bytes, head_bytes, tail_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            return None


class BlobContents:
    """Layers that are blobs, bottom first."""

    def __init__(self, blobs: Sequence[Blob], files: Sequence[memoryview]) -> None:
        """`files` has where each row's payload begins in the raw tar, by layer."""
        self._blobs = blobs
        self._offsets = files

    def ends(
        self, files: Iterable[LiveFile], head_bytes: int, tail_bytes: int = 0
    ) -> Iterator[tuple[int, Ends]]:
        by_layer: dict[int, list[tuple[int, LiveFile]]] = {}
        for file in files:
            offset = self._offsets[file.layer][file.row]
            by_layer.setdefault(file.layer, []).append((offset, file))
        for layer, wanted in by_layer.items():
            wanted.sort()
            # The first error ends a blob: what was read before it stays.
            with (
                contextlib.suppress(OSError, EngineError),
                open(self._blobs[layer].path, "rb") as blob,
            ):
                yield from self._from_blob(
                    self._blobs[layer], blob.fileno(), wanted, head_bytes, tail_bytes
                )

    def _from_blob(
        self,
        where: Blob,
        descriptor: int,
        wanted: Sequence[tuple[int, LiveFile]],
        head_bytes: int,
        tail_bytes: int,
    ) -> Iterator[tuple[int, Ends]]:
        if not os.pread(descriptor, 4, where.offset).startswith(_COMPRESSED):
            for offset, file in wanted:
                start = where.offset + offset
                yield file.node, _ends(descriptor, start, file.size_bytes, head_bytes, tail_bytes)
            return
        stream = _Stream(Section(descriptor, where.offset, where.size_bytes))
        for offset, file in wanted:
            if file.size_bytes <= head_bytes:
                head, tail = stream.take(offset, offset + file.size_bytes), b""
            else:
                end = offset + file.size_bytes
                head = stream.take(offset, offset + head_bytes)
                tail = stream.take(max(offset + head_bytes, end - tail_bytes), end)
            yield file.node, Ends(head, tail)


class _Stream:
    """A raw tar read forwards."""

    def __init__(self, section: Section) -> None:
        self._chunks = raw_chunks(section, lambda raw, compressed: None)
        self._chunk = b""
        self._start = 0

    def take(self, start: int, stop: int) -> bytes:
        """The bytes from `start`, which is not before the last `stop`, to `stop`."""
        parts: list[bytes] = []
        while start < stop:
            end = self._start + len(self._chunk)
            if start >= end:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._start, self._chunk = end, chunk
                continue
            part = self._chunk[start - self._start : stop - self._start]
            parts.append(part)
            start += len(part)
        return b"".join(parts)


def _ends(descriptor: int, start: int, size: int, head_bytes: int, tail_bytes: int) -> Ends:
    if size <= head_bytes:
        return Ends(os.pread(descriptor, size, start), b"")
    head = os.pread(descriptor, head_bytes, start)
    first = max(head_bytes, size - tail_bytes)
    return Ends(head, os.pread(descriptor, size - first, start + first))
