"""df: what each thing takes, and all of it together what du(1) says of the root."""

import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.model.disk import DiskUsage
from engine.storage import trash
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.image_store import ImageStore
from engine.storage.leases import Lease
from engine.storage.snapshots import Snapshots
from engine.storage.usage import disk_usage
from engine.storage.volume_store import VolumeStore
from tests.support.small_disk import small_disk
from tests.support.store import Layer, Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file, hardlink, header, pax, symlink

pytestmark = pytest.mark.root

BASE = layer(directory(b"etc") + file(b"etc/os", b"base" * 3000) + END)
APP = layer(directory(b"app") + file(b"app/run", b"app" * 5000) + END)
OTHER = layer(directory(b"other") + file(b"other/run", b"other" * 1000) + END)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def du(path: str) -> int:
    """As du(1), by another way than the engine's."""
    seen: set[int] = set()
    blocks = os.lstat(path).st_blocks
    for where, directories, files in os.walk(path):
        for name in directories + files:
            status = os.lstat(f"{where}/{name}")
            if stat.S_ISDIR(status.st_mode) or status.st_ino not in seen:
                seen.add(status.st_ino)
                blocks += status.st_blocks
    return blocks * 512


def usage(store: Store) -> DiskUsage:
    """Of a database whose log is empty: looking writes to it."""
    store.database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    return disk_usage(store.home, store.database)


def without_log(store: Store) -> int:
    root = store.home.root
    return du(root) - du(f"{root}/db.sqlite-wal")


def part(store: Store, each: Layer) -> int:
    """What a layer and its blob take."""
    (name,) = store.database.first("SELECT id FROM layer WHERE diff_id=?", (each.diff_id,))
    return du(store.home.layer_dir(name)) + du(store.home.blob_path(each.digest))


def add_container(store: Store, name: str, image: str, state: str = "exited") -> str:
    row = ImageStore(store.database, store.content).get(image)
    identity = name * 64
    store_row = ContainerRow(
        identity, name, image, row.id, row.chain_id, 1, {"mounts": []}, state, started_ns=2
    )
    assert row.chain_id is not None
    Snapshots(store.home, store.database).prepare(identity, row.chain_id)
    os.makedirs(store.home.container_dir(identity))
    ContainerStore(store.database).create(store_row)
    return identity


def test_an_empty_store_takes_what_its_database_does(store: Store) -> None:
    found = usage(store)
    assert found.images == found.containers == found.volumes == (0, 0, 0, 0)
    assert found.downloads == found.leftovers == (0, 0, 0, 0)
    assert found.total_bytes == found.metadata_bytes == without_log(store)


def test_what_images_share_counts_once(store: Store) -> None:
    bring_in(store, [BASE, APP], reference="docker.io/library/app:1")
    bring_in(store, [BASE, OTHER], reference="docker.io/library/other:1")
    add_container(store, "a", "app:1")
    found = usage(store)
    assert found.total_bytes == without_log(store)
    by_name = {each.references: each for each in found.each_image}
    app, other = by_name[("app:1",)], by_name[("other:1",)]
    assert app.shared_bytes == other.shared_bytes == part(store, BASE)
    assert app.unique_bytes > part(store, APP)  # and its documents
    assert app.size_bytes == app.shared_bytes + app.unique_bytes
    assert (app.containers, other.containers) == (1, 0)
    together = app.unique_bytes + other.unique_bytes + part(store, BASE)
    assert found.images == (2, 1, together, other.unique_bytes)


def test_containers_and_volumes_are_measured_with_their_logs(store: Store) -> None:
    bring_in(store, [BASE], reference="docker.io/library/app:1")
    idle, busy = (
        add_container(store, name, "app:1", state)
        for name, state in (("a", "exited"), ("b", "paused"))
    )
    Path(store.home.container_dir(busy), "log").write_bytes(b"x" * 50_000)
    Path(store.home.upper_dir(idle), "diff/written").write_bytes(b"y" * 70_000)
    for name in ("free", "used"):
        VolumeStore(store.database).create(name, 1, anonymous=False, labels={})
        os.makedirs(f"{store.home.root}/volumes/{name}/_data")
        Path(f"{store.home.root}/volumes/{name}/_data/x").write_bytes(b"z" * 9000)
    with store.database.transaction() as cursor:
        cursor.execute("INSERT INTO volume_use VALUES('used', ?)", (busy,))
    found = usage(store)
    sizes = {each.id: each.size_bytes for each in found.each_container}
    assert sizes == {
        each: du(store.home.upper_dir(each)) + du(store.home.container_dir(each))
        for each in (idle, busy)
    }
    assert found.containers == (2, 1, sum(sizes.values()), sizes[idle])
    volume = du(f"{store.home.root}/volumes/free")
    assert found.volumes == (2, 1, 2 * volume, volume)
    assert [(each.name, each.used_by) for each in found.each_volume] == [
        ("free", ()),
        ("used", ("b",)),
    ]
    assert VolumeStore(store.database).get("free").size_bytes == volume
    assert found.total_bytes == without_log(store)


def test_what_nothing_leads_to_is_told_from_what_is_coming(store: Store) -> None:
    bring_in(store, [BASE], reference="docker.io/library/app:1")
    store.content.put(b"nobody's" * 1000)
    for name in ("layers/strange/diff", "trash/x/y", "upper/gone/diff", "staging/lost"):
        os.makedirs(f"{store.home.root}/{name}")
    os.makedirs(f"{store.home.root}/volumes/found/_data")
    abandoned = store.content.ingest(APP.digest, len(APP.blob), cancel=Cancel())
    assert abandoned is not None
    abandoned.write(APP.blob[:100])
    abandoned.close()
    with Lease(store.database, "pull") as lease:
        coming = store.content.put(b"coming" * 1000)
        lease.add("blob", coming)
        os.mkdir(f"{store.home.root}/staging/{lease.id}")
        ingest = store.content.ingest(OTHER.digest, len(OTHER.blob))
        assert ingest is not None
        with ingest:
            ingest.write(OTHER.blob[:100])
            found = usage(store)
            total = without_log(store)
        os.rmdir(f"{store.home.root}/staging/{lease.id}")
    assert found.total_bytes == total
    assert found.leftovers.total == 5
    lost = du(f"{store.home.root}/volumes/found")
    assert found.leftovers.reclaimable_bytes == found.leftovers.size_bytes - lost
    # Two parts with their locks, two stagings, the blob whose row is about to come.
    assert (found.downloads.total, found.downloads.active) == (7, 4)
    idle = [f"ingest/{APP.digest[7:]}", f"ingest/{APP.digest[7:]}.lock", "staging/lost"]
    assert found.downloads.reclaimable_bytes == sum(
        du(f"{store.home.root}/{name}") for name in idle
    )


def random_layer(choose: random.Random) -> Layer:
    """Many small things of every kind, and directories that need more than a block."""
    raw = directory(b"d")
    paths: list[bytes] = []
    for number in range(choose.choice((1, 30, 600))):
        path = b"d/%d-%s" % (number, b"n" * choose.randrange(100))
        kind = choose.randrange(8)
        if kind == 0:
            raw += symlink(path, b"t" * choose.choice((5, 59, 60, 61, 200)))
        elif kind == 1 and paths:
            raw += hardlink(path, choose.choice(paths))
        elif kind == 2:
            raw += header(path, b"3", device=(1, 3))
        elif kind == 3:
            value = b"v" * choose.choice((3, 90, 900))
            raw += pax({b"SCHILY.xattr.user.x": value}) + file(path, b"x")
        elif kind == 4 and choose.random() < 0.1:
            raw += file(path, b"big" * choose.randrange(100_000))
        else:
            raw += file(path, b"x" * choose.choice((0, 1, 1023, 1024, 1025, 4096, 5000)))
            paths.append(path)
    return layer(raw + END)


@pytest.mark.parametrize("seed", range(4))
def test_it_adds_up_to_what_is_on_the_disk_whatever_there_is(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    with small_disk(tmp_path, 64 << 20 if seed % 2 else 600 << 20) as disk:  # blocks of 1 and 4 KiB
        store = open_store(disk)
        layers = [random_layer(choose) for _ in range(5)]
        images = [choose.sample(layers, choose.randrange(1, 5)) for _ in range(4)]
        for number, chosen in enumerate(images):
            bring_in(store, chosen, reference=f"docker.io/library/app:{number}")
        add_container(store, "a", "app:0")
        shutil.copytree(
            store.home.layer_dir(store.database.first("SELECT id FROM layer")[0]),
            f"{store.home.upper_dir('a' * 64)}/diff/copy",
            symlinks=True,
            ignore=lambda where, names: [
                name
                for name in names
                if not stat.S_ISREG(os.lstat(f"{where}/{name}").st_mode)
                and not os.path.isdir(f"{where}/{name}")
            ],
        )
        found = usage(store)
        assert found.total_bytes == without_log(store)
        shared = {each.diff_id: each for chosen in images for each in chosen}
        once = [each for each in shared.values() if sum(each in chosen for chosen in images) > 1]
        alone = sum(each.unique_bytes for each in found.each_image)
        assert found.images.size_bytes == alone + sum(part(store, each) for each in once)
        trash.remove_tree(store.home.upper_dir("a" * 64))
        store.database.close()
