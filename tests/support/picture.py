"""Pictures of a pyte screen, as terminals draw them: lines, blocks and dots to the cell's edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype")
WIDTH, HEIGHT, POINT, MARGIN = 12, 26, 20, 14
FACES = {False: "JetBrainsMono-Regular.ttf", True: "JetBrainsMono-Bold.ttf"}
NAMES = ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")
INK, GROUND = (0xD3, 0xD7, 0xCF), (0x16, 0x18, 0x1D)  # where the program asks for no colour
TANGO = ("2e3436", "e06c6c", "7fb75a", "c9a227", "5f87c7", "ad7fa8", "4fb3b8", "d3d7cf")
UP, RIGHT, DOWN, LEFT = 8, 4, 2, 1
LINES = {
    "─": RIGHT | LEFT,
    "│": UP | DOWN,
    "├": UP | RIGHT | DOWN,
    "┤": UP | DOWN | LEFT,
    "┬": RIGHT | DOWN | LEFT,
    "┴": UP | RIGHT | LEFT,
    "┼": UP | RIGHT | DOWN | LEFT,
    "╭": RIGHT | DOWN,
    "╮": DOWN | LEFT,
    "╰": UP | RIGHT,
    "╯": UP | LEFT,
}
DISCS = {"●": (8, True), "○": (8, False), "◐": (8, None)}
DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))

Colour = tuple[int, int, int]


class Painter:
    """Makes a PNG of cells as `Terminal.cells()` gives them."""

    def __init__(self) -> None:
        folder = FONTS / "jetbrains-mono"
        self._faces = {b: ImageFont.truetype(str(folder / n), POINT) for b, n in FACES.items()}
        self._spare = ImageFont.truetype(str(FONTS / "dejavu" / "DejaVuSansMono.ttf"), 19)

    def save(self, cells: Sequence[Sequence[Any]], path: Path) -> None:
        """Write the picture."""
        edge = colours(cells[0][0])[1]
        size = (len(cells[0]) * WIDTH + 2 * MARGIN, len(cells) * HEIGHT + 2 * MARGIN)
        image = Image.new("RGB", size, edge)
        draw = ImageDraw.Draw(image)
        for row, line in enumerate(cells):
            for column, cell in enumerate(line):
                ink, ground = colours(cell)
                x, y = MARGIN + column * WIDTH, MARGIN + row * HEIGHT
                if ground != edge:
                    draw.rectangle((x, y, x + WIDTH - 1, y + HEIGHT - 1), fill=ground)
                if cell.underscore:
                    draw.line((x, y + HEIGHT - 4, x + WIDTH - 1, y + HEIGHT - 4), fill=ink)
                if cell.data.strip():
                    self._glyph(draw, cell.data, x, y, ink, ground, cell.bold)
        image.save(path, optimize=True)

    def _glyph(
        self,
        draw: ImageDraw.ImageDraw,
        char: str,
        x: int,
        y: int,
        ink: Colour,
        ground: Colour,
        bold: bool,
    ) -> None:
        middle_x, middle_y, code = x + WIDTH // 2, y + HEIGHT // 2, ord(char[0])
        right, bottom = x + WIDTH - 1, y + HEIGHT - 1
        if char in LINES:
            boxes = {
                UP: (middle_x - 1, y, middle_x, middle_y),
                RIGHT: (middle_x - 1, middle_y - 1, right, middle_y),
                DOWN: (middle_x - 1, middle_y - 1, middle_x, bottom),
                LEFT: (x, middle_y - 1, middle_x, middle_y),
            }
            for bit, box in boxes.items():
                if LINES[char] & bit:
                    draw.rectangle(box, fill=ink)
        elif char in "━╸":
            stop = right if char == "━" else middle_x - 1
            draw.rectangle((x, middle_y - 2, stop, middle_y + 1), fill=ink)
        elif char == "╌":
            for start in (1, 7):
                draw.rectangle((x + start, middle_y - 1, x + start + 3, middle_y), fill=ink)
        elif 0x2581 <= code <= 0x2588:
            top = bottom + 1 - round(HEIGHT * (code - 0x2580) / 8)
            draw.rectangle((x, top, right, bottom), fill=ink)
        elif 0x2589 <= code <= 0x258F:
            stop = x + max(1, round(WIDTH * (0x2590 - code) / 8)) - 1
            draw.rectangle((x, y, stop, bottom), fill=ink)
        elif char == "▐":
            draw.rectangle((middle_x, y, right, bottom), fill=ink)
        elif 0x2800 <= code <= 0x28FF:
            for bit, (column, row) in enumerate(DOTS):
                if (code - 0x2800) >> bit & 1:
                    dot_x, dot_y = x + 3 + column * 6, y + 4 + row * 6
                    draw.ellipse((dot_x - 1, dot_y - 1, dot_x + 2, dot_y + 2), fill=ink)
        elif char in DISCS:
            radius, full = DISCS[char]
            disc = (middle_x - radius + 2, middle_y - radius + 3)
            box2 = (*disc, middle_x + radius - 2, middle_y + radius - 1)
            draw.ellipse(box2, fill=ink if full else ground, outline=ink, width=2)
            if full is None:
                draw.pieslice(box2, 90, 270, fill=ink)
        else:
            face = self._spare if char in "‖▲" else self._faces[bold]
            draw.text((x, y - 1), char, font=face, fill=ink)


def colours(cell: Any) -> tuple[Colour, Colour]:
    """Ink and ground of one cell, as they are seen; pyte's default is INK on GROUND."""
    ink, ground = _colour(cell.fg, INK), _colour(cell.bg, GROUND)
    return (ground, ink) if cell.reverse else (ink, ground)


def _rgb(value: str) -> Colour:
    return int(value[0:2], 16), int(value[2:4], 16), int(value[4:6], 16)


def _colour(value: str, default: Colour) -> Colour:
    if value == "default":
        return default
    if value in NAMES:
        return _rgb(TANGO[NAMES.index(value)])
    return _rgb(value)
