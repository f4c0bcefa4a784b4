"""Raw bytes become gzip or zstd, in another process."""

import gzip
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine.engine import Cancel
from engine.errors import Cancelled, InvalidInput, Unavailable
from engine.storage import deflate as module
from engine.storage.deflate import Deflated, check_level, deflate, work

DATA = b"".join(b"line %d of a file that packs well\n" % n for n in range(200_000))


def pack(
    directory: Path, codec: Any, level: int | None = None, **more: Any
) -> tuple[Deflated, Path]:
    source, target = directory / "source", directory / f"target-{codec}-{level}"
    source.write_bytes(DATA)
    descriptors = [
        os.open(source, os.O_RDONLY),
        os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    ]
    try:
        found = deflate(*descriptors, len(DATA), codec, level, **{"cancel": Cancel()} | more)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return found, target


@pytest.mark.parametrize(
    ("codec", "level"), [("gzip", None), ("gzip", 1), ("gzip", 6), ("zstd", None), ("zstd", 9)]
)
def test_what_comes_out_is_what_went_in(tmp_path: Path, codec: str, level: int | None) -> None:
    found, target = pack(tmp_path, codec, level)
    data = target.read_bytes()
    assert found == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    assert len(data) < len(DATA) // 4
    if codec == "gzip":
        assert gzip.decompress(data) == DATA
        assert data[3:8] == bytes(5)  # neither name nor time
    else:
        assert zstandard.decompress(data) == DATA
    assert pack(tmp_path, codec, level)[0] == found


def test_a_higher_level_is_smaller(tmp_path: Path) -> None:
    sizes = [pack(tmp_path, "gzip", level)[0].size_bytes for level in (1, 9)]
    assert sizes == sorted(sizes, reverse=True)


def test_progress_is_told_in_raw_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    source, target = os.memfd_create("source"), os.memfd_create("target")
    os.write(source, bytes(3 << 20))
    monkeypatch.setattr(module, "_REPORT_BYTES", 1 << 20)
    work((source, target, 3 << 20, "gzip", 1), told.append)
    os.close(source)
    os.close(target)
    assert told == [1 << 20, 2 << 20, 3 << 20]


def test_cancel_ends_the_worker(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        pack(tmp_path, "zstd", 19, cancel=cancel)


def test_a_file_that_shrank_is_told(tmp_path: Path) -> None:
    source, target = os.memfd_create("source"), os.memfd_create("target")
    with pytest.raises(Unavailable, match="shorter than it was"):
        deflate(source, target, 100, "gzip", cancel=Cancel())
    os.close(source)
    os.close(target)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(Unavailable, match="no space left on device") as caught:
        deflate(source, target, len(DATA), "gzip", cancel=Cancel())
    assert caught.value.hint
    os.close(source)
    os.close(target)


def test_without_isal_zlib_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    source, target = os.memfd_create("source"), os.memfd_create("target")
    os.write(source, DATA)
    _, size = work((source, target, len(DATA), "gzip", 3), lambda raw: None)
    assert gzip.decompress(os.pread(target, size, 0)) == DATA
    os.close(source)
    os.close(target)


def test_levels_are_checked() -> None:
    check_level("gzip", None)
    check_level("gzip", 9)
    check_level("zstd", 22)
    for codec, level in (("gzip", 0), ("gzip", 10), ("zstd", 23), ("none", 1)):
        with pytest.raises(InvalidInput, match=f"compression level {level}: {codec}"):
            check_level(codec, level)
