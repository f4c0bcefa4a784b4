"""`layer.pdl`: what a layer holds, entry by entry, written while it is unpacked.

The entries lie in pre-order with children in order of name, one column after another, so that a
reader maps the file and casts; nothing is parsed. A text header names the columns:

    pydock-layer 1
    diff_id sha256:…
    blob sha256:…
    …
    column parent I 512 61104
    (empty line, then the columns, each at a multiple of eight)

It repeats what the database knows of the layer, so that a lost database can be rebuilt from it.
"""

import mmap
import os
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from engine.errors import Corrupt
from engine.model.layer import DIRECTORY, HARDLINK
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.storage.sorted_runs import SortedRuns

MAGIC = b"pydock-layer 1\n"
WHITEOUT, OPAQUE, IMPLIED = 1, 2, 4  # marks; an implied directory has no entry of its own
NO_HASH = bytes(16)
_PARENT = b"\nparent_chain "
_PARENT_WIDTH = 135  # of sha512, the longest digest: the chain is only known at the end

try:
    from xxhash import xxh3_128  # 20 GB/s; the hash only tells changes, it proves nothing

    new_hash: Callable[..., Any] = xxh3_128
    HASH = "xxh3_128"
except ImportError:
    new_hash = sha256
    HASH = "sha256"

_COLUMNS = (
    ("parent", "I"),
    ("end", "I"),
    ("kind", "B"),
    ("mark", "B"),
    ("mode", "H"),
    ("uid", "I"),
    ("gid", "I"),
    ("size", "Q"),
    ("mtime_ns", "q"),
    ("xattrs", "Q"),
    ("header_offset", "Q"),
    ("data_offset", "Q"),
    ("compressed", "Q"),
    ("name_offset", "I"),
    ("link_offset", "I"),
    ("hashes", "B"),
    ("names", "B"),
    ("links", "B"),
)


class Row(NamedTuple):
    """One path of a layer. `link` is a symbolic link's target, a hard link's path, or "c 1:3"."""

    kind: int
    mark: int
    mode: int
    uid: int
    gid: int
    size: int  # of regular files, else 0
    mtime_ns: int
    link: bytes
    hash: bytes  # of the content, 16 bytes
    xattrs: int  # 0 when there are none
    header_offset: int  # in the raw tar
    data_offset: int
    stored: int  # bytes of payload in the raw tar
    compressed: int = -1  # estimate of the bytes in the blob; -1 until it is made


_PACKED = struct.Struct("<BBHIIQq16sQQQQq")  # a row without its link, in its order
_LINK = Row._fields.index("link")
_BATCH = 4096  # rows written at a time
SPILL_ROWS = 220_000  # kept in memory: 65 MB

IMPLIED_DIRECTORY = Row(DIRECTORY, IMPLIED, 0o755, 0, 0, 0, 0, b"", NO_HASH, 0, 0, 0, 0, 0)


def hash_of(content: bytes | memoryview) -> bytes:
    """The hash that a row carries, of content in one piece."""
    return bytes(new_hash(content).digest()[:16])


def xattrs_hash(xattrs: Iterable[tuple[bytes, bytes]]) -> int:
    """A number that differs when the attributes do."""
    pairs = sorted(xattrs)
    if not pairs:
        return 0
    text = b"".join(b"%d %s%d %s" % (len(k), k, len(v), v) for k, v in pairs)
    return int.from_bytes(sha256(text).digest()[:8], "little") or 1


class Marks:
    """How far the compressed stream was read when how much raw data had come out."""

    def __init__(self) -> None:
        self._raw = array("Q", (0,))
        self._compressed = array("Q", (0,))

    def add(self, raw: int, compressed: int) -> None:
        self._raw.append(raw)
        self._compressed.append(compressed)

    def between(self, start: int, stop: int) -> int:
        """About how many compressed bytes the raw bytes from `start` to `stop` take."""
        return round(self._at(stop) - self._at(start))

    def _at(self, offset: int) -> float:
        index = bisect_right(self._raw, offset)
        if index == len(self._raw):
            return self._compressed[-1]
        low, high = self._raw[index - 1], self._raw[index]
        below, above = self._compressed[index - 1], self._compressed[index]
        return below + (above - below) * (offset - low) / (high - low)


class Rows:
    """Rows by path: each packed into half of the memory that its numbers would take as objects,
    which is what unpacking a layer needs most of. More than `limit` of them go to files in
    `directory`, if there is one; until then they are in the order in which they came."""

    def __init__(self, directory: str = "", limit: int = SPILL_ROWS) -> None:
        self._packed: dict[bytes, bytes] = {}  # with files: an empty one is gone
        self._directory = directory
        self._limit = limit
        self._runs: SortedRuns | None = None

    def __setitem__(self, path: bytes, row: Row) -> None:
        self._packed[path] = _PACKED.pack(*row[:_LINK], *row[_LINK + 1 :]) + row.link
        if len(self._packed) > self._limit and self._directory:
            self._spill()

    def _spill(self) -> None:
        if self._runs is None:
            from engine.storage.sorted_runs import SortedRuns

            self._runs = SortedRuns(self._directory)
        self._runs.add(self._packed)
        self._packed = {}

    def _find(self, path: bytes) -> bytes | None:
        packed = self._packed.get(path)
        if packed is None and self._runs is not None:
            packed = self._runs.get(path)
        return packed or None

    def __getitem__(self, path: bytes) -> Row:
        packed = self._find(path)
        if packed is None:
            raise KeyError(path)
        return _unpacked(packed)

    def __delitem__(self, path: bytes) -> None:
        if self.pop(path) is None:
            raise KeyError(path)

    def __contains__(self, path: bytes) -> bool:
        return self._find(path) is not None

    def __iter__(self) -> Iterator[bytes]:
        return (path for path, _ in self._all())

    def __len__(self) -> int:
        return len(self._packed) if self._runs is None else sum(1 for _ in self._all())

    def get(self, path: bytes) -> Row | None:
        packed = self._find(path)
        return None if packed is None else _unpacked(packed)

    def pop(self, path: bytes) -> Row | None:
        packed = self._find(path)
        if packed is None:
            return None
        if self._runs is None:
            del self._packed[path]
        else:
            self._packed[path] = b""
        return _unpacked(packed)

    def values(self) -> Iterator[Row]:
        return (_unpacked(packed) for _, packed in self._all())

    def items(self) -> Iterator[tuple[bytes, Row]]:
        return ((path, _unpacked(packed)) for path, packed in self._all())

    def of_kind(self, kind: int) -> Iterator[tuple[bytes, Row]]:
        """Those that are of this kind."""
        return ((path, _unpacked(packed)) for path, packed in self._all() if packed[0] == kind)

    def marked(self, mark: int) -> list[bytes]:
        """Paths whose rows have this mark."""
        return [path for path, packed in self._all() if packed[1] & mark]

    def below(self, path: bytes) -> list[bytes]:
        """Paths below the directory `path`, sorted."""
        prefix = path + b"/"
        found = {each: packed for each, packed in self._packed.items() if each.startswith(prefix)}
        if self._runs is not None:
            found = self._runs.below(path) | found
        return sorted(each for each, packed in found.items() if packed)

    def lengths(self) -> tuple[int, int, int]:
        """How many there are, and the bytes of all their names and links together."""
        count = names = links = 0
        for path, packed in self._all():
            count += 1
            names += len(path) - path.rfind(b"/") - 1
            links += len(packed)
        return count, names, links - _PACKED.size * count

    def packed(self) -> Iterator[tuple[bytes, bytes]]:
        """All in pre-order, children by name: the values but for the link, then the link."""
        if self._runs is not None:
            return self._all()
        names = sorted(self._packed, key=lambda name: name.replace(b"/", b"\0"))
        return ((name, self._packed[name]) for name in names)

    def _all(self) -> Iterator[tuple[bytes, bytes]]:
        if self._runs is None:
            return iter(self._packed.items())
        if self._packed:
            self._spill()
        return self._runs.all()


def _unpacked(packed: bytes) -> Row:
    numbers = _PACKED.unpack_from(packed)
    return Row._make((*numbers[:_LINK], packed[_PACKED.size :], *numbers[_LINK:]))


class IndexBuilder:
    """The rows of a layer while it is applied: the last entry of a path stands. Those of a large
    layer are in files in `directory`, if there is one."""

    def __init__(self, directory: str = "", limit: int = SPILL_ROWS) -> None:
        self.rows = Rows(directory, limit)
        self.rows[b""] = IMPLIED_DIRECTORY
        self.shadowed: list[tuple[bytes, int]] = []  # files that the same layer wrote again
        self._heirs: dict[bytes, list[bytes]] = {}  # hard links by the path that they name
        self._marks: Marks | None = None

    def put(self, path: bytes, row: Row) -> None:
        self.rows[path] = row
        if row.kind == HARDLINK:
            self._heirs.setdefault(row.link, []).append(path)

    def mark(self, path: bytes, mark: int) -> None:
        row = self.rows[path]
        self.rows[path] = row._replace(mark=row.mark | mark)

    def remove(self, path: bytes) -> None:
        """`path` and all below it are not in the layer any more."""
        rows = self.rows
        row = rows.pop(path)
        if row is None:
            return
        gone = [(path, row)]
        if row.kind == DIRECTORY:
            for below in rows.below(path):
                gone.append((below, rows[below]))
                del rows[below]
        for name, lost in gone:
            if lost.kind not in (DIRECTORY, HARDLINK) and not lost.mark & WHITEOUT:
                self._bequeath(name, lost)

    def _bequeath(self, path: bytes, row: Row) -> None:
        """The bytes live on under the first other name, or were paid for in vain."""
        heirs = self._heirs.pop(path, [])
        heirs = [p for p in heirs if p in self.rows and self.rows[p].link == path]
        if heirs:
            self.rows[heirs[0]] = row
            for other in heirs[1:]:
                self.put(other, self.rows[other]._replace(link=heirs[0]))
        elif row.size:
            self.shadowed.append((path, row.size))

    def move(self, old: bytes, new: bytes) -> None:
        """The subtree at `old` is at `new` now, where nothing was."""
        prefix = old + b"/"
        for path in [old, *self.rows.below(old)]:
            self.put(new + path[len(old) :], self.rows[path])
            del self.rows[path]
        for path, row in [
            (path, row)
            for path, row in self.rows.of_kind(HARDLINK)
            if row.link == old or row.link.startswith(prefix)
        ]:
            self.put(path, row._replace(link=new + row.link[len(old) :]))

    def estimate(self, marks: Marks) -> None:
        """Rows that do not say how many bytes of the blob they take are written with what `marks`
        tells of it."""
        self._marks = marks

    def taken(self, header_offset: int, data_offset: int, stored: int) -> int:
        """About how many bytes of the blob the entry there takes; 0 without marks."""
        if self._marks is None:
            return 0
        return self._marks.between(header_offset, data_offset + stored + -stored % 512)


class Facts(NamedTuple):
    """What the header says of the layer as a whole."""

    diff_id: str
    blob: str
    parent_chain: str  # "" for a layer that any chain may have below it
    raw_bytes: int
    blob_bytes: int
    size_bytes: int  # of the files in it
    disk_bytes: int
    entries: int  # without implied directories
    shadowed: tuple[tuple[bytes, int], ...]  # (path, size) written again later in the layer


def write_index(path: str, builder: IndexBuilder, facts: Facts) -> None:
    """The index is at `path`, whole: written beside it, then renamed. Not synced.

    Most columns are never in memory as a whole: batch by batch each grows at its place in the file.
    """
    count, names_bytes, links_bytes = builder.rows.lengths()
    lengths = {name: array(code).itemsize * count for name, code in _COLUMNS}
    lengths["name_offset"] += 4
    lengths["link_offset"] += 4
    lengths |= {"hashes": count * 16, "names": names_bytes, "links": links_bytes}

    known = facts._replace(parent_chain=facts.parent_chain.ljust(_PARENT_WIDTH))
    lines = [f"{key} {value}\n" for key, value in known._asdict().items() if key != "shadowed"]
    lines += [f"shadowed {size} {name.hex()}\n" for name, size in facts.shadowed]
    lines += [f"hash {HASH}\n", f"byteorder {sys.byteorder}\n"]
    places: dict[str, int] = {}
    offset = 0
    for name, code in _COLUMNS:
        lines.append(f"column {name} {code} {offset} {lengths[name]}\n")
        places[name] = offset
        offset += lengths[name] + -lengths[name] % 8
    head = MAGIC + "".join(lines).encode("ascii") + b"\n"
    head += b"\n" * (-len(head) % 8)
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.write(head)
        for columns in _batches(builder, count):
            for name, column in columns.items():
                file.seek(len(head) + places[name])
                file.write(column)
                places[name] += memoryview(column).nbytes
        file.truncate(len(head) + offset)
    os.rename(temporary, path)


def _batches(builder: IndexBuilder, count: int) -> Iterator[dict[str, Any]]:
    """All that the rows say: the next part of each column."""
    links_end = 0
    tree = _Tree(count)
    yield {"link_offset": array("I", (0,)), "name_offset": array("I", (0,))}
    rows = builder.rows.packed()
    while batch := list(islice(rows, _BATCH)):
        values = _PACKED.iter_unpack(b"".join([packed[: _PACKED.size] for _, packed in batch]))
        links = [packed[_PACKED.size :] for _, packed in batch]
        *plain, stored, taken = zip(*values, strict=True)
        columns: dict[str, Any] = {"hashes": b"".join(plain.pop(_LINK)), "links": b"".join(links)}
        columns |= tree.add([name for name, _ in batch])
        for (name, code), numbers in zip(_COLUMNS[2:12], plain, strict=True):
            columns[name] = array(code, numbers)
        columns["compressed"] = array(
            "Q",
            (
                size if size >= 0 else builder.taken(header, data, payload)
                for size, header, data, payload in zip(
                    taken, plain[-2], plain[-1], stored, strict=True
                )
            ),
        )
        ends = accumulate(map(len, links), initial=links_end)
        columns["link_offset"] = array("I", islice(ends, 1, None))
        links_end = columns["link_offset"][-1]
        yield columns
    yield {"end": tree.end()}


class _Tree:
    """The columns of names, and of who is in whom, from `count` paths in pre-order."""

    def __init__(self, count: int) -> None:
        self._end = array("I", bytes(4 * count))
        self._stack: list[tuple[int, int]] = []  # number and depth of what the last one is in
        self._number = 0
        self._names_end = 0

    def add(self, paths: list[bytes]) -> dict[str, Any]:
        parent, name_offset, names = array("I"), array("I"), bytearray()
        stack = self._stack
        for path in paths:
            depth = path.count(b"/") + 1 if path else 0
            while stack and stack[-1][1] >= depth:
                self._end[stack.pop()[0]] = self._number
            parent.append(stack[-1][0] if stack else 0)
            stack.append((self._number, depth))
            names += path[path.rfind(b"/") + 1 :]
            name_offset.append(self._names_end + len(names))
            self._number += 1
        self._names_end += len(names)
        return {"parent": parent, "name_offset": name_offset, "names": names}

    def end(self) -> Any:
        """One past the last that is in each, when all were added."""
        while self._stack:
            self._end[self._stack.pop()[0]] = self._number
        return self._end


def write_parent(path: str, parent_chain: str) -> None:
    """The index at `path`, which nobody reads yet, says that the layer belongs over this chain."""
    with open(path, "r+b") as file:
        place = file.read(4096).index(_PARENT) + len(_PARENT)
        file.seek(place)
        file.write(parent_chain.ljust(_PARENT_WIDTH).encode("ascii"))


class LayerIndex:
    """A layer's index, mapped: `parent[i]`, `end[i]`, `kind[i]` … are memoryviews.

    The children of `i` are `i + 1`, then `end[c]` of each child `c`, while below `end[i]`.
    """

    facts: Facts
    hash_name: str
    parent: memoryview
    end: memoryview
    kind: memoryview
    mark: memoryview
    mode: memoryview
    uid: memoryview
    gid: memoryview
    size: memoryview
    mtime_ns: memoryview
    xattrs: memoryview
    header_offset: memoryview
    data_offset: memoryview
    compressed: memoryview
    name_offset: memoryview
    link_offset: memoryview
    hashes: memoryview
    names: memoryview
    links: memoryview

    def __init__(self, path: str) -> None:
        """Raises Corrupt when the file is not a whole index, OSError when it cannot be read."""
        with open(path, "rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # an empty file cannot be mapped
                raise Corrupt(f"layer index {path}: it is empty", "pull the image again") from error
        self._view = memoryview(self._map)
        self._columns: list[memoryview] = []
        try:
            self._read()
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.close()
            raise Corrupt(
                f"layer index {path}: it is not what pydock writes", "pull the image again"
            ) from error

    def _read(self) -> None:
        stop = self._map.find(b"\n\n")
        if self._map[: len(MAGIC)] != MAGIC or stop < 0:
            raise ValueError("no header")
        base = stop + 2 + -(stop + 2) % 8
        values: dict[str, str] = {}
        shadowed: list[tuple[bytes, int]] = []
        for line in self._map[len(MAGIC) : stop].decode("ascii").split("\n"):
            key, _, value = line.partition(" ")
            if key == "column":
                name, code, offset, length = value.split(" ")
                start = base + int(offset)
                column = self._view[start : start + int(length)]
                self._columns.append(column)
                if len(column) != int(length):
                    raise ValueError("cut")
                if code != "B":
                    column = column.cast(code)  # type: ignore[call-overload]
                    self._columns.append(column)
                setattr(self, name, column)
            elif key == "shadowed":
                size, _, text = value.partition(" ")
                shadowed.append((bytes.fromhex(text), int(size)))
            else:
                values[key] = value
        if values["byteorder"] != sys.byteorder:
            raise ValueError("byte order")
        self.hash_name = values["hash"]
        self.facts = Facts(
            values["diff_id"], values["blob"], values["parent_chain"].rstrip(),
            int(values["raw_bytes"]), int(values["blob_bytes"]), int(values["size_bytes"]),
            int(values["disk_bytes"]), int(values["entries"]), tuple(shadowed),
        )  # fmt: skip
        if len(self.name_offset) != len(self.parent) + 1:
            raise ValueError("columns do not fit")

    def __len__(self) -> int:
        return len(self.parent)

    def name(self, number: int) -> bytes:
        return bytes(self.names[self.name_offset[number] : self.name_offset[number + 1]])

    def link(self, number: int) -> bytes:
        return bytes(self.links[self.link_offset[number] : self.link_offset[number + 1]])

    def hash(self, number: int) -> bytes:
        return bytes(self.hashes[16 * number : 16 * number + 16])

    def paths(self) -> Iterator[bytes]:
        """The path of every entry in order; b"" for the root."""
        names, offset, parent, kind = bytes(self.names), self.name_offset, self.parent, self.kind
        prefixes: dict[int, bytes] = {}
        for number in range(len(parent)):
            if number:
                path = prefixes[parent[number]] + names[offset[number] : offset[number + 1]]
            else:
                path = b""
            if kind[number] == DIRECTORY:
                prefixes[number] = path + b"/" if number else b""
            yield path

    def builder(self, directory: str = "") -> IndexBuilder:
        """The rows again, to be changed and written anew; see there for `directory`."""
        builder = IndexBuilder(directory)
        for number, path in enumerate(self.paths()):
            stored = 0  # only needed for the estimate, which is made already
            builder.put(
                path,
                Row(
                    self.kind[number], self.mark[number], self.mode[number], self.uid[number],
                    self.gid[number], self.size[number], self.mtime_ns[number], self.link(number),
                    self.hash(number), self.xattrs[number], self.header_offset[number],
                    self.data_offset[number], stored, self.compressed[number],
                ),
            )  # fmt: skip
        builder.shadowed = list(self.facts.shadowed)
        return builder

    def close(self) -> None:
        for column in reversed(self._columns):
            column.release()
        self._view.release()
        self._map.close()
