"""An empty volume takes what the image has, whatever that is and whenever somebody is killed."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import InvalidInput, Unavailable
from engine.services.volume_seed import may_hold, settle
from engine.storage.snapshots import Snapshots
from engine.storage.trash import remove_tree
from engine.workers import Worker, WorkerDied
from tests.support.small_disk import small_disk
from tests.support.store import bring_in, layer, open_store
from tests.support.tarball import END, directory, file, hardlink, header, pax, symlink
from tests.support.trees import Node, node_at, tree_of

pytestmark = pytest.mark.root

# A layer below, and one that changes it: what counts is what overlayfs makes of the two.
LOWER = b"".join([
    directory(b"etc/", 0o750, uid=7, gid=8, mtime=1_600_000_000),
    file(b"etc/old", b"of the lower layer"),
    file(b"etc/gone", b"not for long"),
    directory(b"etc/below/", 0o1777, mtime=1_500_000_000),
    file(b"etc/below/deep", b"deep", mode=0o4755, uid=3, gid=4, mtime=1_400_000_000),
    directory(b"etc/dropped/"),
    file(b"etc/dropped/x", b"x"),
    file(b"file", b"no directory"),
    symlink(b"link", b"/etc"),
    symlink(b"out", b"../../../../../../etc"),
    END,
])  # fmt: skip
UPPER = b"".join([
    directory(b"etc/", 0o751, uid=7, gid=9, mtime=1_600_000_001),
    file(b"etc/old", b"of the upper layer", mtime=1_700_000_000),
    file(b"etc/.wh.gone"),
    directory(b"etc/dropped/"),
    file(b"etc/dropped/.wh..wh..opq"),
    pax({b"SCHILY.xattr.user.note": b"kept", b"SCHILY.xattr.trusted.mine": b"also"}),
    file(b"etc/noted", b"n", mtime=1_300_000_000),
    hardlink(b"etc/below/noted-too", b"etc/noted"),
    symlink(b"etc/dangling", b"/no/where"),
    header(b"etc/null", b"3", mode=0o666, device=(1, 3)),
    header(b"etc/disk", b"4", mode=0o660, gid=6, device=(7, 0)),
    header(b"etc/fifo", b"6", mode=0o600),
    directory(b"empty/", 0o2770, uid=999, gid=998, mtime=1_200_000_000),
    END,
])  # fmt: skip


class Place(NamedTuple):
    """An empty volume, and the layers of an image."""

    volume: Path
    lower: tuple[str, ...]

    @property
    def data(self) -> Path:
        return self.volume / "_data"

    def seed(self, target: str) -> bool:
        filled: bool = self.worker(target).run()
        return filled

    def worker(self, target: str) -> Worker:
        argument = (str(self.volume), self.lower, target, False)
        return Worker("engine.services.volume_seed:seed", argument)

    def is_settled(self) -> bool:
        return os.listdir(self.volume) == ["_data"]


def place_of(path: Path, *tars: bytes) -> Iterator[Place]:
    store = open_store(path)
    chain = bring_in(store, [layer(tar) for tar in tars])
    volume = path / "root/volumes/data"
    (volume / "_data").mkdir(parents=True)
    yield Place(volume, Snapshots(store.home, store.database).lower(chain))
    store.database.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from place_of(tmp_path, LOWER, UPPER)


def root_of(path: Path) -> tuple[Node, int]:
    return node_at(os.fsencode(path)), os.stat(path).st_mtime_ns // 10**9


def test_a_volume_is_filled_with_what_overlayfs_shows(place: Place) -> None:
    inode = os.stat(place.data).st_ino
    mounts = Path("/proc/self/mountinfo").read_text()
    assert place.seed("/etc")
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert tree_of(str(place.data)) == {
        "old": Node("file", b"of the upper layer"),
        "below": Node("dir", b"", 0o1777),
        "below/deep": Node("file", b"deep", 0o4755, 3, 4),
        "below/noted-too": Node("file", b"n"),
        "noted": Node("file", b"n"),
        "dropped": Node("dir", b"", 0o755),
        "dangling": Node("link", b"/no/where", 0o777),
        "null": Node("char", b"1:3", 0o666),
        "disk": Node("block", b"7:0", 0o660, 0, 6),
        "fifo": Node("fifo", b"", 0o600),
    }
    assert os.stat(place.data).st_ino == inode  # it may be mounted somewhere
    assert root_of(place.data) == (Node("dir", b"", 0o751, 7, 9), 1_600_000_001)
    assert place.is_settled()


def test_times_attributes_and_links_are_kept(place: Place) -> None:
    place.seed("/etc")
    data = place.data
    assert os.stat(data / "old").st_mtime == 1_700_000_000
    assert os.stat(data / "below").st_mtime == 1_500_000_000
    assert os.getxattr(data / "noted", "user.note") == b"kept"
    assert os.getxattr(data / "noted", "trusted.mine") == b"also"
    assert os.path.samefile(data / "noted", data / "below/noted-too")
    assert os.stat(data / "noted").st_nlink == 2


def test_an_empty_directory_lends_its_looks(place: Place) -> None:
    assert place.seed("/empty")
    assert os.listdir(place.data) == []
    assert root_of(place.data) == (Node("dir", b"", 0o2770, 999, 998), 1_200_000_000)


@pytest.mark.parametrize("target", ["/link", "/link/below/..", "/out"])
def test_links_on_the_way_stay_inside_the_image(place: Place, target: str) -> None:
    assert may_hold(place.lower, target)
    assert place.seed(target)
    assert (place.data / "old").read_bytes() == b"of the upper layer"


@pytest.mark.parametrize("target", ["/nothing", "/etc/nothing/below", "/etc/gone"])
def test_what_the_image_does_not_have_fills_nothing(place: Place, target: str) -> None:
    before = root_of(place.data)
    assert not place.seed(target)
    assert (os.listdir(place.data), root_of(place.data)) == ([], before)
    assert place.is_settled()


def test_where_nothing_can_be_is_known_without_a_mount(place: Place) -> None:
    assert may_hold(place.lower, "/etc/below")
    assert not may_hold(place.lower, "/nothing")
    assert not may_hold(place.lower, "/etc/below/nothing")
    assert not may_hold(place.lower, "/file/below")


def test_a_volume_with_something_in_it_is_left_alone(place: Place) -> None:
    (place.data / "mine").write_text("kept")
    assert not place.seed("/etc")
    assert os.listdir(place.data) == ["mine"]
    assert root_of(place.data)[0].mode == 0o755


def test_a_file_of_the_image_is_no_place_for_a_volume(place: Place) -> None:
    with pytest.raises(InvalidInput, match="over existing file, file exists /file"):
        place.seed("/file")
    assert place.is_settled()


def test_holes_stay_holes(tmp_path: Path) -> None:
    (place,) = place_of(tmp_path, directory(b"data/") + END)
    source = Path(place.lower[0], "data/sparse")
    with source.open("wb") as made:
        made.seek(64 << 20)
        made.write(b"in the middle")
        made.truncate(128 << 20)
    assert place.seed("/data")
    copy = place.data / "sparse"
    assert copy.stat().st_size == 128 << 20
    assert copy.stat().st_blocks * 512 < 1 << 20
    with copy.open("rb") as made:
        made.seek(64 << 20)
        assert made.read(20) == b"in the middle" + bytes(7)


def test_directories_may_nest_deeper_than_pythons_stack(tmp_path: Path) -> None:
    deep = b"/".join([b"d"] * 1100)
    tar = pax({b"path": deep + b"/file"}) + file(b"x", b"deep down") + END
    (place,) = place_of(tmp_path, tar)
    assert place.seed("/d")
    found = place.data
    for _ in range(1099):
        found /= "d"
    assert (found / "file").read_bytes() == b"deep down"
    remove_tree(str(tmp_path / "root"))  # pytest could not


def many(count: int) -> bytes:
    """A layer with a directory of as many files."""
    files = [file(b"data/%d/%d" % (n % 7, n), b"%d" % n * 100) for n in range(count)]
    return b"".join([directory(b"data/", 0o700, uid=5), *files, END])


def killed_seeds(tmp_path: Path, rounds: int) -> tuple[int, int]:
    """How often it was killed before it was done, and how often everything was there in spite."""
    (place,) = place_of(tmp_path, many(400))
    expected = tree_of(f"{place.lower[0]}/data")
    begin = time.monotonic()
    assert place.seed("/data")
    whole_seconds = time.monotonic() - begin
    moments = random.Random(rounds)
    killed = filled = 0
    for _ in range(rounds):
        remove_tree(str(place.data))
        place.data.mkdir()
        worker = place.worker("/data")
        timer = threading.Timer(moments.uniform(0.2, 1.0) * whole_seconds, worker.kill)
        begin = time.monotonic()
        timer.start()
        try:
            worker.run()
            whole_seconds = time.monotonic() - begin  # a machine is not always as busy
        except WorkerDied:
            killed += 1
        timer.cancel()
        timer.join()
        settle(str(place.volume))
        assert place.is_settled()
        if os.listdir(place.data):
            filled += 1
        else:
            assert place.seed("/data")
        assert tree_of(str(place.data)) == expected
        assert node_at(os.fsencode(place.data)) == Node("dir", b"", 0o700, 5, 0)
    return killed, filled


def test_a_killed_seed_is_done_again_or_finished(tmp_path: Path) -> None:
    killed, _ = killed_seeds(tmp_path, 8)
    assert killed > 0


@pytest.mark.long
def test_two_hundred_killed_seeds(tmp_path: Path) -> None:
    killed, filled = killed_seeds(tmp_path, 200)
    assert 0 < killed < 200
    assert 0 < filled < 200


def test_a_copy_that_was_not_finished_is_gone(place: Place) -> None:
    (place.volume / "_seed.new/etc").mkdir(parents=True)
    settle(str(place.volume))
    assert place.is_settled()
    assert os.listdir(place.data) == []


def test_a_finished_copy_moves_in_whoever_comes_next(place: Place) -> None:
    seed = place.volume / "_seed"
    (seed / "below").mkdir(parents=True, mode=0o700)
    (seed / "below/deep").write_text("moved")
    (seed / "mine").write_text("of the image")
    seed.chmod(0o710)
    os.chown(seed, 5, 6)
    (place.data / "first").write_text("moved before the kill")
    (place.data / "mine").write_text("written since")
    settle(str(place.volume))
    assert place.is_settled()
    assert tree_of(str(place.data)) == {
        "below": Node("dir", b"", 0o700),
        "below/deep": Node("file", b"moved"),
        "first": Node("file", b"moved before the kill"),
        "mine": Node("file", b"written since"),
    }
    assert node_at(os.fsencode(place.data)) == Node("dir", b"", 0o710, 5, 6)


def test_who_comes_while_another_is_at_work_waits_for_him(place: Place) -> None:
    places = [place.worker("/etc") for _ in range(3)]
    results: list[bool] = []
    threads = [threading.Thread(target=lambda w=w: results.append(w.run())) for w in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, True]
    assert place.is_settled()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (place,) = place_of(tmp_path, directory(b"data/") + file(b"data/big", bytes([1]) * 3_000_000))
    with small_disk(tmp_path, 2 << 20) as disk:
        volume = disk / "data"
        (volume / "_data").mkdir(parents=True)
        full = place._replace(volume=volume)
        with pytest.raises(Unavailable, match="disk full while volume data was filled"):
            full.seed("/data")
        assert full.is_settled()
        assert os.listdir(full.data) == []
