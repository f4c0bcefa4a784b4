"""What containers take from images: read from the document once, from a row ever after."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.errors import NotFound, Unavailable
from engine.model.image_config import ImageConfig
from engine.oci.digest import ImageID, sha256_of
from engine.storage import image_configs
from engine.storage.image_store import ImageRow, ImageStore, NewImage
from engine.storage.metadata import Database
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root

WORDS = {
    "Env": ["A=1", "B=2"], "Entrypoint": ["/entry"], "Cmd": ["serve"], "WorkingDir": "/srv",
    "User": "app", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
    "Labels": {"maker": "image"}, "StopSignal": "SIGINT",
}  # fmt: skip
CONFIG = ImageConfig(
    env=("A=1", "B=2"),
    entrypoint=("/entry",),
    command=("serve",),
    working_directory="/srv",
    user="app",
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    labels=(("maker", "image"),),
    stop_signal="SIGINT",
)


class Here(NamedTuple):
    store: Store
    images: ImageStore
    row: ImageRow
    blob: Path

    @property
    def kept(self) -> list[Any]:
        return self.store.database.query("SELECT image, document FROM image_config")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    store = open_store(tmp_path)
    images = ImageStore(store.database, store.content)
    document = {
        "os": "linux", "architecture": "amd64", "config": WORDS,
        "rootfs": {"type": "layers", "diff_ids": [sha256_of(b"layer")]},
    }  # fmt: skip
    config = store.content.put(json.dumps(document).encode())
    manifest = store.content.put(b"manifest")
    blobs = tuple((each, len(store.content.read(each)), "x/y") for each in (config, manifest))
    image = NewImage(
        ImageID(config),
        manifest,
        None,
        (),
        blobs,
        "linux",
        "amd64",
        "",
        1,
        "docker.io/library/a:1",
        None,
    )
    with store.database.transaction() as cursor:
        images.record(cursor, image, None)
    yield Here(store, images, images.get(config), Path(store.home.blob_path(config)))
    store.database.close()


def test_the_document_is_read_once(here: Here) -> None:
    assert here.kept == []
    assert here.images.run_config(here.row) == CONFIG
    here.blob.unlink()
    assert here.images.run_config(here.row) == CONFIG
    with pytest.raises(NotFound):
        here.images.config(here.row)


def test_a_row_of_other_fields_is_made_again(here: Here) -> None:
    fewer = {name: value for name, value in CONFIG._asdict().items() if name != "user"}
    for document in (fewer, {**CONFIG._asdict(), "later": 1}):
        with here.store.database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO image_config VALUES(?,?)",
                (here.row.id, json.dumps(document)),
            )
        assert here.images.run_config(here.row) == CONFIG
        assert json.loads(here.kept[0][1]).keys() == set(ImageConfig._fields)


def test_a_full_disk_keeps_nothing_and_hides_nothing(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Database) -> None:
        raise Unavailable("database or disk is full")

    monkeypatch.setattr(Database, "transaction", refuse)
    assert here.images.run_config(here.row) == CONFIG
    assert here.kept == []


def test_it_goes_with_its_image_and_none_is_kept_for_one_that_went(here: Here) -> None:
    here.images.run_config(here.row)
    assert [image for image, _ in here.kept] == [here.row.id]
    here.images.remove("a:1", force=False)
    assert here.kept == []
    image_configs.keep(here.store.database, here.row.id, CONFIG)
    assert here.kept == []
