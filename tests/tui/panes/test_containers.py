"""The containers pane: its screens, its keys, its verbs."""

import pytest

from engine.errors import Conflict
from engine.model.container import LogLine
from tests.support.console import console, matches_golden, screen, settle
from tests.support.scene import Scene
from tui.app import ConsoleApp
from tui.panes import pane

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(Scene(), SIZES[size]) as pilot:
        matches_golden(f"containers-{size}", screen(pilot))


@pytest.mark.parametrize("size", ["80x24", "200x50"])
@pytest.mark.parametrize("tab", ["Stats", "Env", "Mounts", "Net", "Procs"])
async def test_detail_tab_is_the_one_that_was_agreed(tab: str, size: str) -> None:
    async with console(Scene(), SIZES[size], ref="db-1") as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        app.pane.open_tab(tab)
        await settle(pilot)
        matches_golden(f"containers-{tab.lower()}-{size}", screen(pilot))


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_empty_host_says_what_to_do(size: str) -> None:
    async with console(Scene(()), SIZES[size]) as pilot:
        matches_golden(f"containers-empty-{size}", screen(pilot))


@pytest.mark.parametrize("size", ["80x24", "200x50"])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("remove", ["ctrl+d"]),
        ("help", ["question_mark"]),
        ("palette", ["ctrl+p", "l", "o", "g"]),
        ("filter", ["slash", "r", "u", "n", "space", "s", "h", "o", "p"]),
        ("marks", ["space", "space"]),
        ("command", ["colon", "r", "e", "s", "tab"]),
    ],
)
async def test_sheet_is_the_one_that_was_agreed(name: str, keys: list[str], size: str) -> None:
    async with console(Scene(), SIZES[size], ref="web-1") as pilot:
        await pilot.press(*keys)
        await settle(pilot)
        matches_golden(f"containers-{name}-{size}", screen(pilot))


@pytest.mark.parametrize(
    ("key", "ref", "verb", "said"),
    [
        ("u", "old-job", "start", "old-job started in"),
        ("x", "web-1", "stop", "web-1 stopped in"),
        ("r", "web-1", "restart", "web-1 restarted in"),
        ("ctrl+k", "web-1", "kill", "web-1 killed in"),
        ("P", "web-1", "pause", "web-1 paused in"),
        ("P", "builder-7", "unpause", "builder-7 resumed in"),
    ],
)
async def test_a_key_does_its_verb_and_says_so(key: str, ref: str, verb: str, said: str) -> None:
    scene = Scene()
    async with console(scene, ref=ref) as pilot:
        await pilot.press(key)
        await settle(pilot)
        assert [call[:2] for call in scene.containers.calls] == [(verb, ref)]
        assert said in screen(pilot)


async def test_a_verb_acts_on_all_marked_rows() -> None:
    scene = Scene()
    async with console(scene, ref="db-1") as pilot:
        await pilot.press("space", "space", "x")
        await settle(pilot)
        assert {call[:2] for call in scene.containers.calls} == {
            ("stop", "db-1"),
            ("stop", "web-1"),
        }


async def test_a_verb_that_makes_no_sense_says_why() -> None:
    scene = Scene()
    async with console(scene, ref="old-job") as pilot:
        await pilot.press("x")
        await settle(pilot)
        assert scene.containers.calls == []
        assert "stop: old-job is exited 0" in screen(pilot)


async def test_a_failure_is_one_line_and_e_shows_all_of_it() -> None:
    scene = Scene()
    scene.containers.fails["stop"] = Conflict("it ignores SIGTERM", "kill it: pydock kill web-1")
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("x")
        await settle(pilot)
        assert "× web-1 did not stop: it ignores SIGTERM  e details" in screen(pilot)
        await pilot.press("e")
        await settle(pilot)
        assert "kill it: pydock kill web-1" in screen(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "Conflict" not in screen(pilot)


async def test_the_console_answers_while_a_verb_takes_its_time() -> None:
    scene = Scene()
    scene.containers.release.clear()
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("x", "j", "slash", "r", "e", "d", "i", "s", "enter")
        await settle(pilot)
        assert "1 of 12" in screen(pilot)
        assert "stopped" not in screen(pilot)
        scene.containers.release.set()
        await settle(pilot)
        assert "web-1 stopped in" in screen(pilot)


async def test_remove_asks_first_and_cancel_has_the_focus() -> None:
    scene = Scene()
    async with console(scene, ref="db-1") as pilot:
        await pilot.press("delete", "enter")
        await settle(pilot)
        assert scene.containers.calls == []
        await pilot.press("delete", "tab", "enter")
        await settle(pilot)
        assert scene.containers.calls == [("remove", "db-1", {"force": True, "volumes": True})]
        assert "db-1 removed in" in screen(pilot)
        assert "11" in screen(pilot).splitlines()[1]


async def test_a_key_in_a_sheet_does_not_reach_the_pane() -> None:
    scene = Scene()
    async with console(scene, ref="web-1") as pilot:
        await pilot.press("question_mark", "x", "u", "r", "escape")
        await settle(pilot)
        assert scene.containers.calls == []


async def test_what_happens_elsewhere_shows() -> None:
    scene = Scene()
    async with console(scene, (120, 36)) as pilot:
        rows = scene.containers.rows
        scene.containers.rows = [rows[0]._replace(state="exited", exit_code=137), *rows[1:]]
        scene.say("container", "die", "web-1")
        await settle(pilot)
        assert "exited 137" in screen(pilot)


async def test_log_lines_appear_as_they_come() -> None:
    scene = Scene()
    async with console(scene, ref="web-1") as pilot:
        tap = scene.containers.taps[-1]
        tap.put(LogLine(0, "stderr", b"FATAL the end is near"))
        await settle(pilot)
        assert "err  the end is near" in screen(pilot)
        assert "following   43 lines" in screen(pilot)


async def test_running_over_rows_opens_one_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pane, "DWELL_SECONDS", 0.3)
    scene = Scene()
    async with console(scene) as pilot:
        opened = len(scene.containers.taps)
        await pilot.press("j", "j", "j", "j")
        await pilot.pause(0.5)
        assert len(scene.containers.taps) == opened + 1


async def test_secrets_are_masked_until_somebody_asks() -> None:
    async with console(Scene(), ref="web-1") as pilot:
        await pilot.press("right_square_bracket", "right_square_bracket")
        await settle(pilot)
        assert "hunter2" not in screen(pilot)
        await pilot.press("U")
        await settle(pilot)
        assert "hunter2" in screen(pilot)


async def test_esc_goes_back_step_by_step() -> None:
    async with console(Scene(), ref="web-1") as pilot:
        await pilot.press("slash", "w", "e", "b", "enter", "space", "enter")
        await settle(pilot)
        assert "▏" in screen(pilot)  # the detail has the focus
        await pilot.press("escape")
        await settle(pilot)
        assert "▌" in screen(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "1 of 12" not in screen(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "marked" not in screen(pilot)
