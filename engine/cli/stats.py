"""`stats`: containers' meters, once or second by second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import units
from engine.cli.containers import FORMAT, SHORT_ID
from engine.cli.output import Listing, Output, print_rows
from engine.cli.parser import Command, Flag
from engine.errors import NotFound
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.container import ContainerSummary
    from engine.model.stats import StatsSample

# CPU is a difference: `--no-stream` needs two readings, this far apart.
_ONCE_SECONDS = 0.5
_HOME, _CLEAR_LINE, _CLEAR_BELOW = b"\x1b[H", "\x1b[K", b"\x1b[J"
_LIVE = ("running", "paused")


class Meter(NamedTuple):
    """A container and its newest sample; None while there is none."""

    container: ContainerSummary
    asked_for: str
    sample: StatsSample | None


def _listing(*, full: bool) -> Listing[Meter]:
    def size(size_bytes: int) -> str:
        return units.human_size(size_bytes, 3)

    def memory(row: Meter) -> str:
        if row.sample is None:
            return "0B / 0B"
        used, limit = row.sample.memory_bytes, row.sample.memory_limit_bytes
        return f"{units.binary_size(used)} / {units.binary_size(limit)}"

    def memory_percent(row: Meter) -> str:
        if row.sample is None or not row.sample.memory_limit_bytes:
            return "0.00%"
        return f"{100 * row.sample.memory_bytes / row.sample.memory_limit_bytes:.2f}%"

    def network(row: Meter) -> str:
        if row.sample is None:
            return "0B / 0B"
        return f"{size(row.sample.network_received_bytes)} / {size(row.sample.network_sent_bytes)}"

    def block(row: Meter) -> str:
        if row.sample is None:
            return "0B / 0B"
        return f"{size(row.sample.block_read_bytes)} / {size(row.sample.block_written_bytes)}"

    def identity(row: Meter) -> str:
        return row.container.id if full else row.container.id[:SHORT_ID]

    return Listing(
        {
            "Container": ("CONTAINER", lambda row: row.asked_for or identity(row)),
            "ID": ("CONTAINER ID", identity),
            "Name": ("NAME", lambda row: row.container.name),
            "CPUPerc": ("CPU %", lambda row: f"{row.sample.cpu_percent if row.sample else 0:.2f}%"),
            "MemUsage": ("MEM USAGE / LIMIT", memory),
            "MemPerc": ("MEM %", memory_percent),
            "NetIO": ("NET I/O", network),
            "BlockIO": ("BLOCK I/O", block),
            "PIDs": ("PIDS", lambda row: str(row.sample.pids if row.sample else 0)),
        },
        ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
    )


class _Rows:
    """Which containers are shown, in which order."""

    def __init__(self, call: Call) -> None:
        self._containers = call.engine.containers
        self._all = call.on("all")
        # Asked for: by name and short id, but always these containers.
        self.asked_for = {self._containers.inspect(ref).summary.id: ref for ref in call.words}

    def now(self, samples: Sequence[StatsSample]) -> list[Meter]:
        """A row for each, with its sample where it has one."""
        by_id = {sample.container_id: sample for sample in samples}
        rows = self._containers.list(all=True)
        if self.asked_for:
            wanted = {row.id: row for row in rows}
            rows = [wanted[each] for each in self.asked_for if each in wanted]
        elif not self._all:
            rows = [row for row in rows if row.id in by_id]
        return [Meter(row, self.asked_for.get(row.id, ""), by_id.get(row.id)) for row in rows]

    def any_runs(self) -> bool:
        return any(
            row.state in _LIVE and (not self.asked_for or row.id in self.asked_for)
            for row in self._containers.list()
        )


def _stats(call: Call) -> int:
    rows, listing = _Rows(call), _listing(full=call.on("no-trunc"))
    style, once = call.one("format"), call.on("no-stream")
    refs = list(rows.asked_for) or None
    if once and not rows.any_runs():
        print_rows(call.output, listing, rows.now(()), style=style)
        return 0
    interval = _ONCE_SECONDS if once else 1.0
    if not once:
        _show(call.output, listing, rows.now(()), style)
    ticks = call.engine.containers.stats(refs, interval_seconds=interval)
    try:
        for number, samples in enumerate(ticks):
            if once and number == 0 and samples:
                continue
            if once:
                print_rows(call.output, listing, rows.now(samples), style=style)
                return 0
            _show(call.output, listing, rows.now(samples), style)
            if refs and not rows.now(samples):
                raise NotFound("all of these containers are gone", "pydock ps -a")
    finally:
        ticks.close()
    return 0


def _show(output: Output, listing: Listing[Meter], rows: list[Meter], style: str) -> None:
    """One tick: over the last one on a terminal, below it in a pipe."""
    if not output.is_terminal or style not in ("", "table"):
        print_rows(output, listing, rows, style=style)
        output.flush()
        return
    import io

    text = io.BytesIO()
    page = Output(text, text, terminal=False)
    print_rows(page, listing, rows, style=style)
    output.data(_HOME)
    for line in text.getvalue().decode("utf-8", "replace").splitlines():
        output.data(f"{line}{_CLEAR_LINE}\n".encode())
    output.data(_CLEAR_BELOW)
    output.flush()


STATS = Command(
    "stats",
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    _stats,
    (
        Flag("all", "Show all containers (default shows just running)", short="a"),
        FORMAT,
        Flag("no-stream", "Disable streaming stats and only pull the first result"),
        Flag("no-trunc", "Do not truncate output"),
    ),
    aliases="pydock container stats, pydock stats",
)
