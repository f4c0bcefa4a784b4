"""Rows that do not stay in memory are what they would be if they did."""

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from engine.storage.layer_index import Facts, IndexBuilder, write_index
from engine.storage.sorted_runs import SortedRuns, order
from engine.storage.tar_apply import LayerWriter
from engine.storage.tar_read import TarReader
from engine.workers import Worker
from tests.engine.storage.test_snapshots import random_layer
from tests.support.tarball import END, directory, file, hardlink, pax

FACTS = Facts("sha256:d", "sha256:b", "", 1, 1, 1, 1, 1, ())
LIMIT = 5


def test_the_newest_counts_and_what_is_gone_stays_gone(tmp_path: Path) -> None:
    runs = SortedRuns(str(tmp_path))
    assert (runs.get(b"a"), list(runs.all())) == (None, [])
    runs.add({b"a": b"1", b"a/b": b"2", b"a!": b"3", b"b": b"4"})
    runs.add({b"a/b": b"", b"b": b"5"})
    runs.add({b"c": b"6", b"b": b"7"})
    for _ in range(2):  # the second time of one file
        assert (runs.get(b"b"), runs.get(b"c"), runs.get(b"d")) == (b"7", b"6", None)
        assert runs.get(b"a/b") in (b"", None)
        assert list(runs.all()) == [(b"a", b"1"), (b"a!", b"3"), (b"b", b"7"), (b"c", b"6")]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("seed", range(5))
def test_many_are_found_and_come_in_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    runs, wanted = SortedRuns(str(tmp_path)), dict[bytes, bytes]()
    for _ in range(6):
        paths = [b"/".join(chance.choices((b"a", b"b!", b"c" * 90), k=4)) for _ in range(60)]
        pairs = {path: chance.randbytes(chance.choice((0, 1, 3000))) for path in paths}
        runs.add(pairs)
        wanted |= pairs
    assert {path: runs.get(path) for path in wanted} == wanted
    for path in (b"a", b"b!", b"a/" + b"c" * 90):
        below = {each: value for each, value in wanted.items() if each.startswith(path + b"/")}
        assert runs.below(path) == below
    there = {path: value for path, value in wanted.items() if value}
    assert list(runs.all()) == sorted(there.items(), key=lambda pair: order(pair[0]))


def indexed(raw: bytes, place: Path, *, limit: int | None) -> tuple[bytes, int]:
    """The index of the layer, and the most rows that were in memory after an entry."""
    place.mkdir()
    (place / "diff").mkdir()
    builder = IndexBuilder() if limit is None else IndexBuilder(str(place), limit)
    most = 0
    original = builder.put

    def put(*arguments: object) -> None:
        nonlocal most
        original(*arguments)  # type: ignore[arg-type]
        most = max(most, len(builder.rows._packed))

    builder.put = put  # type: ignore[method-assign]
    root = os.open(place / "diff", os.O_RDONLY | os.O_DIRECTORY)
    try:
        LayerWriter(root, builder).apply(TarReader(iter([raw])))
    finally:
        os.close(root)
    write_index(str(place / "layer.pdl"), builder, FACTS._replace(shadowed=tuple(builder.shadowed)))
    return (place / "layer.pdl").read_bytes(), most


@pytest.mark.root
@pytest.mark.parametrize("seed", range(12))
def test_the_index_of_random_layers_is_the_same(tmp_path: Path, seed: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for number in (seed, seed + 100):  # one after the other: the second writes over the first
            with tarfile.open(fileobj=io.BytesIO(random_layer(random.Random(number), 4))) as tar:
                for each in tar:
                    out.addfile(each, tar.extractfile(each) if each.isreg() else None)
    whole, _ = indexed(buffer.getvalue(), tmp_path / "whole", limit=None)
    spilled, most = indexed(buffer.getvalue(), tmp_path / "spilled", limit=LIMIT)
    assert spilled == whole
    assert most <= LIMIT


@pytest.mark.root
def test_what_a_layer_writes_again_is_found_in_the_files(tmp_path: Path) -> None:
    raw = b"".join([
        pax({b"SCHILY.xattr.user.note": b"1"}), directory(b"d/", 0o700),
        *(file(b"d/%d" % number, b"x" * number) for number in range(20)),
        hardlink(b"link", b"d/3"), file(b"d/3", b"again"), file(b"d/4", b"again"),
        file(b"d/.wh.7"), directory(b"d/", 0o711), directory(b"e/"), file(b"e/x", b"1"),
        *(file(b"f%d" % number) for number in range(20)), file(b"e", b"no directory"), END,
    ])  # fmt: skip
    whole, _ = indexed(raw, tmp_path / "whole", limit=None)
    spilled, most = indexed(raw, tmp_path / "spilled", limit=LIMIT)
    assert spilled == whole
    assert most <= LIMIT
    assert oct((tmp_path / "spilled/diff/d").stat().st_mode)[-3:] == "711"
    assert os.listxattr(tmp_path / "spilled/diff/d") == []


@pytest.mark.root
@pytest.mark.long
def test_a_layer_of_a_million_files_takes_no_more_memory(tmp_path: Path) -> None:
    raw = tmp_path / "layer.tar"
    with raw.open("wb") as out:
        for number in range(1_000):
            out.write(directory(b"directory-%04d/" % number))
            out.writelines(
                file(b"directory-%04d/a file with some name %04d" % (number, each))
                for each in range(1_100)
            )
        out.write(END)
    worker = Worker("tests.support.million:unpack_alone", (str(raw), str(tmp_path / "layer")))
    entries, peak_kib = worker.run()
    assert entries == 1_101_000
    assert peak_kib <= 120 << 10
