"""A grid of cells to draw on with inks, and the lines that join where they meet."""

import functools
import unicodedata
from collections.abc import Iterable
from itertools import groupby

from rich.cells import get_character_cell_size
from rich.segment import Segment
from textual.strip import Strip

from tui.theme import Theme

Part = tuple[str, str]  # text, ink
Parts = Iterable[Part]

EDGE = 3  # text starts in this column of a panel; the two last ones stay free
UP, RIGHT, DOWN, LEFT = 8, 4, 2, 1
_JOINTS = dict(
    zip(
        (0b0101, 0b1010, 0b0110, 0b0011, 0b1100, 0b1001, 0b1110, 0b1011, 0b0111, 0b1101, 0b1111),
        "─│╭╮╰╯├┤┬┴┼",
        strict=True,
    )
) | {0b0100: "─", 0b0001: "─", 0b1000: "│", 0b0010: "│"}


class Canvas:
    """`width` x `height` cells, each a character, an ink and a ground.

    Foreign text may hold anything: control characters and what has no width become `\\ufffd`, a
    wide character takes two cells, so a column is always where it was meant to be.
    """

    __slots__ = ("_grounds", "_inks", "_lines", "_text", "height", "width")

    def __init__(self, width: int, height: int, ground: str = "ground") -> None:
        self.width = width
        self.height = height
        self._text = [[" "] * width for _ in range(height)]
        self._inks = [["text"] * width for _ in range(height)]
        self._grounds = [[ground] * width for _ in range(height)]
        self._lines: dict[tuple[int, int], int] = {}

    def put(self, x: int, y: int, text: str, ink: str = "text", end: int | None = None) -> int:
        """Write `text` from column `x` on, cut before column `end`. Returns the next column."""
        end = self.width if end is None else min(end, self.width)
        if not 0 <= y < self.height:
            return x + width_of(text)
        cells = _cells(text)
        if x < 0:
            cells, x = cells[-x:], 0
        if x + len(cells) > end:
            cells = cells[: max(0, end - x)]
            if cells and get_character_cell_size(cells[-1] or " ") == 2:
                cells[-1] = " "  # only its first half fits
        last = x + len(cells)
        row = self._text[y]
        if cells:  # half of a wide character does not stay
            if x > 0 and not row[x]:
                row[x - 1] = " "
            if last < self.width and not row[last]:
                row[last] = " "
        row[x:last] = cells
        self._inks[y][x:last] = [ink] * len(cells)
        return last

    def right(self, end: int, y: int, text: str, ink: str = "text") -> None:
        """Write `text` so that it ends before column `end`."""
        self.put(end - width_of(text), y, text, ink)

    def spans(self, x: int, y: int, parts: Parts, end: int | None = None) -> int:
        """Write several texts, each in its ink. Returns the next column."""
        for text, ink in parts:
            x = self.put(x, y, text, ink, end)
        return x

    def ground(self, x: int, y: int, width: int, name: str) -> None:
        """Lay another ground under cells; what stands on them stays."""
        first, last = max(x, 0), min(x + width, self.width)
        self._grounds[y][first:last] = [name] * (last - first)

    def ink(self, x: int, y: int, width: int, ink: str) -> None:
        """Draw what is there in another ink."""
        first, last = max(x, 0), min(x + width, self.width)
        self._inks[y][first:last] = [ink] * (last - first)

    def rule(self, y: int, start: int = 0, stop: int | None = None, ink: str = "line") -> None:
        """A horizontal line; it joins the lines that it meets."""
        stop = self.width if stop is None else stop
        for x in range(start, stop):
            right = RIGHT if x < stop - 1 or x == self.width - 1 else 0
            self._join(x, y, right | (LEFT if x > start or x == 0 else 0), ink)

    def wall(self, x: int, start: int, stop: int, ink: str = "line") -> None:
        """A vertical line; it joins the lines that it meets."""
        for y in range(start, stop):
            self._join(x, y, (DOWN if y < stop - 1 else 0) | (UP if y > start else 0), ink)

    def box(self, x: int, y: int, width: int, height: int, ink: str = "line") -> None:
        """A frame; frames that touch share their line."""
        last, bottom = x + width - 1, y + height - 1
        for column in range(x, last + 1):
            bits = (RIGHT if column < last else 0) | (LEFT if column > x else 0)
            self._join(column, y, bits, ink)
            self._join(column, bottom, bits, ink)
        for row in range(y, bottom + 1):
            bits = (DOWN if row < bottom else 0) | (UP if row > y else 0)
            self._join(x, row, bits, ink)
            self._join(last, row, bits, ink)

    def _join(self, x: int, y: int, bits: int, ink: str) -> None:
        bits |= self._lines.get((x, y), 0)
        self._lines[x, y] = bits
        if bits:
            self.put(x, y, _JOINTS.get(bits, "─"), ink)

    def paste(self, x: int, y: int, other: "Canvas") -> None:
        """Put another canvas on this one; it must fit."""
        for row in range(other.height):
            self._text[y + row][x : x + other.width] = other._text[row]
            self._inks[y + row][x : x + other.width] = other._inks[row]
            self._grounds[y + row][x : x + other.width] = other._grounds[row]

    def window(self, x: int, y: int, other: "Canvas", left: int, width: int) -> None:
        """A part of the first row of another canvas, from its column `left` on."""
        last = min(x + width, self.width)
        cells = other._text[0][left : left + last - x]
        if cells and not cells[0]:
            cells[0] = " "  # the second half of a wide character
        self._text[y][x : x + len(cells)] = cells
        self._inks[y][x : x + len(cells)] = other._inks[0][left : left + len(cells)]

    def text(self, y: int) -> str:
        """A row as plain text."""
        return "".join(self._text[y])

    def strip(self, y: int, look: Theme) -> Strip:
        """A row as Textual takes it."""
        segments: list[Segment] = []
        x = 0
        text = self._text[y]
        for (ink, ground), run in groupby(zip(self._inks[y], self._grounds[y], strict=True)):
            last = x + sum(1 for _ in run)
            segments.append(Segment("".join(text[x:last]), look.style(ink, ground)))
            x = last
        return Strip(segments, self.width)

    def strips(self, look: Theme) -> list[Strip]:
        """All rows."""
        return [self.strip(y, look) for y in range(self.height)]


def _cells(text: str) -> list[str]:
    """One string a cell; the second one of a wide character is ""."""
    if text.isascii() and text.isprintable():
        return list(text)
    cells: list[str] = []
    for char in text:
        cells += _glyph(char)
    return cells


@functools.lru_cache(4096)
def _glyph(char: str) -> tuple[str, ...]:
    """The cells of one character: none for what only modifies another one."""
    if not char.isprintable():
        if unicodedata.category(char) == "Zs":
            return (" ",) * get_character_cell_size(char)
        return () if char == "\u200d" else ("\ufffd",)
    width = get_character_cell_size(char)
    return (char, "") if width == 2 else (char,) * width


def width_of(text: str) -> int:
    """Cells that `text` takes on a canvas."""
    if text.isascii():
        return len(text)
    return len(_cells(text))


def middle(text: str, width: int) -> str:
    """`text` cut in its middle: the end of a name is what differs."""
    if width_of(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    cells = [cell or "" for cell in _cells(text)]
    tail = max(1, (width - 1) // 2)
    head = cells[: width - 1 - tail]
    return "".join(head) + "…" + "".join(cells[-tail:])


def tail(text: str, width: int) -> str:
    """`text` cut at its end."""
    if width_of(text) <= width:
        return text
    return "".join(_cells(text)[: max(0, width - 1)]) + "…"[:width]
