"""The images pane: its screens, its keys, its verbs, the pull."""

import threading

import pytest

from engine.errors import Unavailable
from tests.support.console import console, matches_golden, shows
from tests.support.scene import Scene
from tests.support.scene_images import API, M, furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}
REDIS = "redis:7.4"
REDIS_LAYERS = [{"usr/bin/redis": 40 * M}, {"etc/redis.conf": 2 * M}]


def names(scene: Scene) -> list[str]:
    """Every reference that is here."""
    return sorted(name for row in scene.images.list() for name in row.references)


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="images", ref=API) as pilot:
        await matches_golden(pilot, f"images-{size}")


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_detail_tabs_are_those_that_were_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="images", ref=API) as pilot:
        for tab in ("Layers", "History", "Config", "Used by"):
            pilot.app.pane.open_tab(tab)
            await matches_golden(pilot, f"images-{tab.lower().replace(' ', '-')}-{size}")
        await pilot.press("d")
        await shows(pilot, '"RepoTags"')


async def test_an_empty_host_says_what_to_do() -> None:
    async with console(Scene(()), pane="images") as pilot:
        await matches_golden(pilot, "images-empty-80x24")


async def test_enter_opens_the_layers() -> None:
    async with console(furnished(), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("enter")
        await shows(pilot, "3 Layers", f"{API}   326M in 6 layers", "files of layer 1")


async def test_secrets_are_masked_until_somebody_asks() -> None:
    async with console(furnished(), (120, 36), pane="images", ref=API) as pilot:
        await pilot.press("U")
        await shows(pilot, "unmask: only the Config tab hides something")
        pilot.app.pane.open_tab("Config")
        await shows(pilot, "NPM_TOKEN=••••••", "MODE=prod", "the \ufffd[5mshop")
        await pilot.press("U")
        await shows(pilot, "NPM_TOKEN=hunter2")


async def test_tag_asks_for_a_name() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await pilot.press("t", *"mine:1", "enter")
        await shows(pilot, "mysql:8.4 is now also mine:1")
        assert "mine:1" in names(scene)


async def test_a_name_that_is_none_is_refused() -> None:
    async with console(furnished(), pane="images", ref="mysql:8.4") as pilot:
        await pilot.press("t", *"NO:::", "enter")
        await shows(pilot, "× tag failed: ")


async def test_remove_names_what_goes_and_what_stays() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="shop/api:2.9") as pilot:
        await shows(pilot, "shop/api:2.9")
        await pilot.press("delete")
        await matches_golden(pilot, "images-remove-80x24")
        await pilot.press("enter")
        await shows(pilot, "Remove shop/api:2.9?", gone=True)
        assert "shop/api:2.9" in names(scene)
        await pilot.press("ctrl+d", "tab", "enter")
        await shows(pilot, "shop/api:2.9 removed, 0 freed", "Images 6")
        assert "shop/api:2.9" not in names(scene)


async def test_several_marked_images_are_removed_together() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("g", "space", "space", "ctrl+d")
        await shows(pilot, "Remove 2 images?", "at least 930M")
        await pilot.press("y")
        await shows(pilot, "2 images removed, 930M freed", "Images 5")


async def test_the_image_of_a_running_container_is_not_removed() -> None:
    async with console(furnished(), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("ctrl+d")
        await shows(pilot, f"remove: job-1 runs from {API}")


async def test_pull_is_a_job_that_survives_a_change_of_panes() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=0.03)
    async with console(scene, (200, 50), pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4", "^x cancels", "── jobs ──", "downloading")
        await pilot.press("1")
        await shows(pilot, "◐ pull ", "last 5 min", "^x cancels")
        await pilot.press("2")
        await shows(pilot, "redis:7.4 pulled in", "42.0M unpacked", "Images 8")
        await shows(pilot, "◐", gone=True)
        assert REDIS in names(scene)


async def test_a_pull_is_cancelled_by_a_key() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=5)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("ctrl+x")
        await shows(pilot, "pull redis:7.4 cancelled")
        assert not pilot.app.jobs.running
        assert REDIS not in names(scene)
        await pilot.press("ctrl+x")
        await shows(pilot, "cancel: nothing is at work")


async def test_the_console_answers_while_a_pull_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    scene = furnished()

    def pull(ref: str, **how: object) -> None:
        assert threading.current_thread() is not threading.main_thread()
        release.wait(10)
        raise Unavailable("registry: it hung", "try again")

    monkeypatch.setattr(scene.images, "pull", pull)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("question_mark")
        await shows(pilot, "keys in Images")
        await pilot.press("escape", "5")
        await shows(pilot, "uploads")
        assert pilot.app.jobs.running
        release.set()
        await shows(pilot, "× pull redis:7.4 failed: registry: it hung")


async def test_quitting_ends_a_pull() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=60)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        job = pilot.app.jobs.running[0]
        await pilot.press("q")
    assert job.cancel.cancelled


async def test_a_pull_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(ref: str, **how: object) -> None:
        raise Unavailable("registry localhost:5000: connection refused", "is it running?")

    scene = furnished()
    monkeypatch.setattr(scene.images, "pull", pull)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "× pull redis:7.4 failed: registry localhost:5000: connection")


async def test_the_same_pull_is_not_begun_twice() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=5)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "redis:7.4 is being pulled already")
        assert len(pilot.app.jobs.running) == 1


async def test_a_filter_finds_every_name_of_an_image() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "warehouse/db:blue")
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "mysql:8.4 +1")
        await pilot.press(*"/warehouse", "enter")
        await shows(pilot, "1 of 7", "mysql:8.4 +1")
