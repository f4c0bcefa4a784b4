"""Limits, a full disk, and a host without the fast libraries."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Corrupt, EngineError, InvalidInput, Unavailable
from engine.kernel.mount import mount, umount
from engine.storage import layer_worker, tar_read
from engine.storage.layer_index import LayerIndex
from engine.storage.layer_worker import Task, Unpacked
from engine.storage.unpack import Unpacking
from tests.support.store import Layer, blob_descriptor, layer, new_image, open_store
from tests.support.tarball import END, directory, file, pax

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ZEROS = layer(file(b"zeros", bytes(8 << 20)) + END)
SMALL = layer(directory(b"d") + file(b"d/f", b"1" * 3000) + file(b"d/g", os.urandom(5000)) + END)


def unpack(path: Path, each: Layer) -> Unpacked:
    """In this process, as the worker does it."""
    (path / "blob").write_bytes(each.blob)
    (path / "layer").mkdir()
    blob = os.open(path / "blob", os.O_RDONLY)
    task = Task(str(path / "layer"), blob, -1, len(each.blob), each.digest, each.diff_id)
    try:
        return Unpacked(*layer_worker.unpack(tuple(task), lambda done: None))
    finally:
        os.close(blob)


def test_index_says_what_was_unpacked(tmp_path: Path) -> None:
    result = unpack(tmp_path, SMALL)
    assert (result.size_bytes, result.entries, result.raw_bytes % 512) == (8000, 3, 0)
    index = LayerIndex(str(tmp_path / "layer/layer.pdl"))
    facts = index.facts
    assert (facts.diff_id, facts.blob, facts.raw_bytes) == (
        SMALL.diff_id,
        SMALL.digest,
        result.raw_bytes,
    )
    paths = list(index.paths())
    assert paths == [b"", b"d", b"d/f", b"d/g"]
    assert index.data_offset[2] - index.header_offset[2] == 512
    assert index.compressed[2] < index.compressed[3] <= len(SMALL.blob)
    share = len(SMALL.blob) * (result.raw_bytes - len(END)) / result.raw_bytes
    assert abs(sum(index.compressed) - share) < 5, "the estimates add up to the blob"
    index.close()


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MAX_RAW_BYTES", 1 << 20, "GiB unpacked"),
        ("RATIO_FREE_BYTES", 1 << 20, "a bomb"),
    ],
)
def test_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(layer_worker, "MAX_RATIO", 50)
    monkeypatch.setattr(layer_worker, limit, value)
    with pytest.raises(InvalidInput, match=words):
        unpack(tmp_path, ZEROS)


def test_a_dense_small_layer_is_no_bomb(tmp_path: Path) -> None:
    assert unpack(tmp_path, ZEROS).size_bytes == 8 << 20


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_read, "MAX_ENTRIES", 100)
    many = layer(b"".join(file(b"f%d" % n) for n in range(101)) + END)
    with pytest.raises(InvalidInput, match="more than 100 entries"):
        unpack(tmp_path, many)


def test_global_headers_have_a_limit(tmp_path: Path) -> None:
    each = pax({b"comment": b"x" * 300_000}, b"g") + file(b"f")
    with pytest.raises(InvalidInput, match="global headers"):
        unpack(tmp_path, layer(each * 4 + END))


@pytest.mark.parametrize(
    ("raw", "error"), [(b"junk" * 200, Corrupt), (file(b"../x") + END, InvalidInput)]
)
def test_errors_name_the_layer(tmp_path: Path, raw: bytes, error: type[EngineError]) -> None:
    each = layer(raw)
    with pytest.raises(error) as caught:
        unpack(tmp_path, each)
    assert caught.value.message.startswith(f"layer {each.digest[:19]}: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "disk"
    target.mkdir()
    mount("tmpfs", str(target), "tmpfs", 0, b"size=2m")
    yield target
    umount(str(target))


@pytest.mark.root
def test_full_disk_says_so_and_leaves_nothing(small_disk: Path) -> None:
    store = open_store(small_disk)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        descriptor = blob_descriptor(store, ZEROS)
        unpacking.feed(0, ZEROS.digest, ZEROS.diff_id, len(ZEROS.blob), descriptor, complete=True)
        os.close(descriptor)
        with pytest.raises(Unavailable, match="disk full") as caught:
            unpacking.publish(new_image(store, [ZEROS]))
    assert "pydock rmi" in caught.value.hint
    assert os.listdir(f"{store.home.root}/staging") == []
    assert os.listdir(f"{store.home.root}/trash") == []
    store.database.close()


def test_without_the_fast_libraries_it_is_only_slower(tmp_path: Path) -> None:
    code = f"""if True:
        import os, sys
        sys.modules["xxhash"] = sys.modules["isal"] = None
        sys.path.insert(0, {os.getcwd()!r})
        from pathlib import Path
        from engine.storage.layer_index import LayerIndex
        from tests.engine.storage.test_layer_worker import SMALL, unpack
        unpack(Path({str(tmp_path)!r}), SMALL)
        index = LayerIndex({str(tmp_path / "layer/layer.pdl")!r})
        print(index.hash_name, len(index.hash(2)), index.hash(2) != index.hash(3))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sha256", "16", "True"]


def test_worker_imports_nothing_heavy() -> None:
    code = """if True:
        import sys
        import engine.workers, engine.storage.layer_worker
        heavy = "asyncio sqlite3 http dataclasses json logging subprocess socket shutil zstandard"
        print(*sorted(set(heavy.split()) & set(sys.modules)))
    """
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r})\n" + code
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.long
def test_many_entries_take_little_memory(tmp_path: Path) -> None:
    """Kept as objects they took 650 bytes each."""
    count = 100_000
    raw = b"".join(file(b"d%02d/f%06d" % (n % 50, n), b"x") for n in range(count)) + END
    each = layer(raw)
    (tmp_path / "blob").write_bytes(each.blob)
    (tmp_path / "layer").mkdir()
    code = f"""if True:
        import os, re, sys
        sys.path.insert(0, {os.getcwd()!r})
        from engine.storage import layer_worker
        def peak():
            text = open("/proc/self/status").read()
            return int(re.search("VmHWM: *([0-9]+) kB", text.replace("\\t", " "))[1]) << 10
        before = peak()
        blob = os.open({str(tmp_path / "blob")!r}, os.O_RDONLY)
        task = ({str(tmp_path / "layer")!r}, blob, -1, {len(each.blob)}, {each.digest!r},
                {each.diff_id!r})
        layer_worker.unpack(task, lambda done: None)
        print((peak() - before) // {count})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 450
