"""Trees, counts and waste of an image, against models that are slow and plain."""

import io
import os
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.engine import LayerView
from engine.errors import Corrupt
from engine.layers.tree import ImageLayers, open_layers, waste_of
from engine.model.image import HistoryEntry
from engine.model.layer import ADDED, CHANGED, DIRECTORY, FILE, GONE, HARDLINK, SAME, FileTree
from engine.storage.layer_index import Facts, IndexBuilder, write_index
from engine.storage.tar_apply import LayerWriter
from engine.storage.tar_read import TarReader
from tests.support.tarball import END, directory, file, hardlink, symlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def indexes(tmp_path: Path, streams: Sequence[bytes]) -> list[str]:
    """Each stream applied by itself; the paths of the indexes."""
    paths: list[str] = []
    for stream in streams:
        number = len(list(tmp_path.iterdir()))
        target = tmp_path / f"layer{number}"
        target.mkdir()
        builder = IndexBuilder()
        root = os.open(target, os.O_RDONLY)
        LayerWriter(root, builder).apply(TarReader(iter([stream + END])))
        os.close(root)
        size = sum(row.size for row in builder.rows.values())
        facts = Facts(
            f"sha256:{number:064x}", f"sha256:b{number:063x}", "", len(stream), 100 + number, size,
            0, len(builder.rows), tuple(builder.shadowed),
        )  # fmt: skip
        paths.append(f"{target}.pdl")
        write_index(paths[-1], builder, facts)
    return paths


def view_of(tmp_path: Path, *streams: bytes) -> ImageLayers:
    return open_layers("x:1", "sha256:0", indexes(tmp_path, streams), ())


MARKS = {SAME: " ", ADDED: "A", CHANGED: "C", GONE: "D"}


def shown(tree: FileTree) -> dict[str, tuple[str, int]]:
    """Path → mark and size; checks the shape on the way."""
    for node in range(len(tree)):
        assert tree.end[node] > node
        children = tree.children(node)
        assert [tree.parent[child] for child in children] == [node] * len(children)
        names = [tree.name(child).encode("utf-8", "surrogateescape") for child in children]
        assert names == sorted(names)
        assert all(tree.depth[child] == tree.depth[node] + 1 for child in children)
        if tree.kind[node] == DIRECTORY and tree.change[node] != GONE:
            live = [child for child in children if tree.change[child] != GONE]
            assert tree.size_bytes[node] == sum(tree.size_bytes[child] for child in live)
    return {
        tree.path(node): (MARKS[tree.change[node]], tree.size_bytes[node])
        for node in range(len(tree))
    }


BASE = (
    directory(b"etc")
    + file(b"etc/a", b"1234")
    + file(b"etc/b", b"12")
    + directory(b"var")
    + directory(b"var/cache")
    + file(b"var/cache/x", b"x" * 100)
    + file(b"var/cache/y", b"y" * 50)
)


def test_changes_are_marked_up_to_the_root(tmp_path: Path) -> None:
    top = file(b"etc/a", b"12345") + file(b"var/.wh.cache") + file(b"new/f", b"1")
    view = view_of(tmp_path, BASE, top)
    assert shown(view.tree(1, aggregated=True)) == {
        "": ("C", 8),
        "etc": ("C", 7),
        "etc/a": ("C", 5),
        "etc/b": (" ", 2),
        "new": ("A", 1),
        "new/f": ("A", 1),
        "var": ("C", 0),
        "var/cache": ("D", 150),
        "var/cache/x": ("D", 100),
        "var/cache/y": ("D", 50),
    }
    assert shown(view.tree(1, aggregated=False)) == {
        "": ("C", 6),
        "etc": ("C", 5),
        "etc/a": ("C", 5),
        "new": ("A", 1),
        "new/f": ("A", 1),
        "var": ("C", 0),
        "var/cache": ("D", 150),
        "var/cache/x": ("D", 100),
        "var/cache/y": ("D", 50),
    }
    assert set(shown(view.tree(0, aggregated=True)).values()) >= {("A", 4), ("A", 150)}
    assert [(each.added, each.changed, each.gone) for each in view.layers] == [(4, 0, 0), (1, 1, 2)]
    assert (view.size_bytes, view.waste_bytes) == (162, 154)
    assert [each.waste_bytes for each in view.layers] == [154, 0]
    assert [tuple(row) for row in view.waste()] == [
        ("var/cache", 150, (0,), 1),
        ("etc/a", 4, (0, 1), -1),
    ]
    view.close()


def test_what_only_repeats_is_the_same_yet_wasted(tmp_path: Path) -> None:
    """A chmod -R of a big directory costs all of it once more."""
    top = file(b"etc/a", b"1234", mode=0o600) + file(b"etc/b", b"12", mtime=9) + directory(b"etc")
    view = view_of(tmp_path, BASE, top)
    tree = shown(view.tree(1, aggregated=True))
    assert (tree["etc/a"][0], tree["etc/b"][0], tree["etc"][0]) == ("C", " ", "C")
    assert view.causes == {(0, 1, "metadata only"): 4, (0, 1, "identical rewrite"): 2}
    view.close()


def test_opaque_directory_type_change_and_duplicate(tmp_path: Path) -> None:
    second = (
        directory(b"etc")
        + file(b"etc/.wh..wh..opq")
        + file(b"etc/b", b"12")
        + symlink(b"var", b"etc")
        + file(b"z", b"123")
        + file(b"z", b"1")
    )
    view = view_of(tmp_path, BASE, second)
    assert view.causes == {
        (0, 1, "opaque directory"): 6,
        (0, 1, "deleted directory"): 150,
        (1, 1, "duplicate in one layer"): 3,
    }
    tree = shown(view.tree(1, aggregated=True))
    assert tree["etc/a"] == ("D", 4)
    assert tree["etc/b"] == (" ", 2)
    assert tree["var"][0] == "C"
    assert view.efficiency == 1 - 159 / 162
    view.close()


def test_bytes_of_a_hard_link_live_on(tmp_path: Path) -> None:
    base = file(b"a", b"12345") + hardlink(b"b", b"a") + hardlink(b"c", b"a")
    view = view_of(tmp_path, base, file(b".wh.a"), file(b".wh.b"), file(b".wh.c"))
    first = view.tree(0, aggregated=True)
    assert [first.kind[n] for n in range(1, 4)] == [FILE, HARDLINK, HARDLINK]
    assert first.link == {2: "a", 3: "a"}
    assert shown(view.tree(1, aggregated=True))["b"] == (" ", 5)
    assert shown(view.tree(2, aggregated=True))["c"] == (" ", 5)
    assert view.causes == {(0, 3, "deleted"): 5}
    assert shown(view.tree(1, aggregated=True))["b"] == (" ", 5), "going back works too"
    view.close()


def test_deleted_and_written_again_is_a_change_between_layers(tmp_path: Path) -> None:
    view = view_of(tmp_path, BASE, file(b"etc/.wh.a"), file(b"etc/a", b"1234"))
    assert shown(view.tree(1, aggregated=True))["etc/a"] == ("D", 4)
    assert "etc/a" not in shown(view_of(tmp_path, BASE, file(b"x")).tree(1, aggregated=False))
    assert shown(view.tree(2, aggregated=True))["etc/a"] == ("A", 4)
    assert view.waste()[0] == ("etc/a", 4, (0, 2), -1)
    view.close()


def test_history_gives_commands_to_layers(tmp_path: Path) -> None:
    history = (
        HistoryEntry(1, "ADD rootfs", "", False),
        HistoryEntry(2, "ENV x", "", True),
        HistoryEntry(3, "RUN it", "", False),
    )
    paths = indexes(tmp_path, [BASE, file(b"x")])
    view: LayerView = open_layers("x:1", "sha256:0", paths, history, (("other:1",), ()))
    assert [(each.command, each.created_ns) for each in view.layers] == [
        ("ADD rootfs", 1),
        ("RUN it", 3),
    ]
    assert view.layers[0].shared_with == ("other:1",)
    assert view.layers[0].blob_bytes == 100
    view.close()
    view = open_layers("x:1", "sha256:0", paths, history[:2])
    assert [each.command for each in view.layers] == ["", ""]
    view.close()


def test_layer_that_repeats_and_image_without_layers(tmp_path: Path) -> None:
    first, second = indexes(tmp_path, [BASE, file(b"etc/a", b"!")])
    view = open_layers("x", "y", [first, second, first], ())
    assert shown(view.tree(2, aggregated=True))["etc/a"] == ("C", 4)
    assert view.waste_bytes == waste_of([first, second, first]) == 156 + 1
    view.close()
    empty = open_layers("x", "y", [], ())
    assert (empty.layers, empty.size_bytes, empty.efficiency, empty.waste()) == ((), 0, 1.0, [])
    with pytest.raises(IndexError):
        empty.tree(0, aggregated=True)
    empty.close()


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    view = view_of(tmp_path, directory(b"\xff") + file(b"\xff/\x1b[31m", b"1"))
    tree = view.tree(0, aggregated=True)
    assert tree.path(2) == "\udcff/\x1b[31m"
    view.close()


@pytest.mark.parametrize("damage", [b"", b"junk", None], ids=["empty", "junk", "cut"])
def test_damaged_index_is_corrupt(tmp_path: Path, damage: bytes | None) -> None:
    (path,) = indexes(tmp_path, [BASE])
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:-40] if damage is None else damage)
    with pytest.raises(Corrupt):
        open_layers("x", "y", [path], ())


# A model: dictionaries, one path at a time.


def random_stream(chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    kinds: dict[str, str] = {}
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(path: str, type_: bytes, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(path)
            info.type, info.size, info.linkname = type_, len(data), link
            info.mode = chance.choice([0o644, 0o600]) if type_ == tarfile.REGTYPE else 0o755
            tar.addfile(info, io.BytesIO(data))

        for _ in range(chance.randint(1, 15)):
            parts = [chance.choice("abc") for _ in range(chance.randint(1, 3))]
            above = ["/".join(parts[:n]) for n in range(1, len(parts))]
            if any(kinds.get(each, "dir") != "dir" for each in above):
                continue
            path, kind = "/".join(parts), chance.choice(["dir", "file", "file", "gone", "hard"])
            if kinds.get(path) is not None:
                continue
            files = [each for each in kinds if kinds[each] == "file"]
            if kind == "hard" and not files:
                kind = "file"
            for each in above:
                if each not in kinds:
                    kinds[each] = "dir"
                    add(each, tarfile.DIRTYPE)
            kinds[path] = kind
            if kind == "dir":
                add(path, tarfile.DIRTYPE)
            elif kind == "file":
                add(path, tarfile.REGTYPE, bytes(chance.choice([0, 3, 3, 700])))
            elif kind == "hard":
                add(path, tarfile.LNKTYPE, link=chance.choice(files))
            else:
                add(f"{'/'.join(parts[:-1])}/.wh.{parts[-1]}".lstrip("/"), tarfile.REGTYPE)
    return buffer.getvalue()


def model(streams: list[bytes]) -> tuple[list[dict[str, object]], int, int]:
    """States after each layer (path → inode or None for a directory), stored and live bytes."""
    state: dict[str, object] = {}
    states: list[dict[str, object]] = []
    sizes: dict[object, int] = {}
    for stream in streams:
        with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
            members = list(tar)
        for member in members:
            above, _, name = member.name.rpartition("/")
            if name.startswith(".wh."):
                gone = f"{above}/{name[4:]}".lstrip("/")
                state = {
                    p: i for p, i in state.items() if p != gone and not p.startswith(gone + "/")
                }
        for member in members:
            path = member.name
            if "/.wh." in "/" + path:
                continue
            if member.isdir():
                if state.get(path) is not None:
                    del state[path]
                state[path] = None
                continue
            state = {p: i for p, i in state.items() if not p.startswith(path + "/")}
            if member.islnk():
                state[path] = state[member.linkname]
            else:
                inode = object()
                sizes[inode] = member.size
                state[path] = inode
        states.append(dict(state))
    live = sum(sizes[inode] for inode in set(state.values()) if inode is not None)
    return states, sum(sizes.values()), live


@pytest.mark.parametrize("seed", range(60))
def test_partition_sums_exactly_and_trees_are_the_states(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    streams = [random_stream(chance) for _ in range(chance.randint(1, 6))]
    view = view_of(tmp_path, *streams)
    states, stored, live = model(streams)
    assert view.size_bytes == stored == sum(each.size_bytes for each in view.layers)
    assert view.waste_bytes == stored - live
    assert view.waste_bytes == sum(view.causes.values())
    assert view.waste_bytes == sum(each.waste_bytes for each in view.layers)
    assert view.waste_bytes == sum(row.waste_bytes for row in view.waste())
    order = list(range(len(streams)))
    chance.shuffle(order)
    for position in order:
        tree = view.tree(position, aggregated=True)
        marks = shown(tree)
        there = {path for path, (mark, _) in marks.items() if mark != "D"} - {""}
        assert there == set(states[position])
        before = set(states[position - 1]) if position else set()
        assert {path for path, (mark, _) in marks.items() if mark == "D"} == before - there
        added = {path for path, (mark, _) in marks.items() if mark == "A"} - {""}
        assert added == there - before
        own = shown(view.tree(position, aggregated=False))
        assert {path for path, (mark, _) in own.items() if mark != " "} == {
            path for path, (mark, _) in marks.items() if mark != " "
        }
    assert view.tree(len(streams) - 1, aggregated=True).size_bytes[0] == live
    view.close()
