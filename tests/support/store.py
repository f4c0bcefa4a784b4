"""A store of its own for a test, and images brought into it layer by layer."""

import gzip
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.engine import Cancel, OnProgress
from engine.home import Home, open_home
from engine.oci.digest import ChainID, DiffID, Digest, ImageID, sha256_of
from engine.storage.content import Content
from engine.storage.image_store import NewImage
from engine.storage.metadata import Database
from engine.storage.unpack import Unpacking


class Layer(NamedTuple):
    digest: Digest
    diff_id: DiffID
    blob: bytes


def layer(raw: bytes) -> Layer:
    """A gzip layer of this tar."""
    blob = gzip.compress(raw, 1, mtime=0)
    return Layer(sha256_of(blob), DiffID(sha256_of(raw)), blob)


class Store(NamedTuple):
    home: Home
    database: Database
    content: Content


def open_store(path: Path) -> Store:
    home = open_home(str(path / "root"), str(path / "run"))
    database = Database(home)
    return Store(home, database, Content(home, database))


def new_image(store: Store, layers: Sequence[Layer], reference: str | None = None) -> NewImage:
    """The rows of an image whose config and manifest are in the store; the name is in both."""
    text = repr([each.diff_id for each in layers]).encode() + (reference or "").encode()
    config, manifest = b"config " + text, b"manifest " + text
    store.content.put(config)
    store.content.put(manifest)
    documents = [(sha256_of(data), len(data), "application/json") for data in (config, manifest)]
    blobs = [(each.digest, len(each.blob), "application/gzip") for each in layers]
    return NewImage(
        ImageID(documents[0][0]), documents[1][0], None,
        tuple((each.digest, each.diff_id, len(each.blob)) for each in layers),
        tuple(dict.fromkeys(documents + blobs)), "linux", "amd64", "", 1, reference, None,
    )  # fmt: skip


def blob_descriptor(store: Store, each: Layer) -> int:
    """The blob is in the store; a descriptor of it."""
    path = store.home.blob_path(each.digest)
    if not os.path.exists(path):
        with open(f"{path}.new", "wb") as file:
            file.write(each.blob)
        os.rename(f"{path}.new", path)  # a killed process leaves no half of one
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def bring_in(
    store: Store,
    layers: Sequence[Layer],
    *,
    reference: str | None = None,
    progress: OnProgress | None = None,
    cancel: Cancel | None = None,
) -> ChainID:
    """An image of these layers is in the store."""
    image = new_image(store, layers, reference)
    with Unpacking(
        store.home, store.database, progress=progress, cancel=cancel or Cancel()
    ) as unpacking:
        for index in unpacking.missing([each.diff_id for each in layers]):
            each = layers[index]
            descriptor = blob_descriptor(store, each)
            unpacking.feed(
                index, each.digest, each.diff_id, len(each.blob), descriptor, complete=True
            )
            os.close(descriptor)
        chain = unpacking.publish(image)
    assert chain is not None
    return chain


def checksum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
