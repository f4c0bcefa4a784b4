"""The gate to the terminal: same picture as stock Textual's, fewer bytes, nothing hostile."""

import random
import re

import pyte
import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tests.support.terminal import Screen, same_picture
from tui import theme
from tui.output import Output, _move, nearest
from tui.terminal import Terminal
from tui.widgets.canvas import Canvas

NIGHT = theme.load("night", {})
INKS = ("text", "strong bold", "dim", "faint", "line", "accent", "bad bold", "accent reverse")
GLYPHS = "abc XYZ 0189 ●○▲━╸─│▌⣿⣀…× 中文ｗ🙂é "


def picture(update: LayoutUpdate, output: Output | None = None) -> tuple[Output, str]:
    output = output or Output(Terminal(), NIGHT)
    output.take(update, update.region.width, update.region.height)
    return output, output.paint()


def canvas_update(canvas: Canvas, look: theme.Theme = NIGHT) -> LayoutUpdate:
    strips = [[strip] for strip in canvas.strips(look)]
    return LayoutUpdate(strips, Region(0, 0, canvas.width, canvas.height))


def plain(*lines: str, width: int = 20) -> LayoutUpdate:
    canvas = Canvas(width, len(lines))
    for y, line in enumerate(lines):
        canvas.put(0, y, line)
    return canvas_update(canvas)


def scribble(canvas: Canvas, dice: random.Random) -> None:
    for _ in range(dice.randrange(1, 8)):
        x, y = dice.randrange(canvas.width), dice.randrange(canvas.height)
        text = "".join(dice.choices(GLYPHS, k=dice.randrange(1, 24)))
        canvas.put(x, y, text, dice.choice(INKS))
        if dice.random() < 0.3:
            row = dice.randrange(canvas.height)
            ground = dice.choice(("ground", "surface", "selection"))
            canvas.ground(dice.randrange(canvas.width), row, 20, ground)


@pytest.mark.parametrize("erase_fills", [True, False])
@pytest.mark.parametrize("name", ["night", "day-contrast", "ansi", "mono"])
def test_random_sessions_look_as_stock_textual_draws_them(name: str, erase_fills: bool) -> None:
    dice, look = random.Random(f"{name}{erase_fills}"), theme.load(name, {})
    console = Console(color_system="truecolor", force_terminal=True)
    output = Output(Terminal(erase_fills=erase_fills), look)
    ours, theirs = Screen(60, 12), Screen(60, 12)
    our_stream, their_stream = pyte.Stream(ours), pyte.Stream(theirs)
    canvas = Canvas(60, 12)
    for step in range(60):
        if dice.random() < 0.1:
            canvas = Canvas(60, 12)
        scribble(canvas, dice)
        whole = canvas_update(canvas, look)
        update: LayoutUpdate | ChopsUpdate = whole
        if step and dice.random() < 0.5:
            rows = [next(iter(strips)) for strips in whole.strips]
            cut = dice.randrange(2, 58)
            chops = [{0: row.crop(0, cut), cut: row.crop(cut, 60)} for row in rows]
            spans = [(y, 0, 60) for y in range(12)]
            update = ChopsUpdate(chops, spans, [[cut, 60]] * 12)
        output.take(update, 60, 12)
        our_stream.feed(output.paint())
        their_stream.feed(update.render_segments(console).replace("\n", "\r\n"))
        assert same_picture(ours, theirs) == []


def test_nothing_is_written_when_nothing_changed() -> None:
    output, first = picture(plain("web-1", "api-1"))
    assert first
    assert picture(plain("web-1", "api-1"), output)[1] == ""


def test_only_the_changed_cell_is_written() -> None:
    output, _ = picture(plain("cpu 22.4", "cpu 17.9"))
    assert picture(plain("cpu 22.4", "cpu 17.8"), output)[1] == "\x1b[2;8H8"


def test_figures_below_each_other_are_reached_by_steps() -> None:
    output, _ = picture(plain("cpu 22.4", "cpu 17.9", "cpu  3.1", "cpu  0.0"))
    text = picture(plain("cpu 22.5", "cpu 17.8", "cpu  3.1", "cpu  4.1"), output)[1]
    assert text == "\x1b[1;8H5\x1b[B\b8\x1b[4;6H4.1"


def test_a_gap_is_jumped_over_when_it_costs_more_bytes_than_the_jump() -> None:
    output, _ = picture(plain("a━━b", "a----b"))
    assert picture(plain("A━━B", "A----B"), output)[1] == "\x1b[HA\x1b[4GB\x1b[2HA----B"


def test_every_way_leads_to_its_place() -> None:
    screen = pyte.Screen(40, 12)
    stream = pyte.Stream(screen)
    dice = random.Random(3)
    row, column = 0, 0
    for _ in range(4000):
        y, x = dice.randrange(12), dice.randrange(40)
        known = dice.choice(((row, column), (row, column), (row, -1), (-1, -1)))
        way = _move(*known, y, x)
        assert len(way) <= len(_move(-1, -1, y, x))
        stream.feed(way)
        assert (screen.cursor.y, screen.cursor.x) == (y, x)
        row, column = y, x


def test_nothing_is_taken_for_known_behind_the_last_column() -> None:
    output, _ = picture(plain("a" * 20, "b" * 20))
    text = picture(plain("a" * 19 + "x", "b" * 19 + "y"), output)[1]
    assert text == "\x1b[1;20Hx\x1b[2;20Hy"


def test_a_blank_keeps_the_pen() -> None:
    canvas = Canvas(12, 1)
    canvas.spans(0, 0, [("a", "bad"), (" ", "faint"), ("b", "bad")])
    text = picture(canvas_update(canvas))[1]
    assert text.endswith("a b")


def test_bold_is_dropped_without_a_full_reset() -> None:
    canvas = Canvas(12, 1)
    canvas.spans(0, 0, [("a", "accent bold"), ("b", "accent")])
    text = picture(canvas_update(canvas))[1]
    assert text.endswith("a\x1b[22mb")
    assert text.count("\x1b[0;") == 1


def test_row_end_is_erased_not_overwritten() -> None:
    output, _ = picture(plain("a" * 60, width=80))
    assert picture(plain("a", width=80), output)[1] == "\x1b[1;2H\x1b[K"


def test_ink_of_the_ground_s_own_colour_is_not_written() -> None:
    canvas = Canvas(10, 1, "surface")
    canvas.box(0, 0, 10, 1, "edge")
    text = picture(canvas_update(canvas))[1]
    assert "─" not in text
    assert text.endswith(" " * 10)


def test_without_bce_a_tonal_ground_is_written_in_blanks() -> None:
    output = Output(Terminal(erase_fills=False), NIGHT)
    _, text = picture(plain("a", width=12), output)
    assert "\x1b[2J" not in text
    assert text.endswith("a" + " " * 11)


def test_forget_paints_all_again() -> None:
    output, first = picture(plain("web-1"))
    output.forget()
    assert output.paint() == first


HOSTILE = (
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "a\u202ebc\u2066d",
    "\u200b\ufeff\u2028\U000e0041",
    "\x00\x01\r\n\t\x7f\x85",
    "\udc80\udcff",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_never_reach_the_terminal(text: str) -> None:
    # As a widget would draw it, and as a widget that forgot to would.
    canvas = Canvas(30, 1)
    canvas.put(0, 0, text + "end")
    careless = LayoutUpdate([[Strip([Segment(text + "end", Style())])]], Region(0, 0, 30, 1))
    for update in (canvas_update(canvas), careless):
        written = picture(update)[1]
        written.encode("utf-8")
        shown = re.sub(r"\x1b\[[0-9;]*[mHGJK]", "", written)
        assert shown.isprintable()
        assert shown.endswith("end")


def test_ascii_twins_take_the_same_cells() -> None:
    output = Output(Terminal(ascii=True), theme.load("mono", {}))
    canvas = Canvas(30, 1)
    canvas.put(0, 0, "● ▌web…1 ━╸─ ⣿⣀ 中é")
    update = canvas_update(canvas, theme.load("mono", {}))
    written = picture(update, output)[1]
    assert written.isascii()
    assert written.endswith("+ >web~1 =-- #: ???")


def test_colours_are_reduced_where_the_terminal_has_256() -> None:
    output = Output(Terminal(colours=256), NIGHT)
    written = picture(plain("a"), output)[1]
    assert f"48;5;{nearest(0x11, 0x14, 0x1A)}" in written
    assert ";2;" not in written


def test_nearest_finds_the_colours_of_the_cube() -> None:
    assert nearest(255, 255, 255) == 231
    assert nearest(95, 135, 175) == 67
    assert nearest(8, 8, 8) == 232


def test_resize_starts_with_an_erased_screen() -> None:
    output, _ = picture(plain("web-1", width=20))
    assert "\x1b[2J" in picture(plain("web-1", width=30), output)[1]
