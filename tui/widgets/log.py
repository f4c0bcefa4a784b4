"""A container's output: bounded, following unless somebody reads further up."""

import re
import time
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from textual.strip import Strip

from engine.model.container import LogLine
from tui import format
from tui.actions import Action
from tui.widgets.canvas import EDGE, Canvas, Part, tail, width_of
from tui.widgets.drawn import Movable

KEPT_LINES = 10_000
APPEND_SECONDS = 0.1
SIDE_STEP = 16
LEVELS = {
    "emerg": "err",
    "alert": "err",
    "fatal": "err",
    "panic": "err",
    "crit": "err",
    "critical": "err",
    "err": "err",
    "error": "err",
    "severe": "err",
    "warn": "warn",
    "warning": "warn",
    "notice": "info",
    "info": "info",
    "debug": "debug",
    "trace": "trace",
}
INKS = {"err": "bad", "warn": "warn"}
_WORDS = "|".join(sorted(LEVELS, key=len, reverse=True))
# At the start of the line it is cut off, as a column of its own; inside a field it stays.
_LEADING = re.compile(rf"\s*[\[<(]?({_WORDS})[\])>]?(?::|\s)\s*", re.IGNORECASE)
_FIELD = re.compile(rf"""(?:\blevel=|"level"\s*:\s*)"?({_WORDS})\b""", re.IGNORECASE)
_ANSI = re.compile(r"\x1b(?:\[[0-9;:?<=>!]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def parse(line: LogLine) -> tuple[str, str, str]:
    """Its time of day, its level ("" where none is told) and its text, without colours."""
    text = line.text.decode("utf-8", "replace")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text.rstrip("\r").expandtabs()
    if "\r" in text:  # a progress line: what stands there at last
        text = text.rpartition("\r")[2]
    seconds, nanoseconds = divmod(line.time_ns, 10**9)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    when = f"{clock}.{nanoseconds // 1_000_000:03d}"
    if match := _LEADING.match(text):
        return when, LEVELS[match[1].lower()], text[match.end() :]
    if match := _FIELD.search(text, 0, 400):
        return when, LEVELS[match[1].lower()], text
    return when, "", text


class LogView(Movable):
    """Lines in a ring; the last row says whether it follows and how many there are."""

    SCOPES = ("log", "move")
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.following = True
        self.ended = ""  # why no more will come
        self._ring: deque[LogLine] = deque(maxlen=KEPT_LINES)
        self._total = 0  # lines that ever came: a line's number stays when older ones are dropped
        self._first = 0  # number of the line in the top row, while not following
        self._left = 0
        self._cache: dict[tuple[int, int, int], Strip] = {}

    def clear(self) -> None:
        """Another container's output begins."""
        self._ring.clear()
        self._cache.clear()
        self._total = self._first = self._left = 0
        self.following, self.ended = True, ""
        self.redraw()

    def extend(self, lines: Iterable[LogLine]) -> None:
        """More output. An unfinished line is replaced when more of it comes."""
        for line in lines:
            if self._ring and self._ring[-1].partial and self._ring[-1].stream == line.stream:
                before = self._ring[-1]
                line = line._replace(time_ns=before.time_ns, text=before.text + line.text)
                self._ring[-1] = line
                self._cache.pop((self._total - 1, self.size.width, self._left), None)
                continue
            self._ring.append(line)
            self._total += 1
        self.redraw()

    def end(self, reason: str) -> None:
        """No more will come."""
        self.ended = reason
        self.redraw()

    # -- keys

    def move(self, rows: int) -> None:
        last = self._last_first()
        start = last if self.following else self._first
        self._first = max(self._total - len(self._ring), min(last, start + rows))
        self.following = self._first >= last and rows > 0
        self.redraw()

    def leap(self, direction: int) -> None:
        self.following = direction > 0
        self._first = self._total - len(self._ring) if direction < 0 else self._last_first()
        self.redraw()

    def sideways(self, direction: int) -> None:
        self._left = max(0, self._left + direction * SIDE_STEP)
        self._cache.clear()
        self.redraw()

    def follow(self) -> None:
        """Follow, or stay here."""
        self._first = self._last_first()
        self.following = not self.following
        self.redraw()

    def _last_first(self) -> int:
        return max(self._total - len(self._ring), self._total - max(1, self.size.height - 1))

    # -- drawing

    def lines(self, width: int, height: int) -> list[Strip]:
        if not height:
            return []
        dropped = self._total - len(self._ring)
        room = height - 1
        start = max(dropped, self._total - room)
        if not self.following:
            start = self._first = max(dropped, min(self._first, start))
        if len(self._cache) > 4 * room + 64:
            self._cache.clear()
        lines = []
        for number in range(start, min(start + room, self._total)):
            key = (number, width, self._left)
            strip = self._cache.get(key)
            if strip is None:
                strip = self._cache[key] = self._line(self._ring[number - dropped], width)
            lines.append(strip)
        blank = Canvas(width, 1).strip(0, self.look)
        lines += [blank] * (room - len(lines))
        canvas = Canvas(width, 1)
        canvas.spans(EDGE, 0, self._foot(start, room), width - 1)
        return [*lines, canvas.strip(0, self.look)]

    def _line(self, line: LogLine, width: int) -> Strip:
        canvas = Canvas(width, 1)
        when, level, text = parse(line)
        x = canvas.put(EDGE, 0, when, "faint")
        x = canvas.put(x + 2, 0, f"{level:<5}", INKS.get(level, "dim"))
        text = text[self._left :]
        room = width - 1 - x
        canvas.put(x, 0, tail(text, room) if width_of(text) > room else text)
        return canvas.strip(0, self.look)

    def _foot(self, start: int, room: int) -> list[Part]:
        if not self._total and self.ended:
            return [(self.ended, "dim")]
        if self.following:
            first: Part = ("following", "ok") if not self.ended else (self.ended, "dim")
        else:
            below = self._total - start - room
            first = (f"{format.count(max(0, below))} more below", "text")
        word = "line" if self._total == 1 else "lines"
        parts: list[Part] = [first, (f"   {format.count(self._total)} {word}", "dim")]
        if not self.following:
            parts += [("   F", "text bold"), (" follows", "dim")]
        return parts

    def forget(self) -> None:
        self._cache.clear()
        super().forget()


LogView.ACTIONS = (Action("log.follow", "follow", LogView.follow, "new lines, or stay here"),)
