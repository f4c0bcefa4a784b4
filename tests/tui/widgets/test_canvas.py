"""Cells stay where they are meant to be, whatever the text."""

from tui.widgets.canvas import Canvas, middle, tail, width_of


def test_a_wide_character_takes_two_cells() -> None:
    canvas = Canvas(8, 1)
    assert canvas.put(0, 0, "中a") == 3
    assert canvas.text(0) == "中a     "


def test_a_wide_character_is_not_cut_in_half() -> None:
    canvas = Canvas(4, 1)
    canvas.put(0, 0, "中中中", end=3)
    assert canvas.text(0) == "中  "
    canvas.put(1, 0, "x")
    assert canvas.text(0) == " x  "


def test_what_has_no_glyph_is_seen_as_such() -> None:
    canvas = Canvas(8, 1)
    canvas.put(0, 0, "a\x1b\u202e\udc80b")
    assert canvas.text(0) == "a\ufffd\ufffd\ufffdb   "


def test_text_outside_is_cut() -> None:
    canvas = Canvas(4, 1)
    canvas.put(-2, 0, "abcdefgh")
    canvas.put(0, 5, "nowhere")
    assert canvas.text(0) == "cdef"


def test_lines_join_where_they_meet() -> None:
    canvas = Canvas(7, 4)
    canvas.rule(0)
    canvas.wall(3, 0, 4)
    canvas.rule(2, 3, 7)
    assert canvas.text(0) == "───┬───"
    assert canvas.text(2) == "   ├───"
    assert canvas.text(3) == "   │   "


def test_boxes_share_their_lines() -> None:
    canvas = Canvas(5, 3)
    canvas.box(0, 0, 3, 3)
    canvas.box(2, 0, 3, 3)
    assert [canvas.text(y) for y in range(3)] == ["╭─┬─╮", "│ │ │", "╰─┴─╯"]


def test_names_are_cut_in_the_middle_and_messages_at_the_end() -> None:
    assert width_of(middle("ghcr.io/acme/web:1.18.0-rc2", 17)) == 17
    assert middle("ghcr.io/acme/web:1.18.0-rc2", 17).endswith("rc2")
    assert middle("web", 17) == "web"
    assert tail("upstream timeout", 9) == "upstream…"
