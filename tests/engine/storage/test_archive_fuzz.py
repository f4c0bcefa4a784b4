"""Archives with bytes that nobody meant: an error of ours or the right image, and never a rest."""

import io
import json
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.oci.digest import sha256_of
from engine.storage import archive, gc
from engine.storage.image_store import ImageStore
from engine.storage.repair import fsck
from tests.support.images import layout_tar, make_image, make_index
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root

IMAGE = make_image([{"etc": None, "etc/os": b"first"}, {"app": None, "app/run": b"run" * 100}])
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1.5, "", "x" * 5000, "../../etc", "sha256:", "\0", "ä\ud800", [], {},
    [[]], {"a": 1}, ["sha256:" + "0" * 64],
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def load_and_look(store: Store, data: bytes) -> bool:
    """Whether it was loaded; either way the store is whole, and empty again afterwards."""
    said = ""
    try:
        archive.load(
            io.BytesIO(data), home=store.home, database=store.database, content=store.content
        )
    except EngineError as error:
        said = error.message
    assert "\n" not in said
    assert len(said) < 1000
    assert list(fsck(store.home, store.database, repair=False)) == []
    assert os.listdir(f"{store.home.root}/staging") == []
    images = ImageStore(store.database, store.content)
    for row in images.list_():
        gc.remove_image(store.home, store.database, images, row.row.id, force=True)
    gc.sweep(store.home, store.database)
    assert os.listdir(f"{store.home.root}/layers") == []
    return not said


@pytest.mark.parametrize("rounds", [25, pytest.param(3000, marks=pytest.mark.long)])
def test_bytes_that_flipped(store: Store, tmp_path: Path, rounds: int) -> None:
    choose = random.Random(rounds)
    whole = layout_tar(tmp_path / "layout", {"app:1": make_index([IMAGE])})
    assert load_and_look(store, whole)
    for _ in range(rounds):
        data = bytearray(whole)
        for _ in range(choose.randint(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        if choose.random() < 0.2:
            del data[choose.randrange(len(data)) :]
        load_and_look(store, bytes(data))


@pytest.mark.parametrize("rounds", [40, pytest.param(5000, marks=pytest.mark.long)])
def test_documents_with_odd_values(store: Store, tmp_path: Path, rounds: int) -> None:
    """Their digests are made right again, so that what reads them gets to see the values."""
    choose = random.Random(rounds)
    with tarfile.open(fileobj=io.BytesIO(layout_tar(tmp_path / "layout", {"app:1": IMAGE}))) as tar:
        members = {info.name: each.read() for info in tar if (each := tar.extractfile(info))}
    for _ in range(rounds):
        load_and_look(store, packed(changed(dict(members), choose)))


def changed(members: dict[str, bytes], choose: random.Random) -> dict[str, bytes]:
    """One value is another one, somewhere in config, manifest, index or layout."""
    config, manifest = IMAGE.config.digest[7:], IMAGE.manifest.digest[7:]
    documents = {
        name: json.loads(members.pop(name))
        for name in (
            "index.json", "oci-layout", f"blobs/sha256/{manifest}", f"blobs/sha256/{config}",
        )
    }  # fmt: skip
    name = choose.choice(list(documents))
    documents[name] = twisted(documents[name], choose)
    for key, value in documents.items():
        members[key] = json.dumps(value).encode()
    if isinstance(documents[f"blobs/sha256/{manifest}"], dict):
        renamed(members, documents[f"blobs/sha256/{manifest}"].get("config"), config)
        members[f"blobs/sha256/{manifest}"] = json.dumps(
            documents[f"blobs/sha256/{manifest}"]
        ).encode()
    entries = documents["index.json"]
    entries = entries.get("manifests") if isinstance(entries, dict) else None
    if isinstance(entries, list) and entries:
        renamed(members, entries[0], manifest)
        members["index.json"] = json.dumps(documents["index.json"]).encode()
    return members


def renamed(members: dict[str, bytes], descriptor: object, old: str) -> None:
    """The blob has its own digest for a name, and the descriptor says so, if it is one."""
    data = members.pop(f"blobs/sha256/{old}")
    digest = sha256_of(data)
    members[f"blobs/sha256/{digest[7:]}"] = data
    if isinstance(descriptor, dict) and str(descriptor.get("digest", "")).endswith(old):
        descriptor |= {"digest": digest, "size": len(data)}


def twisted(value: Any, choose: random.Random) -> Any:
    if isinstance(value, dict) and value and choose.random() < 0.8:
        key = choose.choice(list(value))
        if choose.random() < 0.2:
            return {other: each for other, each in value.items() if other != key}
        return value | {key: twisted(value[key], choose)}
    if isinstance(value, list) and value and choose.random() < 0.8:
        at = choose.randrange(len(value))
        return [*value[:at], twisted(value[at], choose), *value[at + 1 :]]
    return choose.choice(ODD)


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
