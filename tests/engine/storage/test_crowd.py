"""A store with many images asks its database no more often than one with few, and is as right."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.oci.reference import familiar, parse_reference
from engine.storage import gc
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from engine.storage.usage import disk_usage
from tests.support.crowd import fill
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def questions(database: Database, act: Callable[[], object]) -> int:
    """How many statements `act` runs."""
    said: list[str] = []
    for name in ("NORMAL", "FULL"):
        database._connection(name).set_trace_callback(said.append)
    try:
        act()
    finally:
        for name in ("NORMAL", "FULL"):
            database._connection(name).set_trace_callback(None)
    return sum(not each.startswith(("INSERT", "DELETE", "--")) for each in said)


@pytest.mark.parametrize("count", [3, 60])
def test_no_list_and_no_sweep_asks_for_each_image(store: Store, count: int) -> None:
    fill(store, count, 4)
    images = ImageStore(store.database, store.content)
    assert questions(store.database, images.list_) <= 6  # with counting what is whose
    assert questions(store.database, images.list_) == 2
    row = images.get("app:1")
    assert questions(store.database, lambda: images.listed(row)) == 3
    assert questions(store.database, lambda: images.get("app:1")) == 1
    assert questions(store.database, lambda: gc.start(store.home, store.database)) == 1
    assert questions(store.database, lambda: disk_usage(store.home, store.database)) <= 16
    assert questions(store.database, lambda: gc.sweep(store.home, store.database)) <= 20
    everything = {
        row.id: tuple(images.references(row.id)) for row in (each.row for each in images.list_())
    }
    asked = questions(
        store.database, lambda: gc.remove_images(store.home, store.database, images, everything)
    )
    assert asked <= 20 + 4 * count  # its names, who has it, whether it is there, its blobs
    assert images.list_() == []
    for table in ("blob", "layer", "chain", "image_blob"):
        assert store.database.query(f"SELECT 1 FROM {table}") == []


def slow_unique(store: Store) -> dict[str, int]:
    """The same by asking for each image and layer."""
    images = ImageStore(store.database, store.content)
    rows = [images.get(f"app:{number}") for number in range(4)]
    layers = {row.id: {each[0]: each[3] for each in images.layers_of(row)} for row in rows}
    return {
        image: sum(
            size
            for layer, size in own.items()
            if not any(layer in other for name, other in layers.items() if name != image)
        )
        for image, own in layers.items()
    }


def test_what_is_an_images_own_follows_what_comes_and_goes(store: Store) -> None:
    fill(store, 4, 5, shared=3)
    images = ImageStore(store.database, store.content)

    def unique() -> dict[str, int]:
        found = {each.row.id: each.unique_bytes for each in images.list_()}
        assert found == {
            each.row.id: images.listed(each.row).unique_bytes for each in images.list_()
        }
        return found

    assert unique() == slow_unique(store)
    assert set(unique().values()) == {2 * 5000}
    for number in (0, 1, 2):
        gc.remove_image(store.home, store.database, images, f"app:{number}")
    assert unique() == {images.get("app:3").id: 5 * 5000}


def test_a_list_is_shown_on_a_full_disk_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.errors import Unavailable

    fill(store, 2, 3)
    images = ImageStore(store.database, store.content)

    def full(**_: object) -> None:
        raise Unavailable("database: database or disk is full")

    monkeypatch.setattr(store.database, "transaction", full)
    assert [each.unique_bytes for each in images.list_()] == [5000, 5000]


@pytest.mark.parametrize(
    "name",
    ["debian", "a/b", "library/x", "docker.io/library/a/b", "localhost:5000/a/b:2",
     "index.docker.io/a", "docker.io/h.io/x", f"debian@sha256:{'0' * 64}"],
)  # fmt: skip
def test_the_short_way_to_a_familiar_name_says_the_same(name: str) -> None:
    reference = parse_reference(name)
    assert familiar(reference.full) == reference.familiar
