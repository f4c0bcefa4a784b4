"""A disk that is full: what comes in fails with one line and leaves nothing; what goes, goes."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.connect import connect
from engine.engine import Engine
from engine.errors import Unavailable
from engine.model.container import CreateOptions
from tests.support import images
from tests.support.images import File, Symlink, layout_tar, make_image
from tests.support.pulls import noise
from tests.support.registry import Registry
from tests.support.small_disk import small_disk

pytestmark = pytest.mark.root
NAME = "localhost/small:1"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 40 << 20) as mount:
        yield mount


@pytest.fixture
def engine(disk: Path, tmp_path: Path) -> Iterator[Engine]:
    with connect(f"{disk}/root", f"{tmp_path}/run") as local:
        yield local
    connect(f"{disk}/root", f"{tmp_path}/run").erase()


def archive(tmp_path: Path, name: str, size: int) -> bytes:
    made = make_image([{"base": noise(20_000)}, {"data": noise(size)}])
    return layout_tar(tmp_path / f"archive{size}", {name: made})


def fill(disk: Path, *, but: int = 0) -> None:
    """Every byte but so many is taken."""
    with open(f"{disk}/filler", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 1 << 10):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break
        os.fsync(file.fileno())
        if but:
            file.truncate(file.seek(0, os.SEEK_END) - but)


def places(engine: Engine) -> dict[str, list[str]]:
    root = engine.info.root
    names = ("staging", "trash", "ingest", "layers", "l", "blobs/sha256")
    return {name: sorted(os.listdir(f"{root}/{name}")) for name in names}


@pytest.mark.parametrize("free", [0, 20_000, 200_000, 1_000_000])
def test_a_load_fails_whole_and_a_removal_works(
    engine: Engine, disk: Path, tmp_path: Path, free: int
) -> None:
    engine.images.load(io.BytesIO(archive(tmp_path, NAME, 2_000_000)))
    engine.volumes.create("data")
    before = places(engine)
    fill(disk, but=free)
    large = archive(tmp_path, "localhost/large:1", 3_000_000)
    with pytest.raises(Unavailable) as caught:
        engine.images.load(io.BytesIO(large))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    now = places(engine)
    assert [now[each] for each in ("staging", "layers", "l")] == [
        before[each] for each in ("staging", "layers", "l")
    ]
    assert [row.references for row in engine.images.list()] == [(NAME,)]
    found = engine.system.df()
    assert (found.images.total, found.volumes.total) == (1, 1)
    assert engine.volumes.measure("data").files == 0
    removed = engine.images.remove(NAME)
    assert removed.freed_bytes > 4_000_000
    assert engine.images.list() == []
    assert places(engine)["layers"] == []
    os.unlink(f"{disk}/filler")
    engine.images.load(io.BytesIO(large))
    assert list(engine.system.fsck()) == []


@pytest.mark.parametrize("free", [0, 20_000, 700_000])
def test_a_pull_fails_whole(engine: Engine, disk: Path, registry: Registry, free: int) -> None:
    made = make_image([{"base": noise(20_000)}, {"data": noise(2_000_000)}])
    reference = images.push(registry, "full", "1", made)
    fill(disk, but=free)
    with pytest.raises(Unavailable, match=r"disk|space|database") as caught:
        engine.images.pull(reference)
    assert "\n" not in caught.value.message
    now = places(engine)
    assert [now[each] for each in ("staging", "layers", "l")] == [[], [], []]
    assert engine.images.list() == []
    os.unlink(f"{disk}/filler")
    assert engine.images.pull(reference).references == (reference,)
    assert list(engine.system.fsck()) == []


def test_a_prune_works_on_a_full_disk(engine: Engine, disk: Path, tmp_path: Path) -> None:
    engine.images.load(io.BytesIO(archive(tmp_path, NAME, 2_000_000)))
    engine.containers.create(CreateOptions(NAME, "old", ("true",), network="none"))
    engine.volumes.create()
    fill(disk)
    preview = engine.system.prune_preview(
        ("container", "network", "volume", "image", "file"), all_images=True
    )
    pruned = engine.system.prune(preview)
    assert (pruned.kept, pruned.removed) == ((), preview.items)
    assert engine.images.list() == []
    os.unlink(f"{disk}/filler")
    assert list(engine.system.fsck()) == []


def test_another_command_opens_the_store_and_frees_it(
    engine: Engine, disk: Path, tmp_path: Path
) -> None:
    """The first of them, after whoever filled the disk has gone: SQLite makes its files anew."""
    engine.images.load(io.BytesIO(archive(tmp_path, NAME, 2_000_000)))
    roots = engine.info.root, engine.info.run_root
    engine.close()
    fill(disk)
    for _ in range(3):
        with connect(*roots) as other:
            assert [row.references for row in other.images.list()] == [(NAME,)]
        fill(disk)
    with connect(*roots) as other:
        other.images.remove(NAME)
        assert other.images.list() == []
    os.unlink(f"{disk}/filler")
    with connect(*roots) as other:
        assert os.stat(f"{roots[0]}/reserve").st_size == 2 << 20
        assert list(other.system.fsck()) == []


def test_a_commit_fails_whole(engine: Engine, disk: Path, tmp_path: Path) -> None:
    busybox = Path("/bin/busybox").read_bytes()
    made = make_image([{"bin": None, "bin/busybox": File(busybox), "bin/sh": Symlink("busybox")}])
    engine.images.load(io.BytesIO(layout_tar(tmp_path / "busybox", {NAME: made})))
    script = "busybox dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null"
    ref = engine.containers.create(
        CreateOptions(NAME, "writer", ("sh", "-c", script), network="none")
    )
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 0
    before = places(engine)
    for free in (0, 50_000, 3_000_000):
        fill(disk, but=free)
        with pytest.raises(Unavailable) as caught:
            engine.containers.commit(ref, "localhost/committed:1")
        assert "\n" not in caught.value.message
        now = places(engine)
        assert [now[each] for each in ("staging", "layers", "l")] == [
            before[each] for each in ("staging", "layers", "l")
        ]
        assert [row.references for row in engine.images.list()] == [(NAME,)]
    os.unlink(f"{disk}/filler")
    engine.containers.commit(ref, "localhost/committed:1")
    assert len(engine.images.list()) == 2
    assert list(engine.system.fsck()) == []
    engine.containers.remove(ref)
