"""The members of an archive, each written to a numbered file and hashed on its way, in one pass.

The archive may be a pipe, plain or compressed. A member's name is a key in a table, never a path of
ours; links between members are followed in that table.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import select
import stat
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from engine.errors import Cancelled, Corrupt, InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci.digest import Digest
from engine.storage.compression import CHUNK_BYTES, raw_chunks
from engine.storage.content import disk_full
from engine.storage.tar_read import FILE, HARDLINK, SYMLINK, TarReader

if TYPE_CHECKING:
    from engine.engine import Cancel

MAX_MEMBERS = 100_000
MAX_BYTES = 256 << 30
_MAX_LINKS = 8
_CHUNK_BYTES = 256 << 10
_REPORT_SECONDS = 0.1
_POLL_MS = 100
_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
_XZ, _BZIP2 = b"\xfd7zXZ\0", b"BZh"
_INPUT_BYTES = 64 << 10
_XZ_MEMORY_BYTES = 256 << 20  # more than `xz -9` asks for

OnBytes = Callable[[int, int], None]
"""Called with how many bytes of the archive are read, and of how many (0: not known)."""


class Member(NamedTuple):
    """A regular file of the archive, in a file of ours."""

    path: str
    digest: Digest
    size_bytes: int


class Spool:
    """What was in the archive: files by name and by digest."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self.by_digest: dict[Digest, Member] = {}

    def fill(self, archive: IO[bytes], cancel: Cancel, on_bytes: OnBytes) -> None:
        """All of `archive` is here. Raises InvalidInput, Corrupt (a broken stream, a blob that is
        not what its name says), Unsupported (codec), Unavailable (disk full), Cancelled."""
        source = _Input(archive, cancel, on_bytes)
        try:
            reader = TarReader(_chunks_of(source))
            for entry in reader:
                if entry.number > MAX_MEMBERS:
                    raise InvalidInput(f"more than {MAX_MEMBERS} members")
                name = entry.path.decode("utf-8", "surrogateescape")
                if entry.type == FILE:
                    if entry.pieces is not None:
                        raise InvalidInput(f"{name[:120]!r} is a sparse file")
                    self._keep(name, entry.number, entry.size, reader)
                elif entry.type == HARDLINK:
                    self._links[name] = os.fsdecode(entry.link)
                elif entry.type == SYMLINK:
                    target = posixpath.join(posixpath.dirname(name), os.fsdecode(entry.link))
                    self._links[name] = posixpath.normpath(target)
        except (Corrupt, InvalidInput, Unsupported) as error:
            said = error.message
            message = f"archive{said[5:]}" if said.startswith("layer") else said
            message = message if message.startswith("archive") else f"archive: {message}"
            raise type(error)(
                message, error.hint or "give what docker save or podman save writes"
            ) from error

    def find(self, name: str) -> Member | None:
        """The file under that name, through links; the last one where there are several."""
        for _ in range(_MAX_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def _keep(self, name: str, number: int, size_bytes: int, reader: TarReader) -> None:
        path = f"{self._directory}/{number}"
        blob = _BLOB.fullmatch(name)
        hashes = {"sha256": hashlib.sha256()}
        if blob and blob[1] == "sha512":
            hashes["sha512"] = hashlib.sha512()
        written = 0
        try:
            with open(path, "xb", buffering=0) as file:
                while (piece := reader.read()) is not None:
                    for each in hashes.values():
                        each.update(piece)
                    while piece:
                        count = file.write(piece)
                        written += count
                        piece = piece[count:]
        except OSError as error:
            raise disk_full(path, size_bytes - written, error) from error
        digests = {name: Digest(f"{name}:{each.hexdigest()}") for name, each in hashes.items()}
        if blob and digests[blob[1]] != f"{blob[1]}:{blob[2]}":
            raise Corrupt(
                f"blob {blob[1]}:{blob[2]}: digest mismatch: it is {digests[blob[1]]}",
                "save the image again",
            )
        member = Member(path, digests["sha256"], size_bytes)
        self._files[name] = member
        self._links.pop(name, None)
        for digest in digests.values():
            self.by_digest[digest] = member


def _check_size(raw: int, compressed: int) -> None:
    if raw > MAX_BYTES:
        raise InvalidInput(f"more than {MAX_BYTES >> 30} GiB")


def plain_chunks(archive: IO[bytes], cancel: Cancel, on_bytes: OnBytes) -> Iterator[bytes]:
    """What is in `archive`, a file or a pipe, decompressed. Raises as `Spool.fill`."""
    return _chunks_of(_Input(archive, cancel, on_bytes))


def _chunks_of(source: _Input) -> Iterator[bytes]:
    """The plain tar: archives come in more codecs than layers do."""
    head = source.peek(6)
    if not head:
        raise InvalidInput("archive: it is empty", "give a tar archive")
    if head == _XZ or head.startswith(_BZIP2):
        return _inflated(source, "xz" if head == _XZ else "bzip2")
    return raw_chunks(source, _check_size)  # type: ignore[arg-type]


def _inflated(source: _Input, codec: str) -> Iterator[bytes]:
    """Stream by stream, as xz(1) and bzip2(1) join them."""
    data, raw = b"", 0
    while data := (data or source.read(_INPUT_BYTES)).lstrip(b"\0"):  # xz pads to four bytes
        stream = _decompressor(codec)
        while not stream.eof:
            if stream.needs_input:
                data = data or source.read(_INPUT_BYTES)
                if not data:
                    raise Corrupt(f"archive: {codec} stream: it ends in the middle")
            try:
                chunk = stream.decompress(data, CHUNK_BYTES)
            except Exception as error:  # LZMAError, OSError: each codec has its own
                said = f"archive: {codec} stream: {str(error).lower()}"
                if "memory" in said.lower():
                    raise Unsupported(said, f"decompress it first: {codec} -dc FILE") from error
                raise Corrupt(said) from error
            data = b""
            raw += len(chunk)
            _check_size(raw, 0)
            yield chunk
        data = stream.unused_data


def _decompressor(codec: str) -> Any:
    if codec == "xz":
        import lzma  # seldom needed

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    import bz2

    return bz2.BZ2Decompressor()


class _Input:
    """The archive as `raw_chunks` reads a blob: from its start, once."""

    def __init__(self, archive: IO[bytes], cancel: Cancel, on_bytes: OnBytes) -> None:
        self._read: Callable[[int], bytes] = getattr(archive, "read1", archive.read)
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._told = 0.0
        self._buffer = b""
        self._total = 0
        self.position = 0
        self._ready: select.poll | None = None
        try:
            status = os.fstat(archive.fileno())
        except (AttributeError, OSError):
            return  # not a file: reading does not block
        self._total = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self._ready = select.poll()
        self._ready.register(archive.fileno(), select.POLLIN)

    def peek(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self._next()
            if not more:
                break
            self._buffer += more
        return self._buffer[:count]

    def read(self, limit: int) -> bytes:
        data = self._buffer or self._next()
        data, self._buffer = data[:limit], data[limit:]
        self.position += len(data)
        if time.monotonic() - self._told > _REPORT_SECONDS:
            self._told = time.monotonic()
            self._on_bytes(self.position, self._total)
        return data

    def _next(self) -> bytes:
        """The next bytes of the archive; a pipe is waited for in short steps, to hear `cancel`."""
        while True:
            if self._cancel.cancelled:
                raise Cancelled("cancelled")
            if self._ready is None or self._ready.poll(_POLL_MS):
                data: Any = self._read(_CHUNK_BYTES)
                return bytes(data or b"")
