"""Images on their way out: exact where they can be, whole where they cannot."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.oci.digest import sha256_of
from engine.oci.reference import parse_reference
from engine.storage import archive, gc
from engine.storage.image_store import ImageRow, ImageStore
from engine.storage.outgoing import Outgoing
from tests.support.images import MadeImage, layout_tar, make_image
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root

LAYERS = [{"etc/os": b"first"}, {"app/run": b"run"}]
PACKED = make_image(LAYERS)
RAW = make_image(LAYERS, compression="", config={"Labels": {"raw": "yes"}})
NAME = parse_reference("app:1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def bring(store: Store, place: Path, name: str, image: MadeImage) -> ImageRow:
    data = layout_tar(place / name.replace(":", "-"), {name: image})
    archive.load(io.BytesIO(data), home=store.home, database=store.database, content=store.content)
    return images(store).get(name)


def images(store: Store) -> ImageStore:
    return ImageStore(store.database, store.content)


def outgoing(store: Store) -> Outgoing:
    return Outgoing(store.database, store.content, images(store))


def lose(store: Store, image: MadeImage) -> None:
    """Its layers' blobs are gone, as when a pull found the layers here in another compression."""
    for blob in image.layers:
        os.unlink(store.home.blob_path(blob.digest))


def test_an_image_leaves_byte_for_byte(store: Store, tmp_path: Path) -> None:
    row = bring(store, tmp_path, "app:1", PACKED)
    with outgoing(store) as leaving:
        found = leaving.add(row, [NAME])
        assert found.descriptor.digest == PACKED.manifest.digest
        assert found.descriptor.platform is not None
        assert found.names == (NAME,)
        for blob, made in zip(found.blobs, (PACKED.manifest, *PACKED.blobs()), strict=True):
            assert b"".join(leaving.read(blob)) == made.data


def test_layers_that_are_here_in_another_compression_leave_so(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path, "packed:1", PACKED)
    row = bring(store, tmp_path, "app:1", RAW)
    lose(store, RAW)
    with outgoing(store) as leaving:
        found = leaving.add(row, [NAME])
        assert [layer.digest for layer in found.manifest.layers] == [
            layer.digest for layer in PACKED.layers
        ]
        assert all(layer.media_type.endswith("+gzip") for layer in found.manifest.layers)
        data = b"".join(leaving.read(found.descriptor))
        assert sha256_of(data) == found.descriptor.digest
        assert json.loads(data)["config"]["digest"] == row.id  # it is the same image
        assert json.loads(data)["layers"][0]["digest"] == PACKED.layers[0].digest


def test_a_layer_that_is_nowhere_is_said(store: Store, tmp_path: Path) -> None:
    row = bring(store, tmp_path, "app:1", RAW)
    lose(store, RAW)
    with outgoing(store) as leaving, pytest.raises(NotFound, match="its blob is not in the store"):
        leaving.add(row, [NAME])


def test_what_is_leaving_outlives_its_image(store: Store, tmp_path: Path) -> None:
    row = bring(store, tmp_path, "app:1", PACKED)
    with outgoing(store) as leaving:
        found = leaving.add(row, [NAME])
        gc.remove_image(store.home, store.database, images(store), "app:1")
        for blob in found.blobs:
            assert sum(map(len, leaving.read(blob))) == blob.size_bytes
    gc.sweep(store.home, store.database)
    assert os.listdir(f"{store.home.root}/blobs/sha256") == []
