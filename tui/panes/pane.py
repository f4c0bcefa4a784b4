"""The base of every pane: a list, a detail with tabs, and the lines between them.

A pane covers rows 2 … h-3 of the screen: its own first row is the rule under the tabs. It draws
all lines itself, on one canvas, so that they join; its widgets stand where `plan` puts them.

To make one: set the class variables, give `rows()` (the list, from the store), `body(tab)` (a
widget for a detail tab), `chosen()` (show the row under the cursor in the open tab: it is another
one, or the tab is) and `ACTIONS`. `extra(...)` may add panels below the list or the detail. Add the
class to `tui.app.PANES`, its keys to `tui.keymap.DEFAULT`. `tui.panes.containers` is the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import Layout, WidgetPlacement
from textual.timer import Timer
from textual.widget import Widget

from engine.named_tuple import NamedTuple
from tui import format
from tui.actions import Action
from tui.filters import compile_filter
from tui.widgets.canvas import EDGE, Canvas, Part, middle, width_of
from tui.widgets.drawn import Drawn, Movable, Sketch
from tui.widgets.prompt import Prompt
from tui.widgets.table import Column, ListTable, Row

if TYPE_CHECKING:
    from engine.engine import Engine
    from tui.app import ConsoleApp
    from tui.store import Store

SPLIT_FROM = 150  # columns from which on the detail stands beside the list
LIST_SHARE = 0.56
LEAST_ROWS = 3
DWELL_SECONDS = 0.15  # a cursor that runs over rows opens no stream on each of them


class Head(NamedTuple):
    """The head of a panel: one rule that carries a name, tabs and a note."""

    x: int
    y: int
    width: int
    name: str
    tabs: tuple[str, ...] = ()
    open: str = ""
    note: str = ""
    focus: bool = False


class Plan(NamedTuple):
    """Where everything of a pane stands, in the pane's own coordinates."""

    places: list[tuple[Widget, Region]]
    heads: list[Head]
    wall: int = 0  # column of the line between list and detail; 0: none
    detail: Region = Region()  # where a question may stand: over the detail, never over the list


class Placed(Layout):
    """A layout by numbers: the parent's `placing(size)` says where each child stands."""

    name = "placed"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> list[WidgetPlacement]:
        here = set(children)
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, widget)
            for widget, region in cast("Placing", parent).placing(size)
            if widget in here
        ]


class Placing(Widget):
    """A widget that places its children itself."""

    def placing(self, size: Size) -> Iterable[tuple[Widget, Region]]:
        """Children and their regions."""
        raise NotImplementedError

    @property
    def layout(self) -> Layout:
        return PLACED


PLACED = Placed()


class Pane(Sketch, Placing):
    """One of the console's panes. `console` is the application."""

    NUMBER: ClassVar[int]
    TITLE: ClassVar[str]
    SCOPE: ClassVar[str]  # of its actions
    KIND: ClassVar[str]  # which of the feed's kinds its rows come from
    COLUMNS: ClassVar[tuple[Column, ...]]
    SORT: ClassVar[str] = ""
    DESCENDING: ClassVar[bool] = False
    TABS: ClassVar[tuple[str, ...]]
    NOUN: ClassVar[tuple[str, str]]  # one, many
    SNUG: ClassVar[bool] = False  # above the detail, the list is not higher than it is long
    ACTIONS: ClassVar[tuple[Action, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.tab = self.TABS[0]
        self.list = ListTable(self.COLUMNS, sort=self.SORT, descending=self.DESCENDING)
        self.prompt = Prompt(
            "/",
            changed=self._filter_changed,
            done=self._filter_done,
            left=lambda: self._filter_done(""),
        )
        self.active_part: Drawn = self.list
        self.list.active = True
        self.filtering = False
        self._bodies: dict[str, Drawn] = {}
        self._dwell: Timer | None = None
        self._dwelt = ""  # the row that the detail shows
        self._hidden = 0
        self._wanted = ""
        self.stale = True

    # -- for subclasses

    def rows(self) -> list[Row]:
        """Every row of the list, from the store; the filter is applied later."""
        raise NotImplementedError

    def body(self, tab: str) -> Drawn:
        """A new widget for a detail tab; made when it is first opened, then kept."""
        raise NotImplementedError

    def chosen(self) -> None:
        """Show the row under the cursor in the open tab: it is another one, or it has changed."""

    def title_of(self, key: str) -> str:
        """How a row is called in heads, questions and messages."""
        return key

    def nothing(self) -> tuple[tuple[Part, ...], ...]:
        """What an empty pane says: why, and the next keys."""
        return (((f"No {self.NOUN[1]} yet.", "strong bold"),),)

    def list_rows(self, height: int) -> int:
        """Rows of the list where the detail stands below it (LOOK, part 1)."""
        if height >= 20:
            return min(7 + (height - 20) * 2 // 3, (height - 3) * 55 // 100)
        return max(1, (height - 3) * 2 // 5)

    def extra(self, plan: Plan, listing: Region, detail: Region) -> Plan:
        """Panels more, below the list or in the detail's foot; the plan as it is by default."""
        return plan

    def note(self) -> str:
        """What stands at the right end of the detail's head."""
        return ""

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        """The feed says that something of `kind` (KIND, stats, events, host …) is new."""
        if kind in (self.KIND, "ages"):
            self.stale = True
        if self.stale and self.is_open:
            self.update_rows()

    def found(self, ref: str) -> str:
        """The key of the row that a person calls `ref`, "" when there is none."""
        for row in self.list.rows:
            if ref in (row.key, self.title_of(row.key)) or row.key.startswith(ref):
                return row.key
        return ""

    # -- what subclasses use

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    @property
    def engine(self) -> Engine:
        return self.console.engine

    @property
    def store(self) -> Store:
        return self.console.store

    @property
    def shows_jobs(self) -> bool:
        """Whether it has a place of its own for the work that goes on."""
        return False

    @property
    def key(self) -> str:
        """The key of the row under the cursor, "" when there is none."""
        return self.list.key

    @property
    def is_open(self) -> bool:
        """Whether this is the pane on the screen."""
        return self.console.pane is self

    @property
    def ready(self) -> bool:
        """Whether it has its rows: keys that are typed before wait for that."""
        return self.is_mounted and getattr(self.store, self.KIND).known

    @property
    def settled(self) -> bool:
        """Whether the detail is that of the row under the cursor: its keys wait for that."""
        return self._dwelt == self.key

    def open_tab(self, tab: str) -> None:
        """Show this tab of the detail."""
        if tab != self.tab:
            entered = self.active_part is not self.list
            self.tab = tab
            self.replan()
            self._show_body()
            self.enter() if entered else self.leave()

    def enter(self) -> None:
        """Keys go to the detail, where there is something to move through."""
        body = self.current_body
        self._activate(body if isinstance(body, Movable) else self.list)

    def leave(self) -> bool:
        """Keys go to the list again; False when they did."""
        before = self.active_part
        self._activate(self.list)
        return before is not self.list

    def _activate(self, part: Drawn) -> None:
        if part is not self.active_part:
            self.active_part.activate(False)
            self.active_part = part
            part.activate(True)
            self.redraw()
            self.console.footer.redraw()

    @property
    def current_body(self) -> Drawn | None:
        """The widget of the open tab, once it is there."""
        return self._bodies.get(self.tab)

    def replan(self) -> None:
        """The rooms have changed: place and draw everything again."""
        self._drawn = None
        self.list.refresh(layout=True)  # a child's: only that makes Textual arrange anew

    # -- life

    def on_mount(self) -> None:
        self.mount(self.list, self.prompt)
        self._show_body()
        self.update_rows()

    def update_rows(self) -> None:
        """The store has changed: take the rows from it."""
        self.stale = False
        rows = self.rows()
        total = len(rows)
        text = self.prompt.line.text
        if text:
            matches = compile_filter(text)
            rows = [row for row in rows if matches(row.words())]
        self._hidden = total - len(rows)
        self.prompt.note = ((f"{len(rows)} of {total}   ", "dim"), ("esc clears", "dim"))
        if self.prompt.is_mounted:
            self.prompt.redraw()
        self.list.empty = ()
        if not rows and self._hidden:
            hides = f"Filter hides {self._hidden}."
            self.list.empty = (((hides, "text"), ("  esc", "text bold"), (" clears", "dim")),)
        elif not rows:
            self.list.empty = self.nothing()
        bare = not total and getattr(self.store, self.KIND).known
        if bare != self.list.bare or (self.SNUG and len(rows) != len(self.list.rows)):
            self.list.bare = bare
            self.replan()
        self.list.put(rows)
        if self._wanted and (key := self.found(self._wanted)):
            self._wanted = ""
            self.list.go(key)
        self.console.type_ahead()

    def seek(self, ref: str) -> None:
        """The cursor on the row called `ref`, as soon as there is one."""
        self._wanted = ref
        self.update_rows()

    def resume(self) -> None:
        """It is the pane on the screen again."""
        if self.stale and self.is_mounted:
            self.update_rows()
        self._say_marks()
        self.redraw()

    def amount(self) -> str:
        """What the tab row shows behind the title."""
        table = getattr(self.store, self.KIND)
        if not table.known:
            return ""
        if self._hidden:
            return f"{len(self.list.rows)} of {len(table.rows)}"
        return str(len(table.rows))

    def on_list_table_chosen(self, event: ListTable.Chosen) -> None:
        event.stop()
        self.redraw()
        self._say_marks()
        self.console.footer.redraw()
        if self._dwell is not None:
            self._dwell.stop()
        self._dwell = self.set_timer(DWELL_SECONDS, self._stay)

    def _stay(self) -> None:
        self._dwelt = self.key
        self.chosen()
        self.console.type_ahead()

    def _say_marks(self) -> None:
        marked = [self.title_of(key) for key in self.list.targets() if key in self.list.marks]
        self.console.flash.lasting = _marks(marked)
        self.console.flash.redraw()

    def _show_body(self) -> None:
        body = self._bodies.get(self.tab)
        if body is None:
            body = self._bodies[self.tab] = self.body(self.tab)
            self.mount(body)
            self.call_after_refresh(self.chosen)
        else:
            self.chosen()

    # -- filter

    def filter(self) -> None:
        """Open the filter line."""
        self.filtering = True
        self.prompt.activate(True)
        self.replan()

    def clear(self) -> bool:
        """Take back the filter, then the marks. False when there was nothing to take back."""
        if self.filtering:
            self.filtering = False
            self.prompt.activate(False)
            self.prompt.line.set("")
            self.replan()
            self.update_rows()
            self.console.tab_row.redraw()
        elif self.list.marks:
            self.list.marks.clear()
            self.list.post_message(ListTable.Chosen(self.list, self.key))
            self.list.redraw()
        else:
            return False
        return True

    def _filter_changed(self, text: str) -> None:
        self.update_rows()
        self.console.tab_row.redraw()
        self.redraw()

    def _filter_done(self, text: str) -> None:
        if not text:
            self.clear()

    # -- rooms and lines

    def plan(self, width: int, height: int) -> Plan:
        """Where everything stands, by LOOK's grid."""
        top = 2 if self.filtering else 1
        if self.list.bare:
            return Plan([(self.list, Region(0, 1, width, height - 1))], [])
        split = width >= SPLIT_FROM
        places: list[tuple[Widget, Region]] = []
        if split:
            wide = round(width * LIST_SHARE)
            listing = Region(0, top, wide, height - top)
            head = Head(wide + 1, 0, width - wide - 1, *self._head())
            detail = Region(wide + 1, 1, width - wide - 1, height - 1)
        else:
            wide = width
            rows = self.list_rows(height)
            if self.SNUG:
                rows = min(rows, max(LEAST_ROWS, len(self.list.rows)))
            high = max(2, min(rows + 2 - top, height - top - 3))
            listing = Region(0, top, width, high)
            head = Head(0, top + high, width, *self._head())
            detail = Region(0, head.y + 1, width, height - head.y - 1)
        if self.filtering:
            places.append((self.prompt, Region(0, 1, wide, 1)))
        places.append((self.list, listing))
        if self.current_body is not None:
            places.append((self.current_body, detail))
        plan = Plan(places, [head], wide if split else 0, detail)
        return self.extra(plan, listing, detail)

    def _head(self) -> tuple[str, tuple[str, ...], str, str, bool]:
        name = self.title_of(self.key) if self.key else ""
        focus = self.active_part is not self.list
        return name, self.TABS, self.tab, self.note(), focus

    def placing(self, size: Size) -> Iterable[tuple[Widget, Region]]:
        return self.plan(size.width, size.height).places

    def draw(self, canvas: Canvas) -> None:
        plan = self.plan(canvas.width, canvas.height)
        canvas.rule(0)
        if plan.wall:
            canvas.wall(plan.wall, 0, canvas.height)
        for head in plan.heads:
            draw_head(canvas, head)
        start, stop = self.console.tab_row.extent(canvas.width)
        canvas.put(start, 0, "━" * (stop - start), "accent")


def draw_head(canvas: Canvas, head: Head) -> None:
    """The head of a panel: `── name  Tab  Tab ──────── note ──`."""
    x, y, end = head.x, head.y, head.x + head.width
    canvas.rule(y, max(0, x - 1), end)
    at = x + EDGE - 1
    if head.name:
        room = end - at - 4 - width_of(head.note)
        name = f" {middle(head.name, max(8, room // 2 if head.tabs else room))} "
        at = canvas.put(at, y, name, "accent bold" if head.focus else "strong bold")
    if head.tabs:
        at = canvas.put(at, y, " ")
        for tab in head.tabs:
            if at + len(tab) + 2 > end - 1 - (len(head.note) + 2 if head.note else 0):
                at = canvas.put(at, y, "… ", "faint")
                break
            at = canvas.put(at, y, tab, "text under" if tab == head.open else "faint")
            at = canvas.put(at, y, "  ")
    if head.note:
        canvas.right(end - 1, y, f" {head.note} ", "faint")


def _marks(names: list[str]) -> tuple[Part, ...]:
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    acts = "all" if len(names) > 2 else "both" if len(names) == 2 else "it"
    return (
        (f"{format.count(len(names))} marked", "accent"),
        (f"   {shown}   verbs act on {acts}   esc clears", "dim"),
    )
