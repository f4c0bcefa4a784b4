"""`ps`, `port`, `top`: what runs, and what of it can be seen from outside."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine import units
from engine.cli.output import Listing, ellipsis, print_rows, print_table, quoted
from engine.cli.parser import Command, Flag, integer, pair
from engine.errors import InvalidInput, NotFound
from engine.model.container import ContainerSummary, PortMapping

if TYPE_CHECKING:
    from engine.cli.call import Call

SHORT_ID = 12
_COMMAND_WIDTH, _MOUNT_WIDTH = 20, 15
_ANY = "0.0.0.0"


def describe_status(row: ContainerSummary, now_ns: int) -> str:
    """docker's STATUS: `Up 3 minutes (Paused)`, `Exited (0) 2 hours ago` …"""
    if row.state in ("running", "paused"):
        up = f"Up {units.human_duration((now_ns - row.started_ns) / 1e9)}"
        return f"{up} (Paused)" if row.state == "paused" else up
    if row.state in ("exited", "restarting"):
        ago = units.human_duration((now_ns - row.finished_ns) / 1e9)
        return f"{row.state.capitalize()} ({row.exit_code}) {ago} ago"
    return {"created": "Created", "dead": "Dead", "removing": "Removal In Progress"}[row.state]


def describe_ports(ports: Iterable[PortMapping]) -> str:
    """docker's PORTS: `443/tcp, 0.0.0.0:8080->80/tcp`. Neighbours are drawn together where inside
    and outside are the same port."""
    runs: dict[tuple[str, str], list[int]] = {}  # by address and protocol: first and last port
    drawn: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=_port_order):
        if port.host_port not in (0, port.container_port):
            mapped.append(f"{host_of(port)}->{port.container_port}/{port.protocol}")
            continue
        key = (host_of(port).rpartition(":")[0] if port.host_port else "", port.protocol)
        run = runs.get(key)
        if run is not None and port.container_port == run[1] + 1:
            run[1] += 1
            continue
        if run is not None:
            drawn.append(_describe_run(*key, *run))
        runs[key] = [port.container_port, port.container_port]
    drawn += [_describe_run(*key, *run) for key, run in runs.items()]
    return ", ".join(drawn + mapped)


def _port_order(port: PortMapping) -> tuple[str, int, int, str]:
    address = (port.host_ip or _ANY) if port.host_port else ""
    return address, port.container_port, port.host_port, port.protocol


def _describe_run(address: str, protocol: str, first: int, last: int) -> str:
    ports = str(first) if first == last else f"{first}-{last}"
    return f"{address}:{ports}->{ports}/{protocol}" if address else f"{ports}/{protocol}"


def host_of(port: PortMapping) -> str:
    """`0.0.0.0:8080`, `[::1]:8080`."""
    address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip or _ANY
    return f"{address}:{port.host_port}"


def _listing(*, full: bool, sizes: Mapping[str, str] | None) -> Listing[ContainerSummary]:
    now_ns = time.time_ns()

    def command(row: ContainerSummary) -> str:
        text = " ".join(row.command)
        return quoted(text if full else ellipsis(text, _COMMAND_WIDTH))

    def mounts(row: ContainerSummary) -> str:
        names = [mount.name or mount.source for mount in row.mounts]
        return ",".join(names if full else [ellipsis(name, _MOUNT_WIDTH) for name in names])

    def ago(row: ContainerSummary) -> str:
        return f"{units.human_duration((now_ns - row.created_ns) / 1e9)} ago"

    return Listing(
        {
            "ID": ("CONTAINER ID", lambda row: row.id if full else row.id[:SHORT_ID]),
            "Image": ("IMAGE", lambda row: row.image or "<no image>"),
            "Command": ("COMMAND", command),
            "CreatedAt": ("CREATED AT", lambda row: units.local_time(row.created_ns)),
            "RunningFor": ("CREATED", ago),
            "Status": ("STATUS", lambda row: describe_status(row, now_ns)),
            "State": ("STATE", lambda row: row.state),
            "Ports": ("PORTS", lambda row: describe_ports(row.ports)),
            "Names": ("NAMES", lambda row: row.name),
            "Labels": ("LABELS", lambda row: ",".join(f"{k}={v}" for k, v in row.labels)),
            "Mounts": ("MOUNTS", mounts),
            "LocalVolumes": (
                "LOCAL VOLUMES",
                lambda row: str(sum(mount.type == "volume" for mount in row.mounts)),
            ),
            "Networks": ("NETWORKS", lambda row: ",".join(row.networks)),
            "Size": ("SIZE", lambda row: (sizes or {}).get(row.id, units.human_size(0))),
        },
        (
            "ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names",
            *(("Size",) if sizes is not None else ()),
        ),
        quiet="ID",
    )  # fmt: skip


def _sizes(call: Call) -> dict[str, str]:
    """What each container wrote, and with its image: `5B (virtual 4.2MB)`."""
    usage = call.engine.system.df()
    images: dict[str, int] = {each.id: each.size_bytes for each in usage.each_image}
    rows = call.engine.containers.list(all=True)
    below: dict[str, int] = {row.id: images.get(row.image_id, 0) for row in rows}
    return {
        each.id: f"{units.human_size(each.size_bytes, 3)} "
        f"(virtual {units.human_size(each.size_bytes + below.get(each.id, 0), 3)})"
        for each in usage.each_container
    }


def _ps(call: Call) -> int:
    last = 1 if call.on("latest") else call.value("last", -1)
    everything = call.on("all") or last >= 0
    sized = call.on("size") or ".Size" in call.one("format")
    rows: Sequence[ContainerSummary]
    rows = call.engine.containers.list(all=everything, filters=call.many("filter"))
    if last > 0:
        rows = rows[:last]
    print_rows(
        call.output,
        _listing(full=call.on("no-trunc"), sizes=_sizes(call) if sized else None),
        rows,
        style=call.one("format"),
        quiet=call.on("quiet"),
    )
    return 0


FORMAT_TEXT = (
    "Format output using a custom template:\n"
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template."
)
FORMAT = Flag("format", FORMAT_TEXT, kind="string")
FILTER = Flag(
    "filter", "Filter output based on conditions provided", short="f", kind="filter", read=pair
)

PS = Command(
    "ps",
    "[OPTIONS]",
    "List containers",
    _ps,
    (
        Flag("all", "Show all containers (default shows just running)", short="a"),
        FILTER,
        FORMAT,
        Flag(
            "last", "Show n last created containers (includes all states)", short="n", kind="int",
            default="-1", read=integer,
        ),
        Flag("latest", "Show the latest created container (includes all states)", short="l"),
        Flag("no-trunc", "Don't truncate output"),
        Flag("quiet", "Only display container IDs", short="q"),
        Flag("size", "Display total file sizes", short="s"),
    ),
    most=0,
    aliases="pydock container ls, pydock container list, pydock container ps, pydock ps",
)  # fmt: skip


def _port(call: Call) -> int:
    ref, *wanted = call.words
    ports = call.engine.containers.ports(ref)
    if not wanted:
        for port in ports:
            call.output.line(f"{port.container_port}/{port.protocol} -> {host_of(port)}")
        return 0
    number, _, protocol = wanted[0].partition("/")
    if not number.isdecimal():
        raise InvalidInput(f"invalid port {wanted[0]!r}", "a number, then perhaps /tcp or /udp")
    protocol = protocol.lower() or "tcp"
    found = [
        port for port in ports if (str(port.container_port), port.protocol) == (number, protocol)
    ]
    if not found:
        raise NotFound(
            f"no public port '{number}/{protocol}' published for {ref}", f"pydock port {ref}"
        )
    for port in found:
        call.output.line(host_of(port))
    return 0


PORT = Command(
    "port",
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    _port,
    least=1,
    most=2,
    aliases="pydock container port, pydock port",
)


def _top(call: Call) -> int:
    ref, *options = call.words
    if options:
        print_table(call.output, call.engine.containers.top_by(ref, options), minimum=20)
        return 0
    rows = [["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]]
    rows += [
        [
            each.uid, str(each.pid), str(each.ppid), str(int(each.cpu_percent)), each.start_time,
            each.tty, each.cpu_time, each.command,
        ]
        for each in call.engine.containers.top(ref)
    ]  # fmt: skip
    print_table(call.output, rows, minimum=20)
    return 0


TOP = Command(
    "top",
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    _top,
    least=1,
    ordered=True,
    aliases="pydock container top, pydock top",
)
