"""What reaches the terminal: the one gate between Textual's compositor and the tty.

Textual repaints whole dirty regions; here they become cells, are compared with what the terminal
shows, and only the difference is written: runs of cells, attributes only where they change,
absolute jumps over the rest. It is also where foreign strings lose their control characters, where
glyphs become ASCII, and where frames are left out while the terminal is slow: the event loop never
waits for it. On any mistake of its own it steps aside and Textual writes by itself.
"""

import functools
import operator
import unicodedata
from collections.abc import Iterator

from rich.cells import get_character_cell_size
from rich.console import RenderableType
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.strip import Strip
from textual.worker import WorkerFailed

from engine.named_tuple import NamedTuple
from tui.terminal import Terminal
from tui.theme import Theme

# One-cell twins: swapped cell by cell, so that both versions share one layout.
TWINS = dict(
    zip(
        "●○◐×▲‖✓▌▏▐▸▾↓↑→←▶…·–›“”─│┌┐└┘├┤┬┴┼╭╮╰╯━╸╌■▁▂▃▄▅▆▇█═≈◆−\ufffd",
        "+-~x!=*>||>v" + "v^><>" + "~.->" + '""' + "-|" + "+" * 13 + "=-.#_..::||#=~#-?",
        strict=True,
    )
)
TWINS |= {chr(0x2800 + dots): " .::|||##"[dots.bit_count()] for dots in range(256)}

MANY_PIECES = 400
LEAST_ERASED = 8  # blanks at a row's end that are worth an erase
GAP = 4  # more bytes than these are cheaper jumped over than written again
MOST_STEPS = 4  # more cells to the left than these are cheaper in one sequence than in backspaces
SYNC_START, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
SYNC_FROM = 512  # a short frame is one write; only a longer one can be seen half done
RETRY_SECONDS = 0.05
BOLD, FAINT, UNDER, REVERSE = 1, 2, 4, 8
_ON = {BOLD: "1", FAINT: "2", UNDER: "4", REVERSE: "7"}


class Pen(NamedTuple):
    """How a cell is drawn: SGR codes of ink and ground, attribute bits. A blank's ink is ""."""

    ink: str
    ground: str
    flags: int


Cell = tuple[str, Pen]


class Piece(NamedTuple):
    """Cells of a row that one pen draws. `after` is where the cursor then is, -1 when terminals may
    disagree: after a character that is not in every font one cell wide."""

    row: int
    column: int
    text: str
    after: int
    pen: Pen


class Output:
    """The screen as it should be and as the terminal shows it."""

    def __init__(self, terminal: Terminal, theme: Theme) -> None:
        self.terminal = terminal
        self.bytes_written = 0
        self.frames = 0
        self._size = (0, 0)
        self._wanted: list[list[Cell]] = []
        self._shown: list[list[Cell]] | None = None
        self._dirty: set[int] = set()
        self.use(theme)

    def use(self, theme: Theme) -> None:
        """Draw with this theme's ground from now on."""
        self._pens: dict[Style, Pen] = {}
        self._ground = _colour(theme.style("text"), False, self.terminal.colours)
        self._blank: Cell = (" ", Pen("", self._ground, 0))
        self.forget()

    def forget(self) -> None:
        """What the terminal shows is unknown: the next frame erases and paints all."""
        self._shown = None
        self._dirty = set(range(len(self._wanted)))

    def take(self, update: LayoutUpdate | ChopsUpdate, width: int, height: int) -> None:
        """Note what Textual wants on the screen."""
        if self._size != (width, height):
            self._size = (width, height)
            self._wanted = [[self._blank] * width for _ in range(height)]
            self.forget()
        for y, x, cells in self._pieces(update):
            if 0 <= y < height and x < width:
                row = self._wanted[y]
                cells = cells[: width - x]
                row[x : x + len(cells)] = cells
                self._dirty.add(y)

    def paint(self) -> str:
        """What makes the terminal show it; "" when it does."""
        out: list[str] = []
        width, height = self._size
        if self._shown is None:
            self.frames += 1
            if self.terminal.erase_fills or self._ground == "49":
                self._shown = [[self._blank] * width for _ in range(height)]
                out.append(f"\x1b[0;{self._ground}m\x1b[2J")
            else:
                unknown: Cell = ("", Pen("", "", 0))
                self._shown = [[unknown] * width for _ in range(height)]
                out.append(f"\x1b[0;{self._ground}m")
            self._pen = Pen("39", self._ground, 0)
        elif not self._dirty:
            return ""
        pieces: list[Piece] = []
        for y in sorted(self._dirty):
            if self._shown[y] != self._wanted[y]:
                pieces += self._changed(y, self._shown[y], self._wanted[y])
                self._shown[y] = self._wanted[y][:]
        self._dirty.clear()
        text, pen = self._encode(pieces)
        if len(pieces) < MANY_PIECES:
            for order in self._by_pen(pieces):
                other, other_pen = self._encode(order)
                if len(other) < len(text):
                    text, pen = other, other_pen
        self._pen = pen
        text = "".join(out) + text
        self.bytes_written += len(text.encode("utf-8", "replace"))
        self.frames += bool(text)
        return text

    def _changed(self, y: int, old: list[Cell], new: list[Cell]) -> list[Piece]:
        """The changed cells of a row as pieces of one pen each, with short gaps written over."""
        width = len(new)
        end = width  # from here on it is the ground alone
        while end and new[end - 1] == self._blank:
            end -= 1
        last = max(x for x in range(width) if old[x] != new[x])
        if last - end < LEAST_ERASED or not (self.terminal.erase_fills or self._ground == "49"):
            end = width
        pieces: list[Piece] = []
        x = 0
        while x < end:
            if old[x] == new[x]:
                x += 1
                continue
            while x and not new[x][0]:  # the second half of a wide cell
                x -= 1
            piece = _piece(y, x, end, old, new)
            pieces.append(piece)
            x += len(piece.text) if piece.after >= 0 else 1
            while x < width and not new[x][0]:
                x += 1
        if end < width:
            pieces.append(Piece(y, end, "\x1b[K", end, self._blank[1]))
        return pieces

    def _by_pen(self, pieces: list[Piece]) -> Iterator[list[Piece]]:
        """The same, all of one pen together: a change of ink costs up to 19 bytes, a jump 8. Within
        a pen row by row, and then column by column: a step to the same column of the next row is
        four bytes, and figures are right-aligned."""
        groups: dict[Pen, list[Piece]] = {}
        for piece in pieces:
            groups.setdefault(piece.pen, []).append(piece)
        now = self._pen
        order = sorted(groups, key=lambda pen: (pen != now, pen.ground != now.ground, pen))
        yield [piece for pen in order for piece in groups[pen]]
        for group in groups.values():
            group.sort(key=_END_THEN_ROW)
        yield [piece for pen in order for piece in groups[pen]]

    def _encode(self, pieces: list[Piece]) -> tuple[str, Pen]:
        """Bytes for these pieces in their order, and the pen that they leave."""
        out: list[str] = []
        now, row, column = self._pen, -1, -1
        width = self._size[0]
        for y, x, text, after, pen in pieces:
            if row != y or column != x:
                out.append(_move(row, column, y, x))
            now = _switch(now, pen, out)
            out.append(text)
            # Terminals disagree on where the cursor is behind the last column.
            row, column = y, after if after < width else -1
        return "".join(out), now

    def _pieces(self, update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, list[Cell]]]:
        """(row, column, cells) of everything that the update draws."""
        if isinstance(update, LayoutUpdate):
            for y, line in enumerate(update.strips, update.region.y):
                cells: list[Cell] = []
                for strip in line:
                    self._cells(strip, cells)
                yield y, update.region.x, cells
            return
        for y, first, last in update.spans:
            for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if chop is None or x > last or end <= first:
                    continue
                cells = []
                self._cells(chop, cells)
                if not (last > x >= first and end <= last):
                    cells = cells[: min(end, last) - x]
                yield y, x, cells

    def _cells(self, strip: Strip, cells: list[Cell]) -> None:
        ascii_only = self.terminal.ascii
        for text, style, control in strip:
            if control:
                continue
            pen = self._pen_of(style)
            blank: Cell = (" ", Pen("", pen.ground, 0))
            if not pen.ink:
                cells += [blank] * sum(get_character_cell_size(char) for char in text)
            elif text.isascii() and text.isprintable():
                visible = pen.flags & (UNDER | REVERSE)
                space = (" ", pen) if visible else blank
                cells += [space if char == " " else (char, pen) for char in text]
            else:
                for char in text:
                    shown, width = _clean(char, ascii_only)
                    if width == 0:
                        if shown and cells:  # a combining mark belongs to the cell before it
                            last, last_pen = cells[-1]
                            if last:
                                cells[-1] = (last + shown, last_pen)
                        continue
                    plain = shown == " " and not pen.flags & (UNDER | REVERSE)
                    cells.append(blank if plain else (shown, pen))
                    cells += [("?" if ascii_only else "", pen)] * (width - 1)

    def _pen_of(self, style: Style | None) -> Pen:
        """The pen of a style; a blank's where ink and ground are one colour."""
        if style is None:
            return Pen("39", "49", 0)
        pen = self._pens.get(style)
        if pen is None:
            flags = (
                (BOLD if style.bold else 0)
                | (FAINT if style.dim else 0)
                | (UNDER if style.underline else 0)
                | (REVERSE if style.reverse else 0)
            )
            ink = _colour(style, True, self.terminal.colours)
            ground = _colour(style, False, self.terminal.colours)
            if ink[1:] == ground[1:] != "9" and not flags & (UNDER | REVERSE):
                ink, flags = "", 0
            pen = self._pens[style] = Pen(ink, ground, flags)
        return pen


def _piece(y: int, start: int, end: int, old: list[Cell], new: list[Cell]) -> Piece:
    """The longest run from `start` on that one pen can draw and that is worth writing."""
    char, pen = new[start]
    if not _is_narrow(char):
        return Piece(y, start, char, -1, pen)
    chars, x = [char], start + 1
    while True:
        stop, cost = x, 0  # the next changed cell, and the bytes of those before it
        while stop < end and cost <= GAP and old[stop] == new[stop]:
            cost += len(new[stop][0].encode("utf-8", "replace"))
            stop += 1
        if stop >= end or cost > GAP:
            break
        joined: Pen | None = pen
        for char, cell_pen in new[x : stop + 1]:
            joined = _join(joined, cell_pen) if joined and char and _is_narrow(char) else None
        if joined is None:
            break
        pen = joined
        chars += [char for char, _ in new[x : stop + 1]]
        x = stop + 1
    return Piece(y, start, "".join(chars), x, pen)


def _join(pen: Pen, cell: Pen) -> Pen | None:
    """The pen with which a cell can be drawn after cells of `pen`; None when it takes another."""
    if cell == pen:
        return pen
    if cell.ground != pen.ground:
        return None
    if not cell.ink:
        return None if pen.flags & (UNDER | REVERSE) else pen
    return cell if not pen.ink and not cell.flags & (UNDER | REVERSE) else None


_END_THEN_ROW = operator.attrgetter("after", "row")


@functools.lru_cache(4096)
def _move(row: int, column: int, y: int, x: int) -> str:
    """The shortest way from (row, column) to (y, x); -1 is unknown."""
    ways = [f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H" if y else "\x1b[H"]
    if row >= 0:
        vertical = "" if y == row else _steps(y - row, "B") if y > row else _steps(row - y, "A")
        if x == 0:
            ways.append(f"{vertical}\r")
        else:
            ways.append(f"{vertical}\x1b[{x + 1}G")
        if column >= 0:
            right, left = x - column, column - x
            if right >= 0:
                ways.append(vertical + (_steps(right, "C") if right else ""))
            else:
                ways.append(vertical + ("\b" * left if left < MOST_STEPS else _steps(left, "D")))
    return min(ways, key=len)


def _steps(count: int, direction: str) -> str:
    return f"\x1b[{count}{direction}" if count > 1 else f"\x1b[{direction}"


def _switch(now: Pen, pen: Pen, out: list[str]) -> Pen:
    """Write what turns one pen into the other. A blank shows no ink: it keeps the pen."""
    if not pen.ink:
        pen = Pen(now.ink, pen.ground, now.flags & ~(UNDER | REVERSE))
    if pen == now:
        return now
    codes: list[str] = []
    gone, have = now.flags & ~pen.flags, now.flags
    if gone & (BOLD | FAINT):
        codes.append("22")
        have &= ~(BOLD | FAINT)
    if gone & UNDER:
        codes.append("24")
    if gone & REVERSE:
        codes.append("27")
    codes += [code for bit, code in _ON.items() if pen.flags & bit and not have & bit]
    if pen.ink != now.ink:
        codes.append(pen.ink)
    if pen.ground != now.ground:
        codes.append(pen.ground)
    out.append(f"\x1b[{';'.join(codes)}m")
    return pen


@functools.lru_cache(4096)
def _clean(char: str, ascii_only: bool) -> tuple[str, int]:
    """What may be sent for a character, and its width in cells.

    C0, C1, lone surrogates, and Unicode's format characters (bidi overrides, zero-width ones, tags)
    never reach the terminal: those that have a cell leave a replacement sign in it.
    """
    width = get_character_cell_size(char)
    if char.isascii() and char.isprintable():
        return char, 1
    if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"):
        return ("?" if ascii_only else "\ufffd", 1) if width else ("", 0)
    if ascii_only:
        return (TWINS.get(char, "?"), 1) if width == 1 else ("?" if width else "", width)
    return char, width


@functools.lru_cache(4096)
def _is_narrow(char: str) -> bool:
    """Whether every terminal draws it in one cell."""
    return char.isascii() or (
        len(char) == 1
        and char < "\U00010000"
        and unicodedata.east_asian_width(char) in "NaNAH"
        and not unicodedata.combining(char)
    )


def _colour(style: Style, foreground: bool, colours: int) -> str:
    colour = style.color if foreground else style.bgcolor
    base = 30 if foreground else 40
    if colour is None or colour.is_default:
        return str(base + 9)
    if colour.triplet is None:
        number = colour.number or 0
        if number < 8:
            return str(base + number)
        return str(base + 52 + number) if number < 16 else f"{base + 8};5;{number}"
    red, green, blue = colour.triplet
    if colours > 256:
        return f"{base + 8};2;{red};{green};{blue}"
    return f"{base + 8};5;{nearest(red, green, blue)}"


@functools.lru_cache(256)
def nearest(red: int, green: int, blue: int) -> int:
    """The colour of xterm's cube or grey ramp (16 … 255) that is closest."""
    steps = (0, 95, 135, 175, 215, 255)

    def distance(index: int) -> int:
        n = index - 16
        if index < 232:
            rgb = (steps[n // 36], steps[n // 6 % 6], steps[n % 6])
        else:
            rgb = (8 + 10 * (index - 232),) * 3
        return (rgb[0] - red) ** 2 + (rgb[1] - green) ** 2 + (rgb[2] - blue) ** 2

    return min(range(16, 256), key=distance)


class OutputApp(App[int]):
    """A Textual application whose frames go through an `Output`."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, look: Theme, terminal: Terminal, *, stock_output: bool = False) -> None:
        super().__init__(ansi_color=True)
        self.animation_level = "none"
        self.look = look
        self.terminal = terminal
        self.output = Output(terminal, look)
        self._stock_output = stock_output
        self._retrying = False

    @property
    def failure(self) -> BaseException | None:
        """What ended it, when that was a mistake."""
        error = self._exception
        return error.error if isinstance(error, WorkerFailed) else error

    def _handle_exception(self, error: Exception) -> None:
        # Textual's own prints a traceback with the values of all variables.
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def panic(self, *renderables: RenderableType) -> None:
        """The thread that reads keys has failed: the terminal is gone."""
        self.exit(129)

    def use_theme(self, look: Theme) -> None:
        """Everything in the colours of `look`."""
        self.look = look
        self.output.use(look)

    def repaint(self) -> None:
        """Erase the terminal and paint it again."""
        self.output.forget()
        self._write_frame()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        driver = self._driver
        if (
            self._stock_output
            or not isinstance(renderable, LayoutUpdate | ChopsUpdate)
            or not isinstance(driver, LinuxDriver)
        ):
            super()._display(screen, renderable)
            return
        if self._batch_count or not self._running or self._closed:
            return
        try:
            self.output.take(renderable, *self.size)
            self._write_frame()
        except Exception as error:
            # Better a costly screen than none: Textual goes on by itself.
            self.log.error("output layer failed", error)
            self._stock_output = True
            self.refresh(layout=True)

    def _write_frame(self) -> None:
        driver = self._driver
        if not isinstance(driver, LinuxDriver) or self._batch_count or self._stock_output:
            return
        writer = driver._writer_thread
        if writer is None:
            return
        if writer._queue.qsize():  # the terminal is slow: skip to a later state
            if not self._retrying:
                self._retrying = True
                self.set_timer(RETRY_SECONDS, self._retry)
            return
        text = self.output.paint()
        if text:
            if self._sync_available and len(text) >= SYNC_FROM:
                text = f"{SYNC_START}{text}{SYNC_END}"
            driver.write(text)
        self.post_display_hook()

    def _retry(self) -> None:
        self._retrying = False
        self._write_frame()
