"""The log: bounded, following, never fighting the reader."""

import time

import pytest

from engine.model.container import LogLine
from tests.support.stage import Stage, text_of
from tui.widgets.log import KEPT_LINES, LogView, parse

NOON_NS = 1_735_732_800 * 10**9  # 2025-01-01 12:00 UTC


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def line(text: str | bytes, number: int = 0, *, partial: bool = False) -> LogLine:
    data = text.encode() if isinstance(text, str) else text
    return LogLine(NOON_NS + number * 389_000_000, "stdout", data, partial)


@pytest.mark.parametrize(
    ("text", "level", "shown"),
    [
        ("ERROR upstream timeout", "err", "upstream timeout"),
        ("[warn] retry", "warn", "retry"),
        ("warning: low disk", "warn", "low disk"),
        ("INFO ready", "info", "ready"),
        ("errors are fine", "", "errors are fine"),
        ('{"level":"error","msg":"x"}', "err", '{"level":"error","msg":"x"}'),
        ("ts=1 level=debug msg=x", "debug", "ts=1 level=debug msg=x"),
        ("GET / 200", "", "GET / 200"),
        ("\x1b[31mred\x1b[0m", "", "red"),
        ("10%\r50%\r99%", "", "99%"),
    ],
)
def test_level_is_read_from_the_line(text: str, level: str, shown: str) -> None:
    assert parse(line(text)) == ("12:00:00.000", level, shown)


async def test_it_follows_and_says_so() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.extend(line(f"GET /{n}", n) for n in range(5))
        assert text_of(widget) == [
            "   12:00:00.778       GET /2",
            "   12:00:01.167       GET /3",
            "   12:00:01.556       GET /4",
            "   following   5 lines",
        ]


async def test_reading_further_up_is_not_disturbed_by_new_lines() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.extend(line(f"GET /{n}", n) for n in range(20))
        widget.move(-5)
        before = text_of(widget)[:3]
        widget.extend(line(f"GET /{n}", n) for n in range(20, 25))
        assert text_of(widget)[:3] == before
        assert text_of(widget)[3].startswith("   10 more below   25 lines")
        widget.leap(1)
        assert text_of(widget)[2].endswith("GET /24")


async def test_scrolling_to_the_end_follows_again() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.extend(line(f"GET /{n}", n) for n in range(20))
        widget.move(-1)
        assert not widget.following
        widget.move(1)
        assert widget.following


async def test_old_lines_are_dropped_and_the_count_goes_on() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.extend(line(f"{n}", n) for n in range(KEPT_LINES + 5))
        widget.leap(-1)
        assert text_of(widget)[0].endswith("       5")
        assert "10.0k lines" in text_of(widget)[3]


async def test_a_partial_line_grows_in_its_place() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.extend([line("50", partial=True)])
        assert text_of(widget)[0].endswith("       50")
        widget.extend([line(" of 100"), line("next")])
        assert [text[22:] for text in text_of(widget)[:2]] == ["50 of 100", "next"]


async def test_long_lines_are_cut_and_can_be_moved_sideways() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(40, 3)):
        widget.extend([line("0123456789" * 4)])
        assert text_of(widget)[0].endswith("0123456789012345…")
        widget.sideways(1)
        assert text_of(widget)[0][22:].startswith("6789")


async def test_hostile_output_is_text() -> None:
    widget = LogView()
    async with Stage(widget).run_test(size=(60, 3)):
        widget.extend([line(b"\x1b]0;owned\x07\x1b[2J[bold]\xff\x9b31m\xe2\x80\xae")])
        assert text_of(widget)[0].endswith("[bold]\ufffd\ufffd31m\ufffd")
