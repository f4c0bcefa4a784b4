"""Removal that no tree defeats."""

import os
from pathlib import Path

from engine.storage.trash import discard, remove_tree
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
