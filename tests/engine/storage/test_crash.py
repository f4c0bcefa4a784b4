"""kill -9 at each place where it leaves something, and at random moments: an image is whole or not
there, and the next command repairs the rest."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.oci.reference import parse_reference
from engine.storage import gc
from engine.storage.image_store import ImageStore
from engine.storage.repair import fsck
from tests.support.crash import BASE, LAYERS, bring_in_all
from tests.support.store import Store, bring_in, open_store

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[3]


def run_and_die(path: Path, act: str, *place: str) -> int:
    """`act` in a process that kills itself at that place: its exit code."""
    command = [sys.executable, "-m", "tests.support.crash", str(path), act, *place]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode


def check(path: Path, *, whole: bool = False) -> Store:
    """The next command finds a store without damage; each image in it has all of its layers."""
    store = open_store(path)
    gc.start(store.home, store.database)
    assert list(fsck(store.home, store.database, repair=False)) == []
    for place in ("staging", "trash"):
        assert os.listdir(f"{store.home.root}/{place}") == []
    assert store.database.query("SELECT * FROM lease") == []
    assert not os.path.exists(f"{store.home.root}/lock/gc.pending")
    images = ImageStore(store.database, store.content)
    for listed in images.list_():
        assert len(images.layers_of(listed.row)) == listed.row.layers
    assert not whole or images.find("app") is not None
    return store


# Where a kill leaves something, and whether the image is there afterwards.
UNPACKING = {
    "lease taken": ("engine.storage.leases:Lease.__init__", "after", False),
    "blob renamed, no row": ("tests.support.store:blob_descriptor", "after", False),
    "worker started": ("engine.workers:Worker._start", "after", False),
    "fix-up": ("engine.storage.unpack:Unpacking._fixed", "after", False),
    "before syncfs": ("engine.storage.disk_sync:syncfs", "before", False),
    "after syncfs": ("engine.storage.disk_sync:syncfs", "after", False),
    "between renames": ("engine.storage.unpack:Unpacking._move_in", "after", False),
    "renamed, not synced": ("engine.storage.unpack:Unpacking._sync_directory", "before", False),
    "in the transaction": ("engine.storage.unpack:Unpacking._insert", "after", False),
    "before its end": ("engine.storage.image_store:ImageStore.record", "after", False),
    "committed": ("engine.storage.name_list:save", "before", True),
    "lease still there": ("engine.storage.leases:Lease.release", "before", True),
}


@pytest.mark.parametrize("name", UNPACKING)
def test_killed_while_an_image_comes_in(tmp_path: Path, name: str) -> None:
    where, when, there = UNPACKING[name]
    open_store(tmp_path).database.close()
    assert run_and_die(tmp_path, "load", where, when) == -signal.SIGKILL
    store = check(tmp_path)
    images = ImageStore(store.database, store.content)
    assert (images.find("app") is not None) == there
    bring_in_all(store)
    store.database.close()
    check(tmp_path, whole=True).database.close()


REMOVING = {
    "marked": ("engine.storage.gc:_write_marker", "after", False),
    "names gone": ("engine.storage.image_store:ImageStore.remove", "after", True),
    "staging buried": ("engine.storage.gc:_bury_staging", "after", True),
    "rows dropped": ("engine.storage.gc:_drop_rows", "after", True),
    "rows gone, files there": ("engine.storage.gc:list_files", "after", True),
    "half of the files": ("engine.storage.gc:discard", "after", True),
    "all in the trash": ("engine.storage.gc:remove_all", "before", True),
    "half of the trash": ("engine.storage.trash:remove_at", "after", True),
}


@pytest.mark.parametrize("name", REMOVING)
def test_killed_while_an_image_goes(tmp_path: Path, name: str) -> None:
    where, when, gone = REMOVING[name]
    store = open_store(tmp_path)
    bring_in_all(store)
    store.database.close()
    assert run_and_die(tmp_path, "rmi", where, when) == -signal.SIGKILL
    store = check(tmp_path)
    images = ImageStore(store.database, store.content)
    assert (images.find("app") is None) == gone
    if gone:
        for place in ("layers", "l", "blobs/sha256"):
            assert os.listdir(f"{store.home.root}/{place}") == []
    store.database.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_the_schema_is_brought_up(tmp_path: Path, when: str) -> None:
    """The old one stays, with its copy, or the new one is whole."""
    assert run_and_die(tmp_path, "old", "", "") == 0
    assert run_and_die(tmp_path, "open", "engine.storage.metadata:Database.transaction", when) < 0
    store = check(tmp_path, whole=True)
    store.database.close()


def test_killed_in_the_middle_of_a_download(tmp_path: Path) -> None:
    """The part stays for whoever goes on."""
    open_store(tmp_path).database.close()
    assert run_and_die(tmp_path, "ingest", "engine.storage.content:Ingest.write", "after") < 0
    store = check(tmp_path)
    ingest = store.content.ingest(BASE.digest, len(BASE.blob))
    assert ingest is not None
    with ingest:
        assert ingest.offset == 100
        ingest.write(BASE.blob[100:])
        ingest.commit()
    assert store.content.has_file(BASE.digest, len(BASE.blob))
    store.database.close()


def die_at_random(path: Path, act: str, choose: random.Random, seconds: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash", str(path), act, "", ""],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(choose.random() * seconds)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path: Path, rounds: int) -> None:
    """One after the other on one store: a load, its removal, a sweep."""
    choose = random.Random(rounds)
    open_store(tmp_path).database.close()
    for number in range(rounds):
        die_at_random(tmp_path, ("load", "rmi", "gc")[number % 3], choose, 0.25)
        store = check(tmp_path)
        if number % 3 == 2:
            bring_in(store, LAYERS[:1], reference=parse_reference("base").full)
        store.database.close()
