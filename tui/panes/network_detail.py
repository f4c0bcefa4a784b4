"""What the networks pane shows of one network, tab by tab."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from engine.model.container import PortMapping
from engine.model.network import Network, NetworkMember
from tui import format
from tui.format import ABSENT
from tui.panes.container_detail import json_line
from tui.store import Store
from tui.widgets.canvas import Canvas, Part
from tui.widgets.details import Details, Line
from tui.widgets.drawn import Drawn, Sketch
from tui.widgets.netmap import MapRow, draw_map, lanes_for
from tui.widgets.table import Column, ListTable, Row

if TYPE_CHECKING:
    from tui.app import ConsoleApp

MEMBER_COLUMNS = (
    Column("CONTAINER"),
    Column("ADDRESS", 15),
    Column("MAC", 17, 2, ink="faint"),
    Column("PORTS", 18, 1, ink="dim"),
    Column("IN/s", 5, number=True),
    Column("OUT/s", 5, number=True),
)


def _store(widget: Drawn) -> Store:
    return cast("ConsoleApp", widget.app).store


class Members(ListTable):
    """The containers in it."""

    def __init__(self) -> None:
        super().__init__(MEMBER_COLUMNS)

    def show(self, network: Network | None) -> None:
        """Those of this one."""
        members = network.members if network is not None else ()
        self.empty = ((("No container is in it.", "dim"),),) if network is not None else ()
        self.put([self._row(member) for member in members])

    def _row(self, member: NetworkMember) -> Row:
        store = _store(self)
        history = store.histories.get(member.container_id)
        rates = (ABSENT, ABSENT)
        if history is not None:
            rates = (format.rate(history.latest.received), format.rate(history.latest.sent))
        ports = ", ".join(f"{port.host_port}→{port.container_port}" for port in member.ports)
        return Row(
            member.container_id,
            (
                ((member.container_name, "text"),),
                member.ip_address or ABSENT,
                member.mac_address or ABSENT,
                ports or ABSENT,
                *rates,
            ),
            glyph=glyph_of(store, member.container_id),
        )


class Ports(Details):
    """What is published, and for whom."""

    def show(self, network: Network | None) -> None:
        """What leads into this one."""
        lines: list[Line] = []
        for member in network.members if network is not None else ():
            for port in member.ports:
                who: Part = ("everyone", "warn")
                if is_local(port):
                    who = ("this host only", "dim")
                inner = f"{member.container_name}:{port.container_port}/{port.protocol}"
                host = (f"{host_of(port):<22}", "text")
                lines.append((host, ("→ ", "dim"), (f"{inner:<28}  ", "text"), who))
        if not lines and network is not None:
            lines.append((("Nothing is published.", "dim"),))
        self.put(lines, again=True)


class Inspect(Details):
    """Docker's JSON of it."""

    def show(self, network: Network | None) -> None:
        """This one."""
        from engine.docker_json import network as document

        text = json.dumps(document(network), indent=2, ensure_ascii=False) if network else ""
        self.put([json_line(line) for line in text.splitlines()], again=True)


class Map(Sketch):
    """All networks with containers in them; `networks` gives them, the chosen one first."""

    def __init__(self, networks: Callable[[], list[Network]]) -> None:
        super().__init__()
        self._networks = networks

    def show(self, network: Network | None) -> None:
        """Draw it anew."""
        self.redraw()

    def draw(self, canvas: Canvas) -> None:
        networks = self._networks()
        if not any(network.members for network in networks):
            canvas.put(3, 0, "No container is in a network.", "dim")
            return
        lanes = [network.summary.name for network in networks][: lanes_for(canvas.width)]
        rows = map_rows(_store(self), networks, lanes)
        draw_map(canvas, 0, 0, canvas.width, canvas.height, lanes, rows)


def map_rows(store: Store, networks: Iterable[Network], lanes: list[str]) -> list[MapRow]:
    """The containers on these lanes: those of the first lane first."""
    found: dict[str, MapRow] = {}
    for network in networks:
        name = network.summary.name
        if name not in lanes:
            continue
        for member in network.members:
            row = found.get(member.container_id)
            if row is None:
                glyph = glyph_of(store, member.container_id)
                row = found[member.container_id] = MapRow(member.container_name, glyph, {})
            row.addresses[name] = member.ip_address
            if member.ports and not row.published:
                port = member.ports[0]
                published = f"{host_of(port)} → {port.container_port}"
                row = row._replace(published=published, local=is_local(port))
                found[member.container_id] = row
    return list(found.values())


def glyph_of(store: Store, container_id: str) -> Part:
    """How a container is, in one cell."""
    row = store.containers.rows.get(container_id)
    if row is None:
        return "○", "faint"
    glyph, ink, _, _ = format.state(row.state, row.exit_code)
    return glyph, ink


def host_of(port: PortMapping) -> str:
    """The host's side of a published port."""
    return f"{port.host_ip or '0.0.0.0'}:{port.host_port}"


def is_local(port: PortMapping) -> bool:
    """Whether only this host reaches it."""
    return port.host_ip.startswith("127.") or port.host_ip == "::1"


def rates_of(store: Store, network: Network | None) -> tuple[float, float] | None:
    """Bytes each second into and out of its containers; None when nobody measures any."""
    members = network.members if network is not None else ()
    histories = [store.histories.get(member.container_id) for member in members]
    latest = [history.latest for history in histories if history is not None]
    if not latest:
        return None
    return sum(meter.received for meter in latest), sum(meter.sent for meter in latest)
