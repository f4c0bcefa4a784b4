"""The containers pane: its screens, its keys, its verbs."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import Conflict
from tests.support.console import comes_true, console, matches_golden, screen, shows
from tests.support.scene import HOST, Scene
from tui.panes import container_detail, pane

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(Scene(), SIZES[size]) as pilot:
        await matches_golden(pilot, f"containers-{size}")


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_detail_tabs_are_those_that_were_agreed(size: str) -> None:
    async with console(Scene(), SIZES[size], ref="db-1") as pilot:
        for tab in ("Stats", "Env", "Mounts", "Net", "Procs"):
            pilot.app.pane.open_tab(tab)
            await matches_golden(pilot, f"containers-{tab.lower()}-{size}")


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_empty_host_says_what_to_do(size: str) -> None:
    async with console(Scene(()), SIZES[size]) as pilot:
        await matches_golden(pilot, f"containers-empty-{size}")


SHEETS = {
    "remove": ["ctrl+d"],
    "help": ["question_mark"],
    "palette": ["ctrl+p", "l", "o", "g"],
    "command": ["colon", "r", "e", "s", "t", "tab"],
    "filter": ["slash", "r", "u", "n", "space", "s", "h", "o", "p"],
    "marks": ["space", "space"],
}


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_sheets_are_those_that_were_agreed(size: str) -> None:
    async with console(Scene(), SIZES[size], ref="web-1") as pilot:
        for name, keys in SHEETS.items():
            await pilot.press(*keys)
            await matches_golden(pilot, f"containers-{name}-{size}")
            await pilot.press("escape")


@pytest.mark.parametrize(
    ("key", "ref", "state", "said"),
    [
        ("u", "old-job", "running", "old-job started in"),
        ("x", "web-1", "exited", "web-1 stopped in"),
        ("r", "old-job", "running", "old-job restarted in"),
        ("ctrl+k", "web-1", "exited", "web-1 killed in"),
        ("P", "web-1", "paused", "web-1 paused in"),
        ("P", "builder-7", "running", "builder-7 resumed in"),
    ],
)
async def test_a_key_does_its_verb_and_says_so(key: str, ref: str, state: str, said: str) -> None:
    scene = Scene()
    async with console(scene, ref=ref) as pilot:
        await pilot.press(key)
        await shows(pilot, said)
        assert scene.state(ref) == state


async def test_a_verb_acts_on_all_marked_rows() -> None:
    scene = Scene()
    async with console(scene, ref="db-1") as pilot:
        await pilot.press("space", "space", "x")
        await shows(pilot, "stopped in")
        stopped = [box.name for box in HOST if scene.state(box.name) != box.state]
        assert stopped == ["web-1", "db-1"]


async def test_a_verb_that_makes_no_sense_says_why() -> None:
    async with console(Scene(), ref="old-job") as pilot:
        await pilot.press("x")
        await shows(pilot, "stop: old-job is exited 0")


async def test_a_failure_is_one_line_and_e_shows_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(ref: str) -> None:
        raise Conflict("it ignores SIGTERM", "kill it: pydock kill web-1")

    scene = Scene()
    monkeypatch.setattr(scene.containers, "stop", stop)
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("x")
        await shows(pilot, "× web-1 did not stop: it ignores SIGTERM  e details")
        await pilot.press("e")
        await shows(pilot, "kill it: pydock kill web-1")
        await pilot.press("escape")
        await shows(pilot, "Conflict", gone=True)


async def test_the_console_answers_while_a_verb_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    scene = Scene()
    monkeypatch.setattr(scene.containers, "stop", lambda ref: release.wait(10))
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("x", "j", "slash", "r", "e", "d", "i", "s", "enter")
        await shows(pilot, "1 of 12")
        await shows(pilot, "stopped", gone=True)
        release.set()
        await shows(pilot, "web-1 stopped in")


async def test_remove_asks_first_and_cancel_has_the_focus() -> None:
    scene = Scene()
    async with console(scene, ref="db-1") as pilot:
        await pilot.press("delete")
        await shows(pilot, "Remove db-1?", "loses   what it wrote", "keeps   db-1_data")
        await pilot.press("enter")
        await shows(pilot, "Remove db-1?", gone=True)
        assert scene.state("db-1") == "running"
        await pilot.press("delete")
        await shows(pilot, "Remove db-1?")
        await pilot.press("tab", "enter")
        await shows(pilot, "db-1 removed in", "Containers 11")
        assert scene.state("db-1") == ""


async def test_a_key_in_a_sheet_does_not_reach_the_pane() -> None:
    scene = Scene()
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("question_mark")
        await shows(pilot, "keys in Containers")
        await pilot.press("x", "escape")
        await shows(pilot, "keys in Containers", gone=True)
        assert scene.state("web-1") == "running"


async def test_what_happens_elsewhere_shows() -> None:
    scene = Scene()
    async with console(scene, (120, 36)) as pilot:
        scene.end("web-1", 137)
        await shows(pilot, "exited 137")


async def test_log_lines_appear_as_they_come() -> None:
    scene = Scene()
    async with console(scene, ref="web-1") as pilot:
        scene.say("web-1", "FATAL the end is near", stream="stderr")
        await shows(pilot, "err  the end is near")
        await shows(pilot, "following   43 lines")


async def test_lines_of_the_one_before_do_not_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    due: list[Callable[[], None]] = []
    async with console(scene) as pilot:
        await shows(pilot, "following   42 lines")
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def keep(delay: float, callback: Callable[..., None], *values: Any) -> asyncio.TimerHandle:
            if delay == container_detail.APPEND_SECONDS:
                due.append(callback)
                delay = 3600
            return call_later(delay, callback, *values)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_later", keep)
            scene.say("db-1", "too late")
            await comes_true(pilot, lambda: due)
        await pilot.press("j")
        await shows(pilot, "── web-1", "following   42 lines")
        due[0]()
        assert "too late" not in screen(pilot)
        await shows(pilot, "following   42 lines")


async def test_figures_come_with_each_tick() -> None:
    scene = Scene()
    async with console(scene) as pilot:
        scene.tick(web_1=77.7)
        await shows(pilot, "77.7")


async def test_running_over_rows_opens_one_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    async with console(scene) as pilot:
        await shows(pilot, "following   42 lines")
        opened, logs = [], scene.containers.logs
        dwell_seconds = pane.DWELL_SECONDS
        monkeypatch.setattr(pane, "DWELL_SECONDS", 3600)  # nobody stays
        monkeypatch.setattr(
            scene.containers, "logs", lambda ref, **how: opened.append(ref) or logs(ref, **how)
        )
        await pilot.press("j", "j", "j")
        await shows(pilot, "▌  ● worker-1")
        assert not opened
        monkeypatch.setattr(pane, "DWELL_SECONDS", dwell_seconds)
        await pilot.press("j")
        await comes_true(pilot, lambda: opened)
        assert len(opened) == 1


async def test_secrets_are_masked_until_somebody_asks() -> None:
    async with console(Scene(), ref="web-1") as pilot:
        await pilot.press("right_square_bracket", "right_square_bracket")
        await shows(pilot, "DB_PASSWORD")
        await shows(pilot, "hunter2", gone=True)
        await pilot.press("U")
        await shows(pilot, "hunter2")


async def test_esc_goes_back_step_by_step() -> None:
    async with console(Scene(), ref="web-1") as pilot:
        await pilot.press("slash", "w", "e", "b", "enter", "space", "enter")
        await shows(pilot, "▏")  # the detail has the focus
        await pilot.press("escape")
        await shows(pilot, "▌")
        await pilot.press("escape")
        await shows(pilot, "1 of 12", gone=True)
        await pilot.press("escape")
        await shows(pilot, "marked", gone=True)


async def test_commit_makes_an_image_of_it() -> None:
    scene = Scene()
    async with console(scene) as pilot:
        await shows(pilot, "▌  ● db-1")
        await pilot.press("C", *"kept/db:1", "enter")
        await shows(pilot, "db-1 is now also the image kept/db:1", "Images 2")


async def test_prune_takes_those_that_do_not_run() -> None:
    scene = Scene()
    async with console(scene) as pilot:
        await pilot.press("b")
        await shows(pilot, "Prune 2 containers?", "migrate-1", "old-job", "what they wrote is lost")
        await pilot.press("y")
        await shows(pilot, "2 containers pruned, 0 freed", "Containers 10")
