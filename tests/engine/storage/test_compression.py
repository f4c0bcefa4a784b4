"""Codecs by their magic, and files that grow while they are read."""

import builtins
import gzip
import os
import random
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine.errors import Corrupt, EngineError, Unsupported
from engine.storage.compression import COMPLETE, Growing, raw_chunks

RAW = random.Random(7).randbytes(300_000) + bytes(700_000) + b"the end"
ZSTD = zstandard.ZstdCompressor(3).compress(RAW)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


def inflate(tmp_path: Path, blob: bytes) -> bytes:
    path = tmp_path / "blob"
    path.write_bytes(blob)
    with open(path, "rb") as file:
        return b"".join(
            raw_chunks(Growing(file.fileno(), len(blob), None), lambda raw, packed: None)
        )


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    real = builtins.__import__

    def without_isal(name: str, *args: Any, **keywords: Any) -> Any:
        if name.startswith("isal"):
            raise ImportError(name)
        return real(name, *args, **keywords)

    if request.param == "zlib":
        monkeypatch.setattr(builtins, "__import__", without_isal)
    return str(request.param)


GZIP = gzip.compress(RAW)
GOOD = {
    "plain": RAW,
    "nothing": b"",
    "gzip": GZIP,
    "many members": gzip.compress(RAW[:1000]) + gzip.compress(b"") + gzip.compress(RAW[1000:]),
    "NULs between and behind": gzip.compress(RAW[:9])
    + bytes(70_000)
    + gzip.compress(RAW[9:])
    + bytes(3),
    "zstd": ZSTD,
    "zstd frames": zstandard.compress(RAW[:5]) + SKIPPABLE + zstandard.compress(RAW[5:]),
    "zstd skippable first": SKIPPABLE + ZSTD,
}
BAD: dict[str, tuple[bytes, type[EngineError]]] = {
    "gzip cut": (GZIP[:-20], Corrupt),
    "gzip cut in the trailer": (GZIP[:-3], Corrupt),
    "gzip cut in the header": (GZIP[:7], Corrupt),
    "gzip checksum": (GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:], Corrupt),
    "gzip flipped bit": (GZIP[:5000] + bytes([GZIP[5000] ^ 1]) + GZIP[5001:], Corrupt),
    "bytes behind gzip": (GZIP + b"x", Corrupt),
    "bytes behind NULs behind gzip": (GZIP + bytes(600) + b"\x1f", Corrupt),
    "bytes behind zstd": (ZSTD + b"garbage", Corrupt),
    "zstd damaged": (ZSTD[:4] + b"\xff" * 40 + ZSTD[44:], Corrupt),
}


@pytest.mark.parametrize("name", GOOD)
def test_inflates(tmp_path: Path, library: str, name: str) -> None:
    assert inflate(tmp_path, GOOD[name]) == (b"" if name == "nothing" else RAW)


@pytest.mark.parametrize("name", BAD)
def test_refuses(tmp_path: Path, library: str, name: str) -> None:
    blob, error = BAD[name]
    with pytest.raises(error):
        inflate(tmp_path, blob)


def test_zstd_with_a_huge_window_is_unsupported(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    blob = packer.compress(b"x" * 5000) + packer.flush()
    with pytest.raises(Unsupported, match="window"):
        inflate(tmp_path, blob)


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain"])
def test_follows_a_file_that_grows(tmp_path: Path, name: str) -> None:
    """Thousands of small steps: the news must neither block the writer nor get lost."""
    blob = GOOD[name]
    news = os.eventfd(0, os.EFD_CLOEXEC)
    descriptor = os.open(tmp_path / "blob", os.O_RDWR | os.O_CREAT)

    def write() -> None:
        for start in range(0, len(blob), 37):
            part = blob[start : start + 37]
            os.write(descriptor, part)
            os.eventfd_write(news, len(part))
            if start % 37_000 == 0:
                time.sleep(0.001)
        os.eventfd_write(news, COMPLETE)

    thread = threading.Thread(target=write)
    thread.start()
    steps: list[tuple[int, int]] = []
    chunks = raw_chunks(Growing(descriptor, len(blob), news), lambda *step: steps.append(step))
    assert b"".join(chunks) == RAW
    thread.join()
    assert steps == sorted(steps)
    assert steps[-1][0] == len(RAW)
    assert steps[-1][1] <= len(blob)
    os.close(descriptor)
    os.close(news)


def test_both_libraries_are_really_tried(library: str) -> None:
    if library == "zlib":
        with pytest.raises(ImportError):
            import isal  # noqa: F401
    assert zlib.decompress(GZIP, 31) == RAW
