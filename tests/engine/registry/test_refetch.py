"""What was damaged in the store comes back from where it was pulled."""

import os
import shutil
from collections.abc import Iterator

import pytest

from engine.errors import NotFound
from engine.home import Home
from engine.model.system import Damage
from engine.oci.descriptor import Descriptor
from engine.oci.digest import Digest
from engine.registry.refetch import refetch
from engine.storage.origin_store import OriginStore
from engine.storage.repair import fsck
from tests.support import images
from tests.support.fault_server import FaultServer
from tests.support.images import make_image, make_index
from tests.support.pulls import FAST, Store, example, noise
from tests.support.registry import Registry

pytestmark = pytest.mark.root


def check(store: Store) -> list[Damage]:
    """`fsck --repair`, as the engine wires it."""

    def fetch(blob: Descriptor) -> None:
        origins = OriginStore(store.database).find(blob.digest)
        refetch(store.content, blob, origins, timeouts=FAST)

    return list(fsck(store.home, store.database, repair=True, refetch=fetch))


def damaged(home: Home, digest: str) -> Iterator[str]:
    """In each of three ways."""
    path = home.blob_path(digest)
    with open(path, "r+b") as file:
        file.seek(3)
        file.write(b"\xff\xff")
    yield "its bytes have digest"
    os.truncate(path, 2)
    yield "its file has 2"
    os.unlink(path)
    yield "no such file"


def test_every_blob_of_an_image_comes_back(store: Store, registry: Registry) -> None:
    image = make_image([{"a": b"1"}, {"d/": None, "d/b": noise(300_000)}])
    index = make_index([image])
    reference = images.push(registry, "refetch", "1", index)
    store.pull(reference)
    row = store.images.get(reference)
    digests = [*(layer.digest for layer in image.layers), row.id, row.manifest, row.index_digest]
    for digest in digests:
        assert digest
        for text in damaged(store.home, digest):
            (found,) = check(store)
            assert (found.kind, found.subject, found.repaired) == ("blob", digest, True)
            assert text in found.text
            assert found.text.endswith("; it is fetched again")
            assert check(store) == []
    assert store.images.get(reference) == row
    assert not os.listdir(f"{store.home.root}/ingest")


def test_a_layer_whose_blob_is_gone_too_comes_back(store: Store, server: FaultServer) -> None:
    image = make_image([{"a": noise(1000)}, {"b": b"1"}])
    store.pull(images.serve(server, "r", "1", image))
    layer = image.layers[0]
    (name,) = store.database.first("SELECT id FROM layer WHERE blob=?", (layer.digest,))
    shutil.rmtree(store.home.layer_dir(name))
    os.unlink(store.home.blob_path(layer.digest))
    found = check(store)
    assert [(each.kind, each.repaired) for each in found] == [("blob", True), ("layer", True)]
    assert store.tree(image, 0) == {"a": noise(1000)}
    assert check(store) == []


def test_a_registry_that_sends_something_else_is_not_believed(
    store: Store, server: FaultServer
) -> None:
    image = example()
    reference = images.serve(server, "r", "1", image)
    store.pull(reference)
    layer = image.layers[0]
    os.unlink(store.home.blob_path(layer.digest))
    (path,) = (each for each in server.documents if each.endswith(layer.digest))
    kind, data, digest = server.documents[path]
    server.documents[path] = (kind, b"x" * len(data), digest)
    (found,) = check(store)
    assert found.text.endswith("it is removed, what was unpacked of it stays")
    assert not os.listdir(f"{store.home.root}/ingest")
    assert check(store) == []


def test_nobody_is_asked_for_what_came_from_nowhere(store: Store) -> None:
    digest = Digest(f"sha256:{'0' * 64}")
    with pytest.raises(NotFound, match="nobody knows where it came from"):
        refetch(store.content, Descriptor("", digest, 3), [])
