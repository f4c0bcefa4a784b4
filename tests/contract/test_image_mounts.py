"""Images that are mounted on the host: listed, held, and let go."""

import os
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.errors import Conflict, NotFound
from engine.model.container import CreateOptions
from engine.model.image import ImageMount


def test_a_mounted_image_is_listed_and_stays(engine: Engine, image: str) -> None:
    assert engine.images.mounts() == []
    path = engine.images.mount(image)
    identity = engine.images.inspect(image).summary.id
    try:
        assert engine.images.mounts() == [ImageMount(identity, path)]
        assert engine.images.mount(identity) == path  # it is there already
        for force in (False, True):
            with pytest.raises(Conflict, match="image is mounted"):
                engine.images.remove(image, force=force)
        engine.images.tag(image, "other:1")
        assert engine.images.remove("other:1").untagged == ("other:1",)
    finally:
        assert engine.images.unmount(image) == [ImageMount(identity, path)]
    assert engine.images.mounts() == []
    assert engine.images.remove(image).deleted


def test_one_place_has_one_image(engine: Engine, image: str, tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    os.mkdir(place)
    box = engine.containers.create(CreateOptions(image=image, network="none"))
    other = engine.containers.commit(box, "other:1")
    assert engine.images.mount(image, place) == place
    try:
        with pytest.raises(Conflict, match="is mounted there"):
            engine.images.mount(other, place)
        own = engine.images.mount(image)
        assert {each.path for each in engine.images.mounts()} == {place, own}
        engine.images.unmount(place)
        assert [each.path for each in engine.images.mounts()] == [own]
    finally:
        engine.images.unmount(image)


def test_what_is_not_there_is_said(engine: Engine, image: str) -> None:
    with pytest.raises(NotFound, match="no such image: nothing"):
        engine.images.mount("nothing")
    with pytest.raises(NotFound, match="no such directory"):
        engine.images.mount(image, "/nonexistent/place")
    with pytest.raises(Conflict, match="not mounted"):
        engine.images.unmount(image)
    with pytest.raises(Conflict, match="not mounted"):
        engine.images.unmount("/nonexistent/place")
