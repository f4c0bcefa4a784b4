"""`analyze --ci`: an image judged, for people, for programs and for the pages of a forge.

Ends with 0 when every rule passes, 1 when one fails, 2 when the image or the rules cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, EngineError, InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.gate import Check, Verdict

FAILED_EXIT, UNREADABLE_EXIT = 1, 2
CONFIGS = (".pydock-ci.toml", ".dive-ci")
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}


def judge(call: Call, ref: str) -> int:
    """The exit code; the report is out."""
    from engine.cli.layers import layers_of
    from engine.cli.progress import cancelled_by_signals

    style = call.one("format", "text")
    write = FORMATS.get(style)
    if write is None:
        raise InvalidInput(f"unknown format: {style}", f"one of {', '.join(FORMATS)}")
    against = call.one("against")
    try:
        name, text = _config(call.one("config"))
        with cancelled_by_signals() as cancel:
            verdict = layers_of(call, [ref, *([against] if against else [])]).check(
                ref,
                config=text,
                config_name=name,
                against=against,
                platform=call.one("platform") or None,
                cancel=cancel,
            )
    except Cancelled:
        raise
    except EngineError as error:
        error.exit_code = UNREADABLE_EXIT
        raise
    for warning in verdict.warnings:
        call.output.warn(f"warning: {warning}")
    write(call, verdict)
    return 0 if verdict.passed else FAILED_EXIT


def _config(given: str) -> tuple[str, str]:
    """(name, text) of `given`, or of the first of the usual files that is here; else nothing."""
    for path in [given] if given else CONFIGS:
        try:
            with open(path, encoding="utf-8") as file:
                return path, file.read()
        except FileNotFoundError as error:
            if given:
                raise InvalidInput(
                    f"open {path}: no such file or directory", "name a file of rules"
                ) from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path}: it is no text", "name a file of rules") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidInput(f"open {path}: {reason}", "name a file of rules") from error
    return CONFIGS[-1], ""


def _counts(verdict: Verdict) -> dict[str, int]:
    outcomes = [check.outcome for check in verdict.checks]
    return {name: outcomes.count(name) for name in ("pass", "fail", "skip")}


def _said(check: Check) -> str:
    return f"{check.text} {check.path}" if check.path else check.text


# For people, as dive says it


def _text(call: Call, verdict: Verdict) -> None:
    from engine.cli.layers import print_dive, print_summary
    from engine.cli.output import scrub

    output = call.output
    if call.on("dive-compat"):
        print_dive(call, verdict.analysis.dive)
    else:
        print_summary(call, verdict.analysis)
    output.line("")
    output.line("Evaluation:")
    for check in verdict.checks:
        output.line(f"  {check.outcome.upper()}  {check.rule} ({scrub(_said(check))})")
    for each in verdict.ignored:
        until = f", until {each.expires}" if each.expires else ""
        output.line(f"  IGNORED  {each.rule} ({scrub(each.text)}): {scrub(each.reason)}{until}")
    counts = " ".join(f"{name}:{count}" for name, count in _counts(verdict).items())
    output.line("")
    output.line(f"{'PASS' if verdict.passed else 'FAIL'} [{counts}]")


def _markdown(call: Call, verdict: Verdict) -> None:
    from engine.cli.layers import percent, size
    from engine.cli.output import scrub

    analysis, output = verdict.analysis, call.output
    output.line(f"### {_cell(analysis.reference)}: {'passed' if verdict.passed else 'failed'}")
    output.line("")
    output.line("| | |\n|---|---|", keep="\n")
    for name, value in (
        ("Stored", size(analysis.size_bytes)), ("Live", size(analysis.live_bytes)),
        ("Wasted", size(analysis.waste_bytes)), ("Efficiency", percent(analysis.efficiency)),
    ):  # fmt: skip
        output.line(f"| {name} | {value} |")
    output.line("")
    output.line("| Rule | Outcome | |\n|---|---|---|", keep="\n")
    for check in verdict.checks:
        output.line(f"| {check.rule} | {check.outcome} | {_cell(scrub(_said(check)))} |")
    for each in verdict.ignored:
        why = _cell(scrub(f"{each.text}: {each.reason}"))
        output.line(f"| {each.rule} | ignored | {why} |")


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


# For programs


def _json(call: Call, verdict: Verdict) -> None:
    from engine.cli.layers import document, print_json

    print_json(
        call,
        {
            "Passed": verdict.passed,
            "Checks": [
                {"Rule": check.rule, "Outcome": check.outcome, "Text": check.text,
                 "Path": check.path}
                for check in verdict.checks
            ],
            "Ignored": [each._asdict() for each in verdict.ignored],
            "Image": document(verdict.analysis),
        },
    )  # fmt: skip


def _junit(call: Call, verdict: Verdict) -> None:
    """https://github.com/testmoapp/junitxml"""
    from xml.sax.saxutils import quoteattr

    def quoted(text: str) -> str:
        return quoteattr("".join(each if each.isprintable() else "�" for each in text))

    counts = _counts(verdict)
    total, failures = len(verdict.checks), counts["fail"]
    name = quoted(f"pydock {verdict.analysis.reference}")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    head = f'name={name} tests="{total}" failures="{failures}" skipped="{counts["skip"]}"'
    lines.append(f"<testsuites><testsuite {head}>")
    for check in verdict.checks:
        case = f'<testcase classname="image" name={quoted(check.rule)}'
        if check.outcome == "fail":
            lines.append(f"{case}><failure message={quoted(_said(check))}/></testcase>")
        elif check.outcome == "skip":
            lines.append(f"{case}><skipped message={quoted(check.text)}/></testcase>")
        else:
            lines.append(f"{case}/>")
    lines.append("</testsuite></testsuites>")
    for line in lines:
        call.output.line(line)


def _sarif(call: Call, verdict: Verdict) -> None:
    """https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html"""
    from engine.cli.layers import print_json

    findings = verdict.analysis.findings
    results = [
        _result(verdict, check.rule, "error", _said(check), [check.path] if check.path else [])
        for check in verdict.checks
        if check.outcome == "fail"
    ]
    results += [
        _result(
            verdict, each.rule, _LEVELS[each.severity],
            f"{each.title}: {each.raw_bytes} bytes\n{each.fix}",
            [f"/{path}" for path in each.paths[:1]],
        )
        for each in findings
    ]  # fmt: skip
    names = {each.rule: each.title for each in findings}
    rules = sorted({result["ruleId"] for result in results})
    driver = {
        "name": "pydock",
        "rules": [
            {"id": rule, "shortDescription": {"text": names.get(rule, rule)}} for rule in rules
        ],
    }
    run = {"tool": {"driver": driver}, "results": results}
    print_json(call, {"$schema": _SARIF, "version": "2.1.0", "runs": [run]})


def _result(
    verdict: Verdict, rule: str, level: str, text: str, paths: Sequence[str]
) -> dict[str, Any]:
    from urllib.parse import quote

    # Forges show no result without a file: the image stands for it.
    names = [path.lstrip("/") for path in paths] or [verdict.analysis.reference]
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(name, errors="replace")}}}
            for name in names
        ],
    }


FORMATS: dict[str, Callable[[Call, Verdict], None]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "markdown": _markdown,
}
