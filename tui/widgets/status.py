"""The first row: which engine this is, what runs, what the host has left."""

from engine.engine import Capability
from engine.model.system import EngineInfo
from tui import format
from tui.store import Store
from tui.widgets.canvas import EDGE, Canvas, Part, width_of
from tui.widgets.drawn import Sketch

SPARK = 12


class StatusRow(Sketch):
    """No clock: an idle screen writes nothing."""

    def __init__(self, info: EngineInfo, capabilities: Capability, store: Store) -> None:
        super().__init__()
        self._info = info
        self._stats = Capability.STATS in capabilities
        self._store = store

    def draw(self, canvas: Canvas) -> None:
        info = self._info
        right = self._right(canvas.width)
        end = canvas.width - 2 - sum(width_of(text) for text, _ in right)
        canvas.spans(end, 0, right)
        x = canvas.spans(
            EDGE, 0, [("pydock", "accent bold"), ("  ", "text"), (info.name, "strong")]
        )
        if info.demo:
            x = canvas.put(x, 0, "  demo", "warn", end - 2)
        if info.kind != "embedded":
            x = canvas.put(x, 0, f"  {info.kind}", "dim", end - 2)
        if canvas.width >= 120 and x + 2 + width_of(info.root) < end - 2:
            canvas.put(x, 0, f"  {info.root}", "dim")

    def _right(self, width: int) -> list[Part]:
        store = self._store
        rows = store.containers.rows.values()
        up = sum(row.state in ("running", "paused") for row in rows)
        parts: list[Part] = [(str(up), "text"), (f" of {len(rows)} up", "dim")]
        host = store.host
        if host is None:
            return parts
        parts += [("   cpu ", "dim"), (f"{host.cpu_percent:2.0f}%", "text")]
        if width >= 100:
            shares = [v / 100 for v in store.host_cpu]
            shares = [-1.0] * (2 * SPARK - len(shares)) + shares
            cells = format.braille(shares, SPARK, 1)[0]
            parts += [(" ", "text"), (cells.replace("\u2800", " "), "info")]
        used = f"{host.memory_bytes / format.GI:.1f}"
        whole = f" of {host.memory_total_bytes / format.GI:.1f}G"
        parts += [("   mem ", "dim"), (used, "text"), (whole, "dim")]
        if width >= 100:
            share = host.disk_bytes / max(1, host.disk_total_bytes)
            ink = "bad" if share > 0.95 else "warn" if share > 0.9 else "text"
            parts += [("   disk ", "dim"), (f"{share:.0%}", ink)]
            if width >= 150:
                parts += [(" ", "text"), *format.bar(share, 10, "info" if ink == "text" else ink)]
        if width >= 150 and self._stats:
            latest = [history.latest for history in store.histories.values()]
            received, sent = sum(m.received for m in latest), sum(m.sent for m in latest)
            moved = sum(m.read + m.written for m in latest)
            parts += [
                ("   net ", "dim"),
                (f"{format.rate(received):>4}", "text"),
                ("↓ ", "dim"),
                (f"{format.rate(sent):>4}", "text"),
                ("↑", "dim"),
                ("   io ", "dim"),
                (f"{format.rate(moved):>4}", "text"),
            ]
        return parts
