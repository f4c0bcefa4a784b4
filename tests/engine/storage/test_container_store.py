"""Containers by name and id; names are unique whoever asks at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Conflict, NotFound
from engine.oci.digest import ImageID
from engine.storage.container_store import ContainerRow, ContainerStore
from engine.storage.volume_store import VolumeStore
from tests.support.store import Store, new_image, open_store

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture
def image(store: Store) -> ImageID:
    from engine.storage.image_store import ImageStore

    image = new_image(store, [], "docker.io/library/x:1")
    with store.database.transaction() as cursor:
        ImageStore(store.database, store.content).record(cursor, image, None)
    return image.id


@pytest.fixture
def containers(store: Store) -> ContainerStore:
    return ContainerStore(store.database)


def row(image: str, number: int, name: str, *volumes: str) -> ContainerRow:
    mounts = [{"type": "volume", "source": volume} for volume in volumes]
    return ContainerRow(
        f"{number:x}".rjust(2, "0").ljust(64, "0"), name, "x:1", image, None, number,
        {"mounts": mounts, "argv": ["sh", "\u00e9"]},
    )  # fmt: skip


def test_a_row_comes_back_as_it_was(containers: ContainerStore, image: ImageID) -> None:
    made = row(image, 0xAB, "web")
    containers.create(made)
    for ref in (made.id, "web", "/web", "ab", "ab00"):
        assert containers.get(ref) == made
    for ref in ("we", "", "ac", "AB"):
        assert containers.find(ref) is None
    with pytest.raises(NotFound, match="no such container: nobody"):
        containers.get("nobody")


def test_an_ambiguous_id_is_a_conflict_but_a_name_is_not(
    containers: ContainerStore, image: ImageID
) -> None:
    containers.create(row(image, 0xA1, "one"))
    containers.create(row(image, 0xA2, "two"))
    with pytest.raises(Conflict, match="more than one container"):
        containers.get("a")
    containers.create(row(image, 0xB1, "a"))
    assert containers.get("a").name == "a"
    assert [each.name for each in containers.list_()] == ["a", "two", "one"]
    containers.rename(containers.get("two").id, containers.get("one").id)
    assert containers.get(containers.get("one").id).name == "one"  # a whole id beats a name


def test_a_taken_name_is_a_conflict_in_dockers_words(
    containers: ContainerStore, image: ImageID
) -> None:
    first = row(image, 1, "web")
    containers.create(first)
    with pytest.raises(Conflict, match=f'"/web" is already in use by container "{first.id}"'):
        containers.create(row(image, 2, "web"))
    containers.create(row(image, 3, "db"))
    with pytest.raises(Conflict, match="already in use"):
        containers.rename(row(image, 3, "db").id, "web")
    containers.rename(first.id, "old")
    containers.create(row(image, 2, "web"))


def test_one_of_many_processes_gets_the_name(
    store: Store, containers: ContainerStore, image: ImageID
) -> None:
    code = (
        "import sys; from engine.home import Home; from engine.storage.metadata import Database\n"
        "from engine.storage.container_store import ContainerRow, ContainerStore\n"
        "from engine.errors import Conflict\n"
        "store = ContainerStore(Database(Home(*sys.argv[1:4])))\n"
        "sys.stdin.readline()\n"
        "won = 0\n"
        "for n in range(20):\n"
        "    try:\n"
        "        store.create(ContainerRow(f'{sys.argv[5]}{n}', f'c{n}', 'x', sys.argv[4], None,\n"
        "                                  0, {'mounts': []}))\n"
        "        won += 1\n"
        "    except Conflict:\n"
        "        pass\n"
        "print(won)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *store.home, image, letter],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for letter in "abc"
    ]  # fmt: skip
    for process in running:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in running) == 20
    assert len(containers.list_()) == 20


def test_a_container_of_an_image_or_volume_that_has_gone_is_not_made(
    store: Store, containers: ContainerStore, image: ImageID
) -> None:
    with pytest.raises(NotFound, match="image x:1: it was removed meanwhile"):
        containers.create(row("sha256:" + "0" * 64, 1, "web"))
    with pytest.raises(NotFound, match="volume"):
        containers.create(row(image, 1, "web", "data"))
    assert containers.list_() == []
    VolumeStore(store.database).create("data", 1, anonymous=False, labels={})
    containers.create(row(image, 1, "web", "data"))


def test_the_state_changes_and_unknown_columns_are_refused(
    containers: ContainerStore, image: ImageID
) -> None:
    made = row(image, 1, "web")
    containers.create(made)
    containers.set_state(made.id, state="exited", exit_code=137, oom_killed=True, finished_ns=5)
    now = containers.get("web")
    assert (now.state, now.exit_code, now.oom_killed, now.finished_ns) == ("exited", 137, True, 5)
    with pytest.raises(TypeError):
        containers.set_state(made.id, name="x")
    containers.set_state("0" * 64, state="exited")
    assert containers.list_(("running", "paused")) == []
    assert containers.users() == {image: ["web"]}
    containers.remove(made.id)
    assert containers.find("web") is None
