"""A database that is lost comes back from what is on the disk; a root that moves goes on."""

import json
import os
import shutil
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Corrupt
from engine.home import open_home
from engine.oci.descriptor import Descriptor
from engine.oci.digest import Digest, ImageID, chain_ids
from engine.oci.reference import parse_reference
from engine.storage import gc, metadata
from engine.storage.image_store import ImageStore, NewImage
from engine.storage.metadata import MIGRATIONS, Database
from engine.storage.repair import fsck
from engine.storage.snapshots import Snapshots
from engine.storage.unpack import Unpacking
from engine.storage.volume_store import VolumeStore
from tests.support.store import Layer, Store, layer, open_store
from tests.support.tarball import END, directory, file, hardlink
from tests.support.trees import tree_of

pytestmark = pytest.mark.root

BASE = layer(directory(b"etc", 0o711, uid=7) + file(b"etc/os", b"base" * 1000) + END)
APP = layer(file(b"etc/app", b"app") + hardlink(b"etc/os2", b"etc/os") + END)  # leans on it
OTHER = layer(directory(b"other") + file(b"other/run", b"other" * 1000) + END)
OCI = "application/vnd.oci.image"


def bring_in(store: Store, layers: list[Layer], name: str, *, index: bool = False) -> ImageID:
    """An image with real documents, under that name."""

    def put(document: object) -> tuple[Digest, int]:
        data = json.dumps(document).encode()
        return store.content.put(data), len(data)

    config, config_bytes = put(
        {
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        }
    )  # fmt: skip
    descriptors = [
        {"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": each.digest, "size": len(each.blob)}
        for each in layers
    ]
    manifest, manifest_bytes = put(
        {
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "layers": descriptors,
            "config": {
                "mediaType": f"{OCI}.config.v1+json", "digest": config, "size": config_bytes,
            },
        }
    )  # fmt: skip
    blobs = [
        (config, config_bytes, f"{OCI}.config.v1+json"),
        (manifest, manifest_bytes, f"{OCI}.manifest.v1+json"),
        *((each.digest, len(each.blob), f"{OCI}.layer.v1.tar+gzip") for each in layers),
    ]
    target: Digest | None = None
    if index:
        entry = {
            "mediaType": f"{OCI}.manifest.v1+json", "digest": manifest, "size": manifest_bytes,
        }  # fmt: skip
        target, size = put(
            {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [entry]}
        )
        blobs.append((target, size, f"{OCI}.index.v1+json"))
    image = NewImage(
        ImageID(config), manifest, target,
        tuple((each.digest, each.diff_id, len(each.blob)) for each in layers), tuple(blobs),
        "linux", "amd64", "", 1_767_323_045_000_000_000, parse_reference(name).full, None,
    )  # fmt: skip
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        for number in unpacking.missing([each.diff_id for each in layers]):
            each = layers[number]
            path = store.home.blob_path(each.digest)
            Path(path).write_bytes(each.blob)
            descriptor = os.open(path, os.O_RDONLY)
            unpacking.feed(
                number, each.digest, each.diff_id, len(each.blob), descriptor, complete=True
            )
            os.close(descriptor)
        unpacking.publish(image)
    return image.id


def rows(store: Store) -> dict[str, list[object]]:
    """What must come back. Times of recording are new, origins are hints."""
    columns = {
        "blob": "digest, size_bytes, media_type",
        "layer": "id, link, diff_id, parent_chain, blob, raw_bytes, disk_bytes, entries",
        "chain": "*",
        "image": "id, manifest, index_digest, chain_id, os, architecture, variant, created_ns, "
        "size_bytes, layers",
        "image_blob": "*",
        "reference": "name, image, target",
        "volume": "name, anonymous",
    }
    return {
        table: sorted(store.database.query(f"SELECT {names} FROM {table}"))
        for table, names in columns.items()
    }


def lose(store: Store) -> None:
    store.database.close()
    for name in os.listdir(store.home.root):
        if name.startswith("db.sqlite"):
            os.unlink(f"{store.home.root}/{name}")


def filled(tmp_path: Path) -> Store:
    store = open_store(tmp_path)
    bring_in(store, [BASE, APP], "app:1", index=True)
    bring_in(store, [BASE, OTHER], "localhost:5000/other:2")
    ImageStore(store.database, store.content).tag(
        ImageStore(store.database, store.content).get("app:1").id, parse_reference("app:latest")
    )
    for name in ("data", "f" * 64):
        VolumeStore(store.database).create(name, 1, anonymous=len(name) == 64, labels={})
        os.makedirs(f"{store.home.root}/volumes/{name}/_data")
    return store


def test_a_lost_database_is_rebuilt_from_blobs_and_indexes(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = rows(store)
    assert len(before["reference"]) == 3
    lose(store)
    store = open_store(tmp_path)
    assert store.database.rebuilt == (2, 3, 2, ())
    assert rows(store) == before
    assert list(fsck(store.home, store.database, repair=False)) == []
    gc.sweep(store.home, store.database)
    assert rows(store) == before
    store.database.close()
    assert open_store(tmp_path).database.rebuilt is None


def test_what_containers_wrote_is_put_aside(tmp_path: Path) -> None:
    store = filled(tmp_path)
    chain = chain_ids([BASE.diff_id, APP.diff_id])[-1]
    Snapshots(store.home, store.database).prepare("c" * 64, chain)
    Path(store.home.upper_dir("c" * 64), "diff/letter").write_text("dear")
    lose(store)
    store = open_store(tmp_path)
    assert store.database.rebuilt is not None
    assert store.database.rebuilt.lost == ("c" * 64,)
    gc.sweep(store.home, store.database)
    assert Path(store.home.root, "lost", "c" * 64, "diff/letter").read_text() == "dear"


def test_images_come_back_without_a_list_of_names_too(tmp_path: Path) -> None:
    store = filled(tmp_path)
    images = [row[0] for row in rows(store)["image"]]  # type: ignore[index]
    lose(store)
    Path(store.home.root, "names").write_bytes(b"\xff not a list")
    store = open_store(tmp_path)
    found = ImageStore(store.database, store.content).list_()
    assert sorted(each.row.id for each in found) == images
    assert all(each.references == () for each in found)


def test_an_image_that_is_not_whole_does_not_come_back(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (other,) = store.database.first("SELECT id FROM layer WHERE diff_id=?", (OTHER.diff_id,))
    os.truncate(f"{store.home.layer_dir(other)}/layer.pdl", 100)
    config = ImageStore(store.database, store.content).get("app:1").id
    lose(store)
    Path(store.home.blob_path(config)).write_bytes(b"{}")
    store = open_store(tmp_path)
    assert ImageStore(store.database, store.content).list_() == []
    assert list(store.database.query("SELECT * FROM reference")) == []
    gc.sweep(store.home, store.database)
    assert os.listdir(f"{store.home.root}/layers") == []


def test_a_link_that_was_lost_with_the_database_is_made_again(tmp_path: Path) -> None:
    store = filled(tmp_path)
    lose(store)
    os.unlink(f"{store.home.root}/l/2")
    store = open_store(tmp_path)
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_names_are_remembered_as_they_change(tmp_path: Path) -> None:
    store = filled(tmp_path)
    images = ImageStore(store.database, store.content)

    def listed() -> set[str]:
        lines = Path(store.home.root, "names").read_text().splitlines()
        assert lines == [" ".join(row) for row in rows(store)["reference"]]  # type: ignore[arg-type]
        return {line.split("/")[-1].split()[0] for line in lines}

    assert listed() == {"app:1", "app:latest", "other:2"}
    other, data = images.get("localhost:5000/other:2"), b"another manifest"
    new = Descriptor(f"{OCI}.manifest.v1+json", store.content.put(data), len(data))
    images.replace_blobs(other.id, {Digest(other.manifest): new.digest}, [new])
    assert listed() == {"app:1", "app:latest", "other:2"}
    gc.remove_image(store.home, store.database, images, "app:1")
    assert listed() == {"app:latest", "other:2"}
    row = images.get("app")
    names = {row.id: tuple(images.references(row.id))}
    gc.remove_images(store.home, store.database, images, names)
    assert listed() == {"other:2"}


def test_a_damaged_database_says_how_to_get_its_images_back(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = rows(store)
    store.database.close()
    path = Path(store.home.root, "db.sqlite")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt, match="not a database") as caught:
        open_store(tmp_path)
    assert caught.value.hint.startswith(f"move {path} and what begins like it away")
    lose(store)
    store = open_store(tmp_path)
    assert rows(store) == before


def test_a_database_of_the_first_schema_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "MIGRATIONS", MIGRATIONS[:1])
    home = open_home(str(tmp_path / "root"), str(tmp_path / "run"))
    with Database(home).transaction(publish=True) as cursor:
        cursor.execute(
            "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES('v',1,0,'{}')"
        )
    monkeypatch.undo()
    store = open_store(tmp_path)
    assert store.database.first("PRAGMA user_version") == (len(MIGRATIONS),)
    assert store.database.rebuilt is None
    bring_in(store, [BASE, APP], "app:1")
    (listed,) = ImageStore(store.database, store.content).list_()
    assert listed.unique_bytes == listed.row.size_bytes > 4000
    assert [row.name for row in VolumeStore(store.database).list_()] == ["v"]
    assert os.path.exists(f"{store.home.root}/db.sqlite.1")


def test_a_root_that_was_moved_goes_on(tmp_path: Path) -> None:
    store = filled(tmp_path / "here")
    before = rows(store)
    chain = chain_ids([BASE.diff_id, APP.diff_id])[-1]
    trees = [
        tree_of(f"{each}/diff") for each in Snapshots(store.home, store.database).layers(chain)
    ]
    store.database.close()
    shutil.move(tmp_path / "here", tmp_path / "there")
    for root, _, files in os.walk(tmp_path / "there"):
        for name in files:
            path = Path(root, name)
            if (not path.is_symlink() and "db.sqlite" in name) or name in ("names", "VERSION"):
                assert str(tmp_path).encode() not in path.read_bytes()
    store = open_store(tmp_path / "there")
    assert store.database.rebuilt is None
    assert rows(store) == before
    assert list(fsck(store.home, store.database, repair=False)) == []
    layers = Snapshots(store.home, store.database).layers(chain)
    assert [tree_of(f"{each}/diff") for each in layers] == trees
    bring_in(store, [BASE, OTHER, APP], "more:1")
    assert list(fsck(store.home, store.database, repair=True)) == []
