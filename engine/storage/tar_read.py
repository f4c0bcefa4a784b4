"""Headers and payloads of a tar stream, one entry at a time, as fast as Python can.

Understands V7, ustar, PAX (global too), GNU long names, base-256 numbers and the four sparse forms.
Names come out normalised and checked; nothing here touches the file system. What a layer may not
contain is InvalidInput, what a broken stream looks like is Corrupt.

https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import binascii
import os
import struct
import zlib
from collections.abc import Iterator

from engine.errors import Corrupt, InvalidInput
from engine.named_tuple import NamedTuple

# Type flags, as in ustar; `7` and NUL come out as FILE.
FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)

MAX_ENTRIES = 5_000_000
MAX_EXTENDED_BYTES = 1 << 20
MAX_EXTENDED_HEADERS = 8
MAX_XATTR_BYTES = 256 << 10
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_LINK_BYTES = 4095
MAX_SPARSE_PIECES = 1 << 16
MAX_ID = 2**32 - 2  # 2^32 - 1 means "leave as it is" to chown(2)
MAX_TIME_NS = 2**63 - 1

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_ZERO_BLOCK = bytes(512)
_WITHOUT_PAYLOAD = b"123456"
_SKIPPED = b"VMNA"  # volume label, continuation, old long names, Solaris ACL


class Entry(NamedTuple):
    """One member. `path` is relative, without "." and empty components; b"" is the root."""

    number: int
    path: bytes
    type: bytes
    mode: int  # twelve permission bits
    uid: int
    gid: int
    size: int  # of the file; in the stream a sparse file is shorter
    mtime_ns: int
    link: bytes  # symbolic: as it stands; hard: normalised like `path`
    device: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    pieces: tuple[tuple[int, int], ...] | None  # of a sparse file: (offset, size) with data
    header_offset: int  # of the first extended header, in the raw stream
    data_offset: int


class TarReader:
    """Iterates over the entries of a stream of chunks; `read` gives the current one's payload.

    What is left of a payload is skipped by the next step. After the last entry the stream is read
    to its end, so that whoever hashes it has seen all of it.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._position = 0
        self._end = 0
        self._base = 0  # offset of the view in the raw stream
        self._left = 0  # payload bytes of the current entry that were not read
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}
        self._global_text = b""
        self._octal = _Numbers()
        self._sums = _Sums()
        self.entries = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next_entry()) is not None:
            self.entries += 1
            if self.entries > MAX_ENTRIES:
                raise InvalidInput(f"layer: more than {MAX_ENTRIES} entries")
            yield entry
        self._base += self._end
        for chunk in self._chunks:
            self._base += len(chunk)
        self._view, self._position, self._end = memoryview(b""), 0, 0

    def read(self) -> memoryview | None:
        """The next piece of the current payload; None at its end."""
        left = self._left
        if not left:
            return None
        position = self._position
        if position == self._end:
            if not self._next_chunk():
                raise self._cut()
            position = 0
        stop = min(position + left, self._end)
        self._left = left - (stop - position)
        self._position = stop
        return self._view[position:stop]

    def _next_chunk(self) -> bool:
        self._base += self._end
        self._position = 0
        chunk = next(self._chunks, None)
        while chunk is not None and not chunk:
            chunk = next(self._chunks, None)
        if chunk is None:
            self._view, self._end = memoryview(b""), 0
            return False
        self._view, self._end = memoryview(chunk), len(chunk)
        return True

    def _skip(self, count: int) -> None:
        while count > self._end - self._position:
            count -= self._end - self._position
            if not self._next_chunk():
                raise self._cut()
        self._position += count

    def _take(self, count: int) -> bytes:
        """The next `count` bytes of the stream; fewer at its end."""
        position = self._position
        if count <= self._end - position:
            self._position = position + count
            return bytes(self._view[position : position + count])
        taken = bytearray()
        while len(taken) < count:
            if self._position == self._end and not self._next_chunk():
                break
            stop = min(self._end, self._position + count - len(taken))
            taken += self._view[self._position : stop]
            self._position = stop
        return bytes(taken)

    def _cut(self) -> Corrupt:
        return Corrupt(f"layer entry {self.entries + 1}: the stream ends in the middle of it")

    def _next_entry(self) -> Entry | None:
        if self._left or self._padding:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
        local: list[tuple[bytes, bytes]] = []
        text = b""  # of the extended headers: most have neither attributes nor holes
        long_name = long_link = None
        extended = 0
        start = self._base + self._position
        while True:
            block = self._take(512)
            if len(block) < 512:
                if block or extended:
                    raise self._cut()
                return None  # no end marker: others accept that too
            fields = _HEADER.unpack(block)
            name, mode, uid, gid, octal_size, mtime, checksum, kind, link, magic = fields[:10]
            # One adler32 instead of a sum over 512 bytes: its low half is 1 + the sum mod 65521.
            if zlib.adler32(block) & 0xFFFF != self._sums[checksum] and not _is_signed_sum(block):
                if block == _ZERO_BLOCK:
                    if extended:
                        raise self._cut()
                    return None
                raise Corrupt(f"layer entry {self.entries + 1}: header checksum is wrong")
            try:
                octal = self._octal
                size = octal[octal_size]
                if size < 0:
                    raise ValueError(f"size {size}")
                if kind in b"xgLK":
                    extended += 1
                    data = self._extended_header(size, extended)
                    if kind == b"x":
                        local, text = _pax_records(data), data
                    elif kind == b"g":
                        self._globals.update(_pax_records(data))
                        self._global_text += data
                        if len(self._global_text) > MAX_EXTENDED_BYTES:
                            raise ValueError(f"global headers above {MAX_EXTENDED_BYTES} bytes")
                    elif kind == b"L":
                        long_name = data.rstrip(b"\0")
                    else:
                        long_link = data.rstrip(b"\0")
                    continue
                if kind in _SKIPPED:
                    self._skip(size + -size % 512)
                    start = self._base + self._position
                    local, long_name, long_link, extended = [], None, None, 0
                    continue
                if long_name is None:
                    name = name.partition(b"\0")[0]
                    if magic[:6] == b"ustar\0" and fields[14][0]:
                        prefix = fields[14]
                        if fields[15][8:] == b"tar\0":  # star keeps times behind a shorter prefix
                            prefix = prefix[:131]
                        name = prefix.partition(b"\0")[0] + b"/" + name
                else:
                    name = long_name
                link = link.partition(b"\0")[0] if long_link is None else long_link
                owner, group, mtime_ns = octal[uid], octal[gid], octal[mtime] * 1_000_000_000
                xattrs: tuple[tuple[bytes, bytes], ...] = ()
                pieces: list[tuple[int, int]] | None = None
                real_size = -1
                if local or self._globals:
                    pax = {**self._globals, **dict(local)}
                    name = pax.get(b"path") or name
                    link = pax.get(b"linkpath") or link
                    size = _decimal(pax, b"size", size)
                    owner = _decimal(pax, b"uid", owner)
                    group = _decimal(pax, b"gid", group)
                    if pax.get(b"mtime"):
                        mtime_ns = _time_ns(pax[b"mtime"])
                    text += self._global_text
                    if b".xattr." in text:
                        xattrs = _xattrs(pax)
                    if b"GNU.sparse." in text:
                        name = pax.get(b"GNU.sparse.name") or name
                        real_size, pieces = _sparse_of_pax(pax, local)
                if not (0 <= owner <= MAX_ID and 0 <= group <= MAX_ID):
                    raise ValueError(f"owner {owner}:{group} is out of range")
                if kind in b"\x007":
                    kind = FILE
                if kind == FILE and name.endswith(b"/"):
                    kind = DIRECTORY  # as V7 marks it
                if kind == b"S":
                    real_size, pieces = self._sparse_of_gnu(block)
                    kind = FILE
                if kind in _WITHOUT_PAYLOAD:
                    size = 0
                elif kind != FILE:
                    raise ValueError(f"unknown type {kind!r}")
                self._left, self._padding = size, -size % 512
                if real_size >= 0 and kind == FILE:
                    if pieces is None:
                        pieces = self._sparse_of_payload()
                    size = self._checked_sparse(real_size, pieces)
                path = _path(name)
                if kind == SYMLINK:
                    if not link or len(link) > MAX_LINK_BYTES or b"\0" in link:
                        raise ValueError(
                            "symbolic link: its target is empty, too long or has a NUL"
                        )
                elif kind == HARDLINK:
                    link = _path(link)
                    if not link:
                        raise ValueError("hard link: its target is the root")
                else:
                    link = b""
                if not path and kind != DIRECTORY:
                    raise ValueError("its path is empty")
                device = 0
                if kind in b"34":
                    device = _device(_number(fields[12]), _number(fields[13]))
                return Entry(
                    self.entries + 1, path, kind, octal[mode] & 0o7777, owner, group, size,
                    min(max(mtime_ns, 0), MAX_TIME_NS), link, device, xattrs,
                    None if pieces is None else tuple(pieces), start, self._base + self._position,
                )  # fmt: skip
            except ValueError as error:
                raise InvalidInput(f"layer entry {self.entries + 1}: {error}") from error

    def _extended_header(self, size: int, count: int) -> bytes:
        if size > MAX_EXTENDED_BYTES:
            raise ValueError(f"extended header of {size} bytes, more than {MAX_EXTENDED_BYTES}")
        if count > MAX_EXTENDED_HEADERS:
            raise ValueError(f"more than {MAX_EXTENDED_HEADERS} extended headers")
        data = self._take(size + -size % 512)
        if len(data) < size + -size % 512:
            raise self._cut()
        return data[:size]

    def _sparse_of_gnu(self, block: bytes) -> tuple[int, list[tuple[int, int]]]:
        """Type S: the map in the header and in the blocks behind it."""
        numbers = [block[386 + 12 * i : 398 + 12 * i] for i in range(8)]
        real_size = _number(block[483:495])
        more = block[482]
        while more:
            block = self._take(512)
            if len(block) < 512:
                raise self._cut()
            numbers += [block[12 * i : 12 * i + 12] for i in range(42)]
            more = block[504]
            if len(numbers) > 2 * MAX_SPARSE_PIECES:
                raise ValueError(f"sparse file of more than {MAX_SPARSE_PIECES} pieces")
        values = [_number(number) for number in numbers if number.strip(b"\0 ")]
        return real_size, _pairs(values)

    def _sparse_of_payload(self) -> list[tuple[int, int]]:
        """Format 1.0: decimal numbers, one a line, in the first blocks of the payload."""
        text = b""
        values: list[int] = []
        count = -1
        while count < 0 or len(values) < 2 * count:
            if self._left < 512:
                raise ValueError("sparse file: its map is cut")
            block = self._take(512)
            if len(block) < 512:
                raise self._cut()
            self._left -= 512
            *lines, text = (text + block).split(b"\n")
            for line in lines:
                if 0 <= count <= len(values) // 2:
                    break
                if not line.isdigit() or len(line) > 20:
                    raise ValueError("sparse file: its map has a bad number")
                if count < 0:
                    count = int(line)
                    if count > MAX_SPARSE_PIECES:
                        raise ValueError(f"sparse file of more than {MAX_SPARSE_PIECES} pieces")
                else:
                    values.append(int(line))
            if len(text) > 512:
                raise ValueError("sparse file: its map has a bad number")
        self._padding = -self._left % 512
        return _pairs(values)

    def _checked_sparse(self, real_size: int, pieces: list[tuple[int, int]]) -> int:
        end = stored = 0
        for offset, size in pieces:
            if size < 0 or offset < end:
                raise ValueError("sparse file: its map is not in order")
            end = offset + size
            stored += size
        if end > real_size or real_size > 2**63 - 1:
            raise ValueError("sparse file: its map reaches beyond its size")
        if stored != self._left:
            raise ValueError(f"sparse file: its map names {stored} bytes, {self._left} are there")
        return real_size


class _Numbers(dict[bytes, int]):
    """Numbers of headers repeat: parsed once each."""

    def __missing__(self, field: bytes) -> int:
        if len(self) > 65536:
            self.clear()
        value = self[field] = _number(field)
        return value


class _Sums(_Numbers):
    """Checksums by their fields: each what the low half of adler32 is of a header that has it."""

    def __missing__(self, field: bytes) -> int:
        if len(self) > 65536:
            self.clear()
        try:
            value = (_number(field) + sum(field) - 256 + 1) % 65521
        except ValueError:
            value = -1
        self[field] = value
        return value


def _number(field: bytes) -> int:
    """A header's number: octal digits between blanks or NULs, or GNU's base-256."""
    digits = field.strip(b"\0 ")
    if not digits.isdigit():
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
        digits = digits.partition(b"\0")[0].rstrip(b" ")  # what follows a NUL was never cleared
        if not digits:
            return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise ValueError(f"bad number {field!r}")
    return int(digits, 8)


def _is_signed_sum(block: bytes) -> bool:
    """Whether the checksum is right as old tars with signed characters made it."""
    masked = block[:148] + b"        " + block[156:]
    try:
        return sum(masked) - 256 * sum(byte > 127 for byte in masked) == _number(block[148:156])
    except ValueError:
        return False


def _pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Keys and values in order: "length key=value\\n", the length counting itself."""
    records: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 9)
        digits = data[position:space] if space > position else b""
        stop = position + int(digits) if digits.isdigit() else 0
        if not position <= space < stop <= len(data) or data[stop - 1] != 0x0A:
            raise ValueError("extended header: a record's length is wrong")
        key, equals, value = data[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise ValueError("extended header: a record has no key or no '='")
        records.append((key, value))
        position = stop
    return records


def _decimal(pax: dict[bytes, bytes], key: bytes, default: int) -> int:
    value = pax.get(key)
    if not value:
        return default
    if not value.isdigit() or len(value) > 20:
        raise ValueError(f"extended header: bad {key.decode()} {value[:40]!r}")
    return int(value)


def _time_ns(value: bytes) -> int:
    negative = value.startswith(b"-")
    seconds, _, fraction = value.removeprefix(b"-").partition(b".")
    if not seconds.isdigit() or len(seconds) > 20 or (fraction and not fraction.isdigit()):
        raise ValueError(f"extended header: bad mtime {value[:40]!r}")
    return 0 if negative else int(seconds) * 1_000_000_000 + int((fraction + b"000000000")[:9])


def _xattrs(pax: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    found: dict[bytes, bytes] = {}
    for key, value in pax.items():
        if key.startswith(b"SCHILY.xattr."):
            found[key[13:]] = value
        elif key.startswith(b"LIBARCHIVE.xattr."):
            name = _unquoted(key[17:])
            if b"SCHILY.xattr." + name not in pax:
                try:
                    found[name] = binascii.a2b_base64(value + b"=" * (-len(value) % 4))
                except binascii.Error as error:
                    raise ValueError(f"extended header: xattr {name[:40]!r}: {error}") from error
    if found:
        if sum(len(name) + len(value) for name, value in found.items()) > MAX_XATTR_BYTES:
            raise ValueError(f"extended attributes of more than {MAX_XATTR_BYTES} bytes")
        if any(not name or b"\0" in name for name in found):
            raise ValueError("extended attribute without a name")
    return tuple(found.items())


def _unquoted(text: bytes) -> bytes:
    """`text` with its %XX replaced, as libarchive writes names."""
    first, *rest = text.split(b"%")
    parts = [first]
    for part in rest:
        try:
            parts.append(bytes((int(part[:2], 16),)) + part[2:])
        except ValueError:
            parts.append(b"%" + part)
    return b"".join(parts)


def _sparse_of_pax(
    pax: dict[bytes, bytes], local: list[tuple[bytes, bytes]]
) -> tuple[int, list[tuple[int, int]] | None]:
    """Real size and map of GNU's formats 0.0 and 0.1; the map of 1.0 is in the payload: None."""
    real_size = _decimal(pax, b"GNU.sparse.realsize", _decimal(pax, b"GNU.sparse.size", -1))
    if pax.get(b"GNU.sparse.major") == b"1":
        if real_size < 0:
            raise ValueError("sparse file without its size")
        return real_size, None
    if b"GNU.sparse.map" in pax:
        texts = [text for text in pax[b"GNU.sparse.map"].split(b",") if text]
    else:
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        texts = [value for key, value in local if key in keys]
        if not texts and real_size < 0:
            return -1, None  # some other GNU.sparse key: an ordinary file
    if any(not text.isdigit() or len(text) > 20 for text in texts) or real_size < 0:
        raise ValueError("sparse file: its map has a bad number")
    if len(texts) > 2 * MAX_SPARSE_PIECES:
        raise ValueError(f"sparse file of more than {MAX_SPARSE_PIECES} pieces")
    return real_size, _pairs([int(text) for text in texts])


def _pairs(values: list[int]) -> list[tuple[int, int]]:
    if len(values) % 2:
        raise ValueError("sparse file: its map has an odd number")
    return list(zip(values[::2], values[1::2], strict=True))


def _device(major: int, minor: int) -> int:
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):  # what Linux can say
        raise ValueError(f"device {major}:{minor} is out of range")
    return os.makedev(major, minor)


def _path(name: bytes) -> bytes:
    """`name` relative to the root, without empty and "." components; never with ".."."""
    if name[:2] == b"./":
        name = name[2:]
    name = name.strip(b"/")
    if b"/." in name or b"//" in name or name[:1] == b".":
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise ValueError(f"path {_shown(name)} leaves the layer")
        name = b"/".join(parts)
    if len(name) > MAX_NAME_BYTES:
        if len(name) > MAX_PATH_BYTES:
            raise ValueError(f"path of {len(name)} bytes, more than {MAX_PATH_BYTES}")
        if any(len(part) > MAX_NAME_BYTES for part in name.split(b"/")):
            raise ValueError(f"path {_shown(name)}: a name of more than {MAX_NAME_BYTES} bytes")
    if b"\0" in name:
        raise ValueError(f"path {_shown(name)} has a NUL")
    return name


def _shown(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 80 else text[:80] + "…")
