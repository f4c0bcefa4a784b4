"""The base of every widget here: it draws whole lines, and only lines that changed are sent on.

Textual's style sheets, borders, scroll bars and rich renderables are not used: a widget gives one
`Strip` a row, the frame's layouts (`tui.panes.pane`, `tui.app`) give it its place.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, cast

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker

from tui.actions import Action
from tui.output import OutputApp
from tui.theme import Theme
from tui.widgets.canvas import Canvas


class Drawn(Widget):
    """A widget made of lines.

    A subclass implements `lines(width, height)`; it calls `redraw()` whenever what it shows may
    have changed. `SCOPES` name the actions that keys reach while it is `active`, nearest first.
    Textual's focus is not used: it moves a turn of the event loop too late for keys that are typed
    fast, or come in one packet.
    """

    SCOPES: ClassVar[tuple[str, ...]] = ()

    active = False
    _drawn: list[Strip] | None = None
    _drawn_for: tuple[int, int] = (0, 0)

    def lines(self, width: int, height: int) -> list[Strip]:
        """Every row, as it should be now."""
        raise NotImplementedError

    @property
    def look(self) -> Theme:
        """The theme of the application."""
        return cast(OutputApp, self.app).look

    def redraw(self) -> None:
        """Draw again; the rows that come out different go to the screen."""
        before, size = self._drawn, (self.size.width, self.size.height)
        if before is None or self._drawn_for != size or not self.is_on_screen:
            self._drawn = None
            self.refresh()
            return
        self._drawn = after = self.lines(*size) if all(size) else []
        regions = [
            Region(0, y, size[0], 1)
            for y, (old, new) in enumerate(zip(before, after, strict=True))
            if old is not new and old != new
        ]
        if regions:
            self.refresh(*regions)

    def work(
        self, call: Callable[..., Coroutine[Any, Any, None]], *values: Any, exclusive: bool = False
    ) -> Worker[None]:
        """Run `call(*values)` beside everything else; an `exclusive` one ends the one before it.
        It is called, not handed over as a coroutine, which nobody would await if it ended early."""
        begin = cast("Callable[[], Coroutine[None, None, None]]", functools.partial(call, *values))
        return self.run_worker(begin, exclusive=exclusive)

    def drop_work(self) -> None:
        """What `work` began ends: its answer is not wanted any more."""
        self.workers.cancel_node(self)

    def forget(self) -> None:
        """Draw everything again: the theme has changed."""
        self._drawn = None
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        size = (self.size.width, self.size.height)
        if self._drawn is None or self._drawn_for != size:
            self._drawn = self.lines(*size) if all(size) else []
            self._drawn_for = size
        first, last = crop.x, crop.right
        strips = self._drawn[crop.y : crop.bottom]
        if (first, last) != (0, size[0]):
            strips = [strip.crop(first, last) for strip in strips]
        return strips

    def activate(self, active: bool) -> None:
        """Keys reach it now, or no more: it shows that."""
        if active != self.active:
            self.active = active
            self.redraw()


class Sketch(Drawn):
    """A widget drawn as a whole on one canvas."""

    GROUND: ClassVar[str] = "ground"

    def draw(self, canvas: Canvas) -> None:
        """Draw everything."""
        raise NotImplementedError

    def lines(self, width: int, height: int) -> list[Strip]:
        canvas = Canvas(width, height, self.GROUND)
        self.draw(canvas)
        return canvas.strips(self.look)


class Movable(Drawn):
    """A widget that one moves through: lists move their cursor, texts scroll."""

    SCOPES: ClassVar[tuple[str, ...]] = ("move",)
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("move.down", "down", lambda widget: widget.move(1), "a row"),
        Action("move.up", "up", lambda widget: widget.move(-1), "a row"),
        Action("move.page-down", "page down", lambda widget: widget.page(1)),
        Action("move.page-up", "page up", lambda widget: widget.page(-1)),
        Action("move.first", "first", lambda widget: widget.leap(-1), "row"),
        Action("move.last", "last", lambda widget: widget.leap(1), "row"),
        Action("move.left", "left", lambda widget: widget.sideways(-1)),
        Action("move.right", "right", lambda widget: widget.sideways(1)),
    )

    def move(self, rows: int) -> None:
        """Down by `rows`, up where it is negative."""
        raise NotImplementedError

    def page(self, direction: int) -> None:
        """A screenful down (1) or up (-1)."""
        self.move(direction * max(1, self.size.height - 2))

    def leap(self, direction: int) -> None:
        """To the last (1) or the first (-1) row."""
        self.move(direction * (1 << 40))

    def sideways(self, direction: int) -> None:
        """Right (1) or left (-1), where there is something."""
