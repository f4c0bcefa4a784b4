"""Numbers and names as the screen shows them: LOOK, part 7. Exact values stand in the detail."""

from collections.abc import Sequence

from tui.widgets.canvas import Part

K, M, G, T = 1000, 1000**2, 1000**3, 1000**4
MI, GI = 1 << 20, 1 << 30
ABSENT = "–"
# Longest word first, so that "unhealthy" is not taken for "healthy".
STATES = {
    "running": ("●", "ok", "dim"),
    "healthy": ("●", "ok", "dim"),
    "starting": ("◐", "warn", "warn"),
    "paused": ("‖", "dim", "dim"),
    "created": ("○", "faint", "faint"),
    "exited": ("○", "faint", "faint"),
    "restarting": ("◐", "warn", "warn"),
    "removing": ("◐", "warn", "warn"),
    "dead": ("×", "bad", "bad"),
}


def size(count: float) -> str:
    """Three significant digits and one letter, powers of 1000: `1.21G 74.8M 412M 900K 88B 0`."""
    for unit, letter in ((T, "T"), (G, "G"), (M, "M"), (K, "K")):
        if count >= unit * 0.9995:
            value = count / unit
            if value < 9.995:
                return f"{value:.2f}{letter}"
            return f"{value:.1f}{letter}" if value < 99.95 else f"{value:.0f}{letter}"
    return f"{count:.0f}B" if count else "0"


def memory(count: float) -> str:
    """Powers of 1024, few digits, so that the column stays still: `412M 1.2G`."""
    if count >= 999.5 * MI:
        return f"{count / GI:.1f}G"
    return f"{count / MI:.0f}M" if count >= MI else f"{count / 1024:.0f}K" if count else "0"


def rate(count: float) -> str:
    """Bytes each second; the unit stands in the title: `820K 1.3M 0`."""
    if count < 0.5 * K:
        return "0" if count < 1 else "1K" if count >= 100 else "0"
    return f"{count / M:.1f}M" if count >= 0.9995 * M else f"{count / K:.0f}K"


def count(number: int) -> str:
    """`1,180`, from ten thousand on `38.1k`."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / K:.1f}k" if number < 999_950 else f"{number / M:.1f}m"


def age(seconds: float) -> str:
    """One unit: `8s 40s 4m 2h 3d`. From ten seconds on it moves by tens: forty rows that count
    each second are a third of what a busy screen writes."""
    if seconds < 60:
        whole = max(0, int(seconds))
        return f"{whole if whole < 10 else whole // 10 * 10}s"
    if seconds < 3600:
        return f"{int(seconds / 60)}m"
    return f"{int(seconds / 3600)}h" if seconds < 86400 else f"{int(seconds / 86400)}d"


def still_age(seconds: float) -> str:
    """The age of what does not live: below a minute it does not tick."""
    return "<1m" if seconds < 60 else age(seconds)


def span(seconds: float) -> str:
    """Two units, for details: `3d 4h`."""
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def state(word: str, exit_code: int = 0) -> tuple[str, str, str, str]:
    """Glyph, its ink, the word that tells most, and the word's ink."""
    if word in ("exited", "dead") and exit_code:
        return "×", "bad", f"exited {exit_code}", "bad"
    glyph, ink, word_ink = STATES.get(word, ("●", "dim", "dim"))
    return glyph, ink, f"{word} {exit_code}" if word == "exited" else word, word_ink


def bar(share: float, width: int, ink: str = "info", rest: str = "line") -> list[Part]:
    """A heavy line in half cells: with a light rest a part of a whole, without one it compares."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    if share > 0:
        halves = max(1, halves)
    whole, half = divmod(halves, 2)
    filled = "━" * whole + ("╸" if half else "")
    room = width - len(filled)
    return [(filled, ink), (("─" if rest else " ") * room, rest or ink)]


def braille(values: Sequence[float], width: int, height: int, *, fill: bool = True) -> list[str]:
    """Rows of a graph, top first: two samples a cell, four steps a row. Values are 0 … 1 of the
    height, below 0 is no sample. A flow is filled, a level (`fill` False) is a line."""
    dots = [[0] * width for _ in range(height)]
    before = -1
    for i, value in enumerate(values[-2 * width :]):
        if value < 0:
            before = -1
            continue
        tip = max(1, min(height * 4, round(value * height * 4)))
        low = 0 if fill else min(tip - 1, before if before >= 0 else tip)
        high = tip if fill else max(tip, before)
        before = tip
        for level in range(low, high):
            row, step = divmod(level, 4)
            bits = (0x80, 0x20, 0x10, 0x08) if i % 2 else (0x40, 0x04, 0x02, 0x01)
            dots[height - 1 - row][i // 2] |= bits[step]
    return ["".join(chr(0x2800 + bits) for bits in row) for row in dots]


def blocks(values: Sequence[float], width: int, height: int) -> list[str]:
    """The same in eighths of a block, one column a cell, where the font lacks braille."""
    pairs = list(values[-2 * width :])
    tips = [max(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
    rows = []
    for row in range(height - 1, -1, -1):
        line = ""
        for tip in tips:
            eighths = round(tip * height * 8) - row * 8 if tip >= 0 else 0
            if tip >= 0 and row == 0:
                eighths = max(1, eighths)
            line += " ▁▂▃▄▅▆▇█"[max(0, min(8, eighths))]
        rows.append(line.ljust(width))
    return rows


def scale(maximum: float, least: float = 1.0) -> float:
    """The next of 1 2 5 x 10^n that is not below `maximum`."""
    top = least
    while True:
        for step in (1, 2, 5):
            if top * step >= maximum:
                return top * step
        top *= 10
