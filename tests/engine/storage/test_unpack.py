"""From blobs to published layers: what is shared, what leans on others, what failure leaves."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, EngineError, InvalidInput, Unavailable
from engine.model.progress import Progress
from engine.oci.digest import DiffID, chain_ids
from engine.storage import disk_sync, unpack
from engine.storage.layer_index import LayerIndex
from engine.storage.snapshots import Snapshots
from engine.storage.unpack import Unpacking
from tests.support.store import (
    Layer,
    Store,
    blob_descriptor,
    bring_in,
    layer,
    new_image,
    open_store,
)
from tests.support.tarball import END, directory, file, hardlink, pax, symlink
from tests.support.trees import Node, tree_of
from tests.support.waiting import until

pytestmark = pytest.mark.root

SMALL = layer(directory(b"etc") + file(b"etc/os", b"small") + END)
BASE = layer(
    directory(b"./", 0o755)
    + directory(b"tmp", 0o1777)
    + directory(b"usr")
    + directory(b"usr/bin", uid=3)
    + file(b"usr/bin/tool", b"tool", mode=0o4755, uid=5)
    + symlink(b"bin", b"usr/bin")
    + END
)
OTHER = layer(directory(b"bin") + file(b"bin/sh", b"#!", mode=0o755) + END)


def big(files: int, seed: bytes = b"") -> Layer:
    parts = [directory(b"d")]
    parts += [file(b"d/%d" % n, os.urandom(10) + seed * 100) for n in range(files)]
    return layer(b"".join(parts) + END)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def diffs(store: Store, layers: list[Layer]) -> list[str]:
    chain = chain_ids([each.diff_id for each in layers])[-1]
    return [f"{path}/diff" for path in Snapshots(store.home, store.database).layers(chain)]


def leftovers(store: Store) -> list[str]:
    root = store.home.root
    found = [
        f"{name}/{each}" for name in ("staging", "trash") for each in os.listdir(f"{root}/{name}")
    ]
    rows = {row[0] for row in store.database.query("SELECT id FROM layer")}
    links = {str(row[0]) for row in store.database.query("SELECT link FROM layer")}
    found += [f"layers/{each}" for each in set(os.listdir(f"{root}/layers")) ^ rows]
    found += [f"l/{each}" for each in set(os.listdir(f"{root}/l")) ^ links]
    found += [f"lease {row[0]}" for row in store.database.query("SELECT id FROM lease")]
    return found


def test_publishes_layers_chains_image_and_name(store: Store) -> None:
    chain = bring_in(store, [SMALL, OTHER], reference="docker.io/library/x:1")
    first, second = diffs(store, [SMALL, OTHER])
    assert tree_of(first)["etc/os"] == Node("file", b"small")
    assert tree_of(second)["bin/sh"] == Node("file", b"#!", 0o755)
    row = store.database.first(
        "SELECT chain_id, size_bytes, layers FROM image JOIN reference ON image = id"
    )
    assert row == (chain, 7, 2)
    (link,) = store.database.first("SELECT link FROM layer WHERE diff_id=?", (SMALL.diff_id,))
    assert os.path.samefile(f"{store.home.root}/l/{link}", first)
    index = LayerIndex(f"{os.path.dirname(first)}/layer.pdl")
    assert (index.facts.diff_id, index.facts.blob) == (SMALL.diff_id, SMALL.digest)
    assert list(index.paths()) == [b"", b"etc", b"etc/os"]
    index.close()
    assert leftovers(store) == []


def test_second_image_shares_what_is_here(store: Store) -> None:
    bring_in(store, [SMALL, OTHER])
    third = layer(file(b"new", b"1") + END)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        assert unpacking.missing([OTHER.diff_id, SMALL.diff_id, third.diff_id]) == [2]
    bring_in(store, [OTHER, SMALL, third])
    assert len(os.listdir(f"{store.home.root}/layers")) == 3
    assert leftovers(store) == []


def test_blob_is_followed_while_it_downloads(store: Store, tmp_path: Path) -> None:
    each = big(3000, b"x")
    path = store.home.blob_path(each.digest)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    seen: list[Progress] = []
    image = new_image(store, [each])
    with Unpacking(store.home, store.database, progress=seen.append, cancel=Cancel()) as unpacking:
        feed = unpacking.feed(
            0, each.digest, each.diff_id, len(each.blob), descriptor, complete=False
        )
        for start in range(0, len(each.blob), 5000):
            os.pwrite(descriptor, each.blob[start : start + 5000], start)
            feed.advance(min(start + 5000, len(each.blob)))
            time.sleep(0.001)
        feed.complete()
        unpacking.publish(image)
    os.close(descriptor)
    assert len(tree_of(diffs(store, [each])[0])) == 3001
    assert seen[-1] == Progress(each.digest[7:19], "done", len(each.blob), len(each.blob))


@pytest.mark.parametrize(
    ("blob", "diff_id", "error", "words"),
    [
        (SMALL.blob[:-20], SMALL.diff_id, Corrupt, "ends in the middle"),
        (SMALL.blob, BASE.diff_id, Corrupt, "diff_id differs"),
        (layer(file(b"../evil") + END).blob, SMALL.diff_id, InvalidInput, "leaves the layer"),
        (b"hello", SMALL.diff_id, Corrupt, "in the middle"),
    ],
    ids=["cut", "wrong diff_id", "hostile", "no tar"],
)
def test_bad_layer_leaves_nothing(
    store: Store, blob: bytes, diff_id: DiffID, error: type[EngineError], words: str
) -> None:
    bad = Layer(SMALL.digest, diff_id, blob)
    with pytest.raises(error, match=words) as caught:
        bring_in(store, [OTHER, bad])
    assert caught.value.message.startswith(f"layer {SMALL.digest[:19]}")
    assert store.database.query("SELECT * FROM image") == []
    assert leftovers(store) == []


def test_cancel_ends_it_at_once_and_leaves_nothing(store: Store) -> None:
    """The blob never comes: only the cancel ends the wait."""
    cancel = Cancel()
    image = new_image(store, [SMALL])
    descriptor = blob_descriptor(store, SMALL)
    timer = threading.Timer(0.3, cancel.cancel)
    with Unpacking(store.home, store.database, progress=None, cancel=cancel) as unpacking:
        feed = unpacking.feed(
            0, SMALL.digest, SMALL.diff_id, len(SMALL.blob), descriptor, complete=False
        )
        feed.advance(10)
        timer.start()
        with pytest.raises(Cancelled):
            unpacking.publish(image)
    timer.join()
    os.close(descriptor)
    _join_trash()
    assert leftovers(store) == []


def _join_trash() -> None:
    for thread in threading.enumerate():
        if thread.name == "trash":
            thread.join()


def _workers() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    command = file.read()
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == os.getpid() and b"engine.workers" in command:
                found.append(int(name))
    return found


@pytest.mark.parametrize("deaths", [1, 2])
def test_worker_that_dies_is_tried_once_more(store: Store, deaths: int) -> None:
    descriptor = blob_descriptor(store, SMALL)
    image = new_image(store, [SMALL])
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        feed = unpacking.feed(
            0, SMALL.digest, SMALL.diff_id, len(SMALL.blob), descriptor, complete=False
        )
        feed.advance(20)
        killed: set[int] = set()
        while len(killed) < deaths:
            until(lambda: set(_workers()) - killed)
            for pid in set(_workers()) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        feed.complete()
        os.close(descriptor)
        if deaths == 1:
            unpacking.publish(image)
            assert tree_of(diffs(store, [SMALL])[0])["etc/os"].detail == b"small"
        else:
            with pytest.raises(Unavailable, match="SIGKILL"):
                unpacking.publish(image)
    assert leftovers(store) == []


def test_layer_fed_again_after_an_abort(store: Store) -> None:
    """As a downloader does when the registry sent wrong bytes."""
    descriptor = blob_descriptor(store, SMALL)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        feed = unpacking.feed(
            0, SMALL.digest, SMALL.diff_id, len(SMALL.blob), descriptor, complete=False
        )
        feed.advance(30)
        feed.abort()
        unpacking.feed(0, SMALL.digest, SMALL.diff_id, len(SMALL.blob), descriptor, complete=True)
        unpacking.publish(new_image(store, [SMALL]))
    os.close(descriptor)
    assert leftovers(store) == []


def test_layer_fed_again_after_it_was_unpacked(store: Store) -> None:
    """The tar was right, the blob's digest was not: the downloader begins again."""
    descriptor = blob_descriptor(store, SMALL)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        for _ in range(2):
            feed = unpacking.feed(
                0, SMALL.digest, SMALL.diff_id, len(SMALL.blob), descriptor, complete=True
            )
            feed.done.wait()
            feed.abort()
        unpacking.publish(new_image(store, [SMALL]))
    os.close(descriptor)
    assert leftovers(store) == []


def test_two_pulls_of_one_layer_unpack_it_once(store: Store) -> None:
    """The second waits for the first one's transaction."""
    each = big(200)
    first_home, phases = open_store(Path(store.home.root).parent), list[str]()
    descriptor = blob_descriptor(store, each)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as holder:
        holder.missing([each.diff_id])
        holder.feed(
            0, each.digest, each.diff_id, len(each.blob), descriptor, complete=True
        ).done.wait()
        thread = threading.Thread(
            target=bring_in,
            args=(first_home, [each, SMALL]),
            kwargs={"progress": lambda p: phases.append(p.phase)},
        )
        thread.start()
        until(lambda: "waiting" in phases)
        holder.publish(new_image(store, [each]))
    thread.join()
    os.close(descriptor)
    assert len(os.listdir(f"{store.home.root}/layers")) == 2
    assert leftovers(store) == []


def test_two_pulls_of_the_same_layers_in_opposite_order_do_not_wait_for_each_other(
    store: Store,
) -> None:
    """Both hold one and want the other's: one of them unpacks it in vain, and both end well."""
    layers = [big(100), big(100)]
    layers.sort(key=lambda each: each.diff_id)
    both = threading.Barrier(2)
    failures: list[BaseException] = []

    def pull(order: list[Layer]) -> None:
        try:
            other = open_store(Path(store.home.root).parent)
            image = new_image(other, order)
            with Unpacking(other.home, other.database, progress=None, cancel=Cancel()) as unpacking:
                unpacking.missing([each.diff_id for each in order])
                for index, each in enumerate(order):
                    descriptor = blob_descriptor(other, each)
                    feed = unpacking.feed(
                        index, each.digest, each.diff_id, len(each.blob), descriptor, complete=True
                    )
                    os.close(descriptor)
                    if index == 0:
                        feed.done.wait()  # it holds this one
                        both.wait(30)
                unpacking.publish(image)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=pull, args=(order,)) for order in (layers, layers[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.database.query("SELECT * FROM layer")) == 2
    assert len(store.database.query("SELECT * FROM image")) == 2
    assert leftovers(store) == []


# Layers that lean on the ones below.


def test_implied_parent_takes_over_what_is_below(store: Store) -> None:
    top = layer(file(b"tmp/x", b"1") + file(b"usr/bin/y") + file(b"fresh/z") + END)
    bring_in(store, [BASE, top])
    tree = tree_of(diffs(store, [BASE, top])[1])
    assert tree["tmp"] == Node("dir", b"", 0o1777)
    assert tree["usr/bin"] == Node("dir", b"", 0o755, 3)
    assert tree["fresh"] == Node("dir", b"", 0o755)
    assert parents(store, [BASE, top]) == ["", chain_ids([BASE.diff_id])[0]]


def test_layer_that_might_lean_is_kept_for_its_parent(store: Store) -> None:
    """Over another one the same whiteouts or parents may need another fix."""
    top = layer(file(b"usr/.wh.bin") + END)
    bring_in(store, [BASE, top])
    assert parents(store, [BASE, top]) == ["", chain_ids([BASE.diff_id])[0]]
    bring_in(store, [layer(file(b"a/b") + END)])
    assert parents(store, [layer(file(b"a/b") + END)]) == ["bottom"]


def parents(store: Store, layers: list[Layer]) -> list[str]:
    """What the rows and the indexes say that the layers stand over."""
    found = []
    for path in diffs(store, layers):
        index = LayerIndex(f"{os.path.dirname(path)}/layer.pdl")
        name = os.path.basename(os.path.dirname(path))
        row = store.database.first("SELECT parent_chain FROM layer WHERE id=?", (name,))
        assert row == (index.facts.parent_chain or None,)
        found.append(index.facts.parent_chain)
        index.close()
    return found


def test_leaning_layer_is_not_shared_over_another_parent(store: Store) -> None:
    top = layer(file(b"tmp/x", b"1") + END)
    private = layer(directory(b"tmp", 0o700) + END)
    bring_in(store, [BASE, top])
    bring_in(store, [private, top])
    assert tree_of(diffs(store, [BASE, top])[1])["tmp"].mode == 0o1777
    assert tree_of(diffs(store, [private, top])[1])["tmp"].mode == 0o700
    bring_in(store, [BASE, top], reference="docker.io/library/again:1")
    assert len(os.listdir(f"{store.home.root}/layers")) == 4


def test_symlink_of_a_lower_layer_is_followed(store: Store) -> None:
    """Without it all of /usr/bin would be hidden behind a new directory /bin."""
    top = layer(
        file(b"bin/x", b"1")
        + file(b"bin/.wh.tool")
        + directory(b"bin/sub")
        + file(b"usr/bin/y")
        + END
    )
    bring_in(store, [BASE, top])
    assert tree_of(diffs(store, [BASE, top])[1]) == {
        "usr": Node("dir", b"", 0o755),
        "usr/bin": Node("dir", b"", 0o755, 3),
        "usr/bin/x": Node("file", b"1"),
        "usr/bin/y": Node("file", b""),
        "usr/bin/tool": Node("whiteout", b"", 0),
        "usr/bin/sub": Node("dir", b"", 0o755),
    }
    path = diffs(store, [BASE, top])[1]
    index = LayerIndex(f"{os.path.dirname(path)}/layer.pdl")
    assert b"usr/bin/x" in list(index.paths())
    assert index.facts.parent_chain == chain_ids([BASE.diff_id])[0]
    index.close()


def test_explicit_directory_replaces_a_symlink(store: Store) -> None:
    top = layer(directory(b"bin") + file(b"bin/x") + END)
    bring_in(store, [BASE, top])
    assert set(tree_of(diffs(store, [BASE, top])[1])) == {"bin", "bin/x"}


def test_the_later_entry_wins_where_two_ways_lead_to_one_file(store: Store) -> None:
    top = layer(
        file(b"bin/a", b"1")
        + file(b"usr/bin/a", b"2")
        + file(b"usr/bin/b", b"1")
        + file(b"bin/b", b"2")
        + END
    )
    bring_in(store, [BASE, top])
    tree = tree_of(diffs(store, [BASE, top])[1])
    assert (tree["usr/bin/a"].detail, tree["usr/bin/b"].detail) == (b"2", b"2")


def test_hard_link_into_a_lower_layer_copies_the_file_up(store: Store) -> None:
    top = layer(hardlink(b"opt/tool", b"usr/bin/tool") + hardlink(b"alias", b"bin/tool") + END)
    bring_in(store, [BASE, top])
    path = diffs(store, [BASE, top])[1]
    tree = tree_of(path)
    copied = Node("file", b"tool", 0o4755, 5)
    assert (tree["usr/bin/tool"], tree["opt/tool"], tree["alias"]) == (copied, copied, copied)
    assert os.stat(f"{path}/opt/tool").st_nlink == 3
    assert os.stat(f"{path}/usr/bin").st_uid == 3


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (hardlink(b"x", b"nowhere"), Corrupt),
        (hardlink(b"x", b"usr/bin"), InvalidInput),
        (file(b"usr/bin/.wh.tool") + hardlink(b"x", b"usr/bin/tool"), Corrupt),
    ],
    ids=["missing", "directory", "whited out"],
)
def test_hard_link_to_what_is_not_below(
    store: Store, stream: bytes, error: type[EngineError]
) -> None:
    with pytest.raises(error, match="hard link"):
        bring_in(store, [BASE, layer(stream + END)])
    assert leftovers(store) == []


def test_sync_off_skips_syncfs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(disk_sync, "syncfs", calls.append)
    bring_in(store, [SMALL])
    assert len(calls) == 1
    monkeypatch.setenv("PYDOCK_SYNC", "off")
    bring_in(store, [OTHER])
    assert len(calls) == 1


def test_what_a_slow_layer_wrote_is_on_its_way_early(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(disk_sync, "syncfs", calls.append)
    monkeypatch.setattr(unpack, "_EARLY_SYNC_SECONDS", 0.0)
    bring_in(store, [SMALL])
    assert len(calls) > 1


def test_warnings_are_collected(store: Store) -> None:
    each = layer(pax({b"SCHILY.xattr.security.selinux": b"x"}) + file(b"f") + END)
    with Unpacking(store.home, store.database, progress=None, cancel=Cancel()) as unpacking:
        descriptor = blob_descriptor(store, each)
        unpacking.feed(0, each.digest, each.diff_id, len(each.blob), descriptor, complete=True)
        os.close(descriptor)
        unpacking.publish(new_image(store, [each]))
        assert len(unpacking.warnings) == 1
