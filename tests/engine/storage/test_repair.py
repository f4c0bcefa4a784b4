"""fsck finds planted damage, mends what it can, and finds nothing in a whole store."""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.model.system import Damage
from engine.oci.digest import ChainID, chain_ids
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.image_store import ImageStore
from engine.storage.leases import Lease
from engine.storage.repair import fsck
from engine.storage.snapshots import Snapshots
from engine.storage.volume_store import VolumeStore
from tests.engine.storage.test_snapshots import random_layer
from tests.support.store import Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file, hardlink, header, symlink
from tests.support.trees import tree_of

pytestmark = pytest.mark.root

BASE = layer(
    directory(b"etc", 0o711, uid=7)
    + file(b"etc/os", b"base" * 1000)
    + file(b"gone", b"gone")
    + symlink(b"link", b"etc")
    + header(b"null", b"3", device=(1, 3))
    + END
)
# It leans on the one below: an implied parent, a hard link into it, whiteouts.
APP = layer(
    file(b"etc/app", b"app")
    + hardlink(b"etc/os2", b"etc/os")
    + file(b".wh.gone", b"")
    + directory(b"new")
    + file(b"new/.wh..wh..opq", b"")
    + END
)
CHAIN: ChainID = chain_ids([BASE.diff_id, APP.diff_id])[-1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An image, a stopped container of it, and a volume."""
    store = open_store(tmp_path)
    bring_in(store, [BASE, APP], reference="docker.io/library/app:1")
    yield store
    store.database.close()


@pytest.fixture
def container(store: Store) -> ContainerRow:
    VolumeStore(store.database).create("data", 1, anonymous=False, labels={})
    os.makedirs(f"{store.home.root}/volumes/data/_data")
    image = ImageStore(store.database, store.content).get("app:1").id
    mounts = [{"type": "volume", "source": "data"}]
    row = ContainerRow(
        "c" * 64, "web", "app:1", image, CHAIN, 1, {"mounts": mounts}, "exited", started_ns=2
    )
    os.makedirs(store.home.container_dir(row.id))
    Snapshots(store.home, store.database).prepare(row.id, CHAIN)
    ContainerStore(store.database).create(row)
    return row


def check(store: Store, *, repair: bool = False) -> list[Damage]:
    return list(fsck(store.home, store.database, repair=repair))


def layer_of(store: Store, diff_id: str) -> str:
    return str(store.database.first("SELECT id FROM layer WHERE diff_id=?", (diff_id,))[0])


def without_keys(store: Store, text: str) -> None:
    """As somebody with another program would do it."""
    connection = sqlite3.connect(f"{store.home.root}/db.sqlite", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(text)
    connection.close()


def age(path: str) -> None:
    os.utime(path, (0, 0))


def test_a_whole_store_has_no_damage(store: Store, container: ContainerRow) -> None:
    assert check(store) == []
    assert check(store, repair=True) == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_layers_are_made_of_a_whole_store_has_no_damage(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = open_store(tmp_path)
    layers = [layer(random_layer(chance)) for _ in range(6)]
    for number in range(4):
        chosen = chance.sample(layers, 4)
        bring_in(store, chosen, reference=f"docker.io/library/app:{number}")
    assert check(store) == []
    store.database.close()


def test_work_that_is_going_on_is_no_damage(store: Store) -> None:
    with Lease(store.database, "pull") as lease:
        os.mkdir(f"{store.home.root}/staging/{lease.id}")
        os.mkdir(store.home.layer_dir("coming"))
        lease.add("layer", "coming")
        store.content.put(b"a blob whose row is about to come")
        os.mkdir(store.home.container_dir("d" * 64))
        assert check(store) == []
        os.rmdir(f"{store.home.root}/staging/{lease.id}")


def test_a_container_that_never_started_has_no_upper_directory_yet(
    store: Store, container: ContainerRow
) -> None:
    ContainerStore(store.database).set_state(container.id, state="created", started_ns=0)
    upper_missing(store)
    assert check(store) == []
    os.makedirs(f"{store.home.upper_dir(container.id)}/work")  # killed in the middle of it
    (found,) = check(store, repair=True)
    assert found.repaired
    assert check(store) == []


def blob_cut(store: Store) -> None:
    os.truncate(store.home.blob_path(APP.digest), 10)


def blob_flipped(store: Store) -> None:
    with open(store.home.blob_path(BASE.digest), "r+b") as blob:
        blob.seek(20)
        blob.write(b"\xff\xff")


def blob_missing(store: Store) -> None:
    os.unlink(store.home.blob_path(APP.digest))


def blob_extra(store: Store) -> None:
    age(store.home.blob_path(store.content.put(b"nobody's")))


def layer_missing(store: Store) -> None:
    shutil.rmtree(store.home.layer_dir(layer_of(store, BASE.diff_id)))


def layer_leaning_missing(store: Store) -> None:
    shutil.rmtree(store.home.layer_dir(layer_of(store, APP.diff_id)))


def layer_file_missing(store: Store) -> None:
    os.unlink(f"{store.home.layer_dir(layer_of(store, BASE.diff_id))}/diff/etc/os")


def layer_file_empty(store: Store) -> None:
    os.truncate(f"{store.home.layer_dir(layer_of(store, APP.diff_id))}/diff/etc/app", 0)


def layer_file_flipped(store: Store) -> None:
    path = Path(f"{store.home.layer_dir(layer_of(store, BASE.diff_id))}/diff/etc/os")
    path.write_bytes(path.read_bytes().replace(b"base", b"bass", 1))


def layer_link_turned(store: Store) -> None:
    path = f"{store.home.layer_dir(layer_of(store, BASE.diff_id))}/diff/link"
    os.unlink(path)
    os.symlink("etd", path)


def layer_file_is_a_directory(store: Store) -> None:
    path = f"{store.home.layer_dir(layer_of(store, APP.diff_id))}/diff/etc/app"
    os.unlink(path)
    os.mkdir(path)


def layer_with_a_stranger(store: Store) -> None:
    diff = f"{store.home.layer_dir(layer_of(store, APP.diff_id))}/diff"
    Path(diff, "new/guest").write_text("hello")


def layer_extra(store: Store) -> None:
    os.makedirs(f"{store.home.root}/layers/nobody/diff")


def index_missing(store: Store) -> None:
    os.unlink(f"{store.home.layer_dir(layer_of(store, BASE.diff_id))}/layer.pdl")


def index_cut(store: Store) -> None:
    os.truncate(f"{store.home.layer_dir(layer_of(store, BASE.diff_id))}/layer.pdl", 300)


def index_exchanged(store: Store) -> None:
    first, second = (layer_of(store, each.diff_id) for each in (BASE, APP))
    shutil.copy(
        f"{store.home.layer_dir(first)}/layer.pdl", f"{store.home.layer_dir(second)}/layer.pdl"
    )


def link_missing(store: Store) -> None:
    os.unlink(f"{store.home.root}/l/1")


def link_astray(store: Store) -> None:
    os.unlink(f"{store.home.root}/l/2")
    os.symlink("../layers/elsewhere/diff", f"{store.home.root}/l/2")


def link_extra(store: Store) -> None:
    os.symlink("../layers/nobody/diff", f"{store.home.root}/l/99")


def staging_of_the_dead(store: Store) -> None:
    lease = Lease(store.database, "pull")
    os.makedirs(f"{store.home.root}/staging/{lease.id}/0/diff")
    with store.database.transaction() as cursor:
        cursor.execute("UPDATE lease SET boot_id='another'")


def staging_extra(store: Store) -> None:
    os.makedirs(f"{store.home.root}/staging/lost")


def container_extra(store: Store) -> None:
    path = store.home.container_dir("d" * 64)
    os.mkdir(path)
    Path(path, "log").write_text("x")
    age(path)


def upper_extra(store: Store) -> None:
    os.makedirs(f"{store.home.upper_dir('d' * 64)}/diff")
    age(store.home.upper_dir("d" * 64))


def upper_missing(store: Store) -> None:
    shutil.rmtree(store.home.upper_dir("c" * 64))


def work_missing(store: Store) -> None:
    shutil.rmtree(f"{store.home.upper_dir('c' * 64)}/work")


def volume_missing(store: Store) -> None:
    shutil.rmtree(f"{store.home.root}/volumes/data")


def volume_extra(store: Store) -> None:
    os.makedirs(f"{store.home.root}/volumes/found/_data")
    age(f"{store.home.root}/volumes/found")


def reference_astray(store: Store) -> None:
    without_keys(store, f"INSERT INTO reference VALUES('x', 'sha256:{'0' * 64}', '', 0)")


Plant = Callable[[Store], None]
DAMAGES: dict[Plant, tuple[str, str]] = {
    blob_cut: ("blob", "its file has 10"),
    blob_flipped: ("blob", "its bytes have digest"),
    blob_missing: ("blob", "no such file"),
    blob_extra: ("blob", "no row has it"),
    layer_missing: ("layer", "its directory is missing"),
    layer_leaning_missing: ("layer", "its directory is missing"),
    layer_file_missing: ("layer", "'etc/os' is missing"),
    layer_file_empty: ("layer", "'etc/app': expected 3 bytes, it has 0"),
    layer_file_flipped: ("layer", "'etc/os': its bytes are not those that were unpacked"),
    layer_link_turned: ("layer", "'link' leads elsewhere"),
    layer_file_is_a_directory: ("layer", "'etc/app' is of another kind"),
    layer_with_a_stranger: ("layer", "'new/guest' was not in it"),
    layer_extra: ("layer", "no row has it"),
    index_missing: ("index", "layer.pdl is missing"),
    index_cut: ("index", "layer.pdl cannot be read"),
    index_exchanged: ("index", "layer.pdl is of another layer"),
    link_missing: ("link", "expected ../layers/"),
    link_astray: ("link", "expected ../layers/"),
    link_extra: ("link", "no row has it"),
    staging_of_the_dead: ("file", "left by a process that ended"),
    staging_extra: ("file", "left by a process that ended"),
    container_extra: ("file", "no row has it"),
    upper_extra: ("file", "no row has it"),
    upper_missing: ("file", "its upper directory is missing"),
    work_missing: ("file", "its upper directory is missing"),
    volume_missing: ("file", "its directory is missing"),
    volume_extra: ("file", "a directory without a row"),
    reference_astray: ("row", "leads to an image that is not there"),
}


@pytest.mark.parametrize("plant", DAMAGES, ids=lambda plant: plant.__name__)
def test_planted_damage_is_found_and_mended(
    store: Store, container: ContainerRow, plant: Plant
) -> None:
    before = whole(store)
    plant(store)
    kind, text = DAMAGES[plant]
    (found,) = check(store)
    assert found.kind == kind
    assert text in found.text
    assert not found.repaired
    (mended,) = check(store, repair=True)
    assert mended.repaired
    assert (mended.kind, mended.subject) == (found.kind, found.subject)
    assert mended.text.startswith(found.text)
    assert check(store) == []
    if plant not in (upper_missing, work_missing):
        assert whole(store) == before


def whole(store: Store) -> list[object]:
    """What a container sees: the trees of its layers."""
    directories = Snapshots(store.home, store.database).layers(CHAIN)
    return [tree_of(f"{each}/diff") for each in directories]


def test_several_damages_are_mended_in_one_go(store: Store, container: ContainerRow) -> None:
    before = whole(store)
    for plant in (layer_missing, layer_leaning_missing, link_missing, blob_extra, staging_extra):
        plant(store)
    assert len(check(store)) == 5
    assert all(each.repaired for each in check(store, repair=True))
    assert check(store) == []
    assert whole(store) == before


def test_an_image_without_its_config_is_removed_and_told(store: Store) -> None:
    image = ImageStore(store.database, store.content).get("app:1")
    os.unlink(store.home.blob_path(image.id))
    (found,) = check(store, repair=True)
    assert found.repaired
    assert "cannot be restored and is removed: pull it again" in found.text
    assert ImageStore(store.database, store.content).find("app:1") is None
    assert store.database.query("SELECT id FROM layer") == []
    assert check(store) == []


def test_a_container_keeps_its_broken_image_and_fsck_says_so(
    store: Store, container: ContainerRow
) -> None:
    os.unlink(store.home.blob_path(container.image_id))
    (found,) = check(store, repair=True)
    assert not found.repaired
    assert "containers use it, so it stays" in found.text
    assert ContainerStore(store.database).find("web") is not None


def test_a_layer_without_a_blob_takes_its_image_along(store: Store) -> None:
    layer_missing(store)
    os.unlink(store.home.blob_path(BASE.digest))
    kinds = [each.kind for each in check(store, repair=True)]
    assert kinds == ["blob", "layer"]
    assert ImageStore(store.database, store.content).find("app:1") is None
    assert check(store) == []


def test_a_layer_that_a_running_container_has_mounted_is_left(
    store: Store, container: ContainerRow
) -> None:
    ContainerStore(store.database).set_state(container.id, state="running")
    layer_file_missing(store)
    (found,) = check(store, repair=True)
    assert not found.repaired
    assert "container web runs on it" in found.text


def test_damage_of_the_database_itself_is_told(store: Store) -> None:
    store.database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    path = f"{store.home.root}/db.sqlite"
    page = 4096
    (root,) = store.database.first("SELECT rootpage FROM sqlite_master WHERE name='chain_layer'")
    store.database.close()
    with open(path, "r+b") as database:
        database.seek((root - 1) * page + 100)
        database.write(b"\xff" * (page - 100))
    done = subprocess.run(
        ["python3", "-c", "import sqlite3,sys;print(sqlite3.connect(sys.argv[1])"
         ".execute('PRAGMA quick_check').fetchall())", path],
        capture_output=True, check=True,
    )  # fmt: skip
    assert b"ok" not in done.stdout  # the damage is real
    again = open_store(Path(store.home.root).parent)
    found = check(again, repair=True)
    assert {(each.kind, each.subject, each.repaired) for each in found} == {
        ("row", "db.sqlite", False)
    }
    again.database.close()
