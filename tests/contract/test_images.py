"""What every engine says of images, and of what is inside them."""

import io
import threading
import time

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, Conflict, Corrupt, InvalidInput, NotFound
from engine.model.container import CreateOptions
from engine.model.layer import ADDED, CHANGED, DIRECTORY, FILE, GONE, SAME, SYMLINK, FileTree
from engine.model.progress import Progress
from tests.contract.conftest import REMOTE_LAYERS, Remote


def names(engine: Engine) -> list[str]:
    return [name for row in engine.images.list() for name in row.references]


def test_a_loaded_image_is_listed_and_inspected(engine: Engine, image: str) -> None:
    assert image == "localhost/contract:1"
    (row,) = engine.images.list()
    assert row.references == (image,)
    assert row.id.startswith("sha256:")
    assert row.digest.startswith("sha256:")
    assert row.layers == 2
    assert row.size_bytes == row.unique_bytes > 5000
    assert row.os == "linux"
    found = engine.images.inspect(image)
    assert found.summary == row
    assert engine.images.inspect(row.id[7:19]).summary == row
    assert engine.images.inspect(row.id) == found
    assert found.config.command == ("sh",)
    assert found.config.exposed_ports == ("80/tcp",)
    assert dict(found.config.labels) == {"maker": "contract"}
    assert len(found.diff_ids) == 2
    assert [step.created_by for step in found.history] == ["layer 0", "layer 1"]
    assert found.repo_digests == (f"localhost/contract@{row.digest}",)


def test_what_is_no_archive_is_refused(engine: Engine) -> None:
    with pytest.raises((InvalidInput, Corrupt)):
        engine.images.load(io.BytesIO(b"no tar at all" * 100))
    assert engine.images.list() == []


def test_tags_lead_to_one_image(engine: Engine, image: str) -> None:
    engine.images.tag(image, "debian")
    engine.images.tag("debian", "localhost:5000/a/b:2")
    (row,) = engine.images.list()
    assert set(row.references) == {image, "debian:latest", "localhost:5000/a/b:2"}
    with pytest.raises(InvalidInput):
        engine.images.tag(image, "UPPER")
    with pytest.raises(NotFound, match="no such image: nothing"):
        engine.images.tag("nothing", "x")


def test_names_go_one_by_one_and_the_image_with_the_last(engine: Engine, image: str) -> None:
    engine.images.tag(image, "other:1")
    identity = engine.images.inspect(image).summary.id
    removed = engine.images.remove("other:1")
    assert (removed.untagged, removed.deleted) == (("other:1",), ())
    engine.images.tag(image, "other:1")
    with pytest.raises(Conflict, match="must be forced"):
        engine.images.remove(identity[7:19])
    engine.images.remove("other:1")
    removed = engine.images.remove(image)
    assert removed.untagged == (image,)
    assert removed.deleted[0] == identity
    assert len(removed.deleted) == 3  # and two chains of layers
    assert engine.images.list() == []
    with pytest.raises(NotFound):
        engine.images.remove(image)


def test_a_used_image_stays(engine: Engine, image: str) -> None:
    engine.containers.create(CreateOptions(image=image, name="user", network="none"))
    assert engine.images.inspect(image).summary.used_by == ("user",)
    with pytest.raises(Conflict, match="container user is using its image"):
        engine.images.remove(image)
    removed = engine.images.remove(image, force=True)
    assert (removed.untagged, removed.deleted) == ((image,), ())
    (row,) = engine.images.list()
    assert row.references == ()
    assert [each.id for each in engine.images.list(filters=[("dangling", "true")])] == [row.id]


def test_filters_choose(engine: Engine, image: str) -> None:
    assert len(engine.images.list(filters=[("reference", "localhost/contract")])) == 1
    assert len(engine.images.list(filters=[("reference", "localhost/*:1")])) == 1
    assert engine.images.list(filters=[("reference", "other")]) == []
    assert engine.images.list(filters=[("dangling", "true")]) == []
    assert len(engine.images.list(filters=[("label", "maker=contract")])) == 1


def test_history_has_the_newest_step_first(engine: Engine, image: str) -> None:
    newest, oldest = engine.images.history(image)
    assert (newest.created_by, oldest.created_by) == ("layer 1", "layer 0")
    row = engine.images.inspect(image).summary
    assert (newest.id, newest.references, oldest.id) == (row.id, (image,), "")
    assert newest.size_bytes == 76
    assert newest.size_bytes + oldest.size_bytes == row.size_bytes
    with pytest.raises(NotFound):
        engine.images.history("nothing")


def test_a_pull_tells_how_far_it_is(engine: Engine, remote: Remote) -> None:
    reference = remote("pulled:1")
    steps: list[Progress] = []
    row = engine.images.pull(reference, progress=steps.append)
    assert reference in row.references
    assert row.layers == REMOTE_LAYERS
    by_layer: dict[str, list[Progress]] = {}
    for step in steps:
        by_layer.setdefault(step.id, []).append(step)
    layers = [each for name, each in by_layer.items() if name]
    assert len(layers) == REMOTE_LAYERS
    for each in layers:
        assert each[0].phase == "queued"
        assert each[-1].phase == "done"
        for phase in ("downloading", "extracting"):
            done = [step.current for step in each if step.phase == phase]
            assert done == sorted(done)
    assert by_layer[""][-1].phase == "done"
    again: list[Progress] = []
    assert engine.images.pull(reference, progress=again.append).id == row.id
    assert {step.phase for step in again if step.id} == {"cached"}


def test_a_cancelled_pull_leaves_nothing_to_see(engine: Engine, remote: Remote) -> None:
    reference = remote("slow:1")
    cancel = Cancel()

    def progress(step: Progress) -> None:
        if step.phase == "downloading":
            cancel.cancel()

    with pytest.raises(Cancelled):
        engine.images.pull(reference, progress=progress, cancel=cancel)
    assert engine.images.list() == []
    assert engine.images.pull(reference).layers == REMOTE_LAYERS


def test_a_cancel_from_outside_ends_a_pull_soon(engine: Engine, remote: Remote) -> None:
    cancel = Cancel()
    cancel.cancel()
    ended = threading.Event()

    def pull() -> None:
        with pytest.raises(Cancelled):
            engine.images.pull(reference, cancel=cancel)
        ended.set()

    reference = remote("early:1")
    thread = threading.Thread(target=pull)
    thread.start()
    thread.join(60)
    assert ended.is_set()


def test_the_tags_of_a_repository_are_told(engine: Engine, remote: Remote) -> None:
    first, second = remote("tagged:a"), remote("tagged:b")
    assert sorted(engine.images.remote_tags(first)) == ["a", "b"]
    assert engine.images.list() == []
    with pytest.raises(NotFound):
        engine.images.remote_tags(second.replace("tagged:b", "untagged"))


def test_what_no_registry_has_is_not_found(engine: Engine, remote: Remote) -> None:
    reference = remote("here:1")
    with pytest.raises(NotFound):
        engine.images.pull(reference.replace("here:1", "here:2"))
    with pytest.raises(InvalidInput):
        engine.images.pull("UPPER CASE")


def test_what_is_pushed_can_be_pulled(engine: Engine, image: str, remote: Remote) -> None:
    host = remote("any:1").partition("/")[0]
    target, other = f"{host}/pushed:1", f"{host}/lent:1"
    engine.images.tag(image, target)
    engine.images.tag(image, other)
    steps: list[Progress] = []
    pushed = engine.images.push(target, progress=steps.append)
    assert (pushed.reference, pushed.digest[:7]) == (target, "sha256:")
    assert {step.phase for step in steps if step.id} >= {"queued", "uploading", "done"}
    again: list[Progress] = []
    assert engine.images.push(target, progress=again.append).digest == pushed.digest
    assert {step.phase for step in again if step.id} == {"queued", "exists"}
    lent: list[Progress] = []
    engine.images.push(other, progress=lent.append)
    assert {step.phase for step in lent if step.id} == {"queued", "mounted"}
    identity = engine.images.inspect(image).summary.id
    engine.images.remove(identity, force=True)
    assert engine.images.pull(target).id == identity
    actions = [e.action for e in engine.system.events(since_ns=1, until_ns=time.time_ns())]
    assert actions.count("push") == 3


def test_what_cannot_be_pushed_is_told(engine: Engine, image: str) -> None:
    with pytest.raises(NotFound, match="an image does not exist locally with the tag: nothing"):
        engine.images.push("nothing")
    with pytest.raises(NotFound, match="tag does not exist: localhost/contract:2"):
        engine.images.push("localhost/contract:2")
    with pytest.raises(InvalidInput, match="cannot push a digest reference"):
        engine.images.push(f"localhost/contract@sha256:{'a' * 64}")
    with pytest.raises(InvalidInput, match="unknown"):
        engine.images.push(image, compression="lzma")
    with pytest.raises(InvalidInput, match="gzip has 1 to 9"):
        engine.images.push(image, level=10)


def test_a_cancelled_push_changes_no_tag(engine: Engine, image: str, remote: Remote) -> None:
    host = remote("any:1").partition("/")[0]
    engine.images.tag(image, f"{host}/stopped:1")
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.images.push(f"{host}/stopped:1", cancel=cancel)
    with pytest.raises(NotFound):
        engine.images.pull(f"{host}/stopped:1")


def test_an_image_is_copied_between_registry_and_store(engine: Engine, remote: Remote) -> None:
    reference = remote("copied:1")
    host = reference.partition("/")[0]
    steps: list[Progress] = []
    copied = engine.images.copy(f"docker://{reference}", "mine:1", progress=steps.append)
    assert {step.phase for step in steps if step.id} >= {"queued", "uploading", "done"}
    assert names(engine) == ["mine:1"]
    assert engine.images.inspect("mine:1").summary.digest == copied.digest
    again = engine.images.copy("mine:1", f"docker://{host}/copied/again:1")
    assert again.digest == copied.digest
    there = f"docker://{host}/copied/there:1"
    assert engine.images.copy(f"docker://{reference}", there).digest == copied.digest
    identity = engine.images.inspect("mine:1").summary.id
    engine.images.remove("mine:1")
    assert engine.images.pull(there.removeprefix("docker://")).id == identity
    with pytest.raises(NotFound):
        engine.images.copy(f"docker://{host}/copied/none:1", "mine:1")
    with pytest.raises(NotFound, match="no such image: nothing"):
        engine.images.copy("nothing", f"docker://{host}/copied/none:1")
    with pytest.raises(InvalidInput):
        engine.images.copy("docker:debian", "mine:1")


def test_images_are_told(engine: Engine, image: str) -> None:
    events = engine.system.events(since_ns=1, until_ns=time.time_ns())
    assert [(e.action, e.name) for e in events if e.kind == "image"] == [("load", image)]


# -- inside


def nodes(tree: FileTree) -> dict[str, int]:
    return {tree.path(node): node for node in range(len(tree))}


def test_layers_have_counts_and_waste(engine: Engine, image: str) -> None:
    view = engine.layers.open(image)
    base, upper = view.layers
    assert (view.reference, view.image_id) == (image, engine.images.inspect(image).summary.id)
    assert (base.position, upper.position) == (0, 1)
    assert (upper.added, upper.changed, upper.gone) == (1, 1, 1)
    assert (base.waste_bytes, upper.waste_bytes) == (5004, 0)
    assert upper.size_bytes == 76
    assert view.size_bytes == base.size_bytes + upper.size_bytes
    assert view.waste_bytes == 5004
    assert view.efficiency == pytest.approx(1 - 5004 / view.size_bytes)
    junk, motd = view.waste()
    assert (junk.path, junk.waste_bytes, junk.written_in, junk.removed_in) == (
        "usr/junk", 5000, (0,), 1,
    )  # fmt: skip
    assert (motd.path, motd.waste_bytes, motd.written_in, motd.removed_in) == (
        "etc/motd", 4, (0, 1), -1,
    )  # fmt: skip
    view.close()


def test_trees_show_a_layer_or_all_up_to_it(engine: Engine, image: str) -> None:
    view = engine.layers.open(image)
    whole = view.tree(1, aggregated=True)
    seen = nodes(whole)
    assert whole.change[seen["etc/motd"]] == CHANGED
    assert whole.change[seen["usr/junk"]] == GONE
    assert whole.change[seen["usr/new"]] == ADDED
    assert whole.change[seen["bin/busybox"]] == SAME
    assert whole.kind[seen["bin"]] == DIRECTORY
    assert whole.kind[seen["etc/motd"]] == FILE
    assert whole.kind[seen["bin/sh"]] == SYMLINK
    assert whole.link[seen["bin/sh"]] == "busybox"
    assert whole.layer[seen["etc/motd"]] == 1
    assert whole.layer[seen["bin/busybox"]] == 0
    assert whole.size_bytes[seen["usr"]] == 70  # what is gone does not count
    assert whole.size_bytes[seen["usr/junk"]] == 5000
    top = [whole.name(node) for node in whole.children(0)]
    assert top == ["bin", "etc", "tmp", "usr"]
    own = nodes(view.tree(1, aggregated=False))
    assert set(own) == {"", "etc", "etc/motd", "usr", "usr/junk", "usr/new"}
    base = view.tree(0, aggregated=True)
    assert {base.change[node] for node in nodes(base).values() if node} == {ADDED}
    view.close()


def test_opening_what_is_not_there_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.layers.open("nothing:1")
