"""Headers of a tar stream: ustar, and PAX for what it cannot say; the same facts, the same bytes.

https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13
"""

import os
import struct
from collections.abc import Sequence

from engine.storage.tar_read import FILE

END = bytes(1024)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_EXTENDED = b"x"
_NAME_BYTES, _PREFIX_BYTES, _LINK_BYTES = 100, 155, 100
_MAX_ID = 0o7777777
_MAX_SIZE = _MAX_SECONDS = 0o77777777777


def header(
    path: bytes,
    type: bytes = FILE,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime_ns: int = 0,
    link: bytes = b"",
    device: int = 0,
    xattrs: Sequence[tuple[bytes, bytes]] = (),
    records: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The blocks before an entry's payload of `size` bytes. `records` are PAX records of its own
    (sparse maps), which come before those that are needed here."""
    seconds, fraction = divmod(mtime_ns, 1_000_000_000)
    name, prefix = _split(path)
    more = list(records)
    if not name:
        more.append((b"path", path))
        name = path[:_NAME_BYTES]
    if len(link) > _LINK_BYTES:
        more.append((b"linkpath", link))
    if size > _MAX_SIZE:
        more.append((b"size", b"%d" % size))
    if uid > _MAX_ID:
        more.append((b"uid", b"%d" % uid))
    if gid > _MAX_ID:
        more.append((b"gid", b"%d" % gid))
    if fraction or not 0 <= seconds <= _MAX_SECONDS:
        more.append((b"mtime", _time(mtime_ns)))
    more += [(b"SCHILY.xattr." + key, value) for key, value in sorted(xattrs)]
    block = _block(
        name, type, mode, uid, gid, size, seconds, link, os.major(device), os.minor(device), prefix
    )
    if not more:
        return block
    text = b"".join(_record(key, value) for key, value in more)
    base = b"PaxHeaders/" + path.rstrip(b"/").rpartition(b"/")[2]
    return (
        _block(base[:_NAME_BYTES], _EXTENDED, 0o644, 0, 0, len(text), 0, b"", 0, 0, b"")
        + text
        + padding(len(text))
        + block
    )


def padding(size: int) -> bytes:
    """What follows a payload of that many bytes."""
    return bytes(-size % 512)


def _block(
    name: bytes,
    type: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes,
    major: int,
    minor: int,
    prefix: bytes,
) -> bytes:
    block = _FIELDS.pack(
        name, _octal(mode, 8), _octal(uid, 8), _octal(gid, 8), _octal(size, 12),
        _octal(seconds, 12), b" " * 8, type, link[:_LINK_BYTES], b"ustar\x0000", b"", b"",
        _octal(major, 8), _octal(minor, 8), prefix,
    )  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(value: int, width: int) -> bytes:
    """What does not fit is 0 there, and in a PAX record."""
    digits = width - 1
    return b"%0*o\0" % (digits, value if 0 <= value < 8**digits else 0)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Name and prefix of the ustar header; no name when the path does not fit."""
    if len(path) <= _NAME_BYTES:
        return path, b""
    at = path.find(b"/", len(path) - _NAME_BYTES - 1, len(path) - 1)
    if at < 0 or at > _PREFIX_BYTES:
        return b"", b""
    return path[at + 1 :], path[:at]


def _time(time_ns: int) -> bytes:
    seconds, fraction = divmod(abs(time_ns), 1_000_000_000)
    text = b"%s%d" % (b"-" if time_ns < 0 else b"", seconds)
    return text + (b".%09d" % fraction).rstrip(b"0") if fraction else text


def _record(key: bytes, value: bytes) -> bytes:
    """Its length counts its own digits."""
    body = b" %s=%s\n" % (key, value)
    length = len(body)
    while len(body) + len(b"%d" % length) != length:
        length = len(body) + len(b"%d" % length)
    return b"%d%s" % (length, body)
