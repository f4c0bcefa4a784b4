"""`compare`: what becomes of one image in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.cli.layers import PLATFORM, layers_of, print_json, size
from engine.cli.output import ellipsis, print_table, scrub
from engine.cli.parser import Command, Flag
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.comparison import Comparison

_TOP = 20
_VALUE_WIDTH = 40


def _compare(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    style = call.one("format", "text")
    if style not in ("text", "json"):
        raise InvalidInput(f"unknown format: {style}", "one of text, json")
    before, after = call.words
    with cancelled_by_signals() as cancel:
        found = layers_of(call, [before, after]).compare(
            before, after, platform=call.one("platform") or None, cancel=cancel
        )
    if style == "json":
        print_json(call, _document(found))
    else:
        _print_text(call, found)
    return 0


COMPARE = Command(
    "compare",
    "[OPTIONS] IMAGE|FILE|DIRECTORY IMAGE|FILE|DIRECTORY",
    "Show what differs between two images",
    _compare,
    (
        Flag("format", 'Format of the report ("text", "json")', kind="string", default="text"),
        PLATFORM,
    ),
    least=2,
    most=2,
    aliases="pydock image compare, pydock compare",
)


def _grown(size_bytes: int) -> str:
    sign = "+" if size_bytes > 0 else "-" if size_bytes else ""
    return f"{sign}{size(abs(size_bytes))}"


def _print_text(call: Call, found: Comparison) -> None:
    before, after = found.before, found.after
    rows = [("", scrub(before.reference), scrub(after.reference), "CHANGE")]
    for name, old, new in (
        ("Stored", before.size_bytes, after.size_bytes),
        ("Compressed", before.compressed_bytes, after.compressed_bytes),
        ("Live", before.live_bytes, after.live_bytes),
        ("Wasted", before.waste_bytes, after.waste_bytes),
    ):
        rows.append((name, size(old), size(new), _grown(new - old)))
    counts = len(before.layers), len(after.layers)
    rows.append(("Layers", str(counts[0]), str(counts[1]), f"{counts[1] - counts[0]:+d}"))
    print_table(call.output, rows, minimum=0)
    shared = len(found.shared_layers)
    call.output.line(
        f"Shared: {shared} layer{'' if shared == 1 else 's'}, {size(found.shared_bytes)}"
    )
    call.output.line(f"Files: {found.added} added, {found.changed} changed, {found.gone} gone")
    if found.config:
        call.output.line("")
        table = [("CONFIG", "BEFORE", "AFTER")]
        table += [
            (name, ellipsis(old or "-", _VALUE_WIDTH), ellipsis(new or "-", _VALUE_WIDTH))
            for name, old, new in found.config
        ]
        print_table(call.output, table, minimum=0)
    if found.packages:
        call.output.line("")
        packages = [("PACKAGE", "BEFORE", "AFTER", "CHANGE")]
        packages += [
            (each.name, each.before or "-", each.after or "-",
             _grown(each.after_bytes - each.before_bytes))
            for each in found.packages[:_TOP]
        ]  # fmt: skip
        print_table(call.output, packages, minimum=0)
        _more(call, len(found.packages), "packages")
    if found.files:
        call.output.line("")
        files = [("CHANGE", "BEFORE", "AFTER", "PATH")]
        files += [
            (_grown(each.grown_bytes), _size(each.before_bytes), _size(each.after_bytes),
             f"/{each.path}" + ("" if each.content else " (owner, mode or attributes)"))
            for each in found.files[:_TOP]
        ]  # fmt: skip
        print_table(call.output, [[*row[:-1], scrub(row[-1])] for row in files], minimum=0)
        _more(call, found.added + found.changed + found.gone, "files")


def _size(size_bytes: int) -> str:
    return "-" if size_bytes < 0 else size(size_bytes)


def _more(call: Call, count: int, what: str) -> None:
    if count > _TOP:
        call.output.line(f"… and {count - _TOP} more {what}")


def _document(found: Comparison) -> dict[str, Any]:
    sides = {
        name: {
            "Reference": each.reference, "Id": each.image_id, "Size": each.size_bytes,
            "CompressedSize": each.compressed_bytes, "LiveSize": each.live_bytes,
            "WastedSize": each.waste_bytes, "Layers": [layer.diff_id for layer in each.layers],
        }
        for name, each in (("Before", found.before), ("After", found.after))
    }  # fmt: skip
    return sides | {
        "SharedLayers": [list(pair) for pair in found.shared_layers],
        "SharedSize": found.shared_bytes,
        "Added": found.added,
        "Changed": found.changed,
        "Removed": found.gone,
        "Files": [
            {"Path": f"/{each.path}", "Before": max(each.before_bytes, 0),
             "After": max(each.after_bytes, 0), "Content": each.content}
            for each in found.files
        ],
        "Packages": [each._asdict() for each in found.packages],
        "Config": [
            {"Name": name, "Before": old, "After": new} for name, old, new in found.config
        ],
    }  # fmt: skip
