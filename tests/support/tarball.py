"""Tar streams written by hand, so that tests can say what `tarfile` would never write."""

import struct

FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", b""
END = bytes(1024)


def octal(value: int, width: int = 12) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int = 12) -> bytes:
    number = (value & ((1 << (8 * width)) - 1)) | (0x80 << (8 * (width - 1)))
    return number.to_bytes(width, "big")


def header(
    name: bytes,
    type: bytes = b"0",
    size: int | bytes = 0,
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    tail: bytes = b"",
    checksum: bytes | None = None,
    signed: bool = False,
) -> bytes:
    """One header block with a right checksum, unless another is given."""

    def field(value: int | bytes, width: int) -> bytes:
        return value if isinstance(value, bytes) else octal(value, width)

    block = FIELDS.pack(
        name, field(mode, 8), field(uid, 8), field(gid, 8), field(size, 12), field(mtime, 12),
        b" " * 8, type, link, magic, b"root", b"root", octal(device[0], 8), octal(device[1], 8),
        prefix, tail,
    )  # fmt: skip
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
    return block[:148] + (checksum or b"%06o\0 " % total) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: dict[bytes, bytes] | list[tuple[bytes, bytes]], type: bytes = b"x") -> bytes:
    """An extended header with these records."""
    text = b""
    for key, value in records.items() if isinstance(records, dict) else records:
        body = b" %s=%s\n" % (key, value)
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length += 1
        text += b"%d%s" % (length, body)
    return header(b"pax", type, len(text)) + padded(text)


def long(type: bytes, text: bytes) -> bytes:
    """GNU's long name (L) or long link (K)."""
    return header(b"././@LongLink", type, len(text) + 1, magic=GNU) + padded(text + b"\0")


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    return header(name, b"0", len(data), **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, mode: int = 0o755, **fields: object) -> bytes:
    return header(name, b"5", mode=mode, **fields)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)
