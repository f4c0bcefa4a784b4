"""`volume ls`, `create`, `rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import units
from engine.cli.containers import FORMAT
from engine.cli.networks import has_label
from engine.cli.output import Listing, print_rows
from engine.cli.parser import Command, Flag, label, pair
from engine.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.volume import VolumeSummary

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def _listing() -> Listing[VolumeSummary]:
    def size(row: VolumeSummary) -> str:
        return units.human_size(row.size_bytes, 3) if row.size_bytes >= 0 else "N/A"

    return Listing(
        {
            "Driver": ("DRIVER", lambda row: row.driver),
            "Name": ("VOLUME NAME", lambda row: row.name),
            "Mountpoint": ("MOUNTPOINT", lambda row: row.mountpoint),
            "Scope": ("SCOPE", lambda row: "local"),
            "Labels": ("LABELS", lambda row: ",".join(f"{k}={v}" for k, v in row.labels)),
            "Links": ("LINKS", lambda row: str(len(row.used_by))),
            "Size": ("SIZE", size),
        },
        ("Driver", "Name"),
        quiet="Name",
    )


def _matches(row: VolumeSummary, name: str, value: str) -> bool:
    if name == "dangling" and value.lower() in _TRUE + _FALSE:
        return (not row.used_by) == (value.lower() in _TRUE)
    if name == "driver":
        return row.driver == value
    if name == "name":
        return value in row.name
    if name == "label":
        return has_label(dict(row.labels), value)
    raise InvalidInput(f"invalid filter '{name}={value}'", "dangling, driver, label, name")


def _ls(call: Call) -> int:
    filters: dict[str, list[str]] = {}
    for name, value in call.many("filter"):
        filters.setdefault(name, []).append(value)
    rows = [
        row
        for row in call.engine.volumes.list()
        if all(
            (all if name == "label" else any)(_matches(row, name, value) for value in filters[name])
            for name in filters
        )
    ]
    print_rows(call.output, _listing(), rows, style=call.one("format"), quiet=call.on("quiet"))
    return 0


LS = Command(
    "volume ls",
    "[OPTIONS]",
    "List volumes",
    _ls,
    (
        Flag(
            "filter", 'Provide filter values (e.g. "dangling=true")', short="f", kind="filter",
            read=pair,
        ),
        FORMAT,
        Flag("quiet", "Only display volume names", short="q"),
    ),
    refused="--cluster",
    most=0,
    aliases="pydock volume ls, pydock volume list",
)  # fmt: skip


def _create(call: Call) -> int:
    driver = call.one("driver", "local")
    if driver != "local":
        raise Unsupported(f"volume driver {driver}: not supported by pydock yet", "local")
    name = call.words[0] if call.words else None
    labels = tuple(dict(call.many("label")).items())
    call.output.line(call.engine.volumes.create(name, labels=labels))
    return 0


CREATE = Command(
    "volume create",
    "[OPTIONS] [VOLUME]",
    "Create a volume",
    _create,
    (
        Flag("driver", "Specify volume driver name", short="d", kind="string", default='"local"'),
        Flag("label", "Set metadata for a volume", kind="list", read=label),
    ),
    refused=(
        "--availability --group --limit-bytes -o --opt --required-bytes --scope --secret --sharing "
        "--topology-preferred --topology-required --type --name"
    ),
    most=1,
)


def _rm(call: Call) -> int:
    remove, force = call.engine.volumes.remove, call.on("force")
    return call.each(call.words, lambda name: remove(name, force=force))


RM = Command(
    "volume rm",
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    _rm,
    (Flag("force", "Force the removal of one or more volumes", short="f"),),
    least=1,
    aliases="pydock volume rm, pydock volume remove",
)
