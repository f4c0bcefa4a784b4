"""Which files of a tree a filter keeps."""

from engine.model.layer import FileTree
from tests.support.double_images import make_image
from tests.support.double_layers import DoubleLayerView
from tui.file_filter import matching

FILES = {"bin/sh": 10, "etc/passwd": 3, "etc/ssl/cert.pem": 5, "usr/bin/ssh": 20}


def tree(*layers: dict[str, int | None]) -> FileTree:
    """The tree of the last of these layers."""
    view = DoubleLayerView("", make_image(layers))
    return view.tree(len(layers) - 1, aggregated=False)


def paths(files: FileTree) -> dict[str, int]:
    return {files.path(node): files.size_bytes[node] for node in range(len(files))}


def test_files_are_kept_with_the_way_to_them() -> None:
    picked, above, found = matching(tree(FILES), "pass")
    assert paths(picked) == {"": 3, "etc": 3, "etc/passwd": 3}
    assert {picked.path(node) for node in above} == {"", "etc"}
    assert found == 1


def test_a_directory_that_matches_keeps_what_is_in_it_closed() -> None:
    picked, above, found = matching(tree(FILES), "ssl")
    assert paths(picked) == {"": 5, "etc": 5, "etc/ssl": 5, "etc/ssl/cert.pem": 5}
    assert {picked.path(node) for node in above} == {"", "etc"}
    assert found == 1


def test_a_slash_asks_for_the_path() -> None:
    picked, _, found = matching(tree(FILES), "bin/s")
    assert set(paths(picked)) == {"", "bin", "bin/sh", "usr", "usr/bin", "usr/bin/ssh"}
    assert found == 2


def test_a_tree_stays_well_formed() -> None:
    picked, _, _ = matching(tree(FILES), "s")
    for node in range(len(picked)):
        for child in picked.children(node):
            assert picked.parent[child] == node
            assert picked.depth[child] == picked.depth[node] + 1
    assert picked.end[0] == len(picked)


def test_what_is_gone_adds_nothing_to_its_directory() -> None:
    picked, _, _ = matching(tree(FILES, {"etc/passwd": None, "etc/group": 4}), "etc")
    assert paths(picked)["etc"] == 4


def test_nothing_found_leaves_the_root() -> None:
    picked, above, found = matching(tree(FILES), "zzz")
    assert paths(picked) == {"": 0}
    assert not above
    assert found == 0
