"""Images: what leads to them, what they share, what `rmi` may take."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import Conflict, InvalidInput, NotFound
from engine.oci.digest import ChainID, DiffID, Digest, ImageID, chain_ids, sha256_of
from engine.oci.reference import parse_reference
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.image_store import ImageStore, NewImage
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root


class Images(NamedTuple):
    store: Store
    images: ImageStore


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Images]:
    store = open_store(tmp_path)
    yield Images(store, ImageStore(store.database, store.content))
    store.database.close()


def add(
    here: Images,
    name: str | None,
    layers: str = "a",
    *,
    config: bytes | None = None,
    index: bytes | None = None,
    origin: tuple[str, str] | None = None,
) -> NewImage:
    """An image with a layer of 100 bytes for each letter."""
    content = here.store.content
    manifest = content.put(f"manifest {name} {layers}".encode())
    image_id = content.put(config or f"config {name} {layers}".encode())
    documents = [manifest, image_id]
    if index:
        documents.append(content.put(index))
    diff_ids = [DiffID(sha256_of(letter.encode())) for letter in layers]
    blobs = [sha256_of(f"blob {letter}".encode()) for letter in layers]
    image = NewImage(
        ImageID(image_id), manifest, documents[2] if index else None,
        tuple((blob, diff_id, 10) for blob, diff_id in zip(blobs, diff_ids, strict=True)),
        tuple((each, len(content.read(each)), "x/y") for each in documents)
        + tuple((blob, 10, "x/layer") for blob in blobs),
        "linux", "amd64", "", len(name or ""), parse_reference(name).full if name else None, origin,
    )  # fmt: skip
    with here.store.database.transaction() as cursor:
        parent: ChainID | None = None
        for depth, (chain, letter) in enumerate(zip(chain_ids(diff_ids), layers, strict=True), 1):
            cursor.execute(
                "INSERT OR IGNORE INTO layer VALUES(?,?,?,NULL,?,100,4096,1,0)",
                (letter, ord(letter), diff_ids[depth - 1], blobs[depth - 1]),
            )
            cursor.execute(
                "INSERT OR IGNORE INTO chain VALUES(?,?,?,?)", (chain, parent, letter, depth)
            )
            parent = chain
        here.images.record(cursor, image, parent)
    return image


def run(here: Images, image: NewImage, name: str, state: str = "exited") -> None:
    (chain,) = here.store.database.first("SELECT chain_id FROM image WHERE id=?", (image.id,))
    row = ContainerRow(name * 8, name, "x", image.id, chain, 1, {"mounts": []}, state=state)
    ContainerStore(here.store.database).create(row)


def names(here: Images) -> list[str]:
    return sorted(name for each in here.images.list_() for name in each.references)


def test_an_image_is_found_by_every_form_of_its_name(here: Images) -> None:
    image = add(here, "debian:bookworm")
    for ref in (
        "debian:bookworm", "library/debian:bookworm", "docker.io/library/debian:bookworm",
        "index.docker.io/debian:bookworm", image.id, image.id[7:], image.id[7:19], image.id[:12],
    ):  # fmt: skip
        assert here.images.get(ref).id == image.id
    for ref in ("debian", "debian:latest", "localhost:5000/debian:bookworm", "f" * 64):
        with pytest.raises(NotFound):
            here.images.get(ref)
    with pytest.raises(InvalidInput, match="lower case"):
        here.images.get("Debian/x/Y")


def test_64_hex_digits_are_an_id_and_a_shorter_name_beats_an_id(here: Images) -> None:
    image = add(here, "one")
    prefix = image.id[7:13]
    assert here.images.get(prefix).id == image.id
    other = add(here, f"{prefix}:latest", "b")
    assert here.images.get(prefix).id == other.id
    assert here.images.get(image.id[7:]).id == image.id


def test_an_ambiguous_id_is_a_conflict(here: Images) -> None:
    seen: dict[str, NewImage] = {}
    for number in range(30):
        image = add(here, f"i{number}:1")
        digit = image.id[7]
        if digit in seen:
            with pytest.raises(Conflict, match="more than one image"):
                here.images.get(digit)
            return
        seen[digit] = image
    raise AssertionError("30 digests with different first digits")


def test_a_name_with_a_digest_belongs_to_its_repository(here: Images) -> None:
    image = add(here, "a.io/x:1", origin=("a.io", "x"))
    assert here.images.get(f"a.io/x@{image.manifest}").id == image.id
    assert here.images.find(f"a.io/other@{image.manifest}") is None
    here.images.tag(image.id, parse_reference("a.io/tagged:2"))
    assert here.images.get(f"a.io/tagged@{image.manifest}").id == image.id
    assert here.images.find(f"a.io/tag@{image.manifest}") is None


def test_a_name_moves_to_the_image_that_is_recorded_last(here: Images) -> None:
    first, second = add(here, "app"), add(here, None, "b")
    here.images.tag(second.id, parse_reference("app"))
    assert here.images.get("app").id == second.id
    assert here.images.get(first.id).id == first.id
    assert names(here) == ["docker.io/library/app:latest"]
    assert here.images.target("docker.io/library/app:latest") == second.manifest


def test_tag_refuses_a_digest_and_an_image_that_has_gone(here: Images) -> None:
    image = add(here, "app")
    with pytest.raises(InvalidInput, match="digest reference"):
        here.images.tag(image.id, parse_reference(f"app@{image.manifest}"))
    with pytest.raises(NotFound):
        here.images.tag(ImageID("sha256:" + "0" * 64), parse_reference("x"))


def test_the_list_says_what_each_image_has_alone(here: Images) -> None:
    add(here, "old:1", "abc")
    add(here, "newer:1", "abde")
    listed = {each.references[0]: each for each in here.images.list_()}
    sizes = {name[18:]: (each.row.size_bytes, each.unique_bytes) for name, each in listed.items()}
    assert sizes == {"old:1": (300, 100), "newer:1": (400, 200)}
    assert [each.references[0][18:] for each in here.images.list_()] == ["newer:1", "old:1"]


def test_a_layer_twice_in_one_image_is_its_own_only(here: Images) -> None:
    image = add(here, "twice", "aba")
    (listed,) = here.images.list_()
    assert listed.unique_bytes == 200
    assert [layer for layer, *_ in here.images.layers_of(listed.row)] == ["a", "b", "a"]
    assert here.images.get("twice").layers == len(image.layers)


def test_the_list_takes_two_queries_however_many_images(
    here: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        add(here, f"i{number}", "ab")
    asked: list[str] = []
    query = here.store.database.query
    monkeypatch.setattr(
        here.store.database, "query", lambda text, *rest: asked.append(text) or query(text, *rest)
    )
    assert len(here.images.list_()) == 5
    assert len(asked) == 2


def test_sharers_are_named(here: Images) -> None:
    image = add(here, "one:1", "ab")
    add(here, "two:1", "a")
    unnamed = add(here, None, "b")
    assert here.images.sharers(["a", "b"], image.id) == {
        "a": ["two:1"],
        "b": [unnamed.id[7:19]],
    }


def test_a_layer_that_was_here_leaves_its_other_blob_without_a_row(here: Images) -> None:
    image = add(here, "app", "ab")
    blobs = {digest for (digest,) in here.store.database.query("SELECT digest FROM blob")}
    assert blobs == {image.id, image.manifest}  # no file, no row


def test_a_document_that_went_away_is_a_conflict_and_nothing_is_recorded(here: Images) -> None:
    missing = NewImage(
        ImageID("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64), None, (), (), "linux",
        "amd64", "", 0, "docker.io/library/x:1", None,
    )  # fmt: skip
    with pytest.raises(Conflict, match="went away"):
        record(here, missing)
    assert here.images.list_() == []


def record(here: Images, image: NewImage) -> None:
    with here.store.database.transaction() as cursor:
        here.images.record(cursor, image, None)


def test_rmi_takes_a_name_and_with_the_last_one_the_image(here: Images) -> None:
    image = add(here, "app:1")
    here.images.tag(image.id, parse_reference("app:2"))
    first = here.images.remove("app:1", force=False)
    assert (first.names, first.image) == (("docker.io/library/app:1",), None)
    second = here.images.remove("app:2", force=False)
    assert (second.names, second.image) == (("docker.io/library/app:2",), image.id)
    assert image.manifest in second.blobs
    assert here.images.list_() == []
    with pytest.raises(NotFound):
        here.images.remove("app:2", force=False)


def test_rmi_by_id_wants_force_for_several_names(here: Images) -> None:
    image = add(here, "app:1")
    here.images.tag(image.id, parse_reference("app:2"))
    with pytest.raises(Conflict, match=r"must be forced.*app:1, app:2"):
        here.images.remove(image.id[7:19], force=False)
    assert len(names(here)) == 2
    assert here.images.remove(image.id[7:19], force=True).image == image.id


def test_rmi_names_the_containers_that_use_the_last_name(here: Images) -> None:
    image = add(here, "app:1")
    run(here, image, "web")
    here.images.tag(image.id, parse_reference("app:2"))
    assert here.images.remove("app:2", force=False).image is None  # another name is left
    with pytest.raises(Conflict, match="container web is using"):
        here.images.remove("app:1", force=False)
    forced = here.images.remove("app:1", force=True)
    assert (forced.names, forced.image) == (("docker.io/library/app:1",), None)
    assert here.images.get(image.id).id == image.id  # it stays for its container, without a name


def test_rmi_by_id_cannot_be_forced_while_a_container_runs(here: Images) -> None:
    image = add(here, "app:1")
    run(here, image, "web", "running")
    with pytest.raises(Conflict, match=r"cannot be forced.*web"):
        here.images.remove(image.id, force=True)
    other = add(here, "other:1", "b")
    run(here, other, "db", "exited")
    with pytest.raises(Conflict, match=r"must be forced.*stopped container db"):
        here.images.remove(other.id, force=False)
    assert here.images.remove(other.id, force=True).image is None


def test_of_two_removals_at_once_one_finds_nothing(
    here: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add(here, "app:1")
    row = here.images.get("app:1")
    here.images.remove("app:1", force=False)
    monkeypatch.setattr(here.images, "get", lambda ref: row)  # looked up just before
    with pytest.raises(NotFound):
        here.images.remove(image.id, force=False)
