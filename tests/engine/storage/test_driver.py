"""Which storage driver it is, and that nothing is left of one that was killed at work."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from engine.errors import InvalidInput, NotFound, Unavailable
from engine.kernel.mount import umount
from engine.kernel.overlay import mount_overlay
from engine.oci.digest import ChainID
from engine.storage.copied import written
from engine.storage.driver import Driver, chosen
from engine.storage.layer_fixup import Stack
from engine.storage.merged import Merged
from engine.storage.snapshots import FUSE, OVERLAY, VFS, Snapshots
from engine.workers import Worker, WorkerDied
from tests.engine.storage.test_snapshots import random_layer
from tests.support.overlays import facts_of
from tests.support.store import Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file, hardlink, pax
from tests.support.waiting import until

pytestmark = pytest.mark.root
ID = "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's config.toml, which is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/pydock/config.toml"
    path.parent.mkdir(parents=True)
    return path


def add_row(store: Store, chain: ChainID) -> None:
    (image,) = store.database.first("SELECT id FROM image")
    with store.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO container VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (ID, "n", "x", image, chain, 1, "{}", "created", 0, 0, 0, 0, "", 0, 0),
        )


def test_it_is_the_kernels_where_that_works_and_the_settings_elsewhere(
    store: Store, settings: Path, tmp_path: Path
) -> None:
    etc = str(tmp_path / "etc")
    assert chosen(store.home, etc) == Driver(OVERLAY, "")
    assert os.listdir(f"{store.home.root}/staging") == []
    settings.write_text('storage-driver = "vfs"\n')
    assert chosen(store.home, etc) == Driver(VFS, f"{settings} asks for it")
    settings.unlink()
    assert chosen(store.home, etc) == Driver(OVERLAY, "")


def test_the_persons_settings_count_more_than_the_machines(
    store: Store, settings: Path, tmp_path: Path
) -> None:
    machine = tmp_path / "etc/pydock/config.toml"
    machine.parent.mkdir(parents=True)
    machine.write_text('storage-driver = "vfs"\n')
    settings.write_text('[registry."a"]\ninsecure = true\n')
    assert chosen(store.home, str(tmp_path / "etc")).name == VFS
    settings.write_text('storage-driver = "overlay2"\n')
    assert chosen(store.home, str(tmp_path / "etc")).name == OVERLAY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('storage-driver = "zfs"', "storage-driver: 'zfs' is not a driver of pydock's"),
        ("storage-driver = 1", "storage-driver: 1 is not a driver of pydock's"),
        ("storage-driver =", "Invalid value"),
    ],
)
def test_broken_settings_are_told(store: Store, settings: Path, text: str, words: str) -> None:
    settings.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        chosen(store.home)


def test_one_that_is_not_installed_is_told(
    store: Store, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    settings.write_text('storage-driver = "fuse-overlayfs"\n')
    with pytest.raises(Unavailable, match="storage driver fuse-overlayfs: it is not installed"):
        chosen(store.home)


LAYERS = [
    layer(
        b"".join([
            directory(b"a/", 0o750, uid=3, gid=4), file(b"a/x", b"1" * 9000, mode=0o4755),
            hardlink(b"a/y", b"a/x"), file(b"a/gone"), directory(b"b/"), file(b"b/old"),
            pax({b"SCHILY.xattr.user.note": b"kept"}), file(b"noted"), END,
        ])
    ),
    layer(
        b"".join([
            file(b"a/.wh.gone"), directory(b"b/"), file(b"b/.wh..wh..opq"), file(b"b/new"), END,
        ])
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", [FUSE, VFS])
def test_a_root_looks_as_overlayfs_shows_it(
    store: Store, settings: Path, tmp_path: Path, name: str
) -> None:
    chain = bring_in(store, LAYERS)
    snapshots = Snapshots(store.home, store.database)
    made = snapshots.prepare(ID, chain)
    mount_overlay(list(made.lower), made.upper, made.work, str(tmp_path))
    wanted = facts_of(tmp_path)
    umount(str(tmp_path))
    snapshots.remove(ID)
    settings.write_text(f'storage-driver = "{name}"\n')
    root = snapshots.prepare(ID, chain)
    assert (len(root.lower), root.upper, root.work) == (1, "", "")
    assert facts_of(root.lower[0]) == wanted
    add_row(store, chain)
    assert snapshots.get(ID) == root
    assert snapshots.again(ID) == root
    assert facts_of(root.lower[0]) == wanted
    snapshots.remove(ID)
    assert not os.path.exists(root.lower[0])
    assert os.listdir(f"{store.home.root}/upper") == []


@pytest.mark.parametrize("seed", range(6))
def test_random_layers_are_merged_as_overlayfs_does(
    store: Store, tmp_path: Path, seed: int
) -> None:
    import random

    chance = random.Random(seed)
    chain = bring_in(store, [layer(random_layer(chance)) for _ in range(4)])
    lower = [os.fsencode(path) for path in Snapshots(store.home, store.database).lower(chain)]
    found = {item.path: item.info.st_ino for item in Merged(lower).walk()}
    stack = Stack(lower)
    assert found == {path: look.info.st_ino for path in found if (look := stack.lookup(path))}
    made = Snapshots(store.home, store.database).prepare(ID, chain)
    mount_overlay(list(made.lower), made.upper, made.work, str(tmp_path))
    try:
        assert {os.fsdecode(path) for path in found} == set(facts_of(tmp_path)) - {""}
    finally:
        umount(str(tmp_path))


def test_a_change_that_leaves_size_and_time_is_seen_in_a_copy(store: Store, settings: Path) -> None:
    settings.write_text('storage-driver = "vfs"\n')
    chain = bring_in(store, LAYERS)
    snapshots = Snapshots(store.home, store.database)
    snapshots.prepare(ID, chain)
    add_row(store, chain)
    made, driver, made_ns = snapshots.parts(ID)
    assert driver == VFS

    def changed() -> list[tuple[bytes, bool]]:
        root = os.open(made.upper, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lower = [os.fsencode(path) for path in made.lower]
            walk = written(root, lower, [], driver, made_ns).walk()
            return [(item.path, item.whiteout) for item in walk]
        finally:
            os.close(root)

    assert changed() == []
    path = f"{made.upper}/b/new"
    before = os.stat(path)
    os.utime(path, ns=(0, before.st_mtime_ns))  # touched, and the same
    assert changed() == []
    path = f"{made.upper}/a/x"
    before = os.stat(path)
    with open(path, "r+b") as wide:
        wide.seek(8999)
        wide.write(b"2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.unlink(f"{made.upper}/noted")
    assert changed() == [(b"a", False), (b"noted", True), (b"a/x", False), (b"a/y", False)]


def test_a_killed_copy_is_no_root(store: Store, settings: Path, tmp_path: Path) -> None:
    settings.write_text('storage-driver = "vfs"\n')
    chain = bring_in(store, LAYERS)
    snapshots = Snapshots(store.home, store.database)
    add_row(store, chain)
    place = store.home.upper_dir(ID)
    os.makedirs(f"{place}/diff.new")  # what a start leaves that is killed as it copies
    worker = Worker(
        "engine.storage.plain_copy:copy_layers", (snapshots.lower(chain), f"{place}/diff.new")
    )
    worker.kill()
    with pytest.raises(WorkerDied):
        worker.run()
    with pytest.raises(NotFound):
        snapshots.get(ID)
    snapshots.remove(ID)
    assert snapshots.prepare(ID, chain).lower == (f"{place}/diff",)


def test_a_root_that_a_killed_start_left_is_unmounted(store: Store, settings: Path) -> None:
    settings.write_text('storage-driver = "fuse-overlayfs"\n')
    chain = bring_in(store, LAYERS)
    snapshots = Snapshots(store.home, store.database)
    (path,) = snapshots.prepare(ID, chain).lower
    assert os.path.ismount(path)
    assert snapshots.abandoned({ID}) == []
    assert snapshots.abandoned(()) == [ID]
    snapshots.release(ID)
    snapshots.release(ID)
    assert snapshots.abandoned(()) == []
    until(lambda: not _servers(store))


def test_a_root_whose_process_was_killed_is_mounted_anew(store: Store, settings: Path) -> None:
    settings.write_text('storage-driver = "fuse-overlayfs"\n')
    chain = bring_in(store, LAYERS)
    snapshots = Snapshots(store.home, store.database)
    (path,) = snapshots.prepare(ID, chain).lower
    add_row(store, chain)
    (server,) = _servers(store)
    os.kill(server, signal.SIGKILL)
    until(lambda: not _servers(store))
    with pytest.raises(OSError, match="not connected"):
        os.listdir(path)
    assert snapshots.again(ID).lower == (path,)
    assert sorted(os.listdir(path)) == ["a", "b", "noted"]
    snapshots.remove(ID)
    until(lambda: not _servers(store))


def _servers(store: Store) -> list[int]:
    """Processes that serve a root of this store."""
    done = subprocess.run(["pgrep", "-f", store.home.root], capture_output=True, text=True)
    return [
        int(pid) for pid in done.stdout.split()
        if "fuse-overlayfs" in _command(int(pid))
    ]  # fmt: skip


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
