"""The networks pane: its screens, its keys, what moves in it."""

import pytest

from tests.support.console import console, matches_golden, shows
from tests.support.scene import Scene
from tests.support.scene_images import API, furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="networks", ref="bridge") as pilot:
        await matches_golden(pilot, f"networks-{size}")
        await pilot.press("w")
        await matches_golden(pilot, f"networks-ports-{size}")
        await pilot.press("m")
        await matches_golden(pilot, f"networks-map-{size}")


async def test_inspect_shows_all_that_is_known() -> None:
    async with console(furnished(), pane="networks", ref="backplane") as pilot:
        await pilot.press("d")
        await shows(pilot, '"Name": "backplane"')


async def test_a_network_without_members_says_so() -> None:
    async with console(furnished(), pane="networks", ref="none") as pilot:
        await shows(pilot, "No container is in it.")
        await pilot.press("w")
        await shows(pilot, "Nothing is published.")


async def test_a_host_without_containers_has_networks_all_the_same() -> None:
    async with console(Scene(()), pane="networks") as pilot:
        await shows(pilot, "4 Networks 3", "bridge", "10.90.0.0/24")
        await pilot.press("m")
        await shows(pilot, "No container is in a network.")


async def test_members_come_and_go() -> None:
    scene = furnished()
    async with console(scene, pane="networks", ref="backplane") as pilot:
        await shows(pilot, "job-1")
        scene.add_container("job-2", image=API, network="backplane")
        await shows(pilot, "job-2")
        scene.containers.kill("job-1")
        await shows(pilot, "job-1", gone=True)


async def test_rates_are_those_of_the_members() -> None:
    scene = furnished()
    async with console(scene, pane="networks", ref="bridge") as pilot:
        await shows(pilot, "1.3M")  # web-1 820K, api-1 310K and the others
        await shows(pilot, "820K", "300K")


async def test_a_filter_hides_rows() -> None:
    async with console(furnished(), pane="networks") as pilot:
        await pilot.press(*"/internal", "enter")
        await shows(pilot, "1 of 5", "backplane")


async def test_prune_takes_networks_without_members() -> None:
    scene = furnished()
    scene.networks.create("lonely")
    async with console(scene, pane="networks") as pilot:
        await shows(pilot, "lonely")
        await pilot.press("b")
        await shows(pilot, "Prune 1 network?", "keeps   ", "backplane")
        await pilot.press("y")
        await shows(pilot, "1 network pruned", "Networks 5")
