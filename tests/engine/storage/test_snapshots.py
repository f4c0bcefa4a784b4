"""Layers as overlayfs shows them, against a model that knows no overlayfs."""

import io
import os
import random
import stat
import tarfile
from pathlib import Path

import pytest

from engine.errors import Conflict, NotFound
from engine.kernel.mount import umount
from engine.kernel.overlay import mount_overlay
from engine.oci.digest import ChainID
from engine.storage.layer_index import LayerIndex
from engine.storage.snapshots import Snapshots
from tests.support.store import Layer, Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file, pax
from tests.support.trees import Node, tree_of

pytestmark = pytest.mark.root

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def mounted(store: Store, chain: ChainID, tmp_path: Path) -> dict[str, Node]:
    """What a container of these layers would see."""
    snapshots = Snapshots(store.home, store.database)
    name = os.urandom(32).hex()
    overlay = snapshots.prepare(name, chain)
    target = tmp_path / name
    target.mkdir()
    mount_overlay(list(overlay.lower), overlay.upper, overlay.work, str(target))
    try:
        return {"": Node("dir", b"", stat.S_IMODE(os.stat(target).st_mode)), **tree_of(str(target))}
    finally:
        umount(str(target))
        snapshots.remove(name)
        assert not os.path.exists(store.home.upper_dir(name))


def random_layer(chance: random.Random, depth: int = 3) -> bytes:
    """Files, directories, links and whiteouts on a few names, so that they collide often."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        kinds: dict[str, str] = {}

        def kind_of_parents(path: str) -> bool:
            parts = path.split("/")
            for end in range(1, len(parts)):
                parent = "/".join(parts[:end])
                if kinds.setdefault(parent, "dir") != "dir":
                    return False
                if parent not in entered:
                    add(parent, "dir")
            return True

        entered: set[str] = set()

        def add(path: str, kind: str, data: bytes = b"", link: str = "") -> None:
            entered.add(path)
            info = tarfile.TarInfo(path)
            info.mode = chance.choice([0o755, 0o711, 0o1777]) if kind == "dir" else 0o640
            info.uid, info.gid = chance.choice([(0, 0), (5, 6)])
            info.type = {
                "dir": tarfile.DIRTYPE, "file": tarfile.REGTYPE, "link": tarfile.SYMTYPE,
                "hard": tarfile.LNKTYPE,
            }[kind]  # fmt: skip
            info.linkname, info.size = link, len(data)
            tar.addfile(info, io.BytesIO(data))

        for _ in range(chance.randint(1, 14)):
            path = "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, depth)))
            kind = chance.choice(["dir", "file", "file", "link", "hard", "gone", "opaque"])
            if kind in ("gone", "opaque"):
                if kind_of_parents(path) and path not in kinds:
                    if kind == "gone":
                        parent, _, name = path.rpartition("/")
                        add(f"{parent}/.wh.{name}".lstrip("/"), "file")
                        entered.discard(path)
                    elif kinds.setdefault(path, "dir") == "dir":
                        add(path, "dir")
                        add(f"{path}/.wh..wh..opq", "file")
                continue
            if path in kinds or not kind_of_parents(path):
                continue
            files = [p for p in kinds if kinds[p] == "file"]
            if kind == "hard" and not files:
                continue
            kinds[path] = "file" if kind == "hard" else kind
            if kind == "hard":
                add(path, kind, link=chance.choice(files))
            elif kind == "link":
                add(path, kind, link=chance.choice(["x/y", "/a", "b"]))
            else:
                add(path, kind, data=chance.randbytes(20) if kind == "file" else b"")
    return buffer.getvalue()


def model_of(layers: list[bytes]) -> dict[str, Node]:
    """The image specification by the book: whiteouts of a layer first, then its entries."""
    state: dict[str, Node] = {}

    def forget(path: str, itself: bool) -> None:
        for each in [p for p in state if p.startswith(path + "/") or (itself and p == path)]:
            del state[each]

    for raw in layers:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            members = [(m, tar.extractfile(m).read() if m.isreg() else b"") for m in tar]  # type: ignore[union-attr]
        for member, _ in members:
            parent, _, name = member.name.rpartition("/")
            if name == ".wh..wh..opq":
                forget(parent, itself=False)
            elif name.startswith(".wh."):
                forget(f"{parent}/{name[4:]}".lstrip("/"), itself=True)
        for member, data in members:
            path = member.name
            if path.rpartition("/")[2].startswith(".wh."):
                continue
            if member.isdir():
                if path in state and state[path].kind != "dir":
                    del state[path]
                state[path] = Node("dir", b"", member.mode, member.uid, member.gid)
                continue
            forget(path, itself=True)
            if member.issym():
                state[path] = Node("link", member.linkname.encode(), 0o777, member.uid, member.gid)
            elif member.islnk():
                state[path] = state[member.linkname]
            else:
                state[path] = Node("file", data, member.mode, member.uid, member.gid)
    return state


def check(store: Store, raws: list[bytes], tmp_path: Path) -> None:
    chain = bring_in(store, [layer(raw) for raw in raws])
    seen = mounted(store, chain, tmp_path)
    del seen[""]
    assert seen == model_of(raws)


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_show_what_the_specification_says(
    store: Store, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    check(store, [random_layer(chance) for _ in range(chance.randint(1, 5))], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_layers(store: Store, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    check(store, [random_layer(chance, 4) for _ in range(chance.randint(1, 8))], tmp_path)


@pytest.mark.parametrize("count", [24, pytest.param(128, marks=pytest.mark.long)])
def test_many_layers(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("PYDOCK_SYNC", "off")
    layers = [
        layer(file(b"f%d" % n, b"%d" % n) + file(b"all", b"%d" % n) + END) for n in range(count)
    ]
    tree = mounted(store, bring_in(store, layers), tmp_path)
    assert tree["all"].detail == b"%d" % (count - 1)
    assert len(tree) == count + 2


def test_empty_and_repeated_layers(store: Store, tmp_path: Path) -> None:
    """overlayfs calls one directory twice a loop; the repeated one shows above the others."""
    empty, first = layer(END), layer(file(b"x", b"1") + END)
    second = layer(file(b"x", b"2") + file(b"y", b"2") + END)
    chain = bring_in(store, [empty, first, second, empty, first])
    tree = mounted(store, chain, tmp_path)
    assert (tree["x"].detail, tree["y"].detail) == (b"1", b"2")
    overlay = Snapshots(store.home, store.database).prepare("c" * 64, chain)
    assert len(overlay.lower) == 2


def test_only_empty_layers(store: Store, tmp_path: Path) -> None:
    chain = bring_in(store, [layer(END)])
    assert set(mounted(store, chain, tmp_path)) == {""}


def test_opaque_root_hides_everything_below(store: Store, tmp_path: Path) -> None:
    below = layer(file(b"old") + END)
    chain = bring_in(store, [below, layer(file(b".wh..wh..opq") + file(b"new") + END)])
    assert set(mounted(store, chain, tmp_path)) == {"", "new"}


def test_root_looks_as_the_topmost_entry_says(store: Store, tmp_path: Path) -> None:
    """overlayfs shows the upper directory's own mode there."""
    layers = [
        layer(directory(b"./", 0o700) + END),
        layer(directory(b"./", 0o711) + file(b"x") + END),
        layer(file(b"y") + END),
    ]
    assert mounted(store, bring_in(store, layers), tmp_path)[""].mode == 0o711


def test_overlay_attributes_of_an_image_stay_its_own(store: Store, tmp_path: Path) -> None:
    """Given to overlayfs as they stand they would show another directory of the store."""
    base = layer(directory(b"d") + file(b"d/secret", b"1") + END)
    redirect = pax({b"SCHILY.xattr.trusted.overlay.redirect": b"/d"}) + directory(b"e")
    opaque = pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"}) + directory(b"d")
    chain = bring_in(store, [base, layer(redirect + opaque + END)])
    tree = mounted(store, chain, tmp_path)
    assert set(tree) == {"", "d", "d/secret", "e"}


def test_prepare_twice_is_a_conflict_and_get_finds_it(store: Store) -> None:
    chain = bring_in(store, [layer(file(b"x") + END)])
    snapshots = Snapshots(store.home, store.database)
    overlay = snapshots.prepare("c" * 64, chain)
    with pytest.raises(Conflict):
        snapshots.prepare("c" * 64, chain)
    (image,) = store.database.first("SELECT id FROM image")
    with store.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO container VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            ("c" * 64, "n", "x", image, chain, 1, "{}", "created", 0, 0, 0, 0, "", 0, 0),
        )
    assert snapshots.get("c" * 64) == overlay
    assert snapshots.again("c" * 64) == overlay
    os.makedirs(f"{overlay.work}/work/incompat/volatile")  # what a volatile mount leaves
    assert snapshots.again("c" * 64) == overlay
    assert os.listdir(f"{overlay.work}/work") == []
    with pytest.raises(NotFound):
        snapshots.get("d" * 64)
    snapshots.remove("c" * 64)
    snapshots.remove("c" * 64)
    with pytest.raises(NotFound):
        snapshots.get("c" * 64)


def test_unknown_chain_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        Snapshots(store.home, store.database).prepare("c" * 64, ChainID("sha256:" + "0" * 64))


def test_index_of_random_layers_is_in_order(store: Store) -> None:
    """Pre-order, children by name, ends where the subtree ends."""
    chance = random.Random(5)
    raws: list[Layer] = [layer(random_layer(chance)) for _ in range(6)]
    chain = bring_in(store, raws)
    for path in Snapshots(store.home, store.database).layers(chain):
        index = LayerIndex(f"{path}/layer.pdl")
        paths = list(index.paths())
        assert paths == sorted(paths, key=lambda p: p.replace(b"/", b"\0"))
        for number, here in enumerate(paths):
            below = [p for p in paths if p.startswith(here + b"/")] if here else paths[1:]
            assert index.end[number] == number + 1 + len(below)
            assert paths[index.parent[number]] == here.rpartition(b"/")[0]
        index.close()
