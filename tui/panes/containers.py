"""The containers of the host: what they use, what they say, what can be done with them."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual.geometry import Region

from engine.aio import offload
from engine.engine import Capability
from engine.errors import EngineError
from engine.model.container import UP, ContainerSummary, PortMapping
from tui import format, prune, transfers
from tui.actions import Action
from tui.dialogs.confirm import Confirm, Item
from tui.format import ABSENT
from tui.panes.container_detail import (
    Environment,
    Inspect,
    Logs,
    Minutes,
    Mounts,
    Nets,
    Processes,
    Stats,
)
from tui.panes.lately import ROWS as LATELY_ROWS
from tui.panes.lately import Lately
from tui.panes.layers import show_layers
from tui.panes.pane import Head, Pane, Plan
from tui.store import History
from tui.widgets.canvas import Part
from tui.widgets.drawn import Drawn
from tui.widgets.table import Cell, Column, Row

SPARK_CELLS, CELL_SECONDS = 10, 6
BODIES: dict[str, type[Drawn]] = {
    "Logs": Logs,
    "Stats": Stats,
    "Env": Environment,
    "Mounts": Mounts,
    "Net": Nets,
    "Inspect": Inspect,
    "Procs": Processes,
}
COLUMNS = (
    Column("NAME"),
    Column("STATE", 12),
    Column("CPU%", 5, number=True),
    Column("60 s", 10, 7),
    Column("MEM", 5, number=True),
    Column("LIMIT", 5, 3, number=True, ink="dim"),
    Column("OF LIMIT", 8, 6),
    Column("IN/s", 5, 1, number=True),
    Column("OUT/s", 5, 4, number=True),
    Column("PIDS", 4, 5, number=True),
    Column("PORTS", 5, 2, ink="dim"),
    Column("IMAGE", 24, 8, ink="dim"),
    Column("AGE", 3, number=True, ink="dim"),
)


class ContainersPane(Pane):
    """Key: the container's id."""

    NUMBER = 1
    TITLE = "Containers"
    SCOPE = "containers"
    KIND = "containers"
    NOUN = ("container", "containers")
    COLUMNS = COLUMNS
    SORT = "CPU%"
    DESCENDING = True
    TABS = tuple(BODIES)
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.lately = Lately()
        self.minutes = Minutes()
        self._lends = False
        self._sparks: dict[str, tuple[float, str]] = {}

    def on_mount(self) -> None:
        self.mount(self.lately, self.minutes)

    @property
    def container(self) -> ContainerSummary | None:
        """The one under the cursor."""
        return self.store.containers.rows.get(self.key)

    def title_of(self, key: str) -> str:
        row = self.store.containers.rows.get(key)
        return row.name if row else key[:12]

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        if kind == "stats":
            self.stale = True
        super().changed(kind, keys)
        body = self.current_body
        if self.is_open and self.key in keys:
            if kind == "containers":
                self.chosen()
            elif kind == "stats":
                self.minutes.redraw()
                if isinstance(body, Stats):
                    body.redraw()
        if kind in ("events", "ages"):
            self.lately.redraw()

    def chosen(self) -> None:
        body = self.current_body
        if isinstance(body, Logs | Stats | Environment | Mounts | Nets | Inspect | Processes):
            body.show(self.container)
        self.minutes.show(self.container)

    def body(self, tab: str) -> Drawn:
        return BODIES[tab]()

    def nothing(self) -> tuple[tuple[Part, ...], ...]:
        if not self.store.containers.known:
            return ()
        where = f"{self.engine.info.root} has no images either, so start with one:"
        if self.store.images.rows:
            where = f"There are {len(self.store.images.rows)} images to run in another terminal:"
        return (
            (("No containers yet.", "strong bold"),),
            ((where, "dim"),),
            (),
            (("pydock run -it IMAGE", "info"), ("   runs one, pulls what is missing", "dim")),
            (("pydock-tui --demo", "info"), ("      shows a few that are made here", "dim")),
        )

    # -- rooms

    def extra(self, plan: Plan, listing: Region, detail: Region) -> Plan:
        """Beside each other, a short list lends its foot to what happened lately, and the log to
        the graphs."""
        if not plan.wall:
            return plan
        heads, places = list(plan.heads), dict(plan.places)
        foot = listing.bottom - LATELY_ROWS - 2
        self._lends = self._is_short(listing.height)
        if self._lends:
            heads.append(Head(0, foot, plan.wall + 1, "lately"))
            places[self.list] = listing.shrink((0, 0, LATELY_ROWS + 2, 0))
            places[self.lately] = Region(0, foot + 1, plan.wall, LATELY_ROWS)
        body = self.current_body
        if self.tab == "Logs" and body is not None and detail.height > 3 * Minutes.ROWS:
            low = detail.bottom - Minutes.ROWS - 1
            heads.append(Head(detail.x, low, detail.width, "last 5 min"))
            places[body] = detail.shrink((0, 0, Minutes.ROWS + 1, 0))
            places[self.minutes] = Region(detail.x, low + 1, detail.width, Minutes.ROWS)
        return plan._replace(heads=heads, places=list(places.items()))

    def _is_short(self, height: int) -> bool:
        return height - 1 - len(self.list.rows) > LATELY_ROWS + 6

    def update_rows(self) -> None:
        super().update_rows()
        if self._lends != self._is_short(self.size.height - 1 - self.filtering):
            self.replan()

    # -- rows

    def rows(self) -> list[Row]:
        now_ns = time.time_ns()
        summaries = self.store.containers.rows.values()
        ordered = sorted(summaries, key=lambda s: (s.state not in UP, s.name))
        return [self._row(summary, now_ns) for summary in ordered]

    def _row(self, summary: ContainerSummary, now_ns: int) -> Row:
        alive = summary.state in ("running", "paused")
        failed = summary.exit_code if summary.state in ("exited", "dead") else 0
        glyph, glyph_ink, word, word_ink = format.state(summary.state, failed)
        since = summary.started_ns if alive else summary.finished_ns
        seconds = (now_ns - (since or summary.created_ns)) / 1e9
        age = format.age(seconds) if alive else format.still_age(seconds)
        history = self.store.histories.get(summary.id) if alive else None
        meter = history.latest if history else None
        limit = summary.memory_limit_bytes
        limit_cell = format.memory(limit) if limit else ABSENT
        ports = _ports(summary.ports)
        figures: tuple[Cell, ...]
        if history is None or meter is None:
            figures = (ABSENT, "", ABSENT, ABSENT, "", ABSENT, ABSENT, ABSENT)
            order: tuple[Any, ...] = (None,) * 8
        else:
            cpu_ink = "warn" if meter.cpu_percent > 80 else "text"
            share = meter.memory_bytes / limit if limit else 0.0
            hot = "bad" if share > 0.9 else "text"
            figures = (
                ((f"{meter.cpu_percent:.1f}", cpu_ink),),
                ((self._spark(summary.id, history), "warn" if cpu_ink == "warn" else "info"),),
                ((format.memory(meter.memory_bytes), hot),),
                limit_cell,
                tuple(format.bar(share, 8, "bad" if hot == "bad" else "info")) if limit else "",
                format.rate(meter.received),
                format.rate(meter.sent),
                format.count(meter.pids),
            )
            order = (
                round(meter.cpu_percent, 1),
                None,
                meter.memory_bytes,
                limit or None,
                share or None,
                meter.received,
                meter.sent,
                meter.pids,
            )
        return Row(
            summary.id,
            (
                ((summary.name, "text" if alive else "dim"),),
                ((word, word_ink),),
                *figures,
                ports if alive else "",
                summary.image,
                age,
            ),
            (summary.name, word, *order, ports or None, summary.image, seconds),
            glyph=(glyph, glyph_ink),
        )

    def _spark(self, container_id: str, history: History) -> str:
        """The last minute in ten cells. Rows take turns: a sixth of them shift in any second."""
        phase = int(container_id[:4] or "0", 16) % CELL_SECONDS
        now = history.latest.time_seconds
        end = math.floor((now - phase) / CELL_SECONDS) * CELL_SECONDS + phase
        drawn = self._sparks.get(container_id)
        if drawn is None or drawn[0] != end:
            step = CELL_SECONDS / 2
            sums = [[0.0, 0] for _ in range(2 * SPARK_CELLS)]
            for meter in history.meters:
                bucket = math.floor((meter.time_seconds - end) / step) + 2 * SPARK_CELLS
                if 0 <= bucket < 2 * SPARK_CELLS:
                    sums[bucket][0] += meter.cpu_percent
                    sums[bucket][1] += 1
            means = [total / n if n else -1.0 for total, n in sums]
            values = [mean / 110 if mean >= 1 else -1.0 for mean in means]
            cells = format.braille(values, SPARK_CELLS, 1)[0].replace("\u2800", " ")
            drawn = self._sparks[container_id] = (end, cells)
        return drawn[1]

    # -- verbs

    def targets(self) -> list[ContainerSummary]:
        """What a verb acts on: the marked ones, else the one under the cursor."""
        rows = self.store.containers.rows
        return [rows[key] for key in self.list.targets() if key in rows]

    async def each(self, verb: str, done: str, call: Callable[[str], None]) -> None:
        """`call` for every target at once; one line says how it went."""
        targets = self.targets()
        began = time.monotonic()
        flash = self.console.flash
        flash.say((f"{_names(targets)}", "strong"), (f"  {verb} …", "dim"))

        async def one(target: ContainerSummary) -> EngineError | None:
            try:
                await offload(call, target.id)
            except EngineError as error:
                self.console.fail(f"{target.name} did not {verb}", error)
                return error
            return None

        results = await asyncio.gather(*map(one, targets))
        self.console.feed.touch("containers", "networks")
        if not any(results):
            took = time.monotonic() - began
            flash.say((_names(targets), "strong"), (f" {done} in {took:.1f} s", "text"))

    async def start(self) -> None:
        """Start them."""
        await self.each("start", "started", self.engine.containers.start)

    async def stop(self) -> None:
        """Stop them: their signal first, KILL after their time."""
        await self.each("stop", "stopped", self.engine.containers.stop)

    async def restart(self) -> None:
        """Stop and start them."""
        await self.each("restart", "restarted", self.engine.containers.restart)

    async def kill(self) -> None:
        """KILL, at once."""
        await self.each("die", "killed", self.engine.containers.kill)

    async def pause(self) -> None:
        """Freeze them, or thaw them if all are frozen."""
        if all(target.state == "paused" for target in self.targets()):
            await self.each("resume", "resumed", self.engine.containers.unpause)
        else:
            await self.each("pause", "paused", self.engine.containers.pause)

    async def commit(self, name: str) -> None:
        """An image of the container under the cursor, as it is now."""
        if self.container is not None:
            await transfers.commit(self.console, self.container, name)

    async def remove_them(self) -> None:
        """Ask, naming what would be lost; then remove them with their anonymous volumes."""
        targets = self.targets()
        running = [t for t in targets if t.state in UP]
        volumes = self.store.volumes.rows
        named = {m.name for t in targets for m in t.mounts if m.type == "volume"}
        lost = sorted(n for n in named if n in volumes and volumes[n].anonymous)
        kept = sorted(named - set(lost))
        now_ns = time.time_ns()
        items = []
        for target in targets:
            _, _, word, _ = format.state(target.state, target.exit_code)
            seconds = (now_ns - (target.started_ns or target.created_ns)) / 1e9
            since = "up" if target in running else "made"
            text = f"{word}   {since} {format.span(seconds)}   {target.image}"
            items.append(Item(target.name, "", text))
        what, whose = ("it", "its") if len(targets) == 1 else ("they", "their")
        nothing: Part = (
            "nothing, it does not run" if len(targets) == 1 else "nothing, none runs",
            "dim",
        )
        facts: list[tuple[str, tuple[Part, ...]]] = [
            ("loses", ((f"what {what} wrote, and {whose} logs", "text"),)),
            ("stops", ((_names(running), "bad"),) if running else (nothing,)),
        ]
        if lost:
            facts.append(("volumes", ((", ".join(lost), "bad"), (" go with them", "dim"))))
        if kept:
            facts.append(("keeps", ((", ".join(kept), "text"), (" and the image", "dim"))))
        else:
            facts.append(("keeps", (("the image", "dim"),)))
        many = f"{len(targets)} containers" if len(targets) > 1 else targets[0].name
        if await self.console.open(Confirm(f"Remove {many}?", "Remove", items, facts)):
            remove = self.engine.containers.remove
            await self.each(
                "go", "removed", lambda ref: remove(ref, force=bool(running), volumes=True)
            )

    def unmask(self) -> None:
        """Show what looks secret among the variables, or hide it again."""
        body = self.current_body
        if isinstance(body, Environment):
            body.unmasked = not body.unmasked
            self.chosen()

    async def look_into(self) -> None:
        """The layers of its image."""
        if self.container is not None:
            await show_layers(self.console, self.container.image_id)

    async def shell(self) -> None:
        """A shell in the container; the console comes back when it ends."""
        from tui.shell import open_shell

        if self.container is not None:
            await open_shell(self.console, self.container)


def _ports(ports: tuple[PortMapping, ...]) -> str:
    hosts = sorted({port.host_port for port in ports if port.host_port})
    if not hosts:
        return ABSENT
    return f"{hosts[0]}…" if len(hosts) > 1 else str(hosts[0])


def _names(rows: list[ContainerSummary]) -> str:
    names = [row.name for row in rows]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _needs(*states: str) -> Callable[[ContainersPane], str]:
    def reason(pane: ContainersPane) -> str:
        targets = pane.targets()
        if not targets:
            return "there is no container here"
        wrong = [t for t in targets if t.state not in states]
        if len(wrong) == len(targets):
            _, _, word, _ = format.state(wrong[0].state, wrong[0].exit_code)
            return f"{wrong[0].name} is {word}"
        return ""

    return reason


def _freezes(pane: ContainersPane) -> str:
    if Capability.FREEZE not in pane.engine.capabilities:
        return "this host cannot freeze containers"
    return _needs("running", "paused")(pane)


_ANY = _needs("created", "running", "paused", "restarting", "exited", "removing", "dead")


def _shows(name: str, tab: str, note: str, *, hint: bool = False) -> Action:
    def run(pane: ContainersPane) -> None:
        pane.open_tab(tab)

    return Action(f"containers.{name.split()[0]}", name, run, note, _ANY, hint=hint)


ContainersPane.ACTIONS = (
    _shows("logs", "Logs", "follow its output", hint=True),
    Action(
        "containers.shell", "shell", ContainersPane.shell, "in it", _needs("running"), hint=True
    ),
    Action(
        "containers.start",
        "start",
        ContainersPane.start,
        "run it again",
        _needs("created", "exited", "dead"),
        hint=True,
    ),
    Action(
        "containers.stop",
        "stop",
        ContainersPane.stop,
        "its signal, then KILL",
        _needs(*UP),
        hint=True,
    ),
    Action(
        "containers.restart", "restart", ContainersPane.restart, "stop and start", _ANY, hint=True
    ),
    Action(
        "containers.remove",
        "remove",
        ContainersPane.remove_them,
        "asks first",
        _ANY,
        hint=True,
        danger=True,
    ),
    Action(
        "containers.pause", "pause", ContainersPane.pause, "freeze or thaw", _freezes, hint=True
    ),
    Action(
        "containers.kill",
        "kill",
        ContainersPane.kill,
        "at once",
        _needs(*UP),
        hint=True,
        danger=True,
    ),
    Action(
        "containers.unmask",
        "unmask",
        ContainersPane.unmask,
        "secret variables",
        lambda pane: "" if pane.tab == "Env" else "only the Env tab hides something",
    ),
    _shows("processes", "Procs", "what runs in it", hint=True),
    _shows("inspect", "Inspect", "all that is known", hint=True),
    Action("containers.image", "image", ContainersPane.look_into, "its layers", _ANY, hint=True),
    Action(
        "containers.commit",
        "commit",
        ContainersPane.commit,
        "make an image of it",
        _ANY,
        takes="its name",
    ),
    Action(
        "containers.prune",
        "prune",
        lambda pane: prune.containers(pane.console),
        "those that do not run",
        danger=True,
    ),
)
