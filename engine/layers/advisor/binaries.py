"""B: symbols and debug data in programs, debug files, the same content twice.

https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
"""

from __future__ import annotations

import struct

from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path
from engine.layers.contents import Ends
from engine.layers.files import LiveFile

B01 = Rule(
    "B01", "programs with symbols", "certain", "S2",
    "RUN strip --strip-unneeded FILE; go build -ldflags '-s -w'; in Cargo.toml: strip = true",
)  # fmt: skip
B02 = Rule(
    "B02", "big program that could be packed", "advice", "S4",
    "RUN upx FILE: less on the disk, hardly less in the registry; more memory, slower starts",
)  # fmt: skip
B03 = Rule("B03", "debug files", "certain", "S2", "Leave out the -dbg packages and /usr/lib/debug.")
B04 = Rule(
    "B04", "the same content twice", "certain", "S2",
    "In one RUN or COPY: ln FIRST SECOND; hard links and symbolic links cost nothing.",
)  # fmt: skip

_DEBUG_FILES = PathRule(B03, rb"usr/lib/debug/.+|(?:.*/)?[^/]+\.(?:debug|pdb|dwo|dwp)")
_LEAST_BYTES = 16_384
_BIG_BYTES = 5_000_000
_HEAD_BYTES, _TAIL_BYTES = 1024, 262_144  # the section table is the end of a file, as linkers write
_SYMBOLS = (b".symtab", b".strtab")
_DEBUG = (b".debug", b".zdebug", b".gnu.debuglto_")


def find_duplicates(case: Case, ledger: Ledger) -> None:
    """All but one file of each content."""
    ledger.claim(B04, [file for group in case.files.duplicates() for file in group[1:]])


def find_binaries(case: Case, ledger: Ledger) -> None:
    claim_by_path(case, ledger, (_DEBUG_FILES,))
    programs = [
        file
        for file in ledger.unclaimed(case.files.live)
        if file.size_bytes >= _LEAST_BYTES and _may_be_elf(case, file)
    ]
    by_node = {file.node: file for file in programs}
    parts: dict[int, int] = {}
    big: list[LiveFile] = []
    for node, found in case.contents.ends(programs, _HEAD_BYTES, _TAIL_BYTES):
        file = by_node[node]
        size = symbol_bytes(found, file.size_bytes)
        if size:
            parts[file.node] = size
        is_program = file.size_bytes >= _BIG_BYTES and b".so" not in file.path
        if is_program and found.head.startswith(b"\x7fELF") and b"UPX!" not in found.head:
            big.append(file)
    ledger.claim(B01, [file for file in programs if file.node in parts], parts=parts)
    if big:
        layers = {file.layer: file.size_bytes for file in big}
        ledger.note(B02, paths=[file.path for file in big], layers=layers)


def _may_be_elf(case: Case, file: LiveFile) -> bool:
    name = file.path.rpartition(b"/")[2]
    return (
        bool(case.files.mode(file) & 0o111) or b".so" in name or name.endswith(b".node")
    ) and not name.endswith((b".ko", b".o"))


def symbol_bytes(ends: Ends, size: int) -> int:
    """What strip(1) would take out of the program with these ends; 0 when it is no ELF file, is
    stripped, or has its section table elsewhere."""
    head = ends.head
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return 0
    order = "<" if head[5] == 1 else ">"
    if head[4] == 2:
        (offset,) = struct.unpack_from(order + "Q", head, 40)
        width, count, names = struct.unpack_from(order + "HHH", head, 58)
        layout = order + "IIQQQQ"
    else:
        (offset,) = struct.unpack_from(order + "I", head, 32)
        width, count, names = struct.unpack_from(order + "HHH", head, 46)
        layout = order + "IIIIII"
    table = _part(ends, size, offset, width * count)
    if not offset or width < struct.calcsize(layout) or names >= count or table is None:
        return 0
    sections = [struct.unpack_from(layout, table, width * at) for at in range(count)]
    texts = _part(ends, size, sections[names][4], sections[names][5])
    if texts is None:
        return 0
    total = 0
    for section in sections:
        name = texts[section[0] : texts.find(b"\0", section[0])]
        if name in _SYMBOLS or name.startswith(_DEBUG):
            total += section[5]
    return total if total <= size else 0  # a lie


def _part(ends: Ends, size: int, offset: int, length: int) -> bytes | None:
    """Bytes of the file, if they are in one of its ends."""
    if offset + length <= len(ends.head):
        return ends.head[offset : offset + length]
    start = size - len(ends.tail)
    if offset >= start and offset + length <= size:
        return ends.tail[offset - start : offset - start + length]
    return None
