"""Volumes: made once, filled from the image once, gone when nobody uses them."""

import os
import threading
import time
from pathlib import Path

import pytest

from engine.errors import Conflict, Corrupt, EngineError, InvalidInput, NotFound
from engine.local import LocalEngine
from engine.model.container import CreateOptions, MountRequest

pytestmark = pytest.mark.root


def names(engine: LocalEngine) -> list[str]:
    return [row.name for row in engine.volumes.list()]


def create(engine: LocalEngine, image: str, *mounts: MountRequest, name: str | None = None) -> str:
    return engine.containers.create(
        CreateOptions(image, name, command=("sleep", "100"), mounts=mounts, network="none")
    )


def content(engine: LocalEngine, name: str) -> dict[str, str]:
    place = Path(engine.volumes.path(name))
    return {path.name: path.read_text() for path in place.iterdir()}


def actions(engine: LocalEngine) -> list[tuple[str, str]]:
    return [
        (event.action, event.name)
        for event in engine.system.events(
            since_ns=1, until_ns=time.time_ns(), filters=[("type", "volume")]
        )
    ]


def test_ensure_says_who_made_it(engine: LocalEngine) -> None:
    assert engine.volumes.ensure("data")
    assert not engine.volumes.ensure("data")
    assert os.path.isdir(engine.volumes.path("data"))
    assert engine.volumes.inspect("data").mountpoint == engine.volumes.path("data")
    assert actions(engine) == [("create", "data")]


def test_one_of_many_has_made_it(engine: LocalEngine) -> None:
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda: made.append(engine.volumes.ensure("data")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "-x", ".x", "äb"])
def test_a_bad_name_makes_nothing(engine: LocalEngine, name: str) -> None:
    with pytest.raises(InvalidInput, match="includes invalid characters"):
        engine.volumes.create(name)
    assert names(engine) == []


def test_a_name_that_no_directory_can_have(engine: LocalEngine) -> None:
    with pytest.raises(InvalidInput, match="name of 256 bytes"):
        engine.volumes.create("x" * 256)
    assert engine.volumes.create("x" * 255) == "x" * 255


def test_a_new_volume_is_filled_from_the_image(engine: LocalEngine, image: str) -> None:
    create(engine, image, MountRequest("volume", "config", "/etc"))
    assert content(engine, "config") == {"motd": "hello\n"}
    (anonymous,) = set(names(engine)) - {"config"}
    assert content(engine, anonymous) == {"file": "of the image\n"}


def test_an_empty_volume_that_was_there_is_filled_too(engine: LocalEngine, image: str) -> None:
    engine.volumes.create("config")
    create(engine, image, MountRequest("volume", "config", "/etc"))
    assert content(engine, "config") == {"motd": "hello\n"}


def test_a_volume_in_use_for_long_is_left_as_it_is(engine: LocalEngine, image: str) -> None:
    engine.volumes.create("config")
    Path(engine.volumes.path("config"), "own").write_text("mine")
    create(engine, image, MountRequest("volume", "config", "/etc"))
    assert content(engine, "config") == {"own": "mine"}


def test_nocopy_leaves_it_empty(engine: LocalEngine, image: str) -> None:
    create(engine, image, MountRequest("volume", "config", "/etc", nocopy=True))
    assert content(engine, "config") == {}


def test_ten_creates_fill_it_once(engine: LocalEngine, image: str) -> None:
    mount = MountRequest("volume", "config", "/etc")
    threads = [threading.Thread(target=create, args=(engine, image, mount)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engine.containers.list(all=True)) == 10
    assert content(engine, "config") == {"motd": "hello\n"}
    assert os.listdir(os.path.dirname(engine.volumes.path("config"))) == ["_data"]


def test_a_create_that_fails_takes_back_the_volumes_that_it_made(
    engine: LocalEngine, image: str
) -> None:
    engine.volumes.create("old")
    new, old = MountRequest("volume", "new", "/file"), MountRequest("volume", "old", "/etc")
    with pytest.raises(InvalidInput, match="cannot mount volume over existing file"):
        create(engine, image, old, new)
    assert names(engine) == ["old"]
    assert engine.containers.list(all=True) == []
    assert os.listdir(f"{engine.info.root}/containers") == []


def test_a_name_that_is_taken_makes_no_volume(engine: LocalEngine, image: str) -> None:
    create(engine, image, name="one")
    before = names(engine)
    with pytest.raises(Conflict, match='"/one" is already in use by container'):
        create(engine, image, MountRequest("volume", "new", "/x"), name="one")
    assert names(engine) == before


def test_what_a_killed_filling_left_is_finished_before_it_is_used(
    engine: LocalEngine, image: str
) -> None:
    engine.volumes.create("config")
    place = Path(engine.volumes.path("config"))
    (place.parent / "_seed").mkdir()
    (place.parent / "_seed/motd").write_text("almost\n")
    create(engine, image, MountRequest("volume", "config", "/etc"), name="one")
    assert content(engine, "config") == {"motd": "almost\n"}
    (place.parent / "_seed").mkdir()
    (place.parent / "_seed/late").write_text("later\n")
    engine.containers.start("one")
    assert content(engine, "config") == {"motd": "almost\n", "late": "later\n"}


def test_a_volume_whose_directory_is_gone_is_told(engine: LocalEngine, image: str) -> None:
    engine.volumes.create("config")
    os.rmdir(engine.volumes.path("config"))
    os.rmdir(os.path.dirname(engine.volumes.path("config")))
    with pytest.raises(Corrupt, match="volume config: "):
        create(engine, image, MountRequest("volume", "config", "/etc"))
    assert engine.containers.list(all=True) == []


def test_a_used_volume_stays(engine: LocalEngine, image: str) -> None:
    container = create(engine, image, MountRequest("volume", "config", "/etc"), name="one")
    with pytest.raises(Conflict, match="in use by one"):
        engine.volumes.remove("config")
    with pytest.raises(Conflict, match="in use by one"):
        engine.volumes.remove("config", force=True)
    engine.containers.remove(container, volumes=True)
    assert names(engine) == ["config"]  # the anonymous one went with its container
    engine.volumes.remove("config")
    assert os.listdir(f"{engine.info.root}/volumes") == []
    assert os.listdir(f"{engine.info.root}/trash") == []
    with pytest.raises(NotFound, match="no such volume: config"):
        engine.volumes.remove("config")
    engine.volumes.remove("config", force=True)
    assert ("destroy", "config") in actions(engine)


def test_a_volume_is_measured(engine: LocalEngine) -> None:
    engine.volumes.create("data")
    assert engine.volumes.inspect("data").size_bytes == -1
    Path(engine.volumes.path("data"), "file").write_bytes(bytes([1]) * 10_000)
    usage = engine.volumes.measure("data")
    assert usage.files == 1
    assert usage.size_bytes >= 10_000
    assert engine.volumes.inspect("data").size_bytes == usage.size_bytes


def test_a_name_of_one_character_is_too_short(engine: LocalEngine) -> None:
    with pytest.raises(InvalidInput, match="volume name is too short"):
        engine.volumes.create("x")


def test_a_place_with_a_name_that_is_too_long_has_nothing_in_the_image(
    engine: LocalEngine, image: str
) -> None:
    create(engine, image, MountRequest("volume", "config", "/" + "x" * 300), name="one")
    with pytest.raises(EngineError, match="ile name too long"):
        engine.containers.start("one")
    assert content(engine, "config") == {}
