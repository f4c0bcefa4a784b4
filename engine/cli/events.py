"""`events`: what happened, and what happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import units
from engine.cli.containers import FILTER
from engine.cli.parser import Command, Flag

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.event import Event


def describe(event: Event) -> str:
    """docker's line: `2026-01-01T00:00:00.000000000Z container start ID (image=…, name=…)`."""
    attributes = {**event.attributes, "name": event.name}
    shown = ", ".join(f"{name}={attributes[name]}" for name in sorted(attributes))
    moment = units.local_rfc3339(event.time_ns)
    return f"{moment} {event.kind} {event.action} {event.id} ({shown})"


def _renderer(style: str) -> Callable[[Event], str]:
    if not style:
        return describe
    from engine import docker_json
    from engine.cli import templates  # only for who asks for it

    if style == "json":
        return lambda event: templates.to_json(docker_json.event(event))
    render = templates.parse(style.replace("\\t", "\t").replace("\\n", "\n"))

    def fields(event: Event) -> dict[str, Any]:
        """Under the names of the Go value, which differ from those in JSON."""
        document = docker_json.event(event)
        return {
            **document,
            "Status": document.get("status", ""),
            "ID": document.get("id", ""),
            "From": document.get("from", ""),
            "Scope": document["scope"],
            "Time": document["time"],
            "TimeNano": document["timeNano"],
        }

    return lambda event: render(fields(event))


def _events(call: Call) -> int:
    now_ns = time.time_ns()
    since, until = call.one("since"), call.one("until")
    render = _renderer(call.one("format"))
    until_ns = units.parse_moment(until, now_ns) if until else 0
    stream = call.engine.system.events(
        since_ns=units.parse_moment(since, now_ns) if since else 0,
        until_ns=until_ns,
        filters=call.many("filter"),
    )
    try:
        for event in stream:
            call.output.line(render(event))
            call.output.flush()
    finally:
        stream.close()
    return 0


_FORMAT = "Format output using a custom template:\n'json':             Print in JSON format\n" + (
    "'TEMPLATE':         Print output using the given Go template."
)

EVENTS = Command(
    "events",
    "[OPTIONS]",
    "Get real time events from the server",
    _events,
    (
        FILTER,
        Flag("format", _FORMAT, kind="string"),
        Flag("since", "Show all events created since timestamp", kind="string"),
        Flag("until", "Stream events until this timestamp", kind="string"),
    ),
    most=0,
    aliases="pydock system events, pydock events",
)
