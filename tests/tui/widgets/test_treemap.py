"""Tiles fill the area, each as large as its part; a directory is drawn with names and sizes."""

import random

import pytest

from tests.support.double_images import make_image
from tests.support.double_layers import DoubleLayerView
from tests.support.stage import Stage, text_of
from tui.widgets.tree import find
from tui.widgets.treemap import TreeMap, squarify

M = 1_000_000
FILES = {"app/big/file": 60 * M, "app/mid": 30 * M, "etc/conf": 10 * M, "empty": 0} | {
    f"many/{n:02}": (40 - n) * M for n in range(30)
}


def shown(node: str) -> TreeMap:
    view = DoubleLayerView("", make_image([FILES]))
    files = view.tree(0, aggregated=False)
    tree_map = TreeMap()
    tree_map.show(files, find(files, node))
    return tree_map


@pytest.mark.parametrize("seed", range(5))
def test_tiles_fill_the_area_by_their_sizes(seed: int) -> None:
    dice = random.Random(seed)
    sizes = sorted((dice.uniform(1, 100) for _ in range(12)), reverse=True)
    tiles = squarify(sizes, 80, 20)
    assert [tile.number for tile in tiles] == list(range(12))
    for tile, size in zip(tiles, sizes, strict=True):
        assert tile.width * tile.height == pytest.approx(1600 * size / sum(sizes))
        assert 0 <= tile.x <= tile.x + tile.width <= 80 + 1e-6
        assert 0 <= tile.y <= tile.y + tile.height <= 20 + 1e-6
    for n, a in enumerate(tiles):
        for b in tiles[n + 1 :]:
            apart_x = a.x + a.width <= b.x + 1e-6 or b.x + b.width <= a.x + 1e-6
            apart_y = a.y + a.height <= b.y + 1e-6 or b.y + b.height <= a.y + 1e-6
            assert apart_x or apart_y


def test_one_file_takes_everything() -> None:
    assert squarify([3.0], 40, 10) == [(0, 0.0, 0.0, 40.0, 10.0)]


async def test_a_directory_is_drawn_with_what_is_in_it() -> None:
    tree_map = shown("app/mid")
    assert tree_map.heading() == ("/app/", "90.0M")
    async with Stage(tree_map).run_test(size=(60, 12)):
        text = "\n".join(text_of(tree_map))
    for word in ("big/", "60.0M", "mid", "30.0M", "╭", "┬", "╯"):
        assert word in text


async def test_what_is_small_is_counted_together() -> None:
    tree_map = shown("many/03")
    async with Stage(tree_map).run_test(size=(120, 24)):
        assert "21 more" in "\n".join(text_of(tree_map))


async def test_an_empty_directory_says_so() -> None:
    view = DoubleLayerView("", make_image([{"none": 0}]))
    tree_map = TreeMap()
    async with Stage(tree_map).run_test(size=(60, 12)):
        tree_map.show(view.tree(0, aggregated=False), 0)
        assert "Nothing in it takes room." in text_of(tree_map)[0]
