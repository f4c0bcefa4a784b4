"""The life of a path, and what a layer has there."""

from pathlib import Path

import pytest

from engine.errors import NotFound, Unavailable
from engine.model.layer import ADDED, CHANGED, DIRECTORY, FILE, GONE, HARDLINK, SAME, SYMLINK
from engine.services.layers import LayerFiles
from tests.support.advice import write_image
from tests.support.stacks import view_of
from tests.support.tarball import directory, file, hardlink, symlink

BASE = directory(b"d") + file(b"d/a", b"one") + hardlink(b"d/b", b"d/a") + file(b"e/f", b"x")


def test_every_way_to_touch_a_file(tmp_path: Path) -> None:
    view = view_of(
        tmp_path,
        BASE,
        file(b"d/a", b"one", mtime=9),
        file(b"d/a", b"one", mode=0o600),
        file(b"d/a", b"three"),
        file(b"d/.wh.a"),
        file(b"other", b"1"),
        symlink(b"d/a", b"b"),
        file(b"d/.wh..wh..opq"),
    )
    steps = view.life("d/a")
    assert [(step.layer, step.change, step.content, step.kind) for step in steps] == [
        (0, ADDED, True, FILE),
        (1, SAME, False, FILE),
        (2, CHANGED, False, FILE),
        (3, CHANGED, True, FILE),
        (4, GONE, False, FILE),
        (6, ADDED, True, SYMLINK),
        (7, GONE, False, SYMLINK),
    ]
    assert [step.size_bytes for step in steps[:5]] == [3, 3, 3, 5, 5]
    assert steps[2].mode == 0o600
    assert steps[5].link == "b"
    view.close()


def test_a_directory_is_touched_by_its_own_entries(tmp_path: Path) -> None:
    view = view_of(tmp_path, BASE, file(b"d/n", b"1") + file(b"e/n", b"1"), directory(b"d", 0o700))
    assert [(step.layer, step.change) for step in view.life("d")] == [(0, ADDED), (2, CHANGED)]
    assert [(step.layer, step.kind) for step in view.life("/e/")] == [(0, DIRECTORY)]
    assert view.life("") != []
    assert view.life("d/none") == view.life("\udcff") == []
    view.close()


def test_a_hard_link_is_read_by_its_first_name(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.tar", [BASE, file(b"d/.wh.a") + hardlink(b"n", b"d/x")])
    view = LayerFiles(str(tmp_path / "cache")).open(path)
    assert view.life("d/b")[0].kind == HARDLINK
    assert view.read(0, "d/b") == view.read(0, "d/a") == b"one"
    for layer, name in ((1, "d/a"), (1, "n"), (1, "d/b"), (0, "d")):
        with pytest.raises(NotFound, match=f"layer {layer}: it has no file '{name}'"):
            view.read(layer, name)
    Path(path).unlink()
    with pytest.raises(Unavailable, match="cannot be read any more"):
        view.read(0, "d/a")
    view.close()
