"""A layer's blob, inflated chunk by chunk while the file is still growing.

The codec is told by the first bytes, never by a media type. `isal` inflates at 0.9 to 1.4 GB/s,
zlib at 0.4 to 0.6; both speak one interface.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import Corrupt, Unsupported

COMPLETE = 1 << 62  # added to a Growing's counter when nothing more will come
CHUNK_BYTES = 256 << 10
MAX_ZSTD_WINDOW_BYTES = 128 << 20

_INPUT_BYTES = 64 << 10
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1 to 3 of a skippable frame, byte 0 is 50 to 5f


class Growing:
    """A file read from its start while somebody appends to it.

    `news` is an eventfd(2) that adds up how many bytes have become readable: it cannot fill up or
    block the writer as a pipe does, and no news is lost. Without it `size` bytes are there.
    """

    def __init__(self, descriptor: int, size: int, news: int | None) -> None:
        self._descriptor = descriptor
        self._news = news
        self._available = 0 if news is not None else size
        self._complete = news is None
        self.position = 0

    def _wait(self, wanted: int) -> None:
        while self._available < wanted and not self._complete:
            assert self._news is not None
            value = os.eventfd_read(self._news)
            self._complete = value >= COMPLETE
            self._available += value % COMPLETE

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, which stay to be read; fewer at the end."""
        self._wait(self.position + count)
        count = min(count, self._available - self.position)
        return os.pread(self._descriptor, count, self.position)

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes, as soon as there are any; none at the end."""
        self._wait(self.position + 1)
        count = min(limit, self._available - self.position)
        data = os.pread(self._descriptor, count, self.position)
        if count and not data:
            raise Corrupt("blob: its file is shorter than it was", "pull again")
        self.position += len(data)
        return data


def raw_chunks(blob: Growing, on_chunk: Callable[[int, int], None]) -> Iterator[bytes]:
    """The raw tar in chunks. `on_chunk` is told before each how far both streams are then.

    Raises Corrupt, Unsupported.
    """
    magic = blob.peek(4)
    if magic[:2] == _GZIP:
        chunks = _inflated(blob)
    elif magic == _ZSTD or (magic[1:] == _ZSTD_SKIPPABLE and magic[0] & 0xF0 == 0x50):
        chunks = _zstd(blob)
    else:
        chunks = _plain(blob)
    raw = 0
    for chunk, waiting in chunks:
        raw += len(chunk)
        on_chunk(raw, blob.position - waiting)
        yield chunk


def suffix_of(head: bytes) -> str:
    """What a layer's media type says of its codec, told by its first four bytes."""
    return {_GZIP: "+gzip", _ZSTD: "+zstd"}.get(head[:2] if head[:2] == _GZIP else head[:4], "")


def _plain(blob: Growing) -> Iterator[tuple[bytes, int]]:
    while chunk := blob.read(CHUNK_BYTES):
        yield chunk, 0


def _inflated(blob: Growing) -> Iterator[tuple[bytes, int]]:
    """Member by member; between and behind them there may be NULs, nothing else."""
    zlib: Any  # one interface, two modules
    try:
        from isal import isal_zlib as zlib
    except ImportError:
        import zlib
    data = b""
    while True:
        member = zlib.decompressobj(31)
        while not member.eof:
            data = data or blob.read(_INPUT_BYTES)
            ended = not data
            try:
                chunk = member.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                raise Corrupt(f"gzip stream: {error}") from error
            data = member.unconsumed_tail
            if chunk:
                yield chunk, len(data) + len(member.unused_data)
            elif ended and not member.eof:
                raise Corrupt(f"gzip stream: it ends in the middle, after {blob.position} bytes")
        data = member.unused_data.lstrip(b"\0")
        while not data:
            more = blob.read(_INPUT_BYTES)
            if not more:
                return
            data = more.lstrip(b"\0")
        if len(data) < 2:
            data += blob.read(_INPUT_BYTES)
        if data[:2] != _GZIP:
            raise Corrupt("gzip stream: there are other bytes behind its end")


def _zstd(blob: Growing) -> Iterator[tuple[bytes, int]]:
    try:
        import zstandard
    except ImportError as error:
        raise Unsupported(
            "layer: it is compressed with zstd", "install the package zstandard"
        ) from error
    source: Any = blob  # only its read() is called
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).stream_reader(
        source, read_size=_INPUT_BYTES, read_across_frames=True
    )
    try:
        # A cut frame reads as a clean end here: size, digest and diff_id catch it.
        while chunk := reader.read(CHUNK_BYTES):
            yield chunk, 0
    except zstandard.ZstdError as error:
        if "memory" in str(error):
            raise Unsupported(
                f"zstd stream: it needs a window above {MAX_ZSTD_WINDOW_BYTES >> 20} MiB",
                "build the image again without --long",
            ) from error
        raise Corrupt(f"zstd stream: {error}") from error
