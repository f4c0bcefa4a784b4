"""`analyze`: where an image's bytes are, and which of them nobody sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine import units
from engine.cli.containers import SHORT_ID
from engine.cli.output import ellipsis, print_table, scrub
from engine.cli.parser import Command, Flag
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.engine import Layers
    from engine.model.analysis import Analysis, DiveNumbers

_PATHS_BEGIN = ("/", ".", "oci:", "oci-archive:", "docker-archive:", "dir:")
_TOP = 10
_PATHS = 3
SAFETY = {
    "S0": "changes nothing that can be seen",
    "S1": "can be made again",
    "S2": "documents and the like",
    "S3": "needs a test",
    "S4": "another way to run",
}
_COMMAND_WIDTH = 45  # as in `history`
_FORMATS = ("text", "json")
PLATFORM = Flag("platform", "Look at the given platform variant of an archive", kind="string")


def layers_of(call: Call, refs: Sequence[str]) -> Layers:
    """Who opens `refs`: the engine; for files of who is not root a part of it that needs none."""
    if os.geteuid() and all(ref.startswith(_PATHS_BEGIN) or os.path.exists(ref) for ref in refs):
        from engine.connect import open_layer_files

        return open_layer_files()
    return call.engine.layers


def _analyze(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    style, ref = call.one("format", "text"), call.words[0]
    if call.on("ci"):
        from engine.cli.gate import judge

        return judge(call, ref)
    for name in ("config", "against"):
        if call.one(name):
            raise InvalidInput(f"--{name} is for --ci", f"pydock analyze --ci --{name} … IMAGE")
    if style not in _FORMATS:
        raise InvalidInput(f"unknown format: {style}", f"one of {', '.join(_FORMATS)}")
    with cancelled_by_signals() as cancel:
        analysis = layers_of(call, [ref]).analyze(
            ref,
            advice=call.on("advice"),
            platform=call.one("platform") or None,
            cancel=cancel,
        )
    if call.on("dive-compat"):
        if style == "json":
            print_json(call, dive_document(analysis))
        else:
            print_dive(call, analysis.dive)
    elif style == "json":
        print_json(call, document(analysis))
    else:
        _print_text(call, analysis)
        if call.on("advice"):
            _print_advice(call, analysis)
    return 0


ANALYZE = Command(
    "analyze",
    "[OPTIONS] IMAGE|FILE|DIRECTORY",
    "Show where the bytes of an image are, and which are wasted",
    _analyze,
    (
        Flag("advice", "Show what would make the image smaller"),
        Flag("against", "With --ci, the image that growth is measured by", kind="string"),
        Flag("ci", "Judge by rules: exit with 1 when one fails, 2 when it cannot be judged"),
        Flag(
            "config",
            "With --ci, the file of rules (default .pydock-ci.toml, else .dive-ci)",
            kind="string",
        ),
        Flag("dive-compat", "Count as dive does, its faults included"),
        Flag(
            "format",
            'Format of the report ("text", "json"; with --ci also "junit", "sarif", "markdown")',
            kind="string",
            default="text",
        ),
        PLATFORM,
    ),
    least=1,
    most=1,
    aliases="pydock image analyze, pydock analyze",
)


# Text


def size(size_bytes: int) -> str:
    return units.human_size(size_bytes, 3)


def is_packed(analysis: Analysis) -> bool:
    """Whether the layers are compressed where they lie; a plain directory has no blobs at all."""
    return 0 < analysis.compressed_bytes < analysis.size_bytes


def percent(share: float) -> str:
    """Rounded towards the middle: 100 % is said of what is whole alone."""
    return f"{int(share * 1000) / 10:g} %"


def print_summary(call: Call, analysis: Analysis) -> None:
    """An image in five lines."""
    output = call.output
    identity = analysis.image_id.partition(":")[2][:SHORT_ID]
    named = f"{scrub(analysis.reference)} ({identity})" if identity else scrub(analysis.reference)
    stored = analysis.size_bytes
    wasted = analysis.waste_bytes / stored if stored else 0.0
    output.line(f"Image:       {named}")
    layers = "1 layer" if len(analysis.layers) == 1 else f"{len(analysis.layers)} layers"
    packed = f", {size(analysis.compressed_bytes)} compressed" if is_packed(analysis) else ""
    output.line(f"Stored:      {size(stored)} in {layers}{packed}")
    output.line(f"Live:        {size(analysis.live_bytes)}")
    output.line(f"Wasted:      {size(analysis.waste_bytes)} ({percent(wasted)})")
    output.line(f"Efficiency:  {percent(analysis.efficiency)}")


def _print_text(call: Call, analysis: Analysis) -> None:
    output = call.output
    print_summary(call, analysis)
    output.line("")
    header = ("LAYER", "SIZE", "COMPRESSED", "ADDED", "CHANGED", "GONE", "WASTED", "COMMAND")
    rows = [header]
    for layer in analysis.layers:
        base = " (base)" if layer.position < analysis.base_layers else ""
        rows.append(
            (
                f"{layer.position}{base}", size(layer.size_bytes), size(layer.blob_bytes),
                str(layer.added), str(layer.changed), str(layer.gone), size(layer.waste_bytes),
                ellipsis(" ".join(layer.command.split()), _COMMAND_WIDTH),
            )
        )  # fmt: skip
    print_table(output, rows, minimum=0)
    _print_losses(call, analysis)


def _print_losses(call: Call, analysis: Analysis) -> None:
    if not analysis.waste_bytes:
        return
    call.output.line("")
    rows = [("WASTED", "CAUSE", "FROM LAYER", "BY LAYER")]
    rows += [
        (size(loss.size_bytes), loss.cause, str(loss.brought), str(loss.hidden))
        for loss in analysis.losses[:_TOP]
    ]
    print_table(call.output, rows, minimum=0)
    call.output.line("")
    paths = [("WASTED", "WRITTEN IN", "REMOVED IN", "PATH")]
    for row in analysis.waste[:_TOP]:
        removed = str(row.removed_in) if row.removed_in >= 0 else "-"
        written = ", ".join(map(str, row.written_in))
        paths.append((size(row.waste_bytes), written, removed, f"/{row.path}"))
    print_table(call.output, [[*row[:-1], scrub(row[-1])] for row in paths], minimum=0)
    if len(analysis.waste) > _TOP:
        call.output.line(f"… and {len(analysis.waste) - _TOP} more paths")


def _print_advice(call: Call, analysis: Analysis) -> None:
    output = call.output
    output.line("")
    if not analysis.findings:
        output.line("Nothing was found that would make it smaller.")
        return
    raw = sum(finding.raw_bytes for finding in analysis.findings)
    packed = sum(finding.compressed_bytes for finding in analysis.findings)
    output.line(f"To save:     {size(raw)}, {size(packed)} compressed")
    for finding in analysis.findings:
        output.line("")
        saved = f"{size(finding.raw_bytes)}, {size(finding.compressed_bytes)} compressed"
        saved = saved if finding.raw_bytes else "no bytes by itself"
        output.line(f"{finding.rule}  {finding.severity}: {finding.title}: {saved}")
        output.line(f"     {finding.confidence}, {SAFETY[finding.safety]}")
        if finding.layers:
            where = ", ".join(str(layer) for layer, _ in finding.layers[:8])
            output.line(f"     layer {where}: {ellipsis(scrub(finding.command), 60)}".rstrip(": "))
        for path in finding.paths[:_PATHS]:
            output.line(f"     /{scrub(path)}")
        if finding.path_count > _PATHS:
            output.line(f"     … and {finding.path_count - _PATHS} more paths")
        for line in finding.fix.split("\n"):
            output.line(f"     > {scrub(line)}")


def print_dive(call: Call, dive: DiveNumbers) -> None:
    """As dive's CI mode prints an analysis."""
    output = call.output
    output.line("Analysis:")
    for line in dive_lines(dive):
        output.line(f"  {line}")
    output.line("")
    output.line("Inefficient Files:")
    if not dive.files:
        output.line("  None")
        return
    rows = [("  Count", "Wasted Space", "File Path")]
    rows += [(f"  {file.times}", _spaced(file.size_bytes), file.path) for file in dive.files]
    print_table(output, rows, minimum=0)


def dive_lines(dive: DiveNumbers) -> list[str]:
    wasted = f"{dive.wasted_bytes} bytes ({_spaced(dive.wasted_bytes)})"
    return [
        f"efficiency:        {dive.efficiency * 100:.2f} %",
        f"wastedBytes:       {wasted}",
        f"userWastedPercent: {dive.wasted_user_share * 100:.2f} %",
    ]


def _spaced(size_bytes: int) -> str:
    """`12 kB`, as dive writes sizes: https://github.com/dustin/go-humanize."""
    value, unit = float(size_bytes), 0
    names = ("B", "kB", "MB", "GB", "TB", "PB")
    if size_bytes < 10:
        return f"{size_bytes} B"
    while value >= 1000 and unit < len(names) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {names[unit]}" if value < 10 and unit else f"{value:.0f} {names[unit]}"


# JSON


def print_json(call: Call, found: dict[str, Any]) -> None:
    import json

    call.output.text(json.dumps(found, indent=2))


def document(analysis: Analysis) -> dict[str, Any]:
    """The report for programs; sizes in bytes. Names are docker's where docker has one."""
    return {
        "Reference": analysis.reference,
        "Id": analysis.image_id,
        "Size": analysis.size_bytes,
        "CompressedSize": analysis.compressed_bytes,
        "LiveSize": analysis.live_bytes,
        "WastedSize": analysis.waste_bytes,
        "Efficiency": analysis.efficiency,
        "BaseLayers": analysis.base_layers,
        "Layers": [
            {
                "DiffId": layer.diff_id, "Digest": layer.digest, "CreatedBy": layer.command,
                "Size": layer.size_bytes, "CompressedSize": layer.blob_bytes,
                "Added": layer.added, "Changed": layer.changed, "Removed": layer.gone,
                "WastedSize": layer.waste_bytes,
            }
            for layer in analysis.layers
        ],
        "Losses": [
            {"Cause": loss.cause, "FromLayer": loss.brought, "ByLayer": loss.hidden,
             "Size": loss.size_bytes}
            for loss in analysis.losses
        ],
        "Waste": [
            {"Path": f"/{row.path}", "Size": row.waste_bytes, "WrittenIn": list(row.written_in),
             "RemovedIn": None if row.removed_in < 0 else row.removed_in}
            for row in analysis.waste
        ],
        "Packages": [
            {"Kind": each.kind, "Name": each.name, "Version": each.version, "Layer": each.layer,
             "Size": each.size_bytes, "CompressedSize": each.compressed_bytes}
            for each in analysis.packages
        ],
        "Findings": [
            {"Rule": each.rule, "Title": each.title, "Severity": each.severity,
             "Confidence": each.confidence, "Safety": each.safety, "Size": each.raw_bytes,
             "CompressedSize": each.compressed_bytes,
             "Layers": [{"Layer": layer, "Size": part} for layer, part in each.layers],
             "Paths": [f"/{path}" for path in each.paths], "PathCount": each.path_count,
             "Line": each.command, "Fix": each.fix}
            for each in analysis.findings
        ],
        "Duplicates": [
            {"Paths": [f"/{path}" for path in group.paths], "Size": group.size_bytes,
             "WastedSize": group.waste_bytes}
            for group in analysis.duplicates
        ],
        "Specials": [
            {"Kind": each.kind, "Path": f"/{each.path}", "Layer": each.layer,
             "Size": each.size_bytes, "Removed": each.gone}
            for each in analysis.specials
        ],
    }  # fmt: skip


def dive_document(analysis: Analysis) -> dict[str, Any]:
    """What `dive --json` writes, without the lists of all files."""
    dive = analysis.dive
    return {
        "layer": [
            {
                "index": layer.position, "id": layer.diff_id.partition(":")[2],
                "digestId": layer.diff_id, "sizeBytes": layer.size_bytes,
                "command": layer.command,
            }
            for layer in analysis.layers
        ],
        "image": {
            "sizeBytes": dive.size_bytes,
            "inefficientBytes": dive.wasted_bytes,
            "efficiencyScore": dive.efficiency,
            "fileReference": [
                {"count": file.times, "sizeBytes": file.size_bytes, "file": file.path}
                for file in dive.files
            ],
        },
    }  # fmt: skip
