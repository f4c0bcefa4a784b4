"""The power is cut while an image comes in, and right after it is said to be there: then every
image is whole or not there, and the next command repairs the rest."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.storage import gc
from engine.storage.image_store import ImageStore
from engine.storage.repair import fsck
from engine.storage.snapshots import Snapshots
from tests.support import images
from tests.support.images import make_image
from tests.support.power import PowerDisk
from tests.support.pulls import noise
from tests.support.registry import Registry
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root
FILES, BIG = 500, 3_000_000
ROOT = Path(__file__).parents[3]
GARBAGE = ("no row has it", "left by a process that ended", "lease of a process that ended")

LOAD = """
import sys
from engine.connect import connect
with connect(sys.argv[1], sys.argv[2]) as engine:
    print("ready", flush=True)
    with open(sys.argv[3], "rb") as archive:
        engine.images.load(archive)
    print("done", flush=True)
    sys.stdin.read()
"""
PULL = LOAD.replace(
    'with open(sys.argv[3], "rb") as archive:\n        engine.images.load(archive)',
    "engine.images.pull(sys.argv[3])",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerDisk]:
    disk = PowerDisk(tmp_path, 256 << 20)
    yield disk
    disk.close()


def made() -> images.MadeImage:
    """Many files, of which most are still in memory when the last is written."""
    base: dict[str, images.Entry] = {"data": None}
    base |= {f"data/{number}": noise(number * 7 % 9000) for number in range(FILES)}
    top: dict[str, images.Entry] = {"top": None, "top/big": noise(BIG)}
    return make_image([base, {"etc/app": b"app"}, top])


@pytest.fixture(scope="session")
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What to load, and what to pull."""
    registry: Registry = request.getfixturevalue("registry")
    archive = tmp_path_factory.mktemp("power") / "archive"
    archive.write_bytes(images.layout_tar(archive.with_suffix(".d"), {"localhost/power:1": made()}))
    return {"load": str(archive), "pull": images.push(registry, "power", "1", made())}


def cut_and_look(
    disk: PowerDisk, run: Path, act: str, source: str, moment: float | None
) -> tuple[Store, bool]:
    """The store after a power cut so many seconds after the beginning (None: as soon as it is done)
    and a new start, and whether it had been said to be done."""
    code = LOAD if act == "load" else PULL
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{disk.mount}/store/root", f"{run}/run", source],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    done = False
    if moment is None:
        done = process.stdout.readline() == b"done\n"
        assert done
    else:
        time.sleep(moment)
    disk.cut()
    os.set_blocking(process.stdout.fileno(), False)
    done = done or process.stdout.read() == b"done\n"
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    disk.restart()
    os.makedirs(disk.mount / "store", exist_ok=True)
    return open_store(disk.mount / "store"), done


def look(store: Store, reference: str) -> bool:
    """Whether the image is there; if so every byte of it is right. Nothing is damaged but what
    nothing leads to, and that goes."""
    gc.start(store.home, store.database)
    found = [each.text for each in fsck(store.home, store.database, repair=True)]
    assert [text for text in found if not text.startswith(GARBAGE)] == []
    assert list(fsck(store.home, store.database, repair=False)) == []
    row = ImageStore(store.database, store.content).find(reference)
    if row is None:
        return False
    assert row.chain_id is not None
    layers = Snapshots(store.home, store.database).layers(row.chain_id)
    assert len(layers) == 3
    for number in range(FILES):
        assert Path(layers[0], f"diff/data/{number}").read_bytes() == noise(number * 7 % 9000)
    assert Path(layers[2], "diff/top/big").read_bytes() == noise(BIG)
    assert Path(layers[1], "diff/etc/app").read_bytes() == b"app"
    return True


@pytest.mark.parametrize("act", ["load", "pull"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_power_cut_leaves_whole_images_or_none(
    disk: PowerDisk, tmp_path: Path, source: dict[str, str], act: str, rounds: int
) -> None:
    choose = random.Random(rounds)
    reference = "localhost/power:1" if act == "load" else source["pull"]
    for number in range(rounds):
        moment = None if number % 3 == 0 else choose.random() * 1.5
        store, done = cut_and_look(disk, tmp_path, act, source[act], moment)
        there = look(store, reference)
        assert there or not done
        if there:
            gc.remove_image(
                store.home, store.database, ImageStore(store.database, store.content), reference
            )
        store.database.close()
