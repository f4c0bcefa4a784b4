"""The console: wiring only. What it shows is in `panes`, `widgets` and `dialogs`."""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.events import Event, Key, Paste
from textual.geometry import Region, Size
from textual.screen import Screen
from textual.widget import Widget

from engine.aio import offload
from engine.engine import Engine
from engine.errors import EngineError
from tui import crash, prune, theme
from tui.actions import Action, Registry
from tui.feed import KINDS, Feed
from tui.jobs import Jobs
from tui.keymap import DEFAULT, name_of
from tui.output import OutputApp
from tui.panes.containers import ContainersPane
from tui.panes.images import ImagesPane
from tui.panes.layers import LayersPane
from tui.panes.networks import NetworksPane
from tui.panes.pane import Pane, Placing
from tui.panes.volumes import VolumesPane
from tui.store import Store
from tui.terminal import Terminal
from tui.theme import Theme
from tui.transfers import offer, pull
from tui.unfinished import Unfinished
from tui.widgets.canvas import Part
from tui.widgets.command import CommandLine
from tui.widgets.drawn import Drawn, Movable
from tui.widgets.flash import FlashRow
from tui.widgets.footer import Footer, Hint
from tui.widgets.log import LogView
from tui.widgets.prompt import Prompt
from tui.widgets.sheet import Sheet
from tui.widgets.status import StatusRow
from tui.widgets.table import ListTable
from tui.widgets.tabs import Tab, TabRow
from tui.widgets.tree import TreeView

AGE_SECONDS = 60.0  # ages move by themselves
HOLD_SECONDS = 1.0  # how long keys wait for the rows that they are meant for
PANES: tuple[type[Pane], ...] = (
    ContainersPane,
    ImagesPane,
    LayersPane,
    NetworksPane,
    VolumesPane,
)
T = TypeVar("T")


class Frame(Screen[None], Placing, inherit_bindings=False):
    """The one screen: status, tabs, a pane, messages, keys; a sheet above them."""

    AUTO_FOCUS: ClassVar[str | None] = ""

    def __init__(self, console: "ConsoleApp") -> None:
        super().__init__()
        self.console = console
        self.styles.layers = "base sheet"

    def compose(self) -> ComposeResult:
        console = self.console
        yield from (console.status, console.tab_row, console.flash, console.command)
        yield console.footer

    def placing(self, size: Size) -> Iterable[tuple[Widget, Region]]:
        console, width, height = self.console, size.width, size.height
        yield console.status, Region(0, 0, width, 1)
        yield console.tab_row, Region(0, 1, width, 1)
        pane = Region(0, 2, width, max(1, height - 4))
        yield console.pane, pane
        message = console.command if console.command.active else console.flash
        yield message, Region(0, height - 2, width, 1)
        yield console.footer, Region(0, height - 1, width, 1)
        if console.sheet is not None:
            detail = console.pane.plan(pane.width, pane.height).detail.translate(pane.offset)
            yield console.sheet, console.sheet.place(width, height, detail)


class ConsoleApp(OutputApp, inherit_bindings=False):
    """The console on an engine. `pane` and `ref` say what it opens with."""

    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(
        self,
        engine: Engine,
        look: Theme,
        terminal: Terminal,
        *,
        pane: str = "containers",
        ref: str = "",
        resync: bool = True,
        stock_output: bool = False,
    ) -> None:
        super().__init__(look, terminal, stock_output=stock_output)
        self.engine = engine
        self.store = Store()
        self.feed = Feed(engine, self.store, self._changed, self._feed_failed, resync=resync)
        actions = [*self.ACTIONS, *Movable.ACTIONS, *ListTable.ACTIONS, *TreeView.ACTIONS]
        actions += LogView.ACTIONS
        actions += [action for pane in PANES for action in pane.ACTIONS]
        numbers: dict[str, tuple[str, ...]] = {
            f"app.pane-{pane.NUMBER}": (str(pane.NUMBER),) for pane in PANES
        }
        self.registry = Registry(actions, DEFAULT | numbers)
        self.jobs = Jobs(self._jobs_changed)
        kept_in = crash.directory(os.environ) / "transfers"
        self.unfinished = Unfinished(kept_in, engine.info.root_id)
        self.panes = [made() for made in PANES]
        self.pane = next((p for p in self.panes if p.TITLE.lower() == pane), self.panes[0])
        self._ref = ref
        self.status = StatusRow(engine.info, engine.capabilities, self.store)
        self.tab_row = TabRow(self._tabs, self.aside)
        self.tab_row.chosen = self.pane.NUMBER
        self.flash = FlashRow(self._work_line)
        self.command = CommandLine(self._words, self._run_command)
        always: list[Hint] = [("/", "filter"), (":", "command"), ("?", "keys")]
        self.footer = Footer(self._hints, always)
        self.sheet: Sheet[Any] | None = None
        self._last_error: EngineError | None = None
        self._held: deque[Key | Paste] = deque()  # typed for rows that have not come yet
        self._preparing = 0  # sheets that are on their way
        self.loop: asyncio.AbstractEventLoop | None = None

    # -- life

    def get_default_screen(self) -> Screen[None]:
        return Frame(self)

    async def on_mount(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._loop_failed)
        await self.screen.mount(self.pane)
        if self._ref:
            self.pane.seek(self._ref)
        offer(self)
        self.run_worker(self.feed.run(), name="feed")
        self.set_interval(AGE_SECONDS, lambda: self._changed("ages", frozenset()))

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a task that nobody waits for has failed."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self._handle_exception(error)

    def _watch_app_focus(self, focus: bool) -> None:
        """Another window has the keyboard: nothing on this screen changes for that."""

    def _changed(self, kind: str, keys: frozenset[str]) -> None:
        if not self.is_running or not self.pane.is_mounted:
            return
        if kind in KINDS:
            self.tab_row.redraw()
            self.pane.redraw()
        if kind in ("containers", "host", "stats"):
            self.status.redraw()
        self.pane.changed(kind, keys)

    def _jobs_changed(self) -> None:
        if self.is_running:
            for widget in (self.tab_row, self.flash, self.pane, self.sheet):
                if widget is not None:
                    widget.redraw()

    def _work_line(self, width: int) -> list[Part]:
        return [] if self.pane.shows_jobs else self.jobs.line(width, self.cancel_key)

    @property
    def cancel_key(self) -> str:
        """What ends a job."""
        return self.registry.key(self.registry.actions["app.cancel"])

    def _feed_failed(self, error: EngineError) -> None:
        self.fail("the engine cannot be read", error)

    # -- what the frame shows

    def _tabs(self) -> list[Tab]:
        return [Tab(pane.NUMBER, pane.TITLE, pane.amount()) for pane in self.panes]

    def aside(self) -> list[Part]:
        """The right end of the tab row: work that goes on."""
        return self.jobs.summary()

    def _hints(self) -> list[Hint]:
        owners = dict(reversed(self.owners()))
        actions = [a for a in self.registry.of(s for s, _ in self.owners()) if a.hint]
        if not self.pane.list.rows:  # verbs need a row: only what can be done without one
            actions = [a for a in actions if not a.enabled(owners[a.scope])]
        keys = [(self.registry.key(action), action.title) for action in actions]
        return [(key, title) for key, title in keys if key]

    # -- actions

    def owners(self) -> list[tuple[str, Any]]:
        """Scopes that keys reach now, nearest first, and who has their verbs."""
        part = self.pane.active_part
        owners: list[tuple[str, Any]] = [(scope, part) for scope in part.SCOPES]
        if "table" not in part.SCOPES:
            owners.append(("table", self.pane.list))
        return [*owners, (self.pane.SCOPE, self.pane), ("app", self)]

    async def on_event(self, event: Event) -> None:
        """Keys are routed here, one after the other, so that what is typed ahead finds its way."""
        if not isinstance(event, Key | Paste):
            await super().on_event(event)
            return
        event.stop()
        if self._held or self._must_wait(event):
            self._held.append(event)
            if len(self._held) == 1:
                self.set_timer(HOLD_SECONDS, self._type_all, name="held")
        else:
            await self._typed(event)

    def _must_wait(self, event: Key | Paste) -> bool:
        """Whether a key is meant for something that is not there yet."""
        if self._typing.active:
            return False
        if self._preparing or not isinstance(event, Key):
            return self._preparing > 0
        owners = dict(reversed(self.owners()))
        action = self.registry.find(name_of(event), [scope for scope, _ in self.owners()])
        if action is None or action.scope == "app":
            return False
        pane = self.pane
        of_list = owners[action.scope] in (pane, pane.list)
        return not (pane.ready and (of_list or pane.settled))

    def type_ahead(self) -> None:
        """The open pane shows more now: what was typed for that goes there."""
        if self._held:
            self.call_later(self._type_held)

    async def _type_held(self) -> None:
        while self._held and not self._must_wait(self._held[0]):
            await self._typed(self._held.popleft())

    async def _type_all(self) -> None:
        # Whoever waits for nothing wants to see that a key does something.
        while self._held:
            await self._typed(self._held.popleft())

    async def _typed(self, event: Key | Paste) -> None:
        typing = self._typing
        if isinstance(event, Paste):
            if typing.active:
                typing.paste(event.text)
        elif typing.active:
            typing.take(name_of(event), event.character)
        else:
            self.press(name_of(event))
            await asyncio.sleep(0)  # an action that opens a sheet has opened it now

    @property
    def _typing(self) -> Sheet[Any] | Prompt:
        """What takes text, once it is active."""
        return self.sheet or (self.command if self.command.active else self.pane.prompt)

    def press(self, key: str) -> None:
        """A key that no prompt and no sheet took."""
        self.flash.clear()
        owners = dict(reversed(self.owners()))
        action = self.registry.find(key, [scope for scope, _ in self.owners()])
        if action is not None:
            self.perform(action, owners[action.scope])

    def perform(self, action: Action, owner: Any, argument: str = "") -> None:
        """Do it, or say why not."""
        reason = action.enabled(owner)
        if reason:
            self.flash.say((f"{action.title}: ", "strong bold"), (reason, "text"))
        elif action.takes and not argument and not action.asks:
            self.command.open(f"{action.word} {action.begin(owner)}")
        else:
            try:
                result = action.run(owner, argument) if action.takes else action.run(owner)
            except EngineError as error:
                self.fail(f"{action.title} failed", error)
                return
            if isinstance(result, Awaitable):
                self.run_worker(self._guard(action, result), name=action.id)

    async def _guard(self, action: Action, result: Awaitable[Any]) -> None:
        try:
            await result
        except EngineError as error:
            self.fail(f"{action.title} failed", error)

    def fail(self, what: str, error: EngineError) -> None:
        """Say what failed, why, and what helps; `e` shows all of it."""
        self._last_error = error
        self.flash.fail(what, error.message, ("e", "text bold"), (" details", "dim"))

    async def open(self, sheet: Sheet[T]) -> T | None:
        """Show a sheet; what it answers, None when it was left."""
        if self.sheet is not None:
            return None
        answer: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

        def closed(value: T | None) -> None:
            self.sheet = None
            answer.set_result(value)

        sheet.styles.layer = "sheet"
        sheet.active, sheet.closed = True, closed
        self.sheet = sheet
        try:
            await self.screen.mount(sheet)
            return await answer
        finally:
            await sheet.remove()

    async def prepare(self, call: Callable[..., T], *values: Any, **keywords: Any) -> T:
        """What the engine says, for a sheet that is opened next: keys wait for that one."""
        self._preparing += 1
        try:
            return await offload(call, *values, **keywords)
        finally:
            self._preparing -= 1
            self.type_ahead()

    async def switch(self, number: int) -> None:
        """Show the pane of this number."""
        for pane in self.panes:
            if number == pane.NUMBER and pane is not self.pane:
                self.pane = pane
                self.tab_row.chosen = number
                if not pane.is_attached:
                    await self.screen.mount(pane)
                pane.resume()
                pane.refresh(layout=True)
                self.tab_row.redraw()
                self.footer.redraw()
                self.flash.redraw()

    async def step(self, direction: int) -> None:
        """The pane beside this one."""
        numbers = [pane.NUMBER for pane in self.panes]
        at = numbers.index(self.pane.NUMBER) + direction
        await self.switch(numbers[at % len(numbers)])

    def step_tab(self, direction: int) -> None:
        """The detail tab beside the open one."""
        tabs = self.pane.TABS
        self.pane.open_tab(tabs[(tabs.index(self.pane.tab) + direction) % len(tabs)])

    def back(self) -> None:
        """Out of the detail; else take back filter, then marks."""
        if not self.pane.leave():
            self.pane.clear()

    def quit(self) -> None:
        """Leave. Containers run on."""
        self.exit(0)

    # -- the `:` line

    def commands(self) -> list[tuple[Action, Any]]:
        """What can be called by name now, and who has the verb."""
        owners = dict(reversed(self.owners()))
        scopes = [self.pane.SCOPE, "app", "table"]
        return [(a, owners[a.scope]) for a in self.registry.of(scopes) if a.scope in owners]

    def _words(self) -> list[str]:
        return [action.word for action, _ in self.commands()]

    def _run_command(self, text: str) -> None:
        word, _, argument = text.strip().partition(" ")
        if not word:
            return
        for action, owner in self.commands():
            if action.word == word:
                self.perform(action, owner, argument.strip())
                return
        self.flash.fail(f"{word} is no command", "", ("^p", "text bold"), (" lists them", "dim"))

    # -- sheets

    async def palette(self) -> None:
        """Go or do."""
        from tui.dialogs.palette import Palette, entries

        chosen = await self.open(Palette(entries(self)))
        if chosen == ":":
            self.command.open("")
        elif isinstance(chosen, str):
            self.pane.list.go(chosen)
        elif isinstance(chosen, tuple):
            self.perform(*chosen)

    async def help(self) -> None:
        """The keys that work here."""
        from tui.dialogs.help import Help, groups

        await self.open(Help(f"keys in {self.pane.TITLE}", groups(self)))

    async def work(self) -> None:
        """What is at work, part by part."""
        from tui.dialogs.work import Work

        await self.open(Work(self.jobs))

    async def disk(self) -> None:
        """What takes the disk, and what of it can go."""
        from tui.dialogs.disk import Disk

        chosen: str | None = ""
        while chosen is not None:
            chosen = await self.open(Disk(self.engine, chosen))
            if chosen is not None:
                await prune.PRUNES[chosen](self)

    async def log_in(self) -> None:
        """To a registry."""
        from tui import registries

        await registries.log_in(self)

    async def log_out(self, server: str) -> None:
        """Of a registry."""
        from tui import registries

        await registries.log_out(self, server)

    async def search(self) -> None:
        """Find an image to pull."""
        from tui import registries

        await registries.search(self)

    async def error(self) -> None:
        """All of the last failure."""
        from tui.dialogs.text import TextSheet

        error = self._last_error
        if error is not None:
            lines = [error.message, "", *error.hint.splitlines()]
            await self.open(TextSheet(error.kind, lines))

    def set_theme(self, name: str) -> None:
        """Everything in the colours of the theme `name`."""
        self.use_theme(theme.load(name, os.environ))
        for widget in self.screen.walk_children(Drawn):
            widget.forget()
        self.refresh(layout=True)

    def read_again(self) -> None:
        """Every list from the engine."""
        self.feed.touch(*KINDS)


def _go(number: int, title: str) -> Action:
    return Action(f"app.pane-{number}", title, lambda app: app.switch(number), "go there")


ConsoleApp.ACTIONS = (
    Action("app.filter", "filter", lambda app: app.pane.filter(), "hide rows"),
    Action("app.command", "command", lambda app: app.command.open(""), "type it"),
    Action("app.palette", "palette", ConsoleApp.palette, "go or do"),
    Action("app.help", "keys", ConsoleApp.help, "that work here"),
    *(_go(pane.NUMBER, pane.TITLE.lower()) for pane in PANES),
    Action("app.pull", "pull", pull, "bring an image here", hint=True, takes="its name"),
    Action(
        "app.cancel",
        "cancel",
        lambda app: app.jobs.cancel_last(),
        "the last job",
        lambda app: "" if app.jobs.running else "nothing is at work",
    ),
    Action(
        "app.resume",
        "resume",
        lambda app: app.jobs.resume(),
        "what was stopped last",
        lambda app: "" if app.jobs.stopped else "nothing was stopped",
    ),
    Action("app.jobs", "jobs", ConsoleApp.work, "what is at work"),
    Action("app.disk", "disk usage", ConsoleApp.disk, "and what can go"),
    Action("app.search", "search", ConsoleApp.search, "find an image to pull"),
    Action("app.login", "login", ConsoleApp.log_in, "to a registry"),
    Action("app.logout", "logout", ConsoleApp.log_out, "of a registry", takes="its name"),
    Action("app.next-pane", "next pane", lambda app: app.step(1)),
    Action("app.previous-pane", "previous pane", lambda app: app.step(-1)),
    Action("app.next-tab", "next tab", lambda app: app.step_tab(1), "of the detail"),
    Action("app.previous-tab", "previous tab", lambda app: app.step_tab(-1), "of the detail"),
    Action("app.detail", "detail", lambda app: app.pane.enter(), "move through it"),
    Action("app.back", "back", ConsoleApp.back, "clears filter and marks"),
    Action(
        "app.error",
        "error",
        ConsoleApp.error,
        "all of the last one",
        lambda app: "" if app._last_error else "nothing has failed",
    ),
    Action("app.theme", "theme", ConsoleApp.set_theme, "another look", takes="its name"),
    Action("app.refresh", "read again", ConsoleApp.read_again, "all lists"),
    Action("app.repaint", "repaint", ConsoleApp.repaint, "the screen"),
    Action("app.quit", "quit", ConsoleApp.quit, "containers run on"),
)
