"""`network ls`, `create`, `rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import units
from engine.cli.containers import FORMAT, SHORT_ID
from engine.cli.output import Listing, print_rows
from engine.cli.parser import Command, Flag, pair
from engine.errors import InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.network import NetworkSummary

_BUILT_IN = ("bridge", "host", "none")


def _listing(*, full: bool) -> Listing[NetworkSummary]:
    return Listing(
        {
            "ID": ("NETWORK ID", lambda row: row.id if full else row.id[:SHORT_ID]),
            "Name": ("NAME", lambda row: row.name),
            "Driver": ("DRIVER", lambda row: row.driver),
            "Scope": ("SCOPE", lambda row: "local"),
            "IPv6": ("IPV6", lambda row: "false"),
            "Internal": ("INTERNAL", lambda row: "true" if row.internal else "false"),
            "Labels": ("LABELS", lambda row: ",".join(f"{k}={v}" for k, v in row.labels)),
            "CreatedAt": ("CREATED AT", lambda row: units.local_time(row.created_ns)),
        },
        ("ID", "Name", "Driver", "Scope"),
        quiet="ID",
    )


def _matches(row: NetworkSummary, name: str, value: str) -> bool:
    if name == "driver":
        return row.driver == value
    if name == "id":
        return row.id.startswith(value)
    if name == "name":
        return value in row.name
    if name == "scope":
        return value == "local"
    if name == "type" and value in ("builtin", "custom"):
        return (row.name in _BUILT_IN) == (value == "builtin")
    if name == "label":
        return has_label(dict(row.labels), value)
    raise InvalidInput(f"invalid filter '{name}={value}'", "driver, id, label, name, scope, type")


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether a label is there, with its value if `wanted` names one."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _ls(call: Call) -> int:
    filters: dict[str, list[str]] = {}
    for name, value in call.many("filter"):
        filters.setdefault(name, []).append(value)
    rows = [
        row
        for row in call.engine.networks.list()
        if all(
            (all if name == "label" else any)(_matches(row, name, value) for value in filters[name])
            for name in filters
        )
    ]
    print_rows(
        call.output,
        _listing(full=call.on("no-trunc")),
        rows,
        style=call.one("format"),
        quiet=call.on("quiet"),
    )
    return 0


LS = Command(
    "network ls",
    "[OPTIONS]",
    "List networks",
    _ls,
    (
        Flag(
            "filter", 'Provide filter values (e.g. "driver=bridge")', short="f", kind="filter",
            read=pair,
        ),
        FORMAT,
        Flag("no-trunc", "Do not truncate the output"),
        Flag("quiet", "Only display network IDs", short="q"),
    ),
    most=0,
    aliases="pydock network ls, pydock network list",
)  # fmt: skip


def _create(call: Call) -> int:
    driver = call.one("driver", "bridge")
    if driver != "bridge":
        raise Unsupported(f"network driver {driver}: not supported by pydock yet", "bridge")
    identity = call.engine.networks.create(
        call.words[0], internal=call.on("internal"), subnet=call.one("subnet") or None
    )
    call.output.line(identity)
    return 0


CREATE = Command(
    "network create",
    "[OPTIONS] NETWORK",
    "Create a network",
    _create,
    (
        Flag(
            "driver", "Driver to manage the Network", short="d", kind="string", default='"bridge"'
        ),
        Flag("internal", "Restrict external access to the network"),
        Flag("subnet", "Subnet in CIDR format that represents a network segment", kind="string"),
    ),
    refused=(
        "--attachable --aux-address --config-from --config-only --gateway --ingress --ip-range "
        "--ipam-driver --ipam-opt --ipv4 --ipv6 --label -o --opt --scope"
    ),
    least=1,
    most=1,
)


def _rm(call: Call) -> int:
    force = call.on("force")

    def remove(ref: str) -> None:
        try:
            call.engine.networks.remove(ref)
        except NotFound:
            if not force:
                raise
        else:
            call.output.line(ref)

    return call.each(call.words, remove, say=False)


RM = Command(
    "network rm",
    "NETWORK [NETWORK...]",
    "Remove one or more networks",
    _rm,
    (Flag("force", "Do not error if the network does not exist", short="f"),),
    least=1,
    aliases="pydock network rm, pydock network remove",
)
