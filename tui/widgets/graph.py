"""Graphs of the last minutes: LOOK, part 8."""

import math
from collections.abc import Callable, Iterable, Sequence

from tui import format
from tui.store import HISTORY_SECONDS, Meter
from tui.widgets.canvas import Canvas, Part

SCALE = 6  # cells that the scale takes at the left
WARN_FROM = 0.8


def columns(meters: Sequence[Meter], value: Callable[[Meter], float], cells: int) -> list[float]:
    """Two values a cell over five minutes, -1 where nothing was measured. It shifts by whole
    cells; only the newest one still changes."""
    count = 2 * cells
    if not meters or not cells:
        return [-1.0] * count
    cell = HISTORY_SECONDS / cells
    end = (math.floor(meters[-1].time_seconds / cell) + 1) * cell
    sums, counts = [0.0] * count, [0] * count
    for meter in meters:
        bucket = math.floor((meter.time_seconds - end) / cell * 2) + count
        if 0 <= bucket < count:
            sums[bucket] += value(meter)
            counts[bucket] += 1
    newest = max(n for n, number in enumerate(counts) if number)
    values, last = [], -1.0
    for n, number in enumerate(counts):
        last = sums[n] / number if number else last
        values.append(last if n <= newest else -1.0)
    return values


def draw_graph(
    canvas: Canvas,
    x: int,
    y: int,
    width: int,
    height: int,
    head: Iterable[Part],
    values: Sequence[float],
    top: float,
    unit: Callable[[float], str],
    *,
    limit: bool = False,
    level: bool = False,
    times: bool = False,
    braille: bool = True,
) -> int:
    """A title row, `height` rows of graph with its scale at the left, and the times below.

    `values` as `columns` gives them, `top` is what the highest row stands for. A flow is filled, a
    `level` is a line, below a dotted one where there is a `limit`. Rows above 80 % are in warn: by
    height, never by time. Returns the next row.
    """
    canvas.spans(x, y, head, x + width)
    left, room = x + SCALE, width - SCALE
    shares = [v / top if v >= 0 else -1.0 for v in values]
    if braille:
        rows = format.braille(shares, room, height, fill=not level)
    else:
        rows = format.blocks(shares, room, height)
    for i, row in enumerate(rows):
        line = y + 1 + i
        if limit and i == 0:
            canvas.put(left, line, "╌" * room, "line")
        ink = "warn" if (height - 1 - i) / height >= WARN_FROM else "info"
        for column, char in enumerate(row):
            if char not in "\u2800 ":
                canvas.put(left + column, line, char, ink)
    canvas.right(left - 1, y + 1, unit(top), "faint")
    if height >= 4:
        canvas.right(left - 1, y + 1 + height // 2, unit(top / 2), "faint")
    if height > 1:
        canvas.right(left - 1, y + height, "0", "faint")
    if times:
        canvas.put(left, y + 1 + height, "5 min ago", "faint")
        canvas.right(x + width, y + 1 + height, "now", "faint")
    return y + 1 + height + times
