"""What the containers pane shows of one container, tab by tab."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, cast

from textual.worker import Worker

from engine.aio import offload, stream
from engine.engine import Capability
from engine.errors import EngineError
from engine.model.container import Container, ContainerSummary, LogLine
from tui import format
from tui.format import ABSENT
from tui.store import Meter
from tui.widgets.canvas import EDGE, Canvas, Part
from tui.widgets.details import Details, Line
from tui.widgets.drawn import Drawn, Sketch
from tui.widgets.graph import columns, draw_graph
from tui.widgets.log import APPEND_SECONDS, LogView
from tui.widgets.table import Column, ListTable, Row

if TYPE_CHECKING:
    from tui.app import ConsoleApp

FIRST_LINES = 1000
PROCESS_SECONDS = 2.0
SECRET = ("key", "token", "pass", "secret", "credential")


def _console(widget: Drawn) -> "ConsoleApp":
    return cast("ConsoleApp", widget.app)


class Logs(LogView):
    """The output of a container, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[str, int] = ("", 0)
        self._worker: Worker[None] | None = None

    def show(self, container: ContainerSummary | None) -> None:
        """Follow this one; nothing changes while it is the same run of the same container."""
        shown = (container.id, container.started_ns) if container else ("", 0)
        if shown == self._shown:
            return
        self._shown = shown
        if self._worker is not None:
            self._worker.cancel()
        self.clear()
        if container is not None:
            self._worker = self.work(self._follow, shown)

    async def _follow(self, shown: tuple[str, int]) -> None:
        console = _console(self)
        pending: list[LogLine] = []

        def flush() -> None:
            lines, pending[:] = pending[:], []
            if self._shown == shown:  # it may be due in the turn that another one is shown
                self.extend(lines)

        call = console.engine.containers.logs
        loop, timer = asyncio.get_running_loop(), None
        try:
            async with stream(call, shown[0], follow=True, tail=FIRST_LINES) as lines:
                async for line in lines:
                    if not pending:
                        timer = loop.call_later(APPEND_SECONDS, flush)
                    pending.append(line)
            self.end("ended")
        except EngineError as error:
            self.end(error.message)
        finally:
            if timer is not None:
                timer.cancel()
            flush()


class Stats(Sketch):
    """Four graphs of the last five minutes, two where the room is low; facts in the last row."""

    def __init__(self) -> None:
        super().__init__()
        self._container: ContainerSummary | None = None

    def show(self, container: ContainerSummary | None) -> None:
        """Show this one."""
        self._container = container
        self.redraw()

    def draw(self, canvas: Canvas) -> None:
        container, console = self._container, _console(self)
        if container is None:
            return
        if Capability.STATS not in console.engine.capabilities:
            canvas.put(EDGE, 0, "This engine has no figures of its containers.", "dim")
            return
        history = console.store.histories.get(container.id)
        if history is None:
            what = "Figures come in a second."
            if container.state not in ("running", "paused"):
                what = f"{container.name} does not run."
            canvas.spans(EDGE, 0, [(what, "dim")])
            return
        meters, width, height = list(history.meters), canvas.width, canvas.height
        room = width - EDGE - 2
        wide = width >= 100 and height < 30
        if height < 14 or wide:
            half = (room - 4) // 2
            each = (height - 2) // 2 if height >= 14 else height - 3
            tall = each - 2 if height >= 14 else each
            step = each if height >= 14 else each + 1
            for n in range(4 if height >= 14 else 2):
                x, y = EDGE + (n % 2) * (half + 4), (n // 2) * step
                times = height < 14 or n > 1
                self.graph(canvas, n, x, y, half, max(1, tall), container, meters, times)
        else:
            tall, y = max(1, (height - 6) // 4 - 1), 0
            for n in range(4):
                y = self.graph(canvas, n, EDGE, y, room, tall, container, meters, n == 3) + (n < 3)
        self._foot(canvas, container, meters[-1])

    def graph(
        self,
        canvas: Canvas,
        number: int,
        x: int,
        y: int,
        width: int,
        height: int,
        container: ContainerSummary,
        meters: list[Meter],
        times: bool,
        *,
        short: bool = False,
    ) -> int:
        """One of the four: cpu, memory, net, disk. Returns the next row."""
        now, limit = meters[-1], container.memory_limit_bytes
        cells = width - 6
        pad = "" if short else "   "
        if number == 0:
            values = columns(meters, lambda m: m.cpu_percent, cells)
            most = max(m.cpu_percent for m in meters)
            head: list[Part] = [("cpu  " if short else "cpu     ", "dim")]
            head += [(f"{now.cpu_percent:.1f}%", "strong bold"), (f"   max {most:.0f}%", "dim")]
            if now.throttled_percent >= 0.1 and not short:
                head.append((f"   throttled {now.throttled_percent:.1f}%", "dim"))
            top, unit = format.scale(most, 10), lambda v: f"{v:.0f}%"
        elif number == 1:
            values = columns(meters, lambda m: float(m.memory_bytes), cells)
            most = max(m.memory_bytes for m in meters)
            head = [("mem  " if short else "memory  ", "dim")]
            head.append((format.memory(now.memory_bytes), "strong bold"))
            if limit:
                head.append((f" of {format.memory(limit)}", "dim"))
            head.append((f"   max {format.memory(most)}", "dim"))
            top = float(limit) if limit else format.scale(most / (1 << 20)) * (1 << 20)
            unit = format.memory
        elif number == 2:
            values = columns(meters, lambda m: m.received + m.sent, cells)
            rates = f"{format.rate(now.received)}↓ {format.rate(now.sent)}↑"
            since = (
                f"{format.size(now.network_received_bytes)} {format.size(now.network_sent_bytes)}"
            )
            head = [
                ("net     ", "dim"),
                (rates, "strong bold"),
                (f"{pad}since start {since}", "dim"),
            ]
            top = format.scale(max(m.received + m.sent for m in meters), 1000)
            unit = format.rate
        else:
            values = columns(meters, lambda m: m.read + m.written, cells)
            moved = f"{format.rate(now.read)} read {format.rate(now.written)} written"
            head = [("disk    ", "dim"), (moved, "strong bold")]
            top = format.scale(max(m.read + m.written for m in meters), 1000)
            unit = format.rate
        return draw_graph(
            canvas,
            x,
            y,
            width,
            height,
            head,
            values,
            top,
            unit,
            level=number == 1,
            limit=number == 1 and bool(limit),
            times=times,
            braille=_console(self).terminal.braille,
        )

    def _foot(self, canvas: Canvas, container: ContainerSummary, now: Meter) -> None:
        up = (time.time_ns() - container.started_ns) / 1e9
        parts: list[Part] = [("pids ", "dim"), (format.count(now.pids), "text")]
        parts += [("   up ", "dim"), (format.span(up) if up < 60 else _minutes(up), "text")]
        parts += [("   throttled ", "dim"), (f"{now.throttled_percent:.1f}%", "text")]
        parts += [("   every ", "dim"), ("1s", "text")]
        canvas.spans(EDGE, canvas.height - 1, parts, canvas.width - 1)


class Minutes(Stats):
    """The two graphs that stand below the log where there is room for both."""

    ROWS = 8

    def draw(self, canvas: Canvas) -> None:
        container = self._container
        history = _console(self).store.histories.get(container.id) if container else None
        if container is None or history is None:
            return
        meters, half = list(history.meters), (canvas.width - EDGE - 5) // 2
        for n in range(2):
            x = EDGE + n * (half + 3)
            self.graph(canvas, n, x, 0, half, 5, container, meters, True, short=True)


def _minutes(seconds: float) -> str:
    return format.span(seconds // 60 * 60).removesuffix(" 0s")


class Facts(Details):
    """Something of a container's inspection; read when it is shown, and again when it changed."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = ""

    def show(self, container: ContainerSummary | None) -> None:
        """Show this one."""
        if container is None:
            self.drop_work()
            self._shown = ""
            self.put([])
        else:
            self.work(self._read, container.id, exclusive=True)

    async def _read(self, container_id: str) -> None:
        again = self._shown == container_id
        try:
            container = await offload(_console(self).engine.containers.inspect, container_id)
            lines = self.facts(container)
        except EngineError as error:
            lines = [((error.message, "dim"),)]
        self._shown = container_id
        self.put(lines, again=again)

    def facts(self, container: Container) -> list[Line]:
        """Its lines."""
        raise NotImplementedError


class Environment(Facts):
    """Variables; what looks secret is masked until somebody asks."""

    unmasked = False

    def facts(self, container: Container) -> list[Line]:
        lines: list[Line] = []
        names = [entry.partition("=")[0] for entry in container.env]
        wide = min(32, max(map(len, names), default=0))
        for entry in container.env:
            name, _, value = entry.partition("=")
            secret = not self.unmasked and any(word in name.lower() for word in SECRET)
            shown: Part = ("••••••", "faint") if secret and value else (value, "text")
            lines.append(((f"{name:<{wide}}  ", "dim"), shown))
        return lines or [(("no variables", "dim"),)]


class Mounts(Facts):
    """What is mounted in it, and from where."""

    def facts(self, container: Container) -> list[Line]:
        lines: list[Line] = []
        for mount in container.summary.mounts:
            source = mount.name if mount.type == "volume" else mount.source
            how: Part = ("   read-only", "warn") if mount.read_only else ("", "dim")
            lines.append(
                (
                    (mount.target, "text"),
                    (f"   {mount.type} ", "dim"),
                    (source, "text"),
                    how,
                )
            )
        return lines or [(("nothing is mounted", "dim"),)]


class Nets(Facts):
    """Its addresses, and the ports that lead to it."""

    LABEL = 10

    def facts(self, container: Container) -> list[Line]:
        if not container.endpoints:
            return [(("network ", "dim"), (container.network_mode, "text"))]
        lines: list[Line] = []
        for endpoint in container.endpoints:
            lines += [
                self.fact("network", (endpoint.network, "strong bold")),
                self.fact("address", (f"{endpoint.ip_address}/{endpoint.prefix_length}", "text")),
                self.fact("gateway", (endpoint.gateway or ABSENT, "dim")),
                self.fact("mac", (endpoint.mac_address or ABSENT, "dim")),
                (),
            ]
        for port in container.summary.ports:
            host = f"{port.host_ip or '0.0.0.0'}:{port.host_port}"
            inner = f"{port.container_port}/{port.protocol}"
            local = port.host_ip.startswith("127.")
            who: Part = ("   this host only", "dim") if local else ("", "dim")
            lines.append(
                self.fact("published", (host, "text"), (" → ", "dim"), (inner, "text"), who)
            )
        return lines


class Inspect(Facts):
    """Docker's JSON of it."""

    def facts(self, container: Container) -> list[Line]:
        from engine.docker_json import container as document

        text = json.dumps(document(container), indent=2, ensure_ascii=False)
        return [json_line(line) for line in text.splitlines()]


def json_line(line: str) -> Line:
    """A line of JSON, its key dim."""
    bare = line.lstrip(" ")
    indent = line[: len(line) - len(bare)]
    key, colon, value = bare.partition('": ')
    if bare.startswith('"') and colon:
        return ((indent, "text"), (f'{key}"', "dim"), (": ", "dim"), (value, "text"))
    return ((line, "text"),)


class Processes(ListTable):
    """What runs in it; read again every two seconds while it is on the screen."""

    def __init__(self) -> None:
        super().__init__(
            (
                Column("PID", 7, number=True),
                Column("PPID", 7, 2, number=True, ink="dim"),
                Column("USER", 8, 1, ink="dim"),
                Column("CPU%", 5, number=True),
                Column("TIME", 9, 3, number=True, ink="dim"),
                Column("COMMAND"),
            ),
            sort="PID",
        )
        self._container: ContainerSummary | None = None

    def on_mount(self) -> None:
        self.set_interval(PROCESS_SECONDS, self._again)

    def show(self, container: ContainerSummary | None) -> None:
        """Show this one."""
        self._container = container
        self._again(force=True)

    def _again(self, *, force: bool = False) -> None:
        container = self._container
        if container is None or container.state not in ("running", "paused"):
            self.drop_work()
            name = container.name if container else "it"
            self.empty = (((f"{name} does not run", "dim"),),)
            self.put([])
        elif force or self.is_on_screen:
            self.work(self._read, container.id, exclusive=True)

    async def _read(self, container_id: str) -> None:
        try:
            processes = await offload(_console(self).engine.containers.top, container_id)
        except EngineError as error:
            self.empty = (((error.message, "dim"),),)
            self.put([])
            return
        self.put(
            [
                Row(
                    str(p.pid),
                    (
                        str(p.pid),
                        str(p.ppid),
                        p.uid,
                        f"{p.cpu_percent:.1f}",
                        p.cpu_time,
                        p.command,
                    ),
                    (p.pid, p.ppid, p.uid, p.cpu_percent, p.cpu_time, p.command),
                )
                for p in processes
            ]
        )
