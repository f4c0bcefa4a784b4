"""Mounts of images: read-only, harmless, known by the kernel alone."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, InvalidInput, NotFound
from engine.kernel.mount import umount
from engine.model.image import ImageMount
from engine.storage import gc, image_mounts
from engine.storage.image_store import ImageRow, ImageStore
from engine.storage.snapshots import Snapshots
from tests.support.store import Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file

pytestmark = pytest.mark.root

BASE = directory(b"etc/") + file(b"etc/os", b"first") + file(b"gone", b"x") + END
UPPER = file(b"etc/new", b"second") + file(b".wh.gone") + END


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    for each in image_mounts.mounted(store.home):
        image_mounts.unmount(store.home, each.path, force=True)
    store.database.close()


def bring(store: Store, *tars: bytes, name: str = "docker.io/library/app:1") -> ImageRow:
    bring_in(store, [layer(tar) for tar in tars], reference=name)
    return images(store).get(name)


def images(store: Store) -> ImageStore:
    return ImageStore(store.database, store.content, lambda: image_mounts.places(store.home))


def mount(store: Store, row: ImageRow, target: str | None = None) -> str:
    snapshots = Snapshots(store.home, store.database)
    return image_mounts.mount(store.home, store.database, snapshots, row, target)


@pytest.mark.parametrize("tars", [(BASE, UPPER), (BASE,)], ids=["two layers", "one layer"])
def test_an_image_is_seen_and_not_written(store: Store, tars: tuple[bytes, ...]) -> None:
    row = bring(store, *tars)
    path = mount(store, row)
    assert path.startswith(f"{store.home.run_root}/mounts/")
    assert Path(path, "etc/os").read_bytes() == b"first"
    assert os.path.exists(f"{path}/gone") == (len(tars) == 1)
    with pytest.raises(OSError, match="Read-only") as caught:
        Path(path, "etc/os").write_bytes(b"x")
    assert caught.value.errno == errno.EROFS
    flags = os.statvfs(path).f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV
    assert image_mounts.mounted(store.home) == [ImageMount(row.id, path)]
    image_mounts.unmount(store.home, path)
    assert image_mounts.mounted(store.home) == []
    assert not os.path.exists(path)


def test_a_mounted_image_is_swept_by_nobody(store: Store) -> None:
    row = bring(store, BASE, UPPER)
    path = mount(store, row)
    with pytest.raises(Conflict, match=f"image is mounted at {path}"):
        gc.remove_image(store.home, store.database, images(store), "app:1", force=True)
    dropped, _ = gc.remove_images(
        store.home, store.database, images(store), {row.id: ("docker.io/library/app:1",)}
    )
    assert (dropped.images, dropped.kept) == ((), {row.id: f"it is mounted at {path}"})
    assert Path(path, "etc/os").read_bytes() == b"first"
    image_mounts.unmount(store.home, path)
    gc.remove_image(store.home, store.database, images(store), "app:1")
    assert os.listdir(f"{store.home.root}/layers") == []


def test_what_somebody_else_unmounted_leaves_nothing(store: Store) -> None:
    row = bring(store, BASE)
    path = mount(store, row)
    umount(path)
    assert image_mounts.mounted(store.home) == []
    assert mount(store, row) == path
    image_mounts.unmount(store.home, path)
    image_mounts.unmount(store.home, path)  # and twice is as good as once


def test_a_directory_of_any_name_is_taken(store: Store, tmp_path: Path) -> None:
    row = bring(store, BASE)
    place = tmp_path / "with blank\tand \\ and 名"
    place.mkdir()
    link = tmp_path / "link"
    link.symlink_to(place)
    assert mount(store, row, str(link)) == str(place)
    assert [each.path for each in image_mounts.mounted(store.home)] == [str(place)]
    assert (place / "etc/os").exists()
    image_mounts.unmount(store.home, str(place))
    assert place.is_dir()


def test_a_mount_in_use_needs_force(store: Store) -> None:
    path = mount(store, bring(store, BASE))
    with open(f"{path}/etc/os", "rb") as held:
        with pytest.raises(Conflict, match="it is in use"):
            image_mounts.unmount(store.home, path)
        image_mounts.unmount(store.home, path, force=True)
        assert image_mounts.mounted(store.home) == []
        assert held.read() == b"first"


def test_pydocks_own_directories_are_refused(store: Store) -> None:
    row = bring(store, BASE)
    for place in (f"{store.home.root}/layers", os.path.dirname(store.home.root), "/"):
        with pytest.raises(InvalidInput, match="pydock's own"):
            mount(store, row, place)
    with pytest.raises(NotFound, match="no such directory"):
        mount(store, row, "/nonexistent")


def test_an_image_that_goes_meanwhile_is_not_left_mounted(store: Store) -> None:
    row = bring(store, BASE)
    with store.database.transaction() as cursor:
        cursor.execute("DELETE FROM image")
    with pytest.raises(NotFound, match="no such image"):
        mount(store, row)
    assert image_mounts.mounted(store.home) == []


def test_another_root_sees_none_of_it(store: Store, tmp_path: Path) -> None:
    mount(store, bring(store, BASE))
    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    assert image_mounts.mounted(other.home) == []
    other.database.close()
