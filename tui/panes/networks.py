"""The networks of the host: who is in them, and what reaches them from outside."""

import time
from typing import ClassVar

from textual.geometry import Region

from engine.aio import offload
from engine.errors import EngineError
from engine.model.network import Network, NetworkSummary
from tui import format, prune
from tui.actions import Action
from tui.format import ABSENT
from tui.panes.network_detail import Inspect, Map, Members, Ports, rates_of
from tui.panes.pane import Head, Pane, Plan
from tui.widgets.canvas import EDGE, Canvas
from tui.widgets.drawn import Drawn
from tui.widgets.netmap import LEGEND_OTHERS
from tui.widgets.table import Cell, Column, Row

MEMBERS, PORTS, MAP, INSPECT = "Members", "Ports", "Map", "Inspect"
LEAST_MAP = 6
COLUMNS = (
    Column("NAME"),
    Column("DRIVER", 6, 3, ink="dim"),
    Column("SUBNET", 15),
    Column("GATEWAY", 12, 4, ink="dim"),
    Column("MEMBERS", 7, number=True),
    Column("IN/s", 5, number=True),
    Column("OUT/s", 5, number=True),
    Column(" ", 8, 2, ink="dim"),
    Column("AGE", 4, 1, number=True, ink="dim"),
)


class NetworksPane(Pane):
    """Key: the network's id."""

    NUMBER = 4
    TITLE = "Networks"
    SCOPE = "networks"
    KIND = "networks"
    NOUN = ("network", "networks")
    COLUMNS = COLUMNS
    SORT = "MEMBERS"
    DESCENDING = True
    SNUG = True
    TABS = (MEMBERS, PORTS, MAP, INSPECT)
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.map = Map(self._lanes)
        self.ports = Ports()
        self._known: dict[str, Network] = {}

    def on_mount(self) -> None:
        self.mount(self.map, self.ports)
        self._look_again()

    @property
    def network(self) -> Network | None:
        """The one under the cursor, once it was looked at."""
        return self._known.get(self.key)

    def title_of(self, key: str) -> str:
        row = self.store.networks.rows.get(key)
        return row.name if row else key[:12]

    def body(self, tab: str) -> Drawn:
        if tab == MAP:
            return Map(self._lanes)
        made: dict[str, type[Drawn]] = {MEMBERS: Members, PORTS: Ports, INSPECT: Inspect}
        return made[tab]()

    # -- what is shown

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        if kind in ("networks", "containers"):
            self._look_again()
        if kind == "stats":
            self.stale = True
            if self.is_open:
                self._show()
        super().changed(kind, keys)

    def resume(self) -> None:
        super().resume()
        self._look_again()

    def _look_again(self) -> None:
        if self.is_open and self.is_mounted:
            self.work(self._read, exclusive=True)

    async def _read(self) -> None:
        known: dict[str, Network] = {}
        for network_id in list(self.store.networks.rows):
            try:
                known[network_id] = await offload(self.engine.networks.inspect, network_id)
            except EngineError:  # it went away: the next list says so
                continue
        if known != self._known:
            self._known = known
            self.update_rows()
            self.replan()  # there are other members, or ports
            self.chosen()

    def chosen(self) -> None:
        self._show()
        self.map.redraw()

    def _show(self) -> None:
        body, network = self.current_body, self.network
        if isinstance(body, Members | Ports | Map | Inspect):
            body.show(network)
        if self.ports.is_on_screen:
            self.ports.show(network)

    def _lanes(self) -> list[Network]:
        """The networks of the map: the chosen one, then the others that somebody is in."""
        chosen = self.network
        others = [n for n in self._known.values() if n.members and n is not chosen]
        others.sort(key=lambda network: (-len(network.members), network.summary.name))
        return [*([chosen] if chosen is not None else []), *others]

    def rows(self) -> list[Row]:
        now_ns = time.time_ns()
        return [self._row(row, now_ns) for row in self.store.networks.rows.values()]

    def _row(self, row: NetworkSummary, now_ns: int) -> Row:
        rates = rates_of(self.store, self._known.get(row.id))
        seconds = (now_ns - row.created_ns) / 1e9
        members: Cell = str(row.members) if row.members else (("0", "faint"),)
        return Row(
            row.id,
            (
                row.name,
                row.driver,
                row.subnet or ABSENT,
                row.gateway or ABSENT,
                members,
                *((_rate(rates[0]), _rate(rates[1])) if rates else (ABSENT, ABSENT)),
                "internal" if row.internal else "",
                format.still_age(seconds) if row.created_ns else ABSENT,
            ),
            (
                row.name,
                row.driver,
                row.subnet or None,
                None,
                row.members,
                *(rates or (None, None)),
                None,
                seconds if row.created_ns else None,
            ),
        )

    # -- rooms

    def extra(self, plan: Plan, listing: Region, detail: Region) -> Plan:
        """Beside each other, the list lends its foot to the map, the members to the ports."""
        if not plan.wall:
            return plan
        heads, places = list(plan.heads), dict(plan.places)
        high = len(self.list.rows) + 1
        room = listing.height - high - 2
        if room >= LEAST_MAP and self.tab != MAP:
            y = listing.y + high + 1
            heads.append(Head(0, y, plan.wall + 1, "map"))
            places[self.list] = listing._replace(height=high)
            places[self.map] = Region(0, y + 1, plan.wall, max(1, listing.bottom - y - 3))
        body = self.current_body
        members = len(self.network.members) if self.network is not None else 0
        low = members + 2
        if self.tab == MEMBERS and body is not None and detail.height - low > 4:
            y = detail.y + low
            heads.append(Head(detail.x, y, detail.width, "published ports"))
            places[body] = detail._replace(height=low - 1)
            places[self.ports] = Region(detail.x, y + 1, detail.width, detail.bottom - y - 1)
        return plan._replace(heads=heads, places=list(places.items()))

    def draw(self, canvas: Canvas) -> None:
        super().draw(canvas)
        plan = self.plan(canvas.width, canvas.height)
        if self.map in dict(plan.places) and self.key:
            chosen = f" {self.title_of(self.key)}, the chosen network   "
            canvas.spans(
                EDGE,
                canvas.height - 1,
                [("●", "accent"), (chosen, "faint"), *LEGEND_OTHERS],
                plan.wall - 1,
            )


def _rate(count: float) -> Cell:
    text = format.rate(count)
    return ((text, "faint" if text == "0" else "text"),)


def _some(pane: NetworksPane) -> str:
    return "" if pane.key else "there is no network here"


def _shows(word: str, tab: str, note: str) -> Action:
    def run(pane: NetworksPane) -> None:
        pane.open_tab(tab)

    return Action(f"networks.{word}", word, run, note, _some, hint=True)


NetworksPane.ACTIONS = (
    _shows("map", MAP, "who hangs on which"),
    _shows("ports", PORTS, "what is published"),
    _shows("inspect", INSPECT, "all that is known"),
    Action(
        "networks.prune",
        "prune",
        lambda pane: prune.networks(pane.console),
        "those without members",
        danger=True,
    ),
)
