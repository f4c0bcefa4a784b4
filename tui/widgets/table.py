"""A list of rows in columns: virtual, with a cursor that stays on its name, marks and an order."""

import time
from typing import Any, ClassVar

from textual.message import Message
from textual.strip import Strip

from engine.named_tuple import NamedTuple
from tui.actions import Action
from tui.format import ABSENT
from tui.widgets.canvas import EDGE, Canvas, Part, middle
from tui.widgets.drawn import Movable

LEAST_NAME = 16  # the name column is never narrower
SETTLE_SECONDS = 5.0  # an order by moving figures changes at most this often
QUIET_SECONDS = 2.0  # and never while somebody is typing

Cell = str | tuple[Part, ...]


class Column(NamedTuple):
    """A column. `width` 0 takes what is left: the name. The highest `rank` goes first when the room
    is short, then the one furthest right."""

    title: str
    width: int = 0
    rank: int = 0
    number: bool = False
    ink: str = "text"


class Row(NamedTuple):
    """A row: `key` is its identity, `cells` and `order` (what it is sorted by) go by column.

    A cell is a text (in its column's ink), or texts with inks. `order` None is last in any order.
    """

    key: str
    cells: tuple[Cell, ...]
    order: tuple[Any, ...] = ()
    glyph: Part = ("", "")
    depth: int = 0
    strong: bool = False
    aliases: tuple[str, ...] = ()  # what it is called besides
    group: str = ""  # rows of one group stay together, in the place of the first of them
    is_head: bool = False  # of its group, before the others whatever the order

    def words(self) -> list[str]:
        """Its cells as plain text and its other names, for filters."""
        cells = [c if isinstance(c, str) else "".join(text for text, _ in c) for c in self.cells]
        return [*cells, *self.aliases]


class Place(NamedTuple):
    """A column where it stands."""

    at: int  # its number
    column: Column
    x: int
    width: int


def fit(columns: tuple[Column, ...], width: int) -> list[Place]:
    """The columns that `width` cells have room for, and where they stand."""
    room = width - EDGE - 2
    keep = list(enumerate(columns))

    def needed() -> int:
        return sum(c.width or LEAST_NAME for _, c in keep) + 2 * (len(keep) - 1)

    while len(keep) > 1 and needed() > room:
        keep.remove(max(keep, key=lambda entry: (entry[1].rank, entry[0])))
    spare = room - sum(c.width for _, c in keep) - 2 * (len(keep) - 1)
    places, x = [], EDGE
    for at, column in keep:
        taken = column.width or max(1, spare)
        places.append(Place(at, column, x, taken))
        x += taken + 2
    return places


class ListTable(Movable):
    """Rows under their titles. `Chosen` is posted when the cursor comes to another key."""

    SCOPES = ("table", "move")
    ACTIONS: ClassVar[tuple[Action, ...]]

    class Chosen(Message):
        """The cursor stands on another row, or on none (`key` "")."""

        def __init__(self, table: "ListTable", key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "ListTable":
            return self.table

    def __init__(
        self,
        columns: tuple[Column, ...],
        *,
        sort: str = "",
        descending: bool = False,
        titles: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = columns
        self.titles = titles
        self.rows: list[Row] = []
        self.marks: set[str] = set()
        self.cursor = 0
        self.top = 0
        self.empty: tuple[tuple[Part, ...], ...] = ()  # what stands there instead of rows
        self.bare = False  # nothing but that: no titles
        self._key = ""
        self._sort = next((i for i, c in enumerate(columns) if c.title == sort), -1)
        self._descending = descending
        self._sorted_at = 0.0
        self._moved_at = 0.0
        self._cache: dict[tuple[Any, ...], Strip] = {}

    # -- rows

    def put(self, rows: list[Row]) -> None:
        """Show these. The cursor stays on its key; if that is gone, on its place. The order holds
        still while figures move, and while somebody is typing."""
        now = time.monotonic()
        quiet = now - self._moved_at >= QUIET_SECONDS
        known = {row.key: n for n, row in enumerate(self.rows)}
        same = len(rows) == len(known) and all(row.key in known for row in rows)
        first = not self._is_ordered
        if first and not self._moved_at:
            self._key = ""  # nobody chose a row yet: the first one, once there is an order
        if first or (quiet and (not same or now - self._sorted_at >= SETTLE_SECONDS)):
            self.rows = self._in_order(rows)
            self._sorted_at = now
            if first:
                self.top = 0  # where it was scrolled to for the order before says nothing
        else:
            last = len(known)
            self.rows = sorted(rows, key=lambda row: known.get(row.key, last))
            if not same:
                self.set_timer(QUIET_SECONDS, self._order_again)
        self.marks &= {row.key for row in self.rows}
        self._settle()

    def order_by(self, column: int, descending: bool) -> None:
        """Order by this column (by its number)."""
        self._sort, self._descending = column, descending
        self.rows = self._in_order(self.rows)
        self._sorted_at = time.monotonic()
        self._settle()

    @property
    def _is_ordered(self) -> bool:
        """Whether the figures to sort by have come."""
        if self._sort < 0:
            return bool(self.rows)
        return any(row.order and row.order[self._sort] is not None for row in self.rows)

    def _order_again(self) -> None:
        """New rows to their place, once nobody types."""
        if time.monotonic() - self._moved_at < QUIET_SECONDS:
            self.set_timer(QUIET_SECONDS, self._order_again)
        else:
            self.order_by(self._sort, self._descending)

    def _in_order(self, rows: list[Row]) -> list[Row]:
        sort = self._sort
        if sort < 0 or not all(len(row.order) > sort for row in rows):
            return _together(rows)
        present = [row for row in rows if row.order[sort] is not None]
        absent = [row for row in rows if row.order[sort] is None]
        present.sort(key=lambda row: row.order[sort], reverse=self._descending)
        return _together(present + absent)

    def _settle(self) -> None:
        """The cursor back to its key, the view to the cursor, the screen to both."""
        for n, row in enumerate(self.rows):
            if row.key == self._key:
                self.cursor = n
                break
        else:
            self.cursor = max(0, min(self.cursor, len(self.rows) - 1))
        self._cursor_moved()

    def _cursor_moved(self) -> None:
        key = self.rows[self.cursor].key if self.rows else ""
        room = self.size.height - self.titles
        if room > 0:  # else it has no place yet, and shows the cursor once it has
            self.top = max(min(self.top, self.cursor), self.cursor - room + 1)
            self.top = max(0, min(self.top, len(self.rows) - room))
        if key != self._key:
            self._key = key
            self.post_message(self.Chosen(self, key))
        self.redraw()

    # -- what a verb acts on

    @property
    def key(self) -> str:
        """The key under the cursor, "" when there is none."""
        return self._key

    def targets(self) -> list[str]:
        """The marked keys in their order, else the one under the cursor."""
        marked = [row.key for row in self.rows if row.key in self.marks]
        return marked or ([self._key] if self._key else [])

    def go(self, key: str) -> bool:
        """The cursor on this key; False when it is not there."""
        self._moved_at = self._moved_at or time.monotonic() - QUIET_SECONDS
        for n, row in enumerate(self.rows):
            if row.key == key:
                self.cursor = n
                self._cursor_moved()
                return True
        return False

    # -- keys

    def move(self, rows: int) -> None:
        self._moved_at = time.monotonic()
        self.cursor = max(0, min(len(self.rows) - 1, self.cursor + rows))
        self._cursor_moved()

    def mark(self) -> None:
        """Mark or unmark the row under the cursor, and go on to the next."""
        if self._key:
            self.marks ^= {self._key}
            self.post_message(self.Chosen(self, self._key))
            self.move(1)

    def sort_next(self) -> None:
        """Order by the next column that has an order: figures from the largest."""
        sortable = [p.at for p in self._places() if self._has_order(p.at)]
        if sortable:
            after = [n for n in sortable if n > self._sort]
            column = (after or sortable)[0]
            self.order_by(column, self.columns[column].number)

    def _has_order(self, column: int) -> bool:
        return any(len(r.order) > column and r.order[column] is not None for r in self.rows)

    def reverse(self) -> None:
        """The other way round."""
        if self._sort >= 0:
            self.order_by(self._sort, not self._descending)

    # -- drawing

    def _places(self) -> list[Place]:
        return fit(self.columns, self.size.width)

    def lines(self, width: int, height: int) -> list[Strip]:
        places = fit(self.columns, width)
        room = max(0, height - self.titles)
        if self.bare and not self.rows:
            return self._bare_lines(width, height)
        lines = [self._title_line(places, width)] if self.titles and height else []
        if not self.rows and self.empty:
            canvas = Canvas(width, room)
            for y, parts in enumerate(self.empty):
                canvas.spans(EDGE, y, parts, width - 1)
            return lines + canvas.strips(self.look)
        # A resize may have come since the cursor moved.
        self.top = max(0, min(self.top, self.cursor, len(self.rows) - room))
        if room and self.cursor >= self.top + room:
            self.top = self.cursor - room + 1
        thumb = range(0)
        if len(self.rows) > room > 1:
            long = max(1, room * room // len(self.rows))
            start = (room - long) * self.top // (len(self.rows) - room)
            thumb = range(start, start + long)
        focused = self.active
        if len(self._cache) > 4 * room + 64:
            self._cache.clear()
        for y in range(room):
            n = self.top + y
            row = self.rows[n] if n < len(self.rows) else None
            here = (2 if focused else 1) if n == self.cursor and row else 0
            marked = row is not None and row.key in self.marks
            cached = (row, here, marked, y in thumb, width, self.look.name)
            strip = self._cache.get(cached)
            if strip is None:
                strip = self._line(row, places, width, here, marked, y in thumb)
                self._cache[cached] = strip
            lines.append(strip)
        return lines

    def _bare_lines(self, width: int, height: int) -> list[Strip]:
        """What is said instead of a list, with room around it."""
        canvas = Canvas(width, height)
        x = EDGE if width < 100 else width // 2 - 36
        y = max(0, min(height - len(self.empty), (height - len(self.empty)) * 2 // 5))
        for n, parts in enumerate(self.empty):
            canvas.spans(x, y + n, parts, width - 1)
        return canvas.strips(self.look)

    def _title_line(self, places: list[Place], width: int) -> Strip:
        canvas = Canvas(width, 1)
        for at, column, x, taken in places:
            title, ink = column.title, "faint"
            if at == self._sort:
                title, ink = f"{title} {'↓' if self._descending else '↑'}", "text"
            if column.number:
                canvas.right(x + taken, 0, title, ink)
            else:
                canvas.put(x, 0, title, ink, x + taken + 2)
        return canvas.strip(0, self.look)

    def _line(
        self, row: Row | None, places: list[Place], width: int, here: int, marked: bool, thumb: bool
    ) -> Strip:
        canvas = Canvas(width, 1)
        if row is not None:
            for place in places:
                if place.at < len(row.cells):
                    self._cell(canvas, row, place, here, marked)
            if marked:
                canvas.put(1, 0, "✓", "accent")
            if here:
                canvas.put(0, 0, "▌" if here == 2 else "▏", "accent" if here == 2 else "dim")
            if here == 2:
                canvas.ground(0, 0, width, "selection")
        if thumb:
            canvas.put(width - 1, 0, "▐", "faint")
        return canvas.strip(0, self.look)

    def _cell(self, canvas: Canvas, row: Row, place: Place, here: int, marked: bool) -> None:
        column, x, end = place.column, place.x, place.x + place.width
        cell = row.cells[place.at]
        parts = ((cell, column.ink),) if isinstance(cell, str) else cell
        if len(parts) != 1:
            canvas.spans(x, 0, parts, end)
            return
        text, ink = parts[0]
        if text == ABSENT:
            ink = "faint"
        if column.number:
            canvas.right(end, 0, text, ink)
            return
        if not column.width:
            x += 2 * row.depth
            if row.glyph[0]:
                x = canvas.put(x, 0, *row.glyph) + 1
            if marked:
                ink = "accent"
            elif row.strong or here:
                ink = "strong"
            if here:
                ink += " bold"
        canvas.put(x, 0, middle(text, end - x), ink)


def _together(rows: list[Row]) -> list[Row]:
    """The same, with the rows of a group together and its head before them."""
    if not any(row.group for row in rows):
        return list(rows)
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        block = blocks.setdefault(row.group or row.key, [])
        block.insert(0, row) if row.is_head else block.append(row)
    return [row for block in blocks.values() for row in block]


ListTable.ACTIONS = (
    Action("table.mark", "mark", ListTable.mark, "verbs act on all marked rows"),
    Action("table.sort", "sort", ListTable.sort_next, "by the next column"),
    Action("table.reverse", "reverse", ListTable.reverse, "the order"),
)
