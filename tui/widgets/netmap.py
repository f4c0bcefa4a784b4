"""Who hangs on which network, and what leads there from outside: LOOK, part 8."""

from collections.abc import Sequence

from engine.named_tuple import NamedTuple
from tui.widgets.canvas import EDGE, Canvas, Part, middle

WIDE_FROM = 96
ADDRESS = 17  # cells from a container's name to its address
LEGEND_OTHERS: tuple[Part, ...] = (
    ("●", "dim"),
    (" other networks   ", "faint"),
    ("▸", "dim"),
    (" published port; grey: this host only", "faint"),
)


class MapRow(NamedTuple):
    """A container: its addresses by network, and what of it is published."""

    name: str
    glyph: Part
    addresses: dict[str, str]
    published: str = ""  # "0.0.0.0:8080 → 80"
    local: bool = False  # for this host only


def lanes_for(width: int) -> int:
    """How many networks a map of this width has lanes for."""
    step, ports = _steps(width)
    free = width - EDGE - ports - 5 - (step - 3 if width >= WIDE_FROM else 5) - ADDRESS - 16
    return max(1, 1 + free // step)


def _steps(width: int) -> tuple[int, int]:
    return (13, 22) if width >= WIDE_FROM else (6, 14)


def draw_map(
    canvas: Canvas, x: int, y: int, width: int, height: int, lanes: Sequence[str],
    rows: Sequence[MapRow],
) -> int:  # fmt: skip
    """Outside at the left, a lane for each network (the chosen one first), containers at the right:
    a knot where one hangs on a lane. Two rows for each where there is room. The next row."""
    wide = width >= WIDE_FROM
    step, ports = _steps(width)
    at = {lane: x + EDGE + ports + 5 + n * step for n, lane in enumerate(lanes)}
    names = x + EDGE + ports + 5 + (len(lanes) - 1) * step + (10 if wide else 5)
    pitch = 2 if height > 2 * len(rows) + 1 else 1
    room = max(1, (height - 1) // pitch)
    shown = rows if len(rows) <= room else rows[: room - 1]
    line_of = [y + pitch * (n + 1) for n in range(len(shown))]
    canvas.put(x + EDGE, y, "FROM OUTSIDE", "faint")
    canvas.put(names, y, "CONTAINER", "faint")
    canvas.put(names + ADDRESS, y, "ADDRESS", "faint")
    for n, lane in enumerate(lanes):
        label = middle(lane, step - 1) if wide else _short(lane, step - 1)
        canvas.put(at[lane] - (min(len(label) // 2, 5) if wide else 1), y, label, _ink(n, " bold"))
        on = [i for i, row in enumerate(shown) if lane in row.addresses]
        for line in range(y + 1, line_of[on[-1]] if on else y + 1):
            canvas.put(at[lane], line, "│", "accent" if n == 0 else "faint")
    for row, line in zip(shown, line_of, strict=True):
        knots = sorted(at[lane] for lane in row.addresses if lane in at)
        start = x + EDGE + ports + 3 if row.published else min(knots, default=names)
        for column in range(start, names - 1):
            if canvas.text(line)[column] == " ":  # a lane that only passes is not cut
                canvas.put(column, line, "─", "line")
        for n, lane in enumerate(lanes):
            if lane in row.addresses:
                canvas.put(at[lane], line, "●", _ink(n))
        if row.published:
            text = row.published if wide else _bare(row)
            ink = "dim" if row.local else "text"
            canvas.right(x + EDGE + ports + 1, line, middle(text, ports), ink)
            canvas.put(x + EDGE + ports + 2, line, "▸", "dim")
        ink = "text" if lanes and lanes[0] in row.addresses else "dim"
        after = canvas.put(names, line, f"{row.glyph[0]} ", row.glyph[1])
        canvas.put(after, line, middle(row.name, ADDRESS - 4), ink)
        address = next((row.addresses[lane] for lane in lanes if row.addresses.get(lane)), "")
        canvas.put(
            names + ADDRESS, line, address or "–", ink if address else "faint", x + width - 1
        )
    last = line_of[-1] + 1 if line_of else y + 1
    if len(shown) < len(rows):
        canvas.put(names, last, f"{len(rows) - len(shown)} more", "faint")
        last += 1
    return last


def _ink(lane: int, extra: str = "") -> str:
    return f"accent{extra}" if lane == 0 else "dim"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _bare(row: MapRow) -> str:
    """`:8080` instead of the address, where there is little room."""
    host = row.published.partition(" ")[0]
    port = host.rpartition(":")[2]
    return f"localhost:{port}" if row.local else f":{port}"
