"""A pyte screen as SVG: rectangles and text, in whatever monospace font the reader has."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.support.picture import Colour, colours

WIDTH, HEIGHT, POINT, MARGIN = 8.4, 18, 14, 10


def save(cells: Sequence[Sequence[Any]], path: Path) -> None:
    """Write the picture. Each run of text is stretched to its cells, so columns stay columns."""
    edge = _hex(colours(cells[0][0])[1])
    width, height = len(cells[0]) * WIDTH + 2 * MARGIN, len(cells) * HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' font-family="monospace" font-size="{POINT}">',
        f'<rect width="100%" height="100%" fill="{edge}"/>',
    ]
    for row, line in enumerate(cells):
        lines += _grounds(line, MARGIN + row * HEIGHT, edge)
        lines += _texts(line, MARGIN + row * HEIGHT + POINT)
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", "utf-8")


def _grounds(line: Sequence[Any], top: int, edge: str) -> Iterator[str]:
    column = 0
    for ground, run in groupby(_hex(colours(cell)[1]) for cell in line):
        length = len(list(run))
        if ground != edge:
            yield (
                f'<rect x="{MARGIN + column * WIDTH:g}" y="{top}" width="{length * WIDTH:g}"'
                f' height="{HEIGHT}" fill="{ground}"/>'
            )
        column += length


def _texts(line: Sequence[Any], base: int) -> Iterator[str]:
    column = 0
    for (ink, bold, underlined), run in groupby(
        line, lambda cell: (_hex(colours(cell)[0]), cell.bold, cell.underscore)
    ):
        text = "".join(cell.data for cell in run)
        start = column + len(text) - len(text.lstrip())
        column += len(text)
        if shown := text.strip():
            weight = ' font-weight="bold"' if bold else ""
            line_below = ' text-decoration="underline"' if underlined else ""
            yield (
                f'<text x="{MARGIN + start * WIDTH:g}" y="{base}" fill="{ink}"{weight}{line_below}'
                f' textLength="{len(shown) * WIDTH:g}" lengthAdjust="spacingAndGlyphs"'
                f' xml:space="preserve">{escape(shown)}</text>'
            )


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
