"""What takes the disk, and the way from there to what can go."""

import pytest

from engine.errors import Unavailable
from tests.support.console import console, matches_golden, screen, shows
from tests.support.scene import Scene
from tests.support.scene_images import furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size]) as pilot:
        await pilot.press("D")
        await matches_golden(pilot, f"disk-{size}")


async def test_each_type_shows_its_things() -> None:
    async with console(furnished()) as pilot:
        await pilot.press("D")
        await shows(pilot, "▌  Images", "mysql:8.4", "SHARED", "UNIQUE")
        await pilot.press("j")
        await shows(pilot, "▌  Containers", "api-1")
        await pilot.press("j")
        await shows(pilot, "▌  Volumes", "uploads")
        await pilot.press("j", "j")
        await shows(pilot, "▌  Leftovers", "Files that nothing leads to any more.")
        await pilot.press("j", "j", "j")
        await shows(pilot, "▌  Database", "The database, locks, links")
        assert "prunes" not in screen(pilot)


async def test_a_long_list_is_scrolled() -> None:
    async with console(furnished()) as pilot:
        await pilot.press("D", "j")
        await shows(pilot, "▌  Containers", "pgdn", "api-1")
        await pilot.press("pagedown", "pagedown", "pagedown")
        await shows(pilot, "pgup goes back", "worker-1")
        await pilot.press("pageup", "pageup", "pageup")
        await shows(pilot, "api-1")


async def test_a_prune_goes_on_from_there_and_comes_back() -> None:
    scene = furnished()
    scene.system.leftover_bytes = 9_000_000
    async with console(scene, (120, 36)) as pilot:
        await pilot.press("D")
        await shows(pilot, "Leftovers", "9.00M")
        await pilot.press("j", "j", "j", "j", "b")
        await shows(pilot, "Prune 1 file?", "trash/0badcafe", "9.00M")
        await pilot.press("y")
        await shows(pilot, "▌ Leftovers", "1 file pruned, 9.00M freed")
        await shows(pilot, "9.00M  ", gone=True)
        await pilot.press("k", "k", "k", "k", "b")
        await shows(pilot, "Prune 1 image?")
        await pilot.press("escape")
        await shows(pilot, "disk usage", "▌ Images")
        await pilot.press("escape")
        await shows(pilot, "disk usage", gone=True)


async def test_it_is_measured_again_on_demand() -> None:
    scene = furnished()
    async with console(scene) as pilot:
        await pilot.press("D")
        await shows(pilot, "mysql:8.4")
        scene.images.remove("mysql:8.4")
        await pilot.press("ctrl+r")
        await shows(pilot, "mysql:8.4", gone=True)


async def test_what_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def df() -> None:
        raise Unavailable("db.sqlite: disk I/O error", "pydock fsck")

    scene = Scene(())
    monkeypatch.setattr(scene.system, "df", df)
    async with console(scene) as pilot:
        await pilot.press("D")
        await shows(pilot, "disk usage", "db.sqlite: disk I/O error")
        await pilot.press("j", "b", "q", "escape")
        await shows(pilot, "disk usage", gone=True)


async def test_an_empty_host_has_no_things() -> None:
    async with console(Scene(())) as pilot:
        await pilot.press(":", *"disk-usage", "enter")
        await shows(pilot, "No images yet.", "all of it")
