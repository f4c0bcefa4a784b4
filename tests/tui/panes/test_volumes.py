"""The volumes pane: its screens and its keys."""

import threading

import pytest

from engine.errors import Unavailable
from tests.support.console import console, matches_golden, shows
from tests.support.scene import Scene
from tests.support.scene_images import furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="volumes", ref="uploads") as pilot:
        await matches_golden(pilot, f"volumes-{size}")


async def test_an_empty_host_says_what_to_do() -> None:
    async with console(Scene(()), pane="volumes") as pilot:
        await matches_golden(pilot, "volumes-empty-80x24")


async def test_measure_finds_the_size() -> None:
    async with console(furnished(), pane="volumes", ref="uploads") as pilot:
        await shows(pilot, "not measured")
        await pilot.press("s")
        await shows(pilot, "uploads holds 18.0M in 340 files", "18,000,000 bytes", "2m ago")


async def test_every_marked_volume_is_measured() -> None:
    async with console(furnished(), pane="volumes", ref="uploads") as pilot:
        await shows(pilot, "not measured")
        await pilot.press("g", "space", "space", "space", "s")
        await shows(pilot, "–", "18.0M", "old_data")
        await shows(pilot, "holds")


async def test_the_console_answers_while_a_volume_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def measure(name: str) -> None:
        release.wait(10)
        raise Unavailable(f"volume {name}: input/output error", "look at the disk")

    scene = furnished()
    monkeypatch.setattr(scene.volumes, "measure", measure)
    async with console(scene, pane="volumes", ref="uploads") as pilot:
        await pilot.press("s", "question_mark")
        await shows(pilot, "keys in Volumes")
        await pilot.press("escape")
        release.set()
        await shows(pilot, "× measure failed: volume uploads: input/output error")


async def test_users_stand_with_their_mounts() -> None:
    async with console(furnished(), pane="volumes", ref="db-1_data") as pilot:
        await pilot.press("]")
        await shows(pilot, "● db-1", "running", "/data")
        await pilot.press("d")
        await shows(pilot, '"Mountpoint"')


async def test_volumes_come_and_go() -> None:
    scene = furnished()
    async with console(scene, pane="volumes") as pilot:
        scene.volumes.create("fresh")
        await shows(pilot, "fresh", "5 Volumes 4")
        scene.volumes.remove("old_data")
        await shows(pilot, "5 Volumes 3")


async def test_prune_asks_which_and_names_them() -> None:
    scene = furnished()
    async with console(scene, pane="volumes", ref="uploads") as pilot:
        await shows(pilot, "uploads")
        await pilot.press("b")
        await shows(pilot, "Nothing to prune: no volumes without a name")
        await pilot.press("a")
        await matches_golden(pilot, "volumes-prune-all-80x24")
        await pilot.press("enter")
        await shows(pilot, "Prune 2 volumes?", gone=True)
        assert len(scene.volumes.list()) == 3
        await pilot.press("b", "a", "y", "enter", "ctrl+u", *"prun", "enter", "e", "enter")
        await shows(pilot, "2 volumes pruned", "Volumes 1")
        assert [row.name for row in scene.volumes.list()] == ["db-1_data"]


async def test_a_volume_without_a_name_goes_first() -> None:
    scene = furnished()
    scene.volumes.create()
    async with console(scene, pane="volumes", ref="uploads") as pilot:
        await shows(pilot, "uploads")
        await pilot.press("b")
        await shows(pilot, "Prune 1 volume?", "volumes without a name", "keeps   db-1_data")
        await pilot.press("y")
        await shows(pilot, "1 volume pruned", "Volumes 3")
