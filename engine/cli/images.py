"""`images`, `history`, `tag`, `rmi`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from engine import units
from engine.cli.containers import FILTER, FORMAT, SHORT_ID
from engine.cli.output import Listing, ellipsis, print_rows
from engine.cli.parser import Command, Flag
from engine.errors import NotFound
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.image import HistoryStep, ImageSummary

_NONE = "<none>"
_CREATED_BY_WIDTH = 45  # docker's


class ImageRow(NamedTuple):
    """A line of `images`: an image under one of its names."""

    image: ImageSummary
    repository: str
    tag: str
    digest: str


def _rows_of(image: ImageSummary, wanted: str) -> list[ImageRow]:
    """Its lines: those whose name is `wanted`, when something is."""
    rows = []
    for name in image.references:
        repository, at, digest = name.partition("@")
        tag = _NONE
        if not at:
            repository, _, tag = name.rpartition(":")
        if _is_wanted(name, repository, wanted):
            rows.append(ImageRow(image, repository, tag, digest or image.digest))
    if not image.references and not wanted:
        rows.append(ImageRow(image, _NONE, _NONE, image.digest))
    return rows


def _is_wanted(name: str, repository: str, wanted: str) -> bool:
    if not wanted:
        return True
    from fnmatch import fnmatchcase  # brings re: only when asked for

    return fnmatchcase(name, wanted) or fnmatchcase(repository, wanted)


def _listing(*, full: bool, digests: bool) -> Listing[ImageRow]:
    now_ns = time.time_ns()

    def identity(row: ImageRow) -> str:
        return row.image.id if full else row.image.id.partition(":")[2][:SHORT_ID]

    def ago(row: ImageRow) -> str:
        if not row.image.created_ns:
            return "N/A"
        return f"{units.human_duration((now_ns - row.image.created_ns) / 1e9)} ago"

    def size(size_bytes: int) -> str:
        return units.human_size(size_bytes, 3)

    columns = ("Repository", "Tag", *(("Digest",) if digests else ()), "ID", "CreatedSince", "Size")
    return Listing(
        {
            "ID": ("IMAGE ID", identity),
            "Repository": ("REPOSITORY", lambda row: row.repository),
            "Tag": ("TAG", lambda row: row.tag),
            "Digest": ("DIGEST", lambda row: row.digest or _NONE),
            "CreatedSince": ("CREATED", ago),
            "CreatedAt": ("CREATED AT", lambda row: units.local_time(row.image.created_ns)),
            "Size": ("SIZE", lambda row: size(row.image.size_bytes)),
            "Containers": ("CONTAINERS", lambda row: str(len(row.image.used_by))),
            "SharedSize": (
                "SHARED SIZE",
                lambda row: size(row.image.size_bytes - row.image.unique_bytes),
            ),
            "UniqueSize": ("UNIQUE SIZE", lambda row: size(row.image.unique_bytes)),
        },
        columns,
        quiet="ID",
    )


def _images(call: Call) -> int:
    wanted = call.words[0] if call.words else ""
    filters = call.many("filter") + ([("reference", wanted)] if wanted else [])
    names = [value for name, value in filters if name == "reference"]
    images = call.engine.images.list(all=call.on("all"), filters=filters)
    rows = [
        row
        for image in images
        for row in _rows_of(image, "")
        if not names or any(row in _rows_of(image, name) for name in names)
    ]
    print_rows(
        call.output,
        _listing(full=call.on("no-trunc"), digests=call.on("digests")),
        rows,
        style=call.one("format"),
        quiet=call.on("quiet"),
    )
    return 0


IMAGES = Command(
    "images",
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    _images,
    (
        Flag("all", "Show all images (default hides intermediate images)", short="a"),
        Flag("digests", "Show digests"),
        FILTER,
        FORMAT,
        Flag("no-trunc", "Don't truncate output"),
        Flag("quiet", "Only show image IDs", short="q"),
    ),
    refused="--tree",
    most=1,
    aliases="pydock image ls, pydock image list, pydock images",
)


def _history(call: Call) -> int:
    full, human = call.on("no-trunc"), bool(call.value("human", True))
    now_ns = time.time_ns()

    def identity(step: HistoryStep) -> str:
        short = step.id if full else step.id.partition(":")[2][:SHORT_ID]
        return short or "<missing>"

    def since(step: HistoryStep) -> str:
        if not step.created_ns:
            return "N/A"
        if not human:
            return created_at(step)
        return f"{units.human_duration((now_ns - step.created_ns) / 1e9)} ago"

    def created_at(step: HistoryStep) -> str:
        return units.local_rfc3339(step.created_ns // 10**9 * 10**9).replace(".000000000", "")

    def created_by(step: HistoryStep) -> str:
        text = step.created_by.replace("\t", " ")
        return text if full else ellipsis(text, _CREATED_BY_WIDTH)

    def size(step: HistoryStep) -> str:
        return units.human_size(step.size_bytes, 3) if human else str(step.size_bytes)

    listing: Listing[HistoryStep] = Listing(
        {
            "ID": ("IMAGE", identity),
            "CreatedSince": ("CREATED", since),
            "CreatedAt": ("CREATED AT", created_at),
            "CreatedBy": ("CREATED BY", created_by),
            "Size": ("SIZE", size),
            "Comment": ("COMMENT", lambda step: step.comment),
        },
        ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
        quiet="ID",
    )
    print_rows(
        call.output,
        listing,
        call.engine.images.history(call.words[0]),
        style=call.one("format"),
        quiet=call.on("quiet"),
    )
    return 0


HISTORY = Command(
    "history",
    "[OPTIONS] IMAGE",
    "Show the history of an image",
    _history,
    (
        FORMAT,
        Flag("human", "Print sizes and dates in human readable format", short="H", default="true"),
        Flag("no-trunc", "Don't truncate output"),
        Flag("quiet", "Only show image IDs", short="q"),
    ),
    refused="--platform",
    least=1,
    most=1,
    aliases="pydock image history, pydock history",
)


def _tag(call: Call) -> int:
    call.engine.images.tag(call.words[0], call.words[1])
    return 0


TAG = Command(
    "tag",
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    _tag,
    least=2,
    most=2,
    aliases="pydock image tag, pydock tag",
)


def _rmi(call: Call) -> int:
    force = call.on("force")

    def remove(ref: str) -> None:
        try:
            removed = call.engine.images.remove(ref, force=force)
        except NotFound as error:
            if not force:
                raise
            call.output.error(error)  # said, and no failure: as docker has it
            return
        for name in removed.untagged:
            call.output.line(f"Untagged: {name}")
        for name in removed.deleted:
            call.output.line(f"Deleted: {name}")

    return call.each(call.words, remove, say=False)


RMI = Command(
    "rmi",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    _rmi,
    (
        Flag("force", "Force removal of the image", short="f"),
        # Said or not: images have no parents here, only layers that several of them share.
        Flag("no-prune", "Do not delete untagged parents"),
    ),
    refused="--platform",
    least=1,
    aliases="pydock image rm, pydock image remove, pydock rmi",
)
