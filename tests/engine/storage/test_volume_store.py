"""Volumes, and who keeps them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, NotFound
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.image_store import ImageStore
from engine.storage.volume_store import VolumeStore
from tests.support.store import Store, new_image, open_store

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture
def volumes(store: Store) -> VolumeStore:
    return VolumeStore(store.database)


def use(store: Store, container: str, *names: str) -> None:
    image = new_image(store, [])
    with store.database.transaction() as cursor:
        ImageStore(store.database, store.content).record(cursor, image, None)
    mounts = [{"type": "volume", "source": name} for name in names]
    row = ContainerRow(container * 8, container, "x", image.id, None, 1, {"mounts": mounts})
    ContainerStore(store.database).create(row)


def test_a_volume_comes_back_with_its_users(store: Store, volumes: VolumeStore) -> None:
    volumes.create("data", 7, anonymous=False, labels={"a": "b"})
    assert volumes.get("data")[:7] == ("data", 7, False, {"a": "b"}, -1, -1, 0)
    use(store, "web", "data")
    use(store, "db", "data")
    assert volumes.get("data").used_by == ("db", "web")
    with pytest.raises(Conflict, match="exists already"):
        volumes.create("data", 8, anonymous=True, labels={})
    with pytest.raises(NotFound, match="no such volume: other"):
        volumes.get("other")


def test_a_used_volume_is_not_removed(store: Store, volumes: VolumeStore) -> None:
    volumes.create("data", 7, anonymous=False, labels={})
    use(store, "web", "data")
    with pytest.raises(Conflict, match="in use by web"):
        volumes.remove("data")
    ContainerStore(store.database).remove("web" * 8)
    volumes.remove("data")
    assert volumes.list_() == []


def test_anonymous_volumes_that_only_one_container_uses(store: Store, volumes: VolumeStore) -> None:
    for name, anonymous in (("own", True), ("shared", True), ("named", False)):
        volumes.create(name, 7, anonymous=anonymous, labels={})
    use(store, "web", "own", "shared", "named")
    use(store, "db", "shared")
    assert volumes.anonymous_of("web" * 8) == ["own"]
    assert volumes.anonymous_of("db" * 8) == []


def test_a_measurement_is_remembered(volumes: VolumeStore) -> None:
    volumes.create("data", 7, anonymous=False, labels={})
    volumes.set_usages({"data": (4096, 3, 99)})
    assert volumes.get("data")[4:7] == (4096, 3, 99)
