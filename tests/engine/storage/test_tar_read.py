"""What `tarfile` and GNU tar write, read back; and whatever bytes come, no other error."""

import contextlib
import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Corrupt, InvalidInput
from engine.storage import tar_read
from engine.storage.tar_read import Entry, TarReader
from tests.support.tarball import END, GNU, base256, file, header, padded, pax, symlink

TYPES = {
    tarfile.REGTYPE: tar_read.FILE, tarfile.DIRTYPE: tar_read.DIRECTORY,
    tarfile.SYMTYPE: tar_read.SYMLINK, tarfile.FIFOTYPE: tar_read.FIFO,
}  # fmt: skip


def chunks(data: bytes, size: int = 4000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader(chunks(data))
    found: list[tuple[Entry, bytes]] = []
    for entry in reader:
        payload = b""
        while (piece := reader.read()) is not None:
            payload += piece
        found.append((entry, payload))
    return found


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("seed", range(5))
def test_reads_what_tarfile_writes(format_: int, seed: int) -> None:
    chance = random.Random(seed)
    buffer = io.BytesIO()
    written: list[tuple[tarfile.TarInfo, bytes]] = []
    big = 2**40 if format_ != tarfile.USTAR_FORMAT else 2000
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
        for _ in range(30):
            depth = chance.randint(1, 4 if format_ == tarfile.USTAR_FORMAT else 12)
            name = "/".join(chance.choice(["a", "ü", "long-name-" * 3]) for _ in range(depth))
            info = tarfile.TarInfo(name)
            info.type = chance.choice(list(TYPES))
            info.mode = chance.randrange(0o10000)
            info.uid = chance.randrange(min(big, 2**31))
            info.gid = chance.randrange(2000)
            info.mtime = chance.randrange(2**31)
            if info.issym():
                longest = 90 if format_ == tarfile.USTAR_FORMAT else 900
                info.linkname = "t" * chance.randint(1, longest)
            data = (
                chance.randbytes(chance.choice([0, 1, 511, 512, 513, 9000]))
                if info.isreg()
                else b""
            )
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            written.append((info, data))
    found = read(buffer.getvalue())
    assert len(found) == len(written)
    for (entry, payload), (info, data) in zip(found, written, strict=True):
        assert entry.path == info.name.encode()
        assert entry.type == TYPES[info.type]
        assert (entry.mode, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert entry.mtime_ns == info.mtime * 10**9
        assert entry.link == info.linkname.encode()
        assert payload == data


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "gnu"])
def test_reads_sparse_files_of_gnu_tar(tmp_path: Path, version: str) -> None:
    with open(tmp_path / "s", "wb") as sparse:
        for offset in range(0, 40 << 20, 1 << 20):
            sparse.seek(offset)
            sparse.write(b"x" * 4096)
        sparse.truncate(50 << 20)
    command = [shutil.which("tar") or "tar", "-cSf", "-", "-C", str(tmp_path), "s"]
    command[1:1] = ["--format=gnu"] if version == "gnu" else [
        "--format=pax", f"--sparse-version={version}",
    ]  # fmt: skip
    data = subprocess.run(command, check=True, capture_output=True).stdout
    ((entry, payload),) = read(data)
    assert (entry.path, entry.size) == (b"s", 50 << 20)
    assert entry.pieces is not None
    content = bytearray(entry.size)
    position = 0
    for offset, size in entry.pieces:
        content[offset : offset + size] = payload[position : position + size]
        position += size
    assert bytes(content) == (tmp_path / "s").read_bytes()


def test_offsets_lead_to_the_first_header_and_the_data() -> None:
    data = file(b"a", b"1" * 700) + pax({b"mtime": b"1.5"}) + file(b"b", b"2") + symlink(b"c", b"b")
    entries = [entry for entry, _ in read(data + END)]
    assert [(each.header_offset, each.data_offset) for each in entries] == [
        (0, 512),
        (1536, 3072),
        (3584, 4096),
    ]


def test_payload_that_nobody_reads_is_skipped() -> None:
    data = file(b"a", b"1" * 70_000) + file(b"b", b"2") + END
    assert [entry.path for entry in TarReader(chunks(data))] == [b"a", b"b"]


def test_whole_stream_is_read_whatever_is_behind_the_end() -> None:
    source = chunks(file(b"a") + END + bytes(100_000))
    list(TarReader(source))
    assert next(source, None) is None


@given(st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_damaged_streams_end_in_one_of_two_errors(data: st.DataObject) -> None:
    good = (
        pax({b"path": b"p", b"mtime": b"1.5", b"SCHILY.xattr.user.a": b"1"})
        + file(b"a", b"1" * 600)
        + pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"})
        + file(b"s", b"1\n0\n4\n".ljust(512, b"\0") + b"data")
        + symlink(b"l", b"a")
        + END
    )
    stream = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # right checksums let the damage through to the parser
        for start in range(0, len(stream) - 511, 512):
            if stream[start + 257 : start + 262] == b"ustar":
                stream[start + 148 : start + 156] = b" " * 8
                total = sum(stream[start : start + 512])
                stream[start + 148 : start + 156] = b"%06o\0 " % total
    with contextlib.suppress(Corrupt, InvalidInput):
        read(bytes(stream))


def only_entry(stream: bytes) -> Entry | None:
    """The one entry of `stream`; None when it is refused, in words that can be shown."""
    said = ""
    try:
        (entry,) = TarReader(chunks(stream))
    except (InvalidInput, Corrupt) as error:
        said = error.message
    else:
        return entry
    assert said.isprintable()
    return None


numbers = st.integers(0, 4) | st.sampled_from([511, 512, 1024, 2**33, 2**62, 2**63, 10**25])
pieces = st.lists(st.tuples(numbers, numbers), max_size=4)


@given(pieces, numbers, st.sampled_from(["0.0", "0.1", "1.0", "old"]), st.integers(0, 1600))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_sparse_map_is_what_the_payload_fits_or_an_error(
    pieces: list[tuple[int, int]], size: int, version: str, payload: int
) -> None:
    flat = [number for piece in pieces for number in piece]
    map_ = b",".join(b"%d" % number for number in flat)
    data = b"x" * payload
    stream = file(b"s", data)
    if version == "0.0":
        records = [(b"GNU.sparse.size", b"%d" % size)]
        for offset, length in pieces:
            records.append((b"GNU.sparse.offset", b"%d" % offset))
            records.append((b"GNU.sparse.numbytes", b"%d" % length))
        stream = pax(records) + stream
    elif version == "0.1":
        stream = pax({b"GNU.sparse.size": b"%d" % size, b"GNU.sparse.map": map_}) + stream
    elif version == "1.0":
        head = b"%d\n" % len(pieces) + b"".join(b"%d\n" % number for number in flat)
        records_1 = {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.realsize": b"%d" % size,
        }
        stream = pax(records_1) + file(b"s", padded(head) + data)
    else:
        fields = b"".join(base256(number) for number in flat).ljust(96, b"\0")
        tail = bytes(41) + fields + b"\0" + base256(size)
        stream = header(b"s", b"S", payload, magic=GNU, prefix=tail[:155], tail=tail[155:])
        stream += padded(data)
    entry = only_entry(stream + END)
    if entry is not None and entry.pieces is not None:
        ends = [offset + length for offset, length in entry.pieces]
        assert sum(length for _, length in entry.pieces) == payload
        assert all(end <= start for end, (start, _) in zip(ends, entry.pieces[1:], strict=False))
        assert max(ends, default=0) <= entry.size < 2**63


keys = st.sampled_from(
    [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"SCHILY.xattr.user.a", b"comment",
     b"LIBARCHIVE.xattr.user.b", b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.major"]
)  # fmt: skip
values = st.binary(max_size=12) | st.integers(-3, 2**65).map(lambda number: b"%d" % number)


@given(st.lists(st.tuples(keys, values), max_size=5), st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_extended_header_is_an_entry_or_an_error(
    records: list[tuple[bytes, bytes]], everywhere: bool
) -> None:
    stream = pax(records, b"g" if everywhere else b"x") + file(b"a", b"1" * 600) + END
    entry = only_entry(stream)
    if entry is not None:
        assert b".." not in entry.path.split(b"/")
        assert b"\0" not in entry.path
        assert 0 <= entry.uid < 2**32 - 1
        assert 0 <= entry.size < 2**63
        assert 0 <= entry.mtime_ns < 2**63
