"""`system df`: what takes the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import units
from engine.cli.containers import FORMAT, SHORT_ID, describe_status
from engine.cli.output import Fields, Listing, ellipsis, print_rows, quoted
from engine.cli.parser import Command, Flag
from engine.errors import Unsupported
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.container import ContainerSummary
    from engine.model.disk import DiskUsage, ImageUse, Share, VolumeUse

_NONE = "<none>"
_COMMAND_WIDTH = 20


class _ImageRow(NamedTuple):
    """An image under one of its names."""

    image: ImageUse
    repository: str
    tag: str


class _ContainerRow(NamedTuple):
    container: ContainerSummary
    size_bytes: int


def _reclaimable(share: Share) -> str:
    size = units.human_size(share.reclaimable_bytes)
    if not share.size_bytes:
        return size
    return f"{size} ({share.reclaimable_bytes * 100 // share.size_bytes}%)"


_SUMMARY: Listing[tuple[str, Share]] = Listing(
    {
        "Type": ("TYPE", lambda row: row[0]),
        "TotalCount": ("TOTAL", lambda row: str(row[1].total)),
        "Active": ("ACTIVE", lambda row: str(row[1].active)),
        "Size": ("SIZE", lambda row: units.human_size(row[1].size_bytes)),
        "Reclaimable": ("RECLAIMABLE", lambda row: _reclaimable(row[1])),
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)


def _shares(found: DiskUsage) -> list[tuple[str, Share]]:
    """docker's rows, and what it does not tell of; together they are all there is."""
    from engine.model.disk import Share

    return [
        ("Images", found.images),
        ("Containers", found.containers),
        ("Local Volumes", found.volumes),
        ("Downloads", found.downloads),
        ("Leftovers", found.leftovers),
        ("Database", Share(1, 1, found.metadata_bytes, 0)),
    ]


def _images(now_ns: int) -> Listing[_ImageRow]:
    def ago(row: _ImageRow) -> str:
        if not row.image.created_ns:
            return "N/A"
        return f"{units.human_duration((now_ns - row.image.created_ns) / 1e9)} ago"

    return Listing(
        {
            "Repository": ("REPOSITORY", lambda row: row.repository),
            "Tag": ("TAG", lambda row: row.tag),
            "ID": ("IMAGE ID", lambda row: row.image.id.partition(":")[2][:SHORT_ID]),
            "CreatedSince": ("CREATED", ago),
            "Size": ("SIZE", lambda row: units.human_size(row.image.size_bytes, 3)),
            "SharedSize": ("SHARED SIZE", lambda row: units.human_size(row.image.shared_bytes)),
            "UniqueSize": ("UNIQUE SIZE", lambda row: units.human_size(row.image.unique_bytes)),
            "Containers": ("CONTAINERS", lambda row: str(row.image.containers)),
        },
        (
            "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize",
            "Containers",
        ),
    )  # fmt: skip


def _containers(now_ns: int) -> Listing[_ContainerRow]:
    def ago(row: _ContainerRow) -> str:
        return f"{units.human_duration((now_ns - row.container.created_ns) / 1e9)} ago"

    def volumes(row: _ContainerRow) -> str:
        return str(sum(mount.type == "volume" for mount in row.container.mounts))

    def command(row: _ContainerRow) -> str:
        return quoted(ellipsis(" ".join(row.container.command), _COMMAND_WIDTH))

    return Listing(
        {
            "ID": ("CONTAINER ID", lambda row: row.container.id[:SHORT_ID]),
            "Image": ("IMAGE", lambda row: row.container.image),
            "Command": ("COMMAND", command),
            "LocalVolumes": ("LOCAL VOLUMES", volumes),
            "Size": ("SIZE", lambda row: units.human_size(row.size_bytes, 3)),
            "RunningFor": ("CREATED", ago),
            "Status": ("STATUS", lambda row: describe_status(row.container, now_ns)),
            "Names": ("NAMES", lambda row: row.container.name),
        },
        ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
    )


_VOLUMES: Listing[VolumeUse] = Listing(
    {
        "Name": ("VOLUME NAME", lambda row: row.name),
        "Links": ("LINKS", lambda row: str(len(row.used_by))),
        "Size": ("SIZE", lambda row: units.human_size(row.size_bytes)),
    },
    ("Name", "Links", "Size"),
)


def _image_rows(images: Sequence[ImageUse]) -> list[_ImageRow]:
    rows = []
    for image in images:
        for name in image.references or (f"{_NONE}:{_NONE}",):
            repository, at, _ = name.partition("@")
            tag = _NONE
            if not at:
                repository, _, tag = name.rpartition(":")
            rows.append(_ImageRow(image, repository, tag))
    return rows


def _df(call: Call) -> int:
    found, style = call.engine.system.df(), call.one("format")
    if not call.on("verbose"):
        print_rows(call.output, _SUMMARY, _shares(found), style=style)
        return 0
    if style not in ("", "table", "json"):
        raise Unsupported(
            "the verbose and the format options conflict", "leave one of them out, or use json"
        )
    now_ns = time.time_ns()
    summaries = {row.id: row for row in call.engine.containers.list(all=True)}
    images, containers = _images(now_ns), _containers(now_ns)
    image_rows = _image_rows(found.each_image)
    container_rows = [
        _ContainerRow(summaries[use.id], use.size_bytes)  # type: ignore[index]
        for use in found.each_container
        if use.id in summaries
    ]
    rest = [(name, share) for name, share in _shares(found)[3:] if share.size_bytes]
    if style == "json":
        from engine.cli import templates

        document = {
            "Images": [dict(Fields(images, row)) for row in image_rows],
            "Containers": [dict(Fields(containers, row)) for row in container_rows],
            "Volumes": [dict(Fields(_VOLUMES, row)) for row in found.each_volume],
            "BuildCache": [],
        }
        call.output.line(templates.to_json(document))
        return 0
    call.output.text("Images space usage:\n\n")
    print_rows(call.output, images, image_rows)
    call.output.text("\nContainers space usage:\n\n")
    print_rows(call.output, containers, container_rows)
    call.output.text("\nLocal Volumes space usage:\n\n")
    print_rows(call.output, _VOLUMES, found.each_volume)
    call.output.line("")
    for name, share in rest:
        call.output.line(f"{name} usage: {units.human_size(share.size_bytes)}")
    return 0


DF = Command(
    "system df",
    "[OPTIONS]",
    "Show disk usage",
    _df,
    (FORMAT, Flag("verbose", "Show detailed information on space usage", short="v")),
    most=0,
)
