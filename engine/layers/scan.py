"""A layer's index made from its tar alone: nothing is written but the index.

The rows are those that unpacking the layer gives (storage.tar_apply): symbolic links on the way are
followed within the layer, later entries win, hard links share one payload, whiteouts and opaque
directories hide what is below. What only the layers below could tell stays open: a parent that no
entry names is implied, a hard link to a file of theirs has no bytes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import Corrupt, EngineError, InvalidInput
from engine.model.layer import DEVICE, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from engine.named_tuple import NamedTuple
from engine.storage import tar_read
from engine.storage.compression import Growing, raw_chunks
from engine.storage.layer_index import (
    IMPLIED,
    IMPLIED_DIRECTORY,
    NO_HASH,
    OPAQUE,
    WHITEOUT,
    Facts,
    IndexBuilder,
    Marks,
    Row,
    hash_of,
    new_hash,
    write_index,
    xattrs_hash,
)
from engine.storage.layer_worker import MAX_RATIO, MAX_RAW_BYTES, RATIO_FREE_BYTES
from engine.storage.tar_read import Entry, TarReader

_MAX_SYMLINKS = 40
_REPORT_SECONDS = 0.1
_LETTERS = {tar_read.CHARACTER: b"c", tar_read.BLOCK: b"b"}


class Task(NamedTuple):
    """A blob that lies at `offset` of `descriptor`; its index shall be at `index_path`."""

    descriptor: int
    offset: int
    blob_bytes: int
    digest: str  # of the blob, "" when it is not known
    diff_id: str  # "" to take what comes out
    index_path: str


class Section(Growing):
    """A blob that is a part of a file."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__(descriptor, size, None)
        self._start = offset
        self._size = size

    def peek(self, count: int) -> bytes:
        count = min(count, self._size - self.position)
        return os.pread(self._descriptor, count, self._start + self.position)

    def read(self, limit: int) -> bytes:
        count = min(limit, self._size - self.position)
        data = os.pread(self._descriptor, count, self._start + self.position)
        if count and not data:
            raise Corrupt("blob: its file is shorter than it was", "give the whole file")
        self.position += len(data)
        return data


def scan(argument: tuple[Any, ...], report: Callable[[int], None]) -> str:
    """The diff_id, once the index is there; runs in a worker. Reports how many bytes of the blob
    are read. Raises Corrupt, InvalidInput, Unsupported."""
    task = Task(*argument)
    marks, hasher, raw_bytes, told = Marks(), hashlib.sha256(), 0, 0.0

    def on_chunk(raw: int, compressed: int) -> None:
        nonlocal raw_bytes, told
        raw_bytes = raw
        if raw > MAX_RAW_BYTES:
            raise InvalidInput(f"more than {MAX_RAW_BYTES >> 30} GiB unpacked")
        if raw > RATIO_FREE_BYTES and raw > MAX_RATIO * compressed:
            raise InvalidInput(f"it unpacks to more than {MAX_RATIO} times its size: a bomb")
        marks.add(raw, compressed)
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            report(compressed)

    def chunks() -> Iterator[bytes]:
        for chunk in raw_chunks(Section(task.descriptor, task.offset, task.blob_bytes), on_chunk):
            hasher.update(chunk)
            yield chunk

    builder = IndexBuilder()
    name = (task.digest or task.diff_id)[:19]
    try:
        scan_stream(chunks(), builder)
        found = f"sha256:{hasher.hexdigest()}"
        if task.diff_id and found != task.diff_id:
            raise Corrupt(
                f"diff_id differs: expected {task.diff_id}, got {found}",
                "the image is broken at its source; build or save it again",
            )
    except EngineError as error:
        message = error.message.removeprefix("layer ").removeprefix("layer: ")
        raise type(error)(f"layer {name}: {message}", error.hint) from error
    builder.estimate(marks)
    rows = builder.rows
    facts = Facts(
        found, task.digest or found, "", raw_bytes, task.blob_bytes,
        sum(row.size for row in rows.values()), 0, len(rows) - len(rows.marked(IMPLIED)),
        tuple(builder.shadowed),
    )  # fmt: skip
    write_index(task.index_path, builder, facts)
    return found


def scan_stream(chunks: Iterator[bytes], builder: IndexBuilder) -> None:
    """All entries of the raw tar are in `builder`. Raises InvalidInput, Corrupt."""
    reader = TarReader(chunks)
    layer = _Layer(builder)
    for entry in reader:
        layer.put(entry, reader)
    layer.finish()


class _Layer:
    def __init__(self, builder: IndexBuilder) -> None:
        self._builder = builder
        self._rows = builder.rows
        self._real: dict[bytes, bytes] = {b"": b""}  # directories by the names that led to them
        self._hidden: set[bytes] = set()
        self._links: list[tuple[Entry, bytes]] = []  # their targets have not come yet

    def put(self, entry: Entry, reader: TarReader) -> None:
        path = entry.path
        if not path:
            mark = self._rows[b""].mark & ~IMPLIED
            self._builder.put(b"", _row(DIRECTORY, entry, mark))
            return
        parent, _, name = path.rpartition(b"/")
        if b".wh." in path and self._is_marker(entry, parent, name):
            return
        real = self._place(parent, name)
        kind = entry.type
        if kind == tar_read.FILE:
            row = _row(FILE, entry, 0, _hash(entry, reader))
        elif kind == tar_read.DIRECTORY:
            self._directory(entry, real)
            return
        elif kind == tar_read.SYMLINK:
            row = _row(SYMLINK, entry._replace(size=0), 0, link=entry.link)
        elif kind == tar_read.HARDLINK:
            self._hard_link(entry, real)
            return
        elif kind == tar_read.FIFO:
            row = _row(FIFO, entry._replace(size=0), 0)
        elif kind == tar_read.CHARACTER and entry.device == 0:
            self._whiteout(entry, real)
            return
        else:
            device = (_LETTERS[kind], os.major(entry.device), os.minor(entry.device))
            row = _row(DEVICE, entry._replace(size=0), 0, link=b"%s %d:%d" % device)
        if real in self._rows:
            self._remove(real)
        self._builder.put(real, row)

    def finish(self) -> None:
        """Links that came before their targets; whiteouts that hide nothing are left out."""
        waiting = self._links
        while waiting:
            self._links = []
            for entry, real in waiting:
                if real not in self._rows:
                    self._hard_link(entry, real)
            if len(self._links) == len(waiting):
                for entry, real in waiting:  # to a file of a lower layer
                    row = _row(HARDLINK, entry._replace(size=0), 0, link=entry.link)
                    self._builder.put(real, row)
                break
            waiting = self._links
        opaque = {path for path, row in self._rows.items() if row.mark & OPAQUE}
        if not opaque:
            return
        for path in [path for path, row in self._rows.items() if row.mark & WHITEOUT]:
            parts = path.split(b"/")
            if any(b"/".join(parts[:count]) in opaque for count in range(len(parts))):
                del self._rows[path]

    # Directories

    def _place(self, parent: bytes, name: bytes) -> bytes:
        """Where `name` in `parent` is, links followed; parents are made where they are missing."""
        real = self._real.get(parent)
        if real is None:
            real = self._real[parent] = self._resolve(parent, make=True) or b""
        return real + b"/" + name if real else name

    def _resolve(self, path: bytes, *, make: bool) -> bytes | None:
        """The real path of a directory; None when it is not there and not to be made."""
        todo = path.split(b"/")[::-1]
        here = b""
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                here = here.rpartition(b"/")[0]
                continue
            real = here + b"/" + name if here else name
            row = self._rows.get(real)
            if row is not None and row.kind == SYMLINK:
                links += 1
                if links > _MAX_SYMLINKS:
                    raise InvalidInput(f"layer: too many levels of symbolic links: {_text(path)}")
                todo += row.link.split(b"/")[::-1]
                if row.link.startswith(b"/"):
                    here = b""
                continue
            if row is None or row.mark & WHITEOUT:
                if not make:
                    return None
                if row is not None:
                    self._remove(real)
                hidden = real in self._hidden  # nothing below it shows: nothing to take over
                mark = OPAQUE if hidden else IMPLIED
                self._builder.put(real, IMPLIED_DIRECTORY._replace(mark=mark))
            elif row.kind != DIRECTORY:
                if make:
                    raise InvalidInput(f"layer: {_text(real)} is used as a directory, and is none")
                return None
            here = real
        return here

    def _directory(self, entry: Entry, real: bytes) -> None:
        old = self._rows.get(real)
        mark = OPAQUE if real in self._hidden else 0
        if old is not None and old.kind == DIRECTORY:
            mark |= old.mark & OPAQUE
        elif old is not None:
            self._remove(real)
            mark = OPAQUE if real in self._hidden else 0
        self._builder.put(real, _row(DIRECTORY, entry._replace(size=0), mark))

    def _remove(self, real: bytes) -> None:
        """A later entry of the same name takes the place of this one."""
        row = self._rows[real]
        if row.mark & (WHITEOUT | OPAQUE):
            self._hidden.add(real)
        if row.mark & WHITEOUT:
            del self._rows[real]
        else:
            self._builder.remove(real)
        if row.kind in (DIRECTORY, SYMLINK):
            self._real = {b"": b""}

    # Hard links

    def _hard_link(self, entry: Entry, real: bytes) -> None:
        parent, _, name = entry.link.rpartition(b"/")
        directory = self._resolve(parent, make=False)
        source = b"" if directory is None else directory + b"/" + name if directory else name
        row = self._rows.get(source) if source else None
        if row is None or row.mark & WHITEOUT:
            if real in self._rows:
                self._remove(real)
            self._links.append((entry, real))
            return
        if source == real:
            return
        if row.kind == DIRECTORY:
            raise InvalidInput(
                f"layer entry {entry.number}: hard link to {_text(entry.link)}, a directory"
            )
        if real in self._rows:
            self._remove(real)
            row = self._rows.get(source)
            if row is None:  # it was a directory, and the target lay in it
                self._links.append((entry, real))
                return
        origin = row.link if row.kind == HARDLINK else source
        self._builder.put(
            real,
            (self._rows.get(origin) or row)._replace(
                kind=HARDLINK, size=0, link=origin, stored=0, compressed=-1,
                header_offset=entry.header_offset, data_offset=entry.data_offset,
            ),
        )  # fmt: skip

    # Whiteouts

    def _is_marker(self, entry: Entry, parent: bytes, name: bytes) -> bool:
        """True when the entry says something about the layers below instead of being a file."""
        parts = parent.split(b"/")
        if any(part.startswith(b".wh..wh.") for part in parts):
            return True  # inside aufs' own directories
        if any(part.startswith(b".wh.") for part in parts):
            raise InvalidInput(f"layer entry {entry.number}: a whiteout is used as a directory")
        if not name.startswith(b".wh."):
            return False
        if name == b".wh..wh..opq":
            self._builder.mark(self._place(parent, b"")[:-1], OPAQUE)
            return True
        if name.startswith(b".wh..wh."):
            return True  # .wh..wh.plnk, .wh..wh.aufs …
        if name in (b".wh.", b".wh..", b".wh..."):
            raise InvalidInput(f"layer entry {entry.number}: whiteout of {_text(name[4:])}")
        self._whiteout(entry, self._place(parent, name[4:]))
        return True

    def _whiteout(self, entry: Entry, real: bytes) -> None:
        self._hidden.add(real)
        row = self._rows.get(real)
        if row is None:
            bare = entry._replace(mode=0, uid=0, gid=0, size=0, mtime_ns=0)
            self._builder.put(real, _row(FILE, bare, WHITEOUT))
        elif row.kind == DIRECTORY and not row.mark & OPAQUE:
            self._builder.put(real, row._replace(mark=OPAQUE))


def _row(kind: int, entry: Entry, mark: int, digest: bytes = NO_HASH, link: bytes = b"") -> Row:
    stored = entry.size if entry.pieces is None else sum(size for _, size in entry.pieces)
    return Row(
        kind, mark, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, link, digest,
        xattrs_hash(entry.xattrs) if entry.xattrs else 0, entry.header_offset, entry.data_offset,
        stored,
    )  # fmt: skip


def _hash(entry: Entry, reader: TarReader) -> bytes:
    """Of the content; of a sparse file the map counts too."""
    if entry.pieces is None:
        piece = reader.read()
        if piece is None:
            return hash_of(b"")
        if len(piece) == entry.size:
            return hash_of(piece)
        hasher = new_hash()
    else:
        hasher = new_hash(repr(entry.pieces).encode())
        piece = reader.read()
    while piece is not None:
        hasher.update(piece)
        piece = reader.read()
    return bytes(hasher.digest()[:16])


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 80 else text[:80] + "…")
