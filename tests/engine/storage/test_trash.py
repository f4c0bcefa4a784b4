"""Removal that no tree defeats."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.storage.trash import discard, remove_all, remove_tree
from tests.support.store import open_store


def test_discarded_tree_waits_in_the_trash(tmp_path: Path) -> None:
    home = open_store(tmp_path).home
    (tmp_path / "tree/a").mkdir(parents=True)
    place = discard(home, str(tmp_path / "tree"))
    assert os.listdir(f"{home.root}/trash") == [os.path.basename(place)]
    assert os.path.isdir(f"{place}/a")
    remove_tree(place)
    assert os.listdir(f"{home.root}/trash") == []
    assert discard(home, str(tmp_path / "tree")) == ""


def test_removes_what_recursion_cannot(tmp_path: Path) -> None:
    """Deeper than the interpreter's stack and the limit of descriptors allow."""
    (tmp_path / "tree").mkdir()
    descriptor = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(1050):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("f", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "tree/link").symlink_to(tmp_path / "kept")
    remove_tree(str(tmp_path / "tree"))
    assert (tmp_path / "kept/file").exists()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(str(tmp_path / "link"))
    assert sorted(os.listdir(tmp_path)) == ["kept"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/tree/\xff\xfe")
    open(os.fsencode(tmp_path) + b"/tree/\xff\xfe/\xfd", "w").close()
    remove_tree(str(tmp_path / "tree"))
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def grow(path: Path) -> None:
    for name in ("a", "b", "below/c", "below/deep/d"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()


@pytest.mark.parametrize("step", ["open", "unlink", "rmdir"])
def test_what_another_has_just_removed_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A start and a sweep at one tree: each would leave the rest to the other."""
    grow(tmp_path / "tree")
    real = getattr(os, step)

    def removed_before(path: Any, *arguments: Any, **named: Any) -> Any:
        if step != "open":
            real(path, *arguments, **named)
        elif path == b"tree/below":
            shutil.rmtree(tmp_path / "tree/below")
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, step, removed_before)
    remove_tree(str(tmp_path / "tree"))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_what_a_dying_process_still_makes_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(tmp_path / "tree")
    rmdir, late = os.rmdir, ["x", "y"]

    def make_first(path: bytes, *, dir_fd: int) -> None:
        if late:
            name = late.pop()
            os.mkdir(path + b"/" + name.encode(), dir_fd=dir_fd)
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", make_first)
    remove_tree(str(tmp_path / "tree"))
    assert late == []
    assert os.listdir(tmp_path) == []


def test_where_nothing_is_nothing_is_to_be_removed(tmp_path: Path) -> None:
    """A thread empties the trash of a root that is erased meanwhile."""
    remove_tree(str(tmp_path / "absent"))
    remove_tree(str(tmp_path / "root/trash/absent"))


def test_of_many_the_others_go_where_one_is_gone_already(tmp_path: Path) -> None:
    grow(tmp_path / "tree")
    remove_all(str(tmp_path), ["absent", "tree"])
    assert os.listdir(tmp_path) == []


def test_a_tree_that_somebody_goes_on_filling_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(tmp_path / "tree")
    rmdir = os.rmdir

    def fill_first(path: bytes, *, dir_fd: int) -> None:
        os.close(os.open(path + b"/x", os.O_CREAT, dir_fd=dir_fd))
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", fill_first)
    with pytest.raises(OSError, match="not empty"):
        remove_tree(str(tmp_path / "tree"))


def test_every_directory_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what the removal of a layer costs is the kernel finding its way to directories."""
    for path in ("a/b/c", "a/d", "e"):
        (tmp_path / "tree" / path).mkdir(parents=True)
        (tmp_path / "tree" / path / "file").touch()
    opened: list[object] = []
    original = os.open

    def count(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return original(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", count)
    remove_all(str(tmp_path), ["tree", "absent"])
    assert sorted(map(str, opened[1:])) == sorted(
        map(str, (b"tree", b"tree/a", b"tree/a/b", b"tree/a/b/c", b"tree/a/d", b"tree/e"))
    )
    assert os.listdir(tmp_path) == []
