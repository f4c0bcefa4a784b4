"""All that a document leads to."""

import pytest

from engine.errors import InvalidInput, NotFound
from engine.oci.descriptor import Descriptor
from engine.oci.tree import walk
from tests.support import images
from tests.support.images import Blob, make_image, make_index

OTHER = {"os": "linux", "architecture": "s390x"}
INDEX = "application/vnd.oci.image.index.v1+json"


def shelf(*blobs: Blob) -> dict[str, bytes]:
    return {blob.digest: blob.data for blob in blobs}


def root_of(blob: Blob) -> Descriptor:
    return Descriptor(blob.media_type, blob.digest, len(blob.data))


def test_children_come_before_what_names_them_and_blobs_once() -> None:
    layers = [{"a": b"1"}, {"b": b"2"}]
    index = make_index([make_image(layers), make_image(layers, platform=OTHER)])
    documents = shelf(*index.manifests())
    tree = walk(root_of(index.root), lambda each: documents[each.digest])
    assert [each.digest for each, _ in tree.documents] == [
        *(image.manifest.digest for image in index.images), index.root.digest,
    ]  # fmt: skip
    assert tree.root.digest == index.root.digest
    assert {blob.digest for blob in tree.blobs} == {blob.digest for blob in index.blobs()}
    assert len(tree.blobs) == 4  # two configs, two layers


def test_children_that_are_not_wanted_are_left_out() -> None:
    index = make_index([make_image([{"a": b"1"}]), make_image([{"b": b"1"}], platform=OTHER)])
    documents = shelf(*index.manifests())
    tree = walk(
        root_of(index.root),
        lambda each: documents[each.digest],
        lambda child: child.platform is not None and child.platform.architecture == "s390x",
    )
    assert len(tree.documents) == 2


def test_what_is_missing_is_told_by_who_reads() -> None:
    index = make_index([make_image([{"a": b"1"}])])

    def read(descriptor: Descriptor) -> bytes:
        if descriptor.digest != index.root.digest:
            raise NotFound(f"blob {descriptor.digest}: not in the store")
        return index.root.data

    with pytest.raises(NotFound):
        walk(root_of(index.root), read)


def test_an_index_that_is_nested_too_deep_is_refused() -> None:
    image = make_image([{"a": b"1"}])
    documents = shelf(image.manifest)
    inner = image.manifest
    for _ in range(7):
        data = images.json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner.descriptor()]}
        ).encode()
        inner = images.blob(INDEX, data)
        documents[inner.digest] = data
    with pytest.raises(InvalidInput, match="deeper than"):
        walk(root_of(inner), lambda each: documents[each.digest])


def test_an_index_that_is_part_of_itself_is_refused() -> None:
    fake = Descriptor(INDEX, images.blob(INDEX, b"x").digest, 1)
    data = images.json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{"mediaType": INDEX, "digest": fake.digest, "size": 1}],
        }
    ).encode()
    with pytest.raises(InvalidInput, match="part of itself"):
        walk(fake, lambda each: data)
