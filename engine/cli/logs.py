"""`logs`: what a container wrote, and writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from engine import units
from engine.cli.output import scrub
from engine.cli.parser import Command, Flag, integer

if TYPE_CHECKING:
    from engine.cli.call import Call

_ALL = -1


def _tail(text: str) -> int:
    return _ALL if text == "all" else max(integer(text), _ALL)


def harmless(data: bytes) -> bytes:
    """A line for a terminal: colours stay, whatever else could steer the terminal is shown as
    text. (docker sends everything as it is.)"""
    parts = data.decode("utf-8", "surrogateescape").removesuffix("\r").split("\x1b[")
    shown = [scrub(parts[0], "\t")]
    for part in parts[1:]:
        digits = part[: len(part) - len(part.lstrip("0123456789;:"))]
        is_colour = part[len(digits) :].startswith("m")
        shown.append(("\x1b[" if is_colour else "\\x1b[") + scrub(part, "\t"))
    if len(parts) > 1:
        shown.append("\x1b[m")  # no line colours the next
    return "".join(shown).encode()


def _logs(call: Call) -> int:
    now_ns = time.time_ns()
    since, until = call.one("since"), call.one("until")
    tail, stamped = call.value("tail", _ALL), call.on("timestamps")
    output = call.output
    lines = call.engine.containers.logs(
        call.words[0],
        follow=call.on("follow"),
        tail=None if tail == _ALL else tail,
        since_ns=units.parse_moment(since, now_ns) if since else 0,
        until_ns=units.parse_moment(until, now_ns) if until else 0,
    )
    follow = call.on("follow")
    try:
        for line in lines:
            stamp = f"{units.rfc3339(line.time_ns, digits=9)} ".encode() if stamped else b""
            text = harmless(line.text) if output.is_terminal else line.text
            data = stamp + text + (b"" if line.partial else b"\n")
            if line.stream == "stderr":
                output.error_data(data)
            else:
                output.data(data)
                if follow:
                    output.flush()
    finally:
        lines.close()
    return 0


_MOMENT = '(e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'

LOGS = Command(
    "logs",
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    _logs,
    (
        Flag("follow", "Follow log output", short="f"),
        Flag("since", f"Show logs since timestamp {_MOMENT}", kind="string"),
        Flag(
            "tail", "Number of lines to show from the end of the logs", short="n", kind="string",
            default='"all"', read=_tail,
        ),
        Flag("timestamps", "Show timestamps", short="t"),
        Flag("until", f"Show logs before a timestamp {_MOMENT}", kind="string"),
    ),
    refused="--details",
    least=1,
    most=1,
    aliases="pydock container logs, pydock logs",
)  # fmt: skip
