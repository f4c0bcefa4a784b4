"""Log in and out of a registry, and search one."""

from engine.model.registry import SearchResult
from tests.support.console import console, matches_golden, shows
from tests.support.scene import Scene
from tests.support.scene_images import furnished

FOUND = [
    SearchResult("redis", "Redis is the world's fastest data platform", 13_400, True),
    SearchResult("bitnami/redis", "Bitnami Secure Image for redis", 353, False),
    SearchResult("acme/\x1b[31mredis", "nobody\x07 knows", 0, False),
]


def with_results() -> Scene:
    scene = furnished()
    scene.registries.results = FOUND  # type: ignore[attr-defined]
    return scene


async def test_a_login_is_asked_for_until_it_is_taken_and_the_password_is_not_shown() -> None:
    scene = furnished()
    async with console(scene) as pilot:
        await pilot.press("I", *"localhost:5000", "enter", *"amy", "enter", *"wrong")
        await matches_golden(pilot, "login-80x24")
        await pilot.press("enter")
        await shows(pilot, "× login failed: registry localhost:5000: incorrect user")
        await shows(pilot, "log in to a registry", "amy")
        await pilot.press(*"password of amy", "enter")
        await shows(pilot, "amy at localhost:5000 is logged in, kept in /root/.docker/config.json")
        assert scene.registries.user("localhost:5000") == "amy"


async def test_logout_says_what_it_left() -> None:
    scene = furnished()
    scene.registries.login("localhost:5000", user="amy", password="password of amy")
    async with console(scene) as pilot:
        await pilot.press(":", *"logout localhost:5000", "enter")
        await shows(pilot, "localhost:5000 is logged out")
        await pilot.press(":", *"logout localhost:5000", "enter")
        await shows(pilot, "localhost:5000 was not logged in")
        await pilot.press(":", *"logout nowhere/at/all", "enter")
        await shows(pilot, "× logout failed")


async def test_search_finds_a_repository_and_begins_a_pull() -> None:
    async with console(with_results(), (120, 36)) as pilot:
        await pilot.press("S", *"redis")
        await shows(pilot, "search for an image", "› redis", "enter asks")
        await pilot.press("enter")
        await shows(pilot, "3 repositories")
        await matches_golden(pilot, "search-120x36")
        await pilot.press("down", "enter")
        await shows(pilot, ": pull bitnami/redis")


async def test_search_says_when_nothing_is_called_so() -> None:
    async with console(with_results()) as pilot:
        await pilot.press("S", *"zebra", "enter")
        await shows(pilot, "Nothing is called zebra.")
        await pilot.press("escape")
        await shows(pilot, "search for an image", gone=True)
