"""What every engine says of manifest lists."""

import json

import pytest

from engine.engine import Engine
from engine.errors import Conflict, InvalidInput, NotFound
from engine.model.manifest import ManifestChange
from tests.contract.conftest import Remote


@pytest.fixture
def listed(engine: Engine, remote: Remote) -> tuple[str, str, str]:
    """A list of two images of a registry."""
    first, second = remote("parts/a:1"), remote("parts/b:1")
    name = f"{first.partition('/')[0]}/whole:1"
    assert engine.manifests.create(name, [first, second]) == name
    return name, first, second


def platforms(engine: Engine, ref: str) -> list[tuple[str, str, str]]:
    view = engine.manifests.inspect(ref)
    assert view.is_list
    return [(entry.os, entry.architecture, entry.variant) for entry in view.entries]


def test_a_list_is_made_annotated_pushed_and_forgotten(
    engine: Engine, listed: tuple[str, str, str]
) -> None:
    name, _, second = listed
    change = ManifestChange(architecture="arm64", variant="v8")
    engine.manifests.annotate(name, second, change)
    assert platforms(engine, name)[1] == ("linux", "arm64", "v8")
    *members, root = engine.manifests.push(name)
    assert [each.reference.partition("@")[0] for each in members] == [name.rpartition(":")[0]] * 2
    local = engine.manifests.inspect(name)
    engine.manifests.remove(name)
    there = engine.manifests.inspect(name)
    assert (there.data, there.is_list) == (local.data, True)
    assert len(there.data) == root.size_bytes
    assert platforms(engine, name)[1] == ("linux", "arm64", "v8")
    document = json.loads(there.data)
    assert document["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [each["digest"] for each in document["manifests"]] == [each.digest for each in members]
    with pytest.raises(NotFound, match="no such manifest"):
        engine.manifests.remove(name)
    with pytest.raises(InvalidInput, match="is a manifest list"):
        engine.manifests.create(f"{name}x", [name])


def test_a_list_is_amended_when_asked(
    engine: Engine, remote: Remote, listed: tuple[str, str, str]
) -> None:
    name, first, _ = listed
    with pytest.raises(Conflict, match="with no --amend flag"):
        engine.manifests.create(name, [first])
    engine.manifests.create(name, [first, remote("parts/c:1")], amend=True)
    assert len(platforms(engine, name)) == 3


def test_purge_forgets_what_was_pushed(engine: Engine, listed: tuple[str, str, str]) -> None:
    engine.manifests.push(listed[0], purge=True)
    with pytest.raises(NotFound):
        engine.manifests.remove(listed[0])


def test_an_image_is_inspected_alone_and_within_a_list(
    engine: Engine, listed: tuple[str, str, str]
) -> None:
    name, first, _ = listed
    alone = engine.manifests.inspect(first)
    within = engine.manifests.inspect(first, within=name)
    assert alone == within
    assert not alone.is_list
    assert alone.entries[0].data == alone.data


def test_what_is_wrong_is_told(engine: Engine, listed: tuple[str, str, str]) -> None:
    name, first, _ = listed
    host = name.partition("/")[0]
    with pytest.raises(NotFound, match="no such manifest"):
        engine.manifests.inspect(f"{host}/parts/none:1")
    with pytest.raises(NotFound, match="no such manifest"):
        engine.manifests.create(f"{host}/new:1", [f"{host}/parts/none:1"])
    with pytest.raises(NotFound, match="no such manifest"):
        engine.manifests.push(f"{host}/new:1")
    with pytest.raises(NotFound, match=f"{host}/none:1 does not exist in {name}"):
        engine.manifests.annotate(name, f"{host}/none:1", ManifestChange(os="linux"))
    with pytest.raises(InvalidInput, match="unsupported os/arch combination: linux/vax"):
        engine.manifests.annotate(name, first, ManifestChange(architecture="vax"))
    with pytest.raises(InvalidInput, match="a digest cannot be given"):
        engine.manifests.create(f"{host}/x@sha256:{'a' * 64}", [first])
