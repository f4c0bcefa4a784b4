"""Images made here: of a tar, over layers that are here, or not at all."""

import bz2
import gzip
import io
import json
import lzma
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, EngineError, InvalidInput, Unavailable
from engine.oci.descriptor import Descriptor
from engine.oci.digest import DiffID, ImageID
from engine.oci.reference import parse_reference
from engine.storage import made_image
from engine.storage.image_store import ImageRow, ImageStore
from engine.storage.made_image import EMPTY_LAYER, RawLayer, publish, staged, write_raw
from engine.storage.repair import fsck
from engine.storage.snapshots import Snapshots
from tests.support.small_disk import small_disk
from tests.support.store import Store, open_store
from tests.support.tarball import END, directory, file, hardlink, header
from tests.support.trees import tree_of

pytestmark = pytest.mark.root

DOCUMENT = {"os": "linux", "architecture": "amd64", "created": "2024-01-02T03:04:05Z"}
BASE = directory(b"etc/") + file(b"etc/os", b"first") + END
UPPER = file(b"etc/.wh.os") + file(b"etc/new", b"second") + hardlink(b"etc/twin", b"etc/new") + END


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def make(
    store: Store,
    data: bytes,
    base: Sequence[tuple[Descriptor, DiffID]] = (),
    name: str | None = None,
    **more: Any,
) -> tuple[ImageID, RawLayer]:
    cancel = more.pop("cancel", None) or Cancel()
    with staged(store.home, store.database) as place:
        layer = write_raw(io.BytesIO(data), f"{place}/layer", cancel, lambda done, total: None)
        identity = publish(
            store.home, store.database, store.content, base, layer, {**DOCUMENT, **more},
            parse_reference(name) if name else None, progress=None, cancel=cancel,
        )  # fmt: skip
    return identity, layer


def row_of(store: Store, identity: ImageID) -> ImageRow:
    return ImageStore(store.database, store.content).get(identity)


def nothing_left(store: Store) -> bool:
    assert store.database.query("SELECT id FROM image") == []
    for name in ("layers", "l", "staging", "trash", "blobs/sha256"):
        assert os.listdir(f"{store.home.root}/{name}") == []
    return True


def test_a_tar_becomes_a_layer_like_a_pulled_one(store: Store) -> None:
    identity, layer = make(store, BASE, name="app:1")
    row = row_of(store, identity)
    assert (row.layers, row.architecture, row.created_ns) == (1, "amd64", 1_704_164_645 * 10**9)
    (place,) = Snapshots(store.home, store.database).layers(row.chain_id)  # type: ignore[arg-type]
    assert tree_of(f"{place}/diff")["etc/os"].detail == b"first"
    assert os.path.exists(f"{place}/layer.pdl")
    assert store.content.read(layer.digest) == BASE
    assert os.listdir(f"{store.home.root}/staging") == []
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_a_layer_goes_over_layers_that_are_here(store: Store) -> None:
    _, below = make(store, BASE)
    base = [(below.descriptor, DiffID(below.digest))]
    identity, layer = make(store, UPPER, base, history=[{"created_by": "me"}])
    row = row_of(store, identity)
    assert row.layers == 2
    assert len(os.listdir(f"{store.home.root}/layers")) == 2
    document = json.loads(store.content.read(row.manifest))
    assert [each["digest"] for each in document["layers"]] == [below.digest, layer.digest]
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_the_same_layer_twice_is_stored_once(store: Store) -> None:
    _, below = make(store, BASE)
    identity, _ = make(store, BASE, [(below.descriptor, DiffID(below.digest))])
    assert row_of(store, identity).layers == 2
    assert len(os.listdir(f"{store.home.root}/layers")) == 1


def test_an_image_may_have_nothing_of_its_own(store: Store) -> None:
    _, below = make(store, BASE)
    identity = publish(
        store.home, store.database, store.content, [(below.descriptor, DiffID(below.digest))],
        None, {**DOCUMENT, "author": "Ann"}, None, progress=None, cancel=Cancel(),
    )  # fmt: skip
    assert row_of(store, identity).layers == 1
    assert make(store, END)[1].digest == EMPTY_LAYER


@pytest.mark.parametrize("codec", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_the_same_layer(store: Store, codec: Callable[[bytes], bytes]) -> None:
    assert make(store, codec(BASE))[1].digest == make(store, BASE)[1].digest


BAD = {
    "no tar": (b"no tar at all" * 100, Corrupt, "checksum"),
    "nothing": (b"", InvalidInput, "it is empty"),
    "cut": (BASE[:700], Corrupt, "ends in the middle"),
    "a path to outside": (file(b"../x", b"1") + END, InvalidInput, "leaves the layer"),
    "a link to nowhere": (hardlink(b"a", b"b") + END, Corrupt, "does not exist"),
    "cut gzip": (gzip.compress(BASE)[:-20], Corrupt, "gzip stream"),
    "unknown type": (header(b"x", b"Z") + END, InvalidInput, "unknown type"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_layer_leaves_nothing(store: Store, name: str) -> None:
    data, kind, said = BAD[name]
    with pytest.raises(kind, match=said) as caught:
        make(store, data, name="app:1")
    assert isinstance(caught.value, EngineError)
    assert "\n" not in caught.value.message
    assert nothing_left(store)


def test_a_config_that_is_none_leaves_nothing(store: Store) -> None:
    with pytest.raises(InvalidInput, match="created"):
        make(store, BASE, created="yesterday")
    assert nothing_left(store)


def test_a_cancel_leaves_nothing(store: Store) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        make(store, BASE, cancel=cancel)
    assert nothing_left(store)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, 8 << 20) as disk:
        store = open_store(disk)
        try:
            with pytest.raises(Unavailable, match="disk full"):
                make(store, file(b"big", bytes(6 << 20)) + END)
            assert nothing_left(store)
        finally:
            store.database.close()


def test_two_at_once_make_one_layer(store: Store) -> None:
    found: list[ImageID] = []
    threads = [
        threading.Thread(target=lambda: found.append(make(store, BASE)[0])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(os.listdir(f"{store.home.root}/layers")) == 1


@pytest.mark.parametrize("text", ["1700000000", "", "never"])
def test_the_time_may_be_given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert made_image.epoch_ns() == (1_700_000_000 * 10**9 if text == "1700000000" else None)
