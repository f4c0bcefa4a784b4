"""`system prune`, and that of containers, images, volumes and networks: says exactly what would go,
asks, and takes exactly that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import units
from engine.cli.output import print_table
from engine.cli.parser import Command, Flag, pair
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.prune import Doomed, Preview, Pruned

_DANGLING = "all dangling images"
_UNUSED = "all images without at least one container associated to them"
_NETWORKS = "networks not used by at least one container"
_SHORT_ID = 12
_TITLES = {
    "container": "Deleted Containers:",
    "network": "Deleted Networks:",
    "volume": "Deleted Volumes:",
    "image": "Deleted Images:",
    "file": "Deleted Files:",
}


def _prune(
    call: Call,
    kinds: Sequence[str],
    warning: Sequence[str],
    *,
    filters: Sequence[tuple[str, str]],
    all_images: bool = False,
    all_volumes: bool = False,
) -> int:
    """Preview, question, removal. Saying no is no failure, as with docker."""
    preview = call.engine.system.prune_preview(
        kinds, all_images=all_images, all_volumes=all_volumes, filters=filters
    )
    if preview.items and not call.on("force"):
        for line in warning:
            call.output.line(line)
        _show(call, preview)
        if not _agrees(call):
            return 0
    pruned = call.engine.system.prune(preview)
    for kind in kinds:
        _report(call, kind, pruned)
    for kept in pruned.kept:
        call.output.warn(f"{kept.kind} {kept.name} stays: {kept.reason}")
    if kinds != ("network",):
        call.output.line(f"Total reclaimed space: {units.human_size(pruned.freed_bytes)}")
    return 0


def _show(call: Call, preview: Preview) -> None:
    """What goes, in a table, and how much that is together."""
    call.output.line("")
    rows = [
        [f"  {item.kind}", _label(item), units.human_size(item.freed_bytes)]
        for item in preview.items
    ]
    if any(item.freed_bytes for item in preview.items):
        rows.append(["  Total", str(len(preview.items)), units.human_size(preview.freed_bytes)])
    else:
        rows = [row[:2] for row in rows]
    print_table(call.output, rows)
    call.output.line("")


def _label(item: Doomed) -> str:
    if item.kind == "image":
        return ", ".join(item.references) or f"<none> {item.name}"
    return item.name[:_SHORT_ID] if item.kind == "volume" and len(item.name) == 64 else item.name


def _agrees(call: Call) -> bool:
    call.output.data(b"Are you sure you want to continue? [y/N] ")
    call.output.flush()
    answer = b""
    while not answer.endswith(b"\n"):
        part = os.read(0, 1)
        if not part:
            call.output.line("")
            break
        answer += part
    return answer.strip().lower() == b"y"


def _report(call: Call, kind: str, pruned: Pruned) -> None:
    items = [item for item in pruned.removed if item.kind == kind]
    if not items:
        return
    call.output.line(_TITLES[kind])
    for item in items:
        if kind != "image":
            call.output.line(item.id if kind == "container" else item.name)
            continue
        for name in item.references:
            call.output.line(f"untagged: {name}")
        call.output.line(f"deleted: {item.id}")
    if kind == "image":
        for chain in pruned.chains:
            call.output.line(f"deleted: {chain}")
    call.output.line("")


def _flags(example: str, *more: Flag) -> tuple[Flag, ...]:
    return (
        *more,
        Flag("filter", f'Provide filter values (e.g. "{example}")', kind="filter", read=pair),
        Flag("force", "Do not prompt for confirmation", short="f"),
    )


def _one(noun: str) -> tuple[str]:
    return (f"WARNING! This will remove {noun}.",)


def _container(call: Call) -> int:
    warning = _one("all stopped containers")
    return _prune(call, ("container",), warning, filters=call.many("filter"))


CONTAINER_PRUNE = Command(
    "container prune",
    "[OPTIONS]",
    "Remove all stopped containers",
    _container,
    _flags("until=<timestamp>"),
    most=0,
)


def _image(call: Call) -> int:
    filters, every = call.many("filter"), call.on("all")
    for name, value in filters:
        if name == "dangling":
            every = value.lower() in ("false", "0")
    filters = [each for each in filters if each[0] != "dangling"]
    warning = _one(_UNUSED if every else _DANGLING)
    return _prune(call, ("image",), warning, filters=filters, all_images=every)


IMAGE_PRUNE = Command(
    "image prune",
    "[OPTIONS]",
    "Remove unused images",
    _image,
    _flags(
        "until=<timestamp>",
        Flag("all", "Remove all unused images, not just dangling ones", short="a"),
    ),
    most=0,
)


def _volume(call: Call) -> int:
    filters, every = call.many("filter"), call.on("all")
    for name, value in filters:
        if name == "all":
            every = value.lower() in ("true", "1")
        elif name not in ("label", "label!"):
            raise InvalidInput(f"invalid filter '{name}'", "known ones: all, label, label!")
    filters = [each for each in filters if each[0] != "all"]
    noun = "all local" if every else "anonymous local"
    warning = _one(f"{noun} volumes not used by at least one container")
    return _prune(call, ("volume",), warning, filters=filters, all_volumes=every)


VOLUME_PRUNE = Command(
    "volume prune",
    "[OPTIONS]",
    "Remove unused local volumes",
    _volume,
    _flags(
        "label=<label>",
        Flag("all", "Remove all unused volumes, not just anonymous ones", short="a"),
    ),
    most=0,
)


def _network(call: Call) -> int:
    warning = _one(f"all custom {_NETWORKS}")
    return _prune(call, ("network",), warning, filters=call.many("filter"))


NETWORK_PRUNE = Command(
    "network prune",
    "[OPTIONS]",
    "Remove all unused networks",
    _network,
    _flags("until=<timestamp>"),
    most=0,
)


def _system(call: Call) -> int:
    filters, every, volumes = call.many("filter"), call.on("all"), call.on("volumes")
    if volumes and any(name == "until" for name, _ in filters):
        raise InvalidInput(
            'the "until" filter is not supported with "--volumes"', "leave one of them out"
        )
    kinds = ["container", "network", *(["volume"] if volumes else []), "image"]
    warning = ["all stopped containers", f"all {_NETWORKS}"]
    if volumes:
        warning.append("all anonymous volumes not used by at least one container")
    warning.append(_UNUSED if every else _DANGLING)
    if not filters:  # what nothing leads to has neither age nor labels
        kinds.append("file")
        warning.append("partial downloads, and files that nothing leads to")
    lines = ["WARNING! This will remove:", *(f"  - {each}" for each in warning)]
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {name}={value}" for name, value in filters]
    return _prune(call, tuple(kinds), lines, filters=filters, all_images=every)


SYSTEM_PRUNE = Command(
    "system prune",
    "[OPTIONS]",
    "Remove unused data",
    _system,
    _flags(
        "label=<key>=<value>",
        Flag("all", "Remove all unused images not just dangling ones", short="a"),
        Flag("volumes", "Prune anonymous volumes"),
    ),
    most=0,
)
