"""The layers pane: its screens, its keys, which image it shows."""

import threading

import pytest

from engine.errors import Corrupt
from tests.support.console import console, matches_golden, shows
from tests.support.scene import Scene
from tests.support.scene_images import API, furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="layers", ref=API) as pilot:
        await matches_golden(pilot, f"layers-{size}")
        await pilot.press("j", "j", "tab", "E")
        await matches_golden(pilot, f"layers-files-{size}")
        await pilot.press("a")
        await matches_golden(pilot, f"layers-all-{size}")
        await pilot.press("w")
        await matches_golden(pilot, f"layers-waste-{size}")


async def test_the_newest_image_is_opened_when_none_was_asked_for() -> None:
    scene = furnished()
    async with console(scene, pane="layers") as pilot:
        await shows(pilot, "40.0M in 1 layer", "files of layer 1")


async def test_an_empty_host_says_what_to_do() -> None:
    async with console(Scene(()), pane="layers") as pilot:
        await matches_golden(pilot, "layers-empty-80x24")


async def test_an_image_that_is_not_there_is_said() -> None:
    async with console(furnished(), pane="layers", ref="nobody/here:1") as pilot:
        await shows(pilot, "nobody/here:1 cannot be opened: no such image")


async def test_a_damaged_image_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ref: str) -> None:
        raise Corrupt("index of layer 2 is damaged", "pull the image again")

    scene = furnished()
    monkeypatch.setattr(scene.layers, "open", broken)
    async with console(scene, pane="layers", ref=API) as pilot:
        await shows(pilot, "index of layer 2 is damaged")
        await pilot.press("e")
        await shows(pilot, "pull the image again")


async def test_tab_goes_to_the_files_and_back() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "▌   1", "▏   74.1M")
        await pilot.press("tab")
        await shows(pilot, "▏   1", "▌   74.1M")
        await pilot.press("tab")
        await shows(pilot, "▌   1", "▏   74.1M")


async def test_directories_open_and_close() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "▸ usr/")
        await pilot.press("tab", "j", "right", "right", "enter")
        await shows(pilot, "▾ usr/", "▾ bin/", "perl")
        await pilot.press("left")
        await shows(pilot, "perl", gone=True)
        await pilot.press("left", "left")
        await shows(pilot, "▸ usr/")


async def test_files_are_sorted_by_size_or_name() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "SIZE ↓")
        await pilot.press("tab", "o")
        await shows(pilot, "NAME ↑")


async def test_what_later_layers_do_with_a_file_stands_beside_it() -> None:
    async with console(furnished(), (120, 36), pane="layers", ref=API) as pilot:
        await shows(pilot, "files of layer 1")
        await pilot.press("j", "j", "tab", "E")
        await shows(pilot, "part-00.js", "again in 5")
        await pilot.press("tab", "k", "tab")
        await shows(pilot, "files of layer 2")
        await pilot.press("E")
        await shows(pilot, "files of layer 2", "removed in 6")
        await pilot.press("tab", "G")
        await shows(pilot, "files of layer 6", "from layer 2")


async def test_a_filter_finds_files_and_opens_the_way_to_them() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "files of layer 1")
        await pilot.press("j", "j", *"/part-0", "enter")
        await shows(pilot, "10 found", "part-02.js")
        await shows(pilot, "esbuild", gone=True)
        await pilot.press("escape")
        await shows(pilot, "found", gone=True)


async def test_a_row_of_waste_leads_to_its_file() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "files of layer 1")
        await pilot.press("w")
        await shows(pilot, "/usr/lib/gcc/12/cc1", "/app/node_modules/typescript/lib/**", "3 paths")
        await pilot.press("tab", "enter")
        await shows(pilot, "files of layer 2", "▌   74.0M")


async def test_names_with_control_characters_are_text() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, "files of layer 1")
        await pilot.press("j", "j", "j", "tab", "E")
        await shows(pilot, "a\ufffd[31mred.js")


async def test_another_image_is_chosen_from_a_list() -> None:
    async with console(furnished(), pane="layers", ref=API) as pilot:
        await shows(pilot, f"{API}   ")
        await pilot.press("i", *"mysql", "enter")
        await shows(pilot, "mysql:8.4   586M in 1 layer")


async def test_a_container_leads_to_the_layers_of_its_image() -> None:
    async with console(furnished(), ref="job-1") as pilot:
        await pilot.press("i")
        await shows(pilot, f"{API}   ", "3 Layers", "files of layer 1")


async def test_another_image_is_shown_when_this_one_goes() -> None:
    scene = furnished()
    async with console(scene, pane="layers", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4   586M")
        scene.images.remove("mysql:8.4")
        await shows(pilot, "40.0M in 1 layer")


async def test_the_console_answers_while_an_image_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    scene = furnished()
    opened = scene.layers.open

    def slow(ref: str) -> object:
        release.wait(10)
        return opened(ref)

    monkeypatch.setattr(scene.layers, "open", slow)
    async with console(scene, pane="layers", ref=API) as pilot:
        await pilot.press("question_mark")
        await shows(pilot, "keys in Layers")
        release.set()
        await pilot.press("escape")
        await shows(pilot, "files of layer 1")
