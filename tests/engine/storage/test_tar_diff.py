"""A container's files as a tar: what is applied again is what was there."""

import hashlib
import io
import os
import random
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import InvalidInput, Unavailable, Unsupported
from engine.storage.layer_index import IndexBuilder
from engine.storage.tar_apply import LayerWriter
from engine.storage.tar_diff import write_layer
from engine.storage.tar_read import TarReader
from engine.workers import Worker
from tests.engine.storage.test_upper import scramble
from tests.support.overlays import facts_of, mounted
from tests.support.small_disk import small_disk

pytestmark = pytest.mark.root

LIMIT = 1 << 30
EMPTY = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"  # as docker's


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    base = tmp_path / "lower"
    (base / "etc/old").mkdir(parents=True)
    (base / "etc/os").write_text("first")
    (base / "etc/old/x").write_text("old")
    return base


def change(lower: Path, tmp_path: Path, act: Callable[[Path], object]) -> Path:
    """The upper directory after `act` in the merged one."""
    with mounted([lower], tmp_path / "upper", tmp_path / "merged") as root:
        act(root)
    return tmp_path / "upper"


def layer_of(
    upper: Path, lower: Path, *, limit: int = LIMIT, latest_ns: int | None = None
) -> bytes:
    root = os.open(upper, os.O_RDONLY)
    target = os.memfd_create("layer")
    try:
        argument = target, limit, latest_ns, root, [os.fsencode(lower)], []
        digest, size, entries = write_layer(argument, lambda done: None)
        data = os.pread(target, size + 1, 0)
    finally:
        os.close(root)
        os.close(target)
    assert len(data) == size
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getmembers()) == entries
    return data


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def apply(data: bytes, target: Path) -> Path:
    target.mkdir()
    target.chmod(0o755)
    root = os.open(target, os.O_RDONLY)
    try:
        LayerWriter(root, IndexBuilder()).apply(TarReader(iter([data])))
    finally:
        os.close(root)
    return target


def assert_same(lower: Path, upper: Path, data: bytes, tmp_path: Path) -> None:
    """The layer shows what the upper directory shows, to the last attribute."""
    with mounted([upper, lower], None, tmp_path / "merged") as root:
        wanted = facts_of(root)
    with mounted([apply(data, tmp_path / "applied"), lower], None, tmp_path / "merged") as root:
        assert facts_of(root) == wanted


def of_every_kind(root: Path) -> None:
    (root / "etc/os").write_text("second")
    (root / "etc/old/x").unlink()
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep").chmod(0o2750)
    (root / "new/file").write_bytes(b"x" * 70_000)
    os.link(root / "new/file", root / "new/other name")
    (root / "new/way").symlink_to("../" + "long/" * 40)
    os.mkfifo(root / "new/pipe", 0o640)
    os.mknod(root / "new/null", 0o020666, os.makedev(1, 3))
    os.mknod(root / "new/disk", 0o060660, os.makedev(259, 70_000))
    (root / ("n" * 200)).mkdir()
    (root / ("n" * 200) / ("m" * 200)).write_text("long")
    os.makedirs(os.fsencode(root) + b"/not utf-8 \xff")
    os.chown(root / "new/file", 70_000, 2**31)
    (root / "new/file").chmod(0o4755)
    os.setxattr(root / "new/file", "user.note", b"\0=\n")
    os.setxattr(root / "new/deep", "trusted.mine", b"1")
    os.setxattr(
        root / "new/file",
        "security.capability",
        bytes.fromhex("0100000200040000000000000000000000000000"),
    )
    os.utime(root / "new/file", ns=(0, 1_700_000_000_123_456_789))
    os.utime(root / "new/way", ns=(0, 5), follow_symlinks=False)


def test_every_kind_of_file_comes_back(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, of_every_kind)
    assert_same(lower, upper, layer_of(upper, lower), tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_a_layer_shows_what_the_container_showed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lower = tmp_path / "lower"
    lower.mkdir()
    scramble(lower, chance, 25)
    upper = change(lower, tmp_path, lambda root: scramble(root, chance, 25))
    assert_same(lower, upper, layer_of(upper, lower), tmp_path)


def test_the_same_files_give_the_same_bytes(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, of_every_kind)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", upper, copy], check=True)  # in another order on the disk
    assert layer_of(upper, lower) == layer_of(copy, lower)


def test_nothing_written_is_the_empty_layer(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, lambda root: None)
    assert hashlib.sha256(layer_of(upper, lower)).hexdigest() == EMPTY


def test_removals_and_hidden_directories_have_their_markers(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        (root / "etc/os").unlink()
        shutil.rmtree(root / "etc/old")
        (root / "etc/old").mkdir()
        (root / "brand/new").mkdir(parents=True)

    data = layer_of(change(lower, tmp_path, act), lower)
    assert names(data) == [
        "brand", "etc", "brand/new", "etc/old", "etc/old/.wh..wh..opq", "etc/.wh.os",
    ]  # fmt: skip


def test_the_root_is_told_when_it_changed(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, lambda root: root.chmod(0o711))
    data = layer_of(upper, lower)
    assert names(data) == ["."]
    assert_same(lower, upper, data, tmp_path)


def test_sockets_stay_and_marks_of_overlayfs_too(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            directory = os.open(root, os.O_RDONLY)
            listener.bind(f"/proc/self/fd/{directory}/socket")
            os.close(directory)
        (root / "etc/os").chmod(0o600)

    upper = change(lower, tmp_path, act)
    assert "trusted.overlay.origin" in os.listxattr(upper / "etc/os")
    with tarfile.open(fileobj=io.BytesIO(layer_of(upper, lower))) as tar:
        assert {info.name: info.pax_headers.keys() - {"mtime"} for info in tar} == {
            "etc": set(), "etc/os": set()
        }  # fmt: skip


def test_an_attribute_of_overlayfs_that_the_container_sets_is_the_images(
    lower: Path, tmp_path: Path
) -> None:
    def act(root: Path) -> None:
        (root / "file").touch()
        os.setxattr(root / "file", "trusted.overlay.opaque", b"y")

    with tarfile.open(fileobj=io.BytesIO(layer_of(change(lower, tmp_path, act), lower))) as tar:
        headers = tar.getmember("file").pax_headers
    assert headers["SCHILY.xattr.trusted.overlay.opaque"] == "y"


def test_times_end_at_the_epoch_that_was_asked_for(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, lambda root: (root / "file").touch())
    with tarfile.open(fileobj=io.BytesIO(layer_of(upper, lower, latest_ns=10**9))) as tar:
        assert [info.mtime for info in tar] == [1]


def test_a_name_that_would_mean_a_removal_is_refused(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, lambda root: (root / ".wh.etc").touch())
    with pytest.raises(Unsupported, match=r"'\.wh\.etc'"):
        layer_of(upper, lower)


def test_more_than_a_layer_may_have_is_refused_before_it_is_read(
    lower: Path, tmp_path: Path
) -> None:
    def act(root: Path) -> None:
        with open(root / "sparse", "wb") as file:
            file.truncate(1 << 40)

    upper = change(lower, tmp_path, act)
    with pytest.raises(InvalidInput, match="'sparse'"):
        layer_of(upper, lower)


def test_symbolic_links_lead_nowhere(lower: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    upper = change(lower, tmp_path, lambda root: (root / "way").symlink_to(tmp_path / "outside"))
    assert names(layer_of(upper, lower)) == ["way"]


def test_a_full_disk_is_said(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, lambda root: (root / "big").write_bytes(bytes(3 << 20)))
    (tmp_path / "disk").mkdir()
    root = os.open(upper, os.O_RDONLY)
    try:
        with (
            small_disk(tmp_path / "disk", 1 << 20) as disk,
            open(f"{disk}/layer", "wb") as file,
            pytest.raises(Unavailable, match="no space left"),
        ):
            write_layer((file.fileno(), LIMIT, None, root, [os.fsencode(lower)], []), print)
    finally:
        os.close(root)


def test_all_that_the_layers_show_is_one_tree(lower: Path, tmp_path: Path) -> None:
    upper = change(lower, tmp_path, of_every_kind)
    (tmp_path / "place").mkdir()
    file = tmp_path / "tree.tar"
    with file.open("wb") as output:
        target = output.fileno()
        argument = [str(upper), str(lower)], str(tmp_path / "place"), target
        Worker("engine.storage.tar_diff:write_tree", argument, (target,)).run()
    assert os.listdir(tmp_path / "place") == []
    with mounted([upper, lower], None, tmp_path / "merged") as root:
        wanted = facts_of(root)
    found = facts_of(apply(file.read_bytes(), tmp_path / "applied"))
    assert found == wanted
