"""Symbols in programs, told without the program."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from engine.layers.advisor.binaries import symbol_bytes
from engine.layers.contents import Ends
from tests.support.advice import findings_of
from tests.support.tarball import file

NAMES = (b"", b".text", b".symtab", b".strtab", b".debug_info", b".shstrtab")
SIZES = {b".text": 40_000, b".symtab": 2400, b".strtab": 900, b".debug_info": 7000}


def elf(*, bits: int = 64, order: str = "<", stripped: bool = False) -> bytes:
    """A program with those sections, and nothing in them."""
    names = [name for name in NAMES if not stripped or name in (b"", b".text", b".shstrtab")]
    texts = b"\0".join([b"", *names[1:]]) + b"\0"
    body, sections = bytearray(64), []
    for name in names:
        size = len(texts) if name == b".shstrtab" else SIZES.get(name, 0)
        sections.append((texts.index(name + b"\0") if name else 0, len(body), size))
        body += texts if name == b".shstrtab" else bytes(size)
    offset = len(body)
    wide = "QQQQ" if bits == 64 else "IIII"
    for name, start, size in sections:
        row = struct.pack(f"{order}II{wide}", name, 1, 0, 0, start, size)
        body += row.ljust(64 if bits == 64 else 40, b"\0")
    width = 64 if bits == 64 else 40
    body[:6] = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2])
    if bits == 64:
        struct.pack_into(order + "Q", body, 40, offset)
        struct.pack_into(order + "HHH", body, 58, width, len(names), len(names) - 1)
    else:
        struct.pack_into(order + "I", body, 32, offset)
        struct.pack_into(order + "HHH", body, 46, width, len(names), len(names) - 1)
    return bytes(body)


def measured(data: bytes) -> int:
    return symbol_bytes(Ends(data[:1024], data[1024:][-262_144:]), len(data))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_symbols_and_debug_data_are_counted(bits: int, order: str) -> None:
    assert measured(elf(bits=bits, order=order)) == 2400 + 900 + 7000
    assert measured(elf(bits=bits, order=order, stripped=True)) == 0


@pytest.mark.parametrize("count", [0, 3, 63, 64, 70])
def test_what_is_cut_has_none(count: int) -> None:
    assert measured(elf()[:count]) == 0


def test_lies_are_not_believed() -> None:
    data = bytearray(elf())
    for position in range(len(data) - 64 * len(NAMES), len(data), 8):
        changed = data.copy()
        struct.pack_into("<Q", changed, position, 2**63)
        assert 0 <= measured(bytes(changed)) <= len(data)
    struct.pack_into("<Q", data, 40, 2**60)
    assert measured(bytes(data)) == 0


@pytest.mark.skipif(not shutil.which("strip"), reason="needs binutils")
def test_strip_takes_what_was_promised(tmp_path: Path) -> None:
    data = Path("/proc/self/exe").read_bytes()
    (tmp_path / "program").write_bytes(data)
    subprocess.run(["strip", "--strip-unneeded", tmp_path / "program"], check=True)
    saved = len(data) - (tmp_path / "program").stat().st_size
    assert measured(data) == pytest.approx(saved, abs=4096 + len(data) // 100)


def test_only_the_symbols_are_claimed(tmp_path: Path) -> None:
    program = elf()
    streams = file(b"usr/bin/a", program, mode=0o755) + file(b"usr/lib/b.so", program)
    streams += file(b"data", elf(order=">"))  # not to be run
    found = findings_of(tmp_path, streams)
    assert found["B04"].raw_bytes == len(program)  # the second of them
    assert (found["B01"].raw_bytes, found["B01"].paths) == (10_300, ("usr/bin/a",))


def test_a_big_program_could_be_packed(tmp_path: Path) -> None:
    big = elf(stripped=True) + bytes(6_000_000)
    found = findings_of(tmp_path, file(b"usr/bin/big", big, mode=0o755))
    assert (found["B02"].paths, found["B02"].raw_bytes) == (("usr/bin/big",), 0)
    packed = big.replace(bytes(8), b"UPX!\0\0\0\0", 1)
    assert "B02" not in findings_of(tmp_path, file(b"usr/bin/big", packed, mode=0o755))
