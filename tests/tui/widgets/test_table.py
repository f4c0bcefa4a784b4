"""The list: which columns survive, where the cursor stays, what is drawn again."""

import time

import pytest
from textual.geometry import Region

from tests.support.stage import Stage, text_of
from tui.widgets.table import Column, ListTable, Row, fit

COLUMNS = (
    Column("NAME"),
    Column("STATE", 8),
    Column("CPU%", 5, number=True),
    Column("IMAGE", 10, rank=2),
)


def rows(*figures: tuple[str, float | None]) -> list[Row]:
    return [
        Row(
            name, (name, "running", "–" if cpu is None else f"{cpu:.1f}", "alpine"), (name, "", cpu)
        )
        for name, cpu in figures
    ]


def table() -> ListTable:
    return ListTable(COLUMNS, sort="CPU%", descending=True)


def test_highest_rank_goes_first_when_the_room_is_short() -> None:
    assert [p.column.title for p in fit(COLUMNS, 60)] == ["NAME", "STATE", "CPU%", "IMAGE"]
    assert [p.column.title for p in fit(COLUMNS, 49)] == ["NAME", "STATE", "CPU%"]
    assert [p.column.title for p in fit(COLUMNS, 10)] == ["NAME"]


def test_name_column_takes_the_rest() -> None:
    places = fit(COLUMNS, 60)
    assert (places[0].x, places[0].width) == (3, 60 - 5 - 23 - 6)
    assert places[-1].x + places[-1].width == 58


async def test_titles_and_rows_stand_under_each_other() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(40, 4)):
        widget.put(rows(("web", 3.0), ("api", 20.5)))
        assert text_of(widget) == [
            "   NAME                STATE    CPU% ↓",
            "▌  api                 running    20.5",
            "   web                 running     3.0",
            "",
        ]


async def test_cursor_stays_on_its_name_when_the_order_changes() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(("web", 3.0), ("api", 20.5)))
        assert widget.key == "api"
        widget._sorted_at = widget._moved_at = time.monotonic() - 60
        widget.put(rows(("web", 30.0), ("api", 20.5)))
        assert [row.key for row in widget.rows] == ["web", "api"]
        assert (widget.key, widget.cursor) == ("api", 1)


async def test_order_holds_still_for_five_seconds_and_while_somebody_types() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(("web", 3.0), ("api", 20.5)))
        widget.put(rows(("web", 30.0), ("api", 20.5)))
        assert [row.key for row in widget.rows] == ["api", "web"]
        widget._sorted_at = time.monotonic() - 60
        widget.move(1)
        widget.put(rows(("web", 30.0), ("api", 20.5)))
        assert [row.key for row in widget.rows] == ["api", "web"]


async def test_absent_figures_are_last_in_any_order() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(("old", None), ("web", 3.0), ("api", 20.5)))
        assert [row.key for row in widget.rows] == ["api", "web", "old"]
        widget.reverse()
        assert [row.key for row in widget.rows] == ["web", "api", "old"]


async def test_cursor_takes_the_place_of_a_row_that_went() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(("a", 3.0), ("b", 2.0), ("c", 1.0)))
        widget.move(1)
        widget.put(rows(("a", 3.0), ("c", 1.0)))
        assert widget.key == "c"
        widget.put([])
        assert widget.key == ""
        assert widget.targets() == []


async def test_marks_are_what_a_verb_acts_on() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(("a", 3.0), ("b", 2.0), ("c", 1.0)))
        assert widget.targets() == ["a"]
        widget.mark()
        widget.move(1)
        widget.mark()
        assert widget.targets() == ["a", "c"]
        assert text_of(widget)[1].startswith(" ✓ a")
        widget.put(rows(("b", 2.0), ("c", 1.0)))
        assert widget.marks == {"c"}


async def test_the_first_order_begins_at_the_top() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 4)) as pilot:
        await pilot.pause()
        widget.put(rows(*((name, None) for name in "abcde")))
        widget.go("e")
        assert widget.top == 2
        widget.put(rows(("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 5.0), ("e", 4.0)))
        assert [line[3:5] for line in text_of(widget)[1:]] == ["d ", "e ", "c "]
        assert widget.key == "e"


async def test_only_changed_rows_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)) as pilot:
        widget.put(rows(("a", 3.0), ("b", 2.0), ("c", 1.0)))
        await pilot.pause()
        drawn: list[Region] = []
        monkeypatch.setattr(widget, "refresh", lambda *regions: drawn.extend(regions))
        widget.put(rows(("a", 3.0), ("b", 2.5), ("c", 1.0)))
        assert drawn == [Region(0, 2, 60, 1)]
        widget.put(rows(("a", 3.0), ("b", 2.5), ("c", 1.0)))
        assert len(drawn) == 1


async def test_a_long_list_scrolls_and_shows_a_thumb() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 6)):
        widget.put(rows(*((f"c{n:05}", float(10_000 - n)) for n in range(10_000))))
        widget.leap(1)
        lines = text_of(widget)
        assert lines[5].startswith("▌  c09999")
        assert lines[5].endswith("▐")
        widget.page(-1)
        assert widget.key == "c09995"
        widget.leap(-1)
        assert text_of(widget)[1].startswith("▌  c00000")


async def test_an_empty_list_says_why() -> None:
    widget = table()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.empty = ((("Filter hides 42.", "text"),),)
        widget.put([])
        assert text_of(widget)[1] == "   Filter hides 42."
