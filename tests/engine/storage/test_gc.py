"""What nothing leads to goes, and nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.oci.digest import DiffID, chain_ids
from engine.oci.reference import parse_reference
from engine.storage import gc, trash
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.image_store import ImageStore
from engine.storage.leases import Lease
from tests.support.store import Layer, Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file

pytestmark = pytest.mark.root

BASE = layer(directory(b"etc") + file(b"etc/os", b"base" * 1000) + END)
APP = layer(directory(b"app") + file(b"app/run", b"app" * 1000) + END)
OTHER = layer(directory(b"other") + file(b"other/run", b"other" * 1000) + END)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture
def images(store: Store) -> ImageStore:
    return ImageStore(store.database, store.content)


def place(store: Store, name: str) -> list[str]:
    return sorted(os.listdir(f"{store.home.root}/{name}"))


def names_here(store: Store) -> set[str]:
    """Everything in the store's directories, but for its own locks."""
    directories = ("blobs/sha256", "layers", "l", "staging", "trash", "ingest", "upper")
    return {f"{name}/{each}" for name in directories for each in place(store, name)}


def diff_ids(store: Store) -> set[str]:
    return {each for (each,) in store.database.query("SELECT diff_id FROM layer")}


def blobs(store: Store) -> set[str]:
    return {f"sha256:{each}" for each in place(store, "blobs/sha256")}


def age(path: str) -> None:
    os.utime(path, (0, 0))


def full(name: str) -> str:
    return parse_reference(name).full


def test_removing_the_only_image_leaves_an_empty_store(store: Store, images: ImageStore) -> None:
    empty = names_here(store)
    bring_in(store, [BASE, APP], reference=full("app"))
    image = images.get("app").id
    removed = gc.remove_image(store.home, store.database, images, "app")
    assert removed.untagged == ("app:latest",)
    chains = chain_ids([BASE.diff_id, APP.diff_id])
    assert removed.deleted == (image, *reversed(chains))
    assert removed.freed_bytes > len(BASE.blob) + len(APP.blob)
    assert names_here(store) == empty
    for table in ("blob", "layer", "chain", "image", "reference", "image_blob", "lease"):
        assert store.database.query(f"SELECT * FROM {table}") == []
    assert not os.path.exists(f"{store.home.root}/lock/gc.pending")


def test_what_another_image_has_stays(store: Store, images: ImageStore) -> None:
    bring_in(store, [BASE, APP], reference=full("app"))
    bring_in(store, [BASE, OTHER], reference=full("other"))
    removed = gc.remove_image(store.home, store.database, images, "app")
    assert diff_ids(store) == {BASE.diff_id, OTHER.diff_id}
    assert blobs(store) >= {BASE.digest, OTHER.digest}
    assert APP.digest not in blobs(store)
    assert len(removed.deleted) == 2
    assert len(place(store, "layers")) == len(place(store, "l")) == 2


def test_an_untagged_name_frees_nothing(store: Store, images: ImageStore) -> None:
    bring_in(store, [BASE], reference=full("app"))
    images.tag(images.get("app").id, parse_reference("app:2"))
    removed = gc.remove_image(store.home, store.database, images, "app:2")
    assert removed == (("app:2",), (), 0)
    assert diff_ids(store) == {BASE.diff_id}


def test_layers_of_a_container_outlive_the_name_of_its_image(
    store: Store, images: ImageStore
) -> None:
    chain = bring_in(store, [BASE, APP], reference=full("app"))
    image = images.get("app").id
    ContainerStore(store.database).create(
        ContainerRow("c" * 64, "web", "app", image, chain, 1, {"mounts": []})
    )
    gc.remove_image(store.home, store.database, images, "app", force=True)
    gc.sweep(store.home, store.database)
    assert diff_ids(store) == {BASE.diff_id, APP.diff_id}
    ContainerStore(store.database).remove("c" * 64)
    gc.remove_image(store.home, store.database, images, image)
    assert diff_ids(store) == set()


def test_young_blobs_without_a_row_stay_and_old_ones_go(store: Store) -> None:
    young, old = store.content.put(b"young"), store.content.put(b"old")
    age(store.home.blob_path(old))
    gc.sweep(store.home, store.database)
    assert blobs(store) == {young}


def test_what_a_live_lease_keeps_stays_however_old(store: Store) -> None:
    kept = store.content.put(b"kept")
    age(store.home.blob_path(kept))
    os.mkdir(store.home.layer_dir("abc"))
    os.symlink("../layers/abc/diff", f"{store.home.root}/l/7")
    with Lease(store.database, "pull") as lease:
        lease.add("blob", kept)
        lease.add("layer", "abc")
        staging = f"{store.home.root}/staging/{lease.id}"
        os.mkdir(staging)
        gc.sweep(store.home, store.database)
        assert blobs(store) == {kept}
        assert place(store, "layers") == ["abc"]
        assert place(store, "l") == ["7"]
        assert os.path.isdir(staging)
        trash.remove_tree(staging)
    gc.sweep(store.home, store.database)
    assert blobs(store) == set()
    assert place(store, "layers") == place(store, "l") == []


def test_a_layer_wanted_by_a_pull_survives_the_removal_of_its_image(
    store: Store, images: ImageStore
) -> None:
    bring_in(store, [BASE, APP], reference=full("app"))
    (base,) = store.database.first("SELECT id FROM layer WHERE diff_id=?", (BASE.diff_id,))
    with Lease(store.database, "unpack") as lease:
        lease.add("layer", base)
        gc.remove_image(store.home, store.database, images, "app")
        assert place(store, "layers") == [base]
        assert diff_ids(store) == {BASE.diff_id}
    gc.sweep(store.home, store.database)
    assert place(store, "layers") == []


def test_directories_without_a_container_go_when_they_are_old(store: Store) -> None:
    for name in ("a" * 64, "b" * 64):
        os.makedirs(f"{store.home.upper_dir(name)}/diff")
        os.makedirs(store.home.container_dir(name))
    age(store.home.upper_dir("a" * 64))
    age(store.home.container_dir("a" * 64))
    gc.sweep(store.home, store.database)
    assert place(store, "upper") == place(store, "containers") == ["b" * 64]


def test_a_plan_is_what_the_sweep_then_does_and_leaves_no_trace(
    store: Store, images: ImageStore
) -> None:
    bring_in(store, [BASE, APP], reference=full("app"))
    bring_in(store, [BASE, OTHER], reference=full("other"))
    row = images.get("app")
    with store.database.transaction() as cursor:  # a removal that was killed after its first part
        cursor.execute("DELETE FROM image WHERE id=?", (row.id,))
    young, old = store.content.put(b"young"), store.content.put(b"old")
    age(store.home.blob_path(old))
    for name in ("layers/strange/diff", "staging/lost/0", f"upper/{'a' * 64}/diff"):
        os.makedirs(f"{store.home.root}/{name}")
    age(store.home.upper_dir("a" * 64))
    os.symlink("../layers/strange/diff", f"{store.home.root}/l/99")
    lease = Lease(store.database, "pull")
    os.mkdir(f"{store.home.root}/staging/{lease.id}")
    with store.database.transaction() as cursor:
        cursor.execute("UPDATE lease SET boot_id='another'")
    before, rows = names_here(store), store.database.query("SELECT * FROM lease")
    (app,) = store.database.first("SELECT id FROM layer WHERE diff_id=?", (APP.diff_id,))
    plan = gc.plan(store.home, store.database)
    assert names_here(store) == before
    assert store.database.query("SELECT * FROM lease") == rows
    assert not os.path.exists(f"{store.home.root}/lock/gc.pending")
    assert plan.layers == (app,)
    assert set(plan.blobs) == {APP.digest, row.id, row.manifest}
    paths = {path.removeprefix(f"{store.home.root}/") for path in plan.paths}
    assert paths == {
        f"blobs/sha256/{old[7:]}", "layers/strange", "staging/lost", f"staging/{lease.id}",
        f"upper/{'a' * 64}",
    }  # fmt: skip
    planned = paths | {f"layers/{app}"} | {f"blobs/sha256/{each[7:]}" for each in plan.blobs}
    gc.sweep(store.home, store.database)
    gone = before - names_here(store)
    assert {each for each in gone if not each.startswith("l/")} == planned
    assert young in blobs(store)
    assert gc.plan(store.home, store.database) == ((), (), ())


KILLED = """
import os, sys
from pathlib import Path
from engine.storage import gc, unpack
from engine.storage.image_store import ImageStore
from tests.support.store import bring_in, open_store
from tests.engine.storage.test_gc import APP, BASE
store = open_store(Path(sys.argv[1]))
step = int(sys.argv[3])
counted = 0
def trace(frame, event, argument):
    global counted
    if frame.f_code.co_filename == sys.modules[sys.argv[2]].__file__:
        counted += 1
        if counted == step:
            os.kill(os.getpid(), 9)
    return trace
if sys.argv[2].endswith("gc"):
    bring_in(store, [BASE, APP], reference="docker.io/library/app:latest")
    sys.settrace(trace)
    gc.remove_image(store.home, store.database, ImageStore(store.database, store.content), "app")
else:
    sys.settrace(trace)
    bring_in(store, [BASE, APP], reference="docker.io/library/app:latest")
"""


@pytest.mark.parametrize("step", [3, 20, 40, 60, 75, 90, 105, 120, 140, 170, 200, 240])
def test_a_killed_removal_is_finished_by_the_next_start(tmp_path: Path, step: int) -> None:
    done = kill_at(tmp_path, "engine.storage.gc", step)
    store = open_store(tmp_path)
    images = ImageStore(store.database, store.content)
    gc.start(store.home, store.database)
    if images.find("app") is not None:
        assert done == -9
        assert diff_ids(store) == {BASE.diff_id, APP.diff_id}
        assert len(place(store, "layers")) == 2
        gc.remove_image(store.home, store.database, images, "app")
    assert store.database.query("SELECT * FROM layer") == []
    for name in ("layers", "l", "staging", "trash"):
        assert place(store, name) == []
    assert blobs(store) == set()
    store.database.close()


@pytest.mark.parametrize("step", [10, 60, 100, 120, 140, 160, 180, 200, 220, 240])
def test_a_killed_unpack_leaves_nothing_after_the_next_start(tmp_path: Path, step: int) -> None:
    done = kill_at(tmp_path, "engine.storage.unpack", step)
    store = open_store(tmp_path)
    gc.start(store.home, store.database)
    here = ImageStore(store.database, store.content).find("app") is not None
    assert here or done == -9
    assert len(place(store, "layers")) == len(place(store, "l")) == (2 if here else 0)
    for name in ("staging", "trash"):
        assert place(store, name) == []
    assert store.database.query("SELECT * FROM lease") == []
    bring_in(store, [BASE, APP], reference=full("app"))
    assert len(place(store, "layers")) == 2
    store.database.close()


def kill_at(tmp_path: Path, module: str, step: int) -> int:
    return subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, module, str(step)], check=False
    ).returncode


def test_start_empties_the_trash_and_the_staging_of_a_lost_row(store: Store) -> None:
    for name in ("trash/x/deep/er", "staging/lost/0/diff"):
        os.makedirs(f"{store.home.root}/{name}")
    Path(store.home.root, "trash/file").write_text("x")
    gc.start(store.home, store.database)
    assert place(store, "trash") == place(store, "staging") == []


def test_start_leaves_the_work_of_the_living(store: Store) -> None:
    with Lease(store.database, "pull") as lease:
        staging = f"{store.home.root}/staging/{lease.id}"
        os.mkdir(staging)
        ingest = store.content.ingest(BASE.digest, len(BASE.blob))
        assert ingest is not None
        with ingest:
            ingest.write(BASE.blob[:10])
        gc.start(store.home, store.database)
        assert os.path.isdir(staging)
        assert BASE.digest[7:] in place(store, "ingest")
        os.rmdir(staging)


def test_eight_processes_bring_in_and_remove_and_nothing_is_lost(store: Store) -> None:
    """Whatever they do at once, in the end the rows and the files agree, and are whole."""
    code = (
        "import random, sys; from pathlib import Path\n"
        "from engine.errors import EngineError; from engine.storage import gc\n"
        "from engine.storage.image_store import ImageStore\n"
        "from tests.support.store import bring_in, open_store\n"
        "from tests.engine.storage.test_gc import APP, BASE, OTHER\n"
        "store = open_store(Path(sys.argv[1])); choose = random.Random(int(sys.argv[2]))\n"
        "images = ImageStore(store.database, store.content)\n"
        "for n in range(4):\n"
        "    name = choose.choice('ab')\n"
        "    try:\n"
        "        bring_in(store, [BASE, APP if name == 'a' else OTHER],\n"
        "                 reference=f'docker.io/library/{name}:latest')\n"
        "        gc.remove_image(store.home, store.database, images, choose.choice('ab'))\n"
        "    except EngineError as error:\n"
        "        print(error, file=sys.stderr) if 'no such image' not in str(error) else 0\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, Path(store.home.root).parent, str(number)])
        for number in range(8)
    ]
    assert [process.wait() for process in running] == [0] * 8
    from engine.storage.repair import fsck

    gc.start(store.home, store.database)
    assert list(fsck(store.home, store.database, repair=False)) == []
    assert place(store, "staging") == place(store, "trash") == []
    rows = {each for (each,) in store.database.query("SELECT id FROM layer")}
    assert set(place(store, "layers")) == rows
    wanted = {DiffID(each) for each in diff_ids(store)}
    assert wanted <= {BASE.diff_id, APP.diff_id, OTHER.diff_id}


def test_a_sweep_of_another_process_is_waited_for_and_then_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "_WAIT_SECONDS", 0.1)
    old = store.content.put(b"old")
    age(store.home.blob_path(old))
    with gc._locked(f"{store.home.root}/lock/gc", wait_seconds=0) as held:
        assert held
        started = time.monotonic()
        assert gc.sweep(store.home, store.database) == ((), 0)
        assert time.monotonic() - started >= 0.1
    assert blobs(store) == {old}
    gc.sweep(store.home, store.database)
    assert blobs(store) == set()


def test_layer_helper_is_deterministic() -> None:
    """The killed processes above import these very layers."""
    assert layer(directory(b"etc") + file(b"etc/os", b"base" * 1000) + END) == BASE
    assert isinstance(BASE, Layer)


def test_rows_go_by_one_statement_a_table_however_many_they_are(
    store: Store, images: ImageStore
) -> None:
    for number in range(12):
        data = b"%d" % number
        each = [layer(file(b"f%d" % depth, data) + END) for depth in range(3)]
        bring_in(store, each, reference=parse_reference(f"many:{number}").full)
    wanted = {each.row.id: each.references for each in images.list_()}
    images.drop(wanted)
    said: list[str] = []
    with store.database.transaction() as cursor:
        cursor.connection.set_trace_callback(said.append)
    plan = gc.plan(store.home, store.database)
    assert (len(wanted), len(plan.layers)) == (12, 36)
    # What a foreign key does for a row is told as its statement once more.
    deletions = dict.fromkeys(line for line in said if line.startswith("DELETE FROM"))
    assert [line.split()[2] for line in deletions] == ["chain", "layer", "blob"]
