"""The table of cases that a layer may confront us with; numbers as in the storage design."""

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import Corrupt, EngineError, InvalidInput
from engine.kernel.xattr import OPAQUE
from engine.storage.layer_index import OPAQUE as OPAQUE_MARK
from engine.storage.layer_index import IndexBuilder
from engine.storage.tar_apply import Applied, LayerWriter
from engine.storage.tar_read import TarReader
from tests.support.tarball import (
    END,
    GNU,
    V7,
    base256,
    directory,
    file,
    hardlink,
    header,
    long,
    octal,
    padded,
    pax,
    symlink,
)
from tests.support.trees import Node, tree_of

# Owners and devices need root; nothing is mounted or started here, so no child host is looked over.
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def chunks(stream: bytes, size: int = 1 << 18) -> Iterator[bytes]:
    for start in range(0, len(stream), size):
        yield stream[start : start + size]


def apply(target: Path, stream: bytes, size: int = 1 << 18) -> tuple[Applied, IndexBuilder]:
    target.mkdir(exist_ok=True)
    target.chmod(0o755)
    builder = IndexBuilder()
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        applied = LayerWriter(root, builder).apply(TarReader(chunks(stream, size)))
    finally:
        os.close(root)
    real = set(tree_of(target))
    assert {os.fsdecode(path) for path in builder.rows} - {""} == real, "the index is the disk"
    return applied, builder


def opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, OPAQUE) == b"y"
    except OSError:
        return False


D = Node("dir", b"", 0o755)
W = Node("whiteout", b"", 0, 0, 0)


def F(data: bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Node:
    return Node("file", data, mode, uid, gid)


def L(target: bytes) -> Node:
    return Node("link", target, 0o777)


class Case(NamedTuple):
    id: str
    stream: bytes
    tree: dict[str, Node]


class Bad(NamedTuple):
    id: str
    stream: bytes
    error: type[EngineError]
    words: str


SPARSE_DATA = b"A" * 512 + b"B" * 512
SPARSE = b"A" * 512 + bytes(1536) + b"B" * 512 + bytes(512)
SPARSE_MAP = b"2\n0\n512\n2048\n512\n"
OLD_SPARSE = octal(0) + octal(512) + octal(2048) + octal(512)


def old_sparse(pieces: bytes = OLD_SPARSE, real_size: int = 3072, more: bytes = b"") -> bytes:
    """Type S: header.prefix is at 345, the map at 386."""
    tail = bytes(41) + pieces.ljust(96, b"\0") + (b"\1" if more else b"\0") + octal(real_size)
    block = header(b"s", b"S", 1024, magic=GNU, prefix=tail[:155], tail=tail[155:])
    return block + more + SPARSE_DATA


CASES = [
    Case("T2 absolute", file(b"/abs", b"1"), {"abs": F(b"1")}),
    Case("T2 dot", directory(b"./a/") + file(b"./a//./b", b"1"), {"a": D, "a/b": F(b"1")}),
    Case("T3 root", directory(b"./", 0o755) + file(b"x"), {"x": F()}),
    Case("T5 bytes", file(b"\xff\xfe"), {"\udcff\udcfe": F()}),
    Case(
        "T6 through relative symlink",
        directory(b"r") + symlink(b"l", b"r") + file(b"l/f", b"1"),
        {"r": D, "l": L(b"r"), "r/f": F(b"1")},
    ),
    Case(
        "T6 through absolute symlink",
        directory(b"r") + symlink(b"l", b"/r") + file(b"l/f", b"1"),
        {"r": D, "l": L(b"/r"), "r/f": F(b"1")},
    ),
    Case(
        "T6 symlink climbs out",
        symlink(b"l", b"../../../../../../tmp/out") + file(b"l/f", b"1"),
        {"l": L(b"../../../../../../tmp/out"), "tmp": D, "tmp/out": D, "tmp/out/f": F(b"1")},
    ),
    Case(
        "T6 symlink to what is in a lower layer",
        symlink(b"lib", b"usr/lib") + file(b"lib/x"),
        {"lib": L(b"usr/lib"), "usr": D, "usr/lib": D, "usr/lib/x": F()},
    ),
    Case("T7 target verbatim", symlink(b"l", b"/etc/../x"), {"l": L(b"/etc/../x")}),
    Case("T8 file over symlink", symlink(b"l", b"/etc/passwd") + file(b"l", b"1"), {"l": F(b"1")}),
    Case(
        "T9 file over directory", directory(b"d") + file(b"d/f") + file(b"d", b"1"), {"d": F(b"1")}
    ),
    Case(
        "T9 directory over file",
        file(b"d", b"1") + directory(b"d") + file(b"d/f"),
        {"d": D, "d/f": F()},
    ),
    Case(
        "T10 directory twice",
        directory(b"d", 0o700) + file(b"d/f") + directory(b"d", 0o711),
        {"d": Node("dir", b"", 0o711), "d/f": F()},
    ),
    Case(
        "T11 file twice, older link keeps inode",
        file(b"a", b"old") + hardlink(b"b", b"a") + file(b"a", b"new"),
        {"a": F(b"new"), "b": F(b"old")},
    ),
    Case(
        "T13 absolute link", file(b"a", b"1") + hardlink(b"b", b"/a"), {"a": F(b"1"), "b": F(b"1")}
    ),
    Case(
        "T14 link to symlink",
        symlink(b"s", b"nowhere") + hardlink(b"h", b"s"),
        {"s": L(b"nowhere"), "h": L(b"nowhere")},
    ),
    Case("T15 link to itself", file(b"a", b"1") + hardlink(b"a", b"a"), {"a": F(b"1")}),
    Case(
        "T16 link before target",
        hardlink(b"b", b"c") + hardlink(b"c", b"a") + file(b"a", b"1"),
        {"a": F(b"1"), "b": F(b"1"), "c": F(b"1")},
    ),
    Case("T17 whiteout", directory(b"d") + file(b"d/.wh.x"), {"d": D, "d/x": W}),
    Case("T17 whiteout, then file", file(b".wh.x") + file(b"x", b"1"), {"x": F(b"1")}),
    Case("T17 file, then whiteout", file(b"x", b"1") + file(b".wh.x"), {"x": F(b"1")}),
    Case(
        "T17 whiteout with payload", file(b".wh.x", b"junk" * 500) + file(b"y"), {"x": W, "y": F()}
    ),
    Case(
        "T20 aufs",
        directory(b".wh..wh.plnk")
        + file(b".wh..wh.plnk/1.2", b"z" * 600)
        + file(b".wh..wh.aufs", b"z" * 700)
        + file(b"x", b"1"),
        {"x": F(b"1")},
    ),
    Case(
        "T21 devices",
        header(b"c", b"3", device=(1, 3), mode=0o666)
        + header(b"b", b"4", device=(8, 1), mode=0o660, gid=6)
        + header(b"p", b"6", mode=0o600),
        {
            "c": Node("char", b"1:3", 0o666),
            "b": Node("block", b"8:1", 0o660, 0, 6),
            "p": Node("fifo", b"", 0o600),
        },
    ),
    Case("T21 device 0:0", header(b"c", b"3"), {"c": W}),
    Case("T22 mode", file(b"x", mode=0o104755, uid=5, gid=6), {"x": F(b"", 0o4755, 5, 6)}),
    Case("T28 sparse old", old_sparse(), {"s": F(SPARSE)}),
    Case(
        "T28 sparse old, extended",
        old_sparse(octal(0) + octal(512), more=(octal(2048) + octal(512)).ljust(512, b"\0")),
        {"s": F(SPARSE)},
    ),
    Case(
        "T28 sparse 0.0",
        pax(
            [
                (b"GNU.sparse.size", b"3072"),
                (b"GNU.sparse.numblocks", b"2"),
                (b"GNU.sparse.offset", b"0"),
                (b"GNU.sparse.numbytes", b"512"),
                (b"GNU.sparse.offset", b"2048"),
                (b"GNU.sparse.numbytes", b"512"),
            ]
        )
        + file(b"s", SPARSE_DATA),
        {"s": F(SPARSE)},
    ),
    Case(
        "T28 sparse 0.1",
        pax(
            {
                b"GNU.sparse.size": b"3072",
                b"GNU.sparse.map": b"0,512,2048,512",
                b"GNU.sparse.name": b"s",
            }
        )
        + file(b"GNUSparseFile.1/s", SPARSE_DATA)
        + file(b"y"),
        {"s": F(SPARSE), "y": F()},
    ),
    Case(
        "T28 sparse 1.0",
        pax(
            {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.realsize": b"3072",
                b"GNU.sparse.name": b"s",
            }
        )
        + file(b"GNUSparseFile.1/s", padded(SPARSE_MAP) + SPARSE_DATA)
        + file(b"y"),
        {"s": F(SPARSE), "y": F()},
    ),
    Case(
        "T29 PAX wins",
        pax({b"path": b"p", b"uid": b"9", b"gid": b"8", b"size": b"2"})
        + header(b"u")
        + padded(b"hi"),
        {"p": F(b"hi", 0o644, 9, 8)},
    ),
    Case(
        "T30 size on link and directory",
        header(b"d/", b"5", 700, mode=0o755) + header(b"s", b"2", 5, link=b"d") + file(b"y"),
        {"d": D, "s": L(b"d"), "y": F()},
    ),
    Case(
        "T32 global header",
        pax({b"uid": b"7", b"comment": b"0123"}, b"g")
        + file(b"a")
        + pax({b"uid": b"8"})
        + file(b"b"),
        {"a": F(b"", 0o644, 7), "b": F(b"", 0o644, 8)},
    ),
    Case("T33 GNU long name", long(b"L", b"n" * 150) + file(b"n" * 100), {"n" * 150: F()}),
    Case(
        "T33 GNU long link",
        long(b"K", b"t" * 150) + symlink(b"s", b"t" * 100),
        {"s": L(b"t" * 150)},
    ),
    Case(
        "T33 GNU long name and PAX: PAX",
        long(b"L", b"gnu") + pax({b"path": b"pax"}) + file(b"x"),
        {"pax": F()},
    ),
    Case("T33 ustar prefix", file(b"f", prefix=b"d"), {"d": D, "d/f": F()}),
    Case(
        "T34 base-256",
        header(b"a", b"0", base256(2), uid=base256(70000, 8), magic=GNU) + padded(b"hi"),
        {"a": F(b"hi", 0o644, 70000)},
    ),
    Case(
        "T35 blanks",
        header(b"a", b"0", b"         2 \0", mode=b"   644 \0") + padded(b"hi"),
        {"a": F(b"hi")},
    ),
    Case("T36 signed checksum", file(b"\xc3\xa9", signed=True), {"é": F()}),
    Case(
        "T37 V7 directory",
        header(b"d/", b"\0", mode=0o755, magic=V7) + header(b"f", b"\0", magic=V7),
        {"d": D, "f": F()},
    ),
    Case("T39 bytes behind the end", file(b"a") + END + b"anything" * 100, {"a": F()}),
    Case("T41 contiguous file", header(b"a", b"7", 2) + padded(b"hi"), {"a": F(b"hi")}),
    Case(
        "T41 skipped types",
        b"".join(header(b"v", t, 3) + padded(b"zzz") for t in (b"V", b"M", b"N", b"A"))
        + file(b"a"),
        {"a": F()},
    ),
    Case("implied parents", file(b"a/b/f"), {"a": D, "a/b": D, "a/b/f": F()}),
    Case("an empty layer", END, {}),
    Case("no bytes at all", b"", {}),
    Case(
        "whiteout in the place of a parent",
        file(b".wh.d") + file(b"d/f"),
        {"d": D, "d/f": F()},
    ),
    Case(
        "whiteouts below an opaque directory are dropped",
        directory(b"d")
        + file(b"d/.wh.x")
        + directory(b"d/e")
        + file(b"d/e/.wh.y")
        + file(b"d/.wh..wh..opq"),
        {"d": D, "d/e": D},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.parametrize("ending", [END, b""], ids=["end marker", "T38 no end marker"])
def test_applies(tmp_path: Path, case: Case, ending: bytes) -> None:
    before = set(os.listdir("/tmp"))
    apply(tmp_path / "layer", case.stream + ending)
    assert tree_of(tmp_path / "layer") == case.tree
    assert "out" not in set(os.listdir("/tmp")) - before


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_applies_whatever_the_chunks(tmp_path: Path, case: Case) -> None:
    for size in (1, 1000) if len(case.stream) < 6000 else (333,):
        apply(tmp_path / str(size), case.stream + END, size)
        assert tree_of(tmp_path / str(size)) == case.tree


def records(*texts: bytes) -> bytes:
    data = b"".join(texts)
    return header(b"pax", b"x", len(data)) + padded(data) + file(b"x")


SPARSE_1 = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"3072"}


BAD = [
    Bad("T1", file(b"../x"), InvalidInput, "leaves the layer"),
    Bad("T1 inside", file(b"a/../../x"), InvalidInput, "leaves the layer"),
    Bad("T1 harmless, yet", file(b"a/../x"), InvalidInput, "leaves the layer"),
    Bad("T3 empty", file(b""), InvalidInput, "empty"),
    Bad("T3 dot", symlink(b".", b"/etc"), InvalidInput, "empty"),
    Bad("T4 NUL", pax({b"path": b"a\0b"}) + file(b"x"), InvalidInput, "NUL"),
    Bad("T4 name", pax({b"path": b"n" * 256}) + file(b"x"), InvalidInput, "255"),
    Bad("T4 path", pax({b"path": b"d/" * 2100 + b"x"}) + file(b"x"), InvalidInput, "4096"),
    Bad("T7 empty target", symlink(b"l", b""), InvalidInput, "empty"),
    Bad(
        "T7 long target",
        pax({b"linkpath": b"t" * 4096}) + symlink(b"l", b"x"),
        InvalidInput,
        "long",
    ),
    Bad("T13", hardlink(b"l", b"../../etc/passwd"), InvalidInput, "leaves the layer"),
    Bad("T15 directory", directory(b"d") + hardlink(b"l", b"d"), InvalidInput, "a directory"),
    Bad("T15 root", hardlink(b"l", b"/"), InvalidInput, "root"),
    Bad("T18 nothing", file(b".wh."), InvalidInput, "whiteout"),
    Bad("T18 dot", file(b"d/.wh.."), InvalidInput, "whiteout"),
    Bad("T18 dot dot", file(b"d/.wh..."), InvalidInput, "whiteout"),
    Bad("whiteout as a directory", file(b".wh.d/f"), InvalidInput, "whiteout"),
    Bad("T22 uid", file(b"x", uid=base256(2**32 - 1, 8)), InvalidInput, "owner"),
    Bad("T22 uid < 0", file(b"x", uid=base256(-1, 8)), InvalidInput, "owner"),
    Bad(
        "T28 not in order",
        old_sparse(octal(2048) + octal(512) + octal(0) + octal(512)),
        InvalidInput,
        "order",
    ),
    Bad("T28 out of range", old_sparse(real_size=2100), InvalidInput, "beyond"),
    Bad("T28 not all data", old_sparse(octal(0) + octal(512)), InvalidInput, "names 512"),
    Bad(
        "T28 1.0 bad map", pax(SPARSE_1) + file(b"s", padded(b"2\n0\nx\n")), InvalidInput, "number"
    ),
    Bad("T28 1.0 no map", pax(SPARSE_1) + file(b"s", b""), InvalidInput, "cut"),
    Bad("T28 1.0 endless map", pax(SPARSE_1) + file(b"s", b"1" * 2048), InvalidInput, "number"),
    Bad("T31 length too long", records(b"99 path=a\n"), InvalidInput, "length"),
    Bad("T31 length too short", records(b"9 path=aa\n"), InvalidInput, "length"),
    Bad("T31 no length", records(b"path=a\n"), InvalidInput, "length"),
    Bad("T31 no =", records(b"8 patha\n"), InvalidInput, "'='"),
    Bad("T33 nine headers", pax({b"a": b"b"}) * 9 + file(b"x"), InvalidInput, "extended headers"),
    Bad("T34 size < 0", header(b"x", b"0", base256(-5)), InvalidInput, "size -5"),
    Bad("T35 octal junk", header(b"x", b"0", mode=b"00x0644\0"), InvalidInput, "bad number"),
    Bad("T35 eight", header(b"x", b"0", b"00000000008\0"), InvalidInput, "bad number"),
    Bad("T36", file(b"x", checksum=b"000001\0 "), Corrupt, "checksum"),
    Bad("T40 header", file(b"x")[:300], Corrupt, "ends"),
    Bad("T40 data", file(b"x", b"1" * 2000)[:1500], Corrupt, "ends"),
    Bad("T40 padding", file(b"x", b"1")[:600], Corrupt, "ends"),
    Bad("T40 extended header", pax({b"a": b"b"})[:700], Corrupt, "ends"),
    Bad("T40 entry missing", pax({b"a": b"b"}), Corrupt, "ends"),
    Bad("T41", header(b"x", b"Z"), InvalidInput, "type"),
    Bad("T42 NaN", pax({b"mtime": b"NaN"}) + file(b"x"), InvalidInput, "mtime"),
    Bad("PAX size", pax({b"size": b"-1"}) + file(b"x"), InvalidInput, "size"),
    Bad("huge extended header", header(b"x", b"x", (1 << 20) + 1), InvalidInput, "extended header"),
    Bad(
        "huge xattrs",
        pax({b"SCHILY.xattr.user.a": b"v" * (257 << 10)}) + file(b"x"),
        InvalidInput,
        "attributes",
    ),
    Bad("file as a parent", file(b"a") + file(b"a/b"), InvalidInput, "directory"),
    Bad(
        "symlink loop as a parent",
        symlink(b"a", b"b") + symlink(b"b", b"a") + file(b"a/x"),
        InvalidInput,
        "links",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=[case.id for case in BAD])
def test_refuses(tmp_path: Path, case: Bad) -> None:
    outside = tree_of(tmp_path)
    with pytest.raises(case.error, match=case.words):
        apply(tmp_path / "layer", case.stream + (b"" if case.error is Corrupt else END))
    outside_after = {p: n for p, n in tree_of(tmp_path).items() if p.partition("/")[0] != "layer"}
    assert outside_after == outside


def test_metadata_of_every_kind_is_kept(tmp_path: Path) -> None:
    stream = (
        pax({b"mtime": b"1700000000.123456789"})
        + directory(b"d", 0o2750, uid=3, gid=4)
        + pax({b"mtime": b"1700000001.5"})
        + file(b"d/f", b"1", mode=0o600, uid=1, gid=2)
        + pax({b"mtime": b"-5.5", b"uid": b"8"})
        + symlink(b"d/s", b"f")
        + file(b"d/late", b"", mtime=77)
    )
    apply(tmp_path, stream + END)
    assert os.stat(tmp_path / "d").st_mtime_ns == 1700000000123456789
    assert tree_of(tmp_path)["d"] == Node("dir", b"", 0o2750, 3, 4)
    assert os.stat(tmp_path / "d/f").st_mtime_ns == 1700000001500000000
    assert tree_of(tmp_path)["d/f"] == F(b"1", 0o600, 1, 2)
    assert tree_of(tmp_path)["d/late"].gid == 0, "not the group of the setgid directory"
    link = os.lstat(tmp_path / "d/s")
    assert (link.st_mtime_ns, link.st_uid) == (0, 8)


def test_root_entry_sets_the_root(tmp_path: Path) -> None:
    _, builder = apply(tmp_path / "layer", directory(b"./", 0o711, uid=5, mtime=9) + END)
    info = os.stat(tmp_path / "layer")
    assert (info.st_mode & 0o7777, info.st_uid, info.st_mtime) == (0o711, 5, 9)
    assert builder.rows[b""].mark == 0


@pytest.mark.parametrize(
    "stream",
    [
        directory(b"d") + file(b"d/f") + file(b"d/.wh..wh..opq"),
        file(b"d/.wh..wh..opq") + directory(b"d") + file(b"d/f"),
        directory(b"d") + file(b"d/f") + file(b".wh.d"),
        file(b".wh.d") + directory(b"d") + file(b"d/f"),
        file(b".wh.d") + file(b"d/f"),
        file(b"d/f") + file(b".wh.d"),
    ],
    ids=[
        "T19",
        "T19 first",
        "dir whiteout",
        "whiteout dir",
        "whiteout implied",
        "implied whiteout",
    ],
)
def test_directory_is_opaque_whatever_the_order(tmp_path: Path, stream: bytes) -> None:
    applied, builder = apply(tmp_path, stream + END)
    assert opaque(tmp_path / "d")
    assert tree_of(tmp_path) == {"d": D, "d/f": F()}
    assert builder.rows[b"d"].mark & OPAQUE_MARK
    assert applied.implied == [b""]


def test_implied_parents_and_lower_links_are_reported(tmp_path: Path) -> None:
    stream = file(b"a/b/f") + directory(b"a") + hardlink(b"h", b"usr/bin/x") + file(b"c/.wh.y")
    applied, _ = apply(tmp_path, stream + END)
    assert applied.implied == [b"", b"a/b", b"c"]
    assert applied.lower_links == [(b"h", b"usr/bin/x")]


def test_link_to_a_whiteout_is_a_lower_link(tmp_path: Path) -> None:
    applied, _ = apply(tmp_path, file(b".wh.x") + hardlink(b"h", b"x") + END)
    assert applied.lower_links == [(b"h", b"x")]


def test_content_of_a_replaced_file_lives_on_in_its_link(tmp_path: Path) -> None:
    stream = file(b"a", b"old") + hardlink(b"b", b"a") + hardlink(b"c", b"b") + file(b"a", b"newer")
    _, builder = apply(tmp_path, stream + file(b"z", b"12") + file(b"z", b"3") + END)
    rows = builder.rows
    assert rows[b"b"].size == 3
    assert rows[b"c"].link == b"b"
    assert rows[b"a"].size == 5
    assert builder.shadowed == [(b"z", 2)]


def test_attributes_that_only_the_host_may_set_are_left_out(tmp_path: Path) -> None:
    """An overlay attribute inside an image could redirect into any directory of the store."""
    xattrs = {
        b"SCHILY.xattr.trusted.overlay.redirect": b"/../../etc",
        b"SCHILY.xattr.user.overlay.opaque": b"y",
        b"SCHILY.xattr.security.selinux": b"x",
        b"SCHILY.xattr.system.nfs4_acl": b"x",
        b"SCHILY.xattr.user.good": b"1",
        b"LIBARCHIVE.xattr.user.a%20b": b"MQ",
    }
    stream = pax(xattrs) + file(b"f") + pax(xattrs) + directory(b"d")
    applied, builder = apply(tmp_path, stream + END)
    for name in ("f", "d"):
        names = os.listxattr(tmp_path / name)
        assert {"user.good", "user.a b"} <= set(names)
        assert os.getxattr(tmp_path / name, "user.a b") == b"1"
        assert "trusted.overlay.redirect" not in names
        assert not [n for n in names if n.startswith(("user.overlay", "security.", "system."))]
    assert len(applied.warnings) == 3
    assert builder.rows[b"f"].xattrs == builder.rows[b"d"].xattrs != 0


def test_user_attribute_on_a_symlink_is_a_warning(tmp_path: Path) -> None:
    """T26"""
    xattrs = pax({b"SCHILY.xattr.user.x": b"1"})
    applied, _ = apply(
        tmp_path, (xattrs + symlink(b"s", b"t") + xattrs + symlink(b"u", b"t")) + END
    )
    assert len(applied.warnings) == 1
    assert "user.x" in applied.warnings[0]


def test_capability_survives_the_change_of_owner(tmp_path: Path) -> None:
    """T23: chown(2) drops it, so it comes later."""
    value = bytes.fromhex("0000000200200000000000000000000000000000")
    stream = pax({b"SCHILY.xattr.security.capability": value}) + file(b"ping", b"1", uid=7)
    apply(tmp_path, stream + END)
    assert os.getxattr(tmp_path / "ping", "security.capability") == value


def test_holes_stay_holes(tmp_path: Path) -> None:
    real = 1 << 40
    tail = (bytes(41) + octal(0) + octal(512) + bytes(72) + b"\0" + base256(real)).ljust(167, b"\0")
    block = header(b"s", b"S", 512, magic=GNU, prefix=tail[:155], tail=tail[155:])
    _, builder = apply(tmp_path / "layer", block + b"A" * 512 + END)
    info = os.stat(tmp_path / "layer/s")
    assert (info.st_size, info.st_blocks <= 16) == (real, True)
    assert builder.rows[b"s"].size == real


def test_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        apply(tmp_path / "layer", file(b"a/f", mode=0o666) + END)
        assert tree_of(tmp_path / "layer") == {"a": D, "a/f": F(b"", 0o666)}
    finally:
        assert os.umask(before) == 0o077


def test_tree_deeper_than_the_stack_is_replaced(tmp_path: Path) -> None:
    deep = pax({b"path": b"/".join([b"d"] * 1050)}) + directory(b"x")
    apply(tmp_path / "layer", deep + file(b"d", b"1") + END)
    assert tree_of(tmp_path / "layer") == {"d": F(b"1")}


def hostile_stream(chance: random.Random, outside: bytes) -> bytes:
    """Entries on a few names that turn into links, directories and whiteouts under each other."""
    names = [b"a", b"b", b"a/b", b"a/b/c", b"b/a", b"/b/c/a", b"./a//c", b".wh.a", b"a/.wh.b"]
    names += [b"b/.wh..wh..opq", b"a/b/.wh.c", b"c"]
    targets = [b"/", b"..", b"../../../..", outside, b"../outside", b"a", b"/b", b"b/c", b"."]
    parts: list[bytes] = []
    for _ in range(chance.randint(3, 25)):
        name = chance.choice(names)
        kind = chance.choice("fffdddsssshhp")
        if kind == "f":
            parts.append(file(name, chance.randbytes(chance.choice([0, 20]))))
        elif kind == "d":
            parts.append(directory(name, chance.choice([0o755, 0, 0o2777])))
        elif kind == "s":
            parts.append(symlink(name, chance.choice(targets)))
        elif kind == "h":
            parts.append(hardlink(name, chance.choice([b"a", b"b/a", b"a/b/c", b"c", b"/b"])))
        else:
            parts.append(header(name, b"6"))
    return b"".join(parts) + END


@pytest.mark.parametrize("seed", range(60))
def test_nothing_leaves_the_layer_and_the_index_is_the_disk(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("precious")
    before = tree_of(outside), os.stat(outside).st_mtime_ns, os.stat(tmp_path / "outside/b")
    with contextlib.suppress(InvalidInput):
        apply(tmp_path / "layer", hostile_stream(chance, os.fsencode(outside)))
    after = tree_of(outside), os.stat(outside).st_mtime_ns, os.stat(tmp_path / "outside/b")
    assert after == before
    assert sorted(os.listdir(tmp_path)) == ["layer", "outside"]
