"""The verbs of containers, as far as they are not the contract's."""

import contextlib
import io
import os
import time
from pathlib import Path

import pytest

from engine.connect import connect
from engine.errors import InvalidInput, Unavailable
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.model.prune import Preview
from tests.engine.services.test_full_disk import fill
from tests.support.small_disk import small_disk

pytestmark = pytest.mark.root


def create(engine: LocalEngine, image: str, name: str, **labels: str) -> str:
    return engine.containers.create(
        CreateOptions(
            image, name, command=("sleep", "1000"), network="none", labels=tuple(labels.items())
        )
    )


def test_a_stop_sends_the_signal_that_is_named(engine: LocalEngine, image: str) -> None:
    script = "trap 'exit 7' INT; echo up; while :; do sleep 1000 & wait; done"
    engine.containers.create(
        CreateOptions(image, "box", command=("sh", "-c", script), network="none")
    )
    engine.containers.start("box")
    lines = engine.containers.logs("box", follow=True)
    assert next(lines).text == b"up"
    lines.close()
    engine.containers.stop("box", signal="INT", timeout_seconds=-1)
    assert engine.containers.inspect("box").summary.exit_code == 7
    with pytest.raises(InvalidInput, match="invalid signal: NOSUCH"):
        engine.containers.stop("box", signal="NOSUCH")


def preview(engine: LocalEngine, *filters: tuple[str, str]) -> Preview:
    return engine.system.prune_preview(("container",), filters=filters)


def names(found: Preview) -> set[str]:
    return {item.name for item in found.items}


def test_a_prune_takes_stopped_containers_by_age_and_label(engine: LocalEngine, image: str) -> None:
    create(engine, image, "new")
    create(engine, image, "mine", owner="me", keep="no")
    engine.containers.start(create(engine, image, "runs"))
    assert names(preview(engine)) == {"new", "mine"}
    assert [(each.name, each.reason) for each in preview(engine).kept] == [
        ("runs", "it is running")
    ]
    assert names(preview(engine, ("label", "owner=me"))) == {"mine"}
    assert names(preview(engine, ("label", "owner=me"), ("label", "keep=yes"))) == set()
    assert names(preview(engine, ("label!", "owner"))) == {"new"}
    assert names(preview(engine, ("until", "10m"))) == set()
    assert names(preview(engine, ("until", str(time.time() + 1)))) == {"new", "mine"}
    with pytest.raises(InvalidInput, match="more than one until filter specified"):
        preview(engine, ("until", "1h"), ("until", "2h"))


def test_a_prune_takes_what_it_said_and_the_volumes_stay(engine: LocalEngine, image: str) -> None:
    create(engine, image, "one")
    create(engine, image, "two")
    found = preview(engine)
    engine.containers.start("two")
    create(engine, image, "three")
    pruned = engine.system.prune(found)
    assert [item.name for item in pruned.removed] == ["one"]
    assert [item.name for item in pruned.kept] == ["two"]
    assert {row.name for row in engine.containers.list(all=True)} == {"two", "three"}
    assert len(engine.volumes.list()) == 3  # anonymous ones, as docker leaves them
    for volume in engine.volumes.list():
        if not volume.used_by:
            engine.volumes.remove(volume.name)


def test_a_volatile_container_syncs_nothing(engine: LocalEngine, image: str) -> None:
    options = CreateOptions(
        image, "fast", command=("sleep", "1000"), network="none", auto_remove=True, volatile=True
    )
    ref = engine.containers.create(options)
    engine.containers.start(ref)
    pid = engine.containers.inspect(ref).summary.pid
    with open(f"/proc/{pid}/mountinfo") as file:
        (root,) = [line for line in file if line.split()[4] == "/"]
    assert {"volatile", "fsync=volatile"} & set(root.strip().split(","))
    engine.containers.remove(ref, force=True)
    with pytest.raises(InvalidInput, match="would not survive a crash of the host"):
        engine.containers.create(options._replace(auto_remove=False))


@pytest.mark.parametrize("free", [0, 9000])
def test_a_full_disk_is_told_and_what_is_there_can_go(
    tmp_path: Path, archive: bytes, free: int
) -> None:
    with small_disk(tmp_path, 40 << 20) as disk, contextlib.ExitStack() as stack:
        roots = f"{disk}/root", f"{tmp_path}/run"
        stack.callback(lambda: connect(*roots).erase())
        engine = stack.enter_context(connect(*roots))
        (image,) = engine.images.load(io.BytesIO(archive))
        options = CreateOptions(image, command=("true",), network="none")
        there = engine.containers.create(options._replace(name="there"))
        runs = engine.containers.create(options._replace(command=("sleep", "900")))
        engine.containers.start(runs)
        fill(disk, but=free)
        before = sorted(os.listdir(f"{roots[0]}/containers"))
        with contextlib.suppress(Unavailable):
            made = engine.containers.create(options)
            engine.containers.start(made)
        if not free:
            assert sorted(os.listdir(f"{roots[0]}/containers")) == before
            assert {row.id for row in engine.containers.list(all=True)} == {there, runs}
        with contextlib.suppress(Unavailable):
            engine.containers.start(there)
        engine.containers.stop(runs, timeout_seconds=0)
        assert engine.containers.inspect(runs).summary.exit_code == 137
        for row in engine.containers.list(all=True):
            engine.containers.remove(row.id, force=True, volumes=True)
        assert engine.containers.list(all=True) == []
        assert os.listdir(f"{roots[0]}/containers") == []
        assert os.listdir(f"{roots[0]}/upper") == []
