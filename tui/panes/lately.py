"""What just happened: fills the room under a short list."""

import time
from typing import TYPE_CHECKING, cast

from engine.model.event import Event
from tui import format
from tui.widgets.canvas import EDGE, Canvas, middle
from tui.widgets.drawn import Sketch

if TYPE_CHECKING:
    from tui.app import ConsoleApp

ROWS = 8
NAME = 16
WORDS = {
    "create": "created",
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "pause": "paused",
    "unpause": "resumed",
    "destroy": "removed",
    "remove": "removed",
    "delete": "removed",
    "rename": "renamed",
    "pull": "pulled",
    "load": "loaded",
    "tag": "tagged",
    "untag": "untagged",
    "oom": "ran out of memory",
}


def words(event: Event) -> tuple[str, str] | None:
    """What an event says, and its ink; None for what is too small to tell."""
    attributes = event.attributes
    if event.action == "die":
        code = attributes.get("exitCode", "0")
        return f"exited {code}", "dim" if code == "0" else "bad"
    if event.action == "kill":
        return f"got signal {attributes.get('signal', 'KILL')}", "dim"
    if event.action in WORDS:
        return WORDS[event.action], "bad" if event.action == "oom" else "dim"
    return None


class Lately(Sketch):
    """The newest events first, with their age."""

    def draw(self, canvas: Canvas) -> None:
        now_ns, y = time.time_ns(), 0
        for event in reversed(cast("ConsoleApp", self.app).store.events):
            said = words(event)
            if said is None or event.kind == "network":
                continue
            if y >= canvas.height:
                break
            age = format.still_age((now_ns - event.time_ns) / 1e9)
            canvas.put(EDGE, y, f"{age:>3}", "faint")
            name = event.name or event.id[:12]
            canvas.put(EDGE + 5, y, middle(name, NAME), "text")
            kind = "" if event.kind == "container" else f"{event.kind} "
            canvas.put(EDGE + 5 + NAME + 2, y, kind + said[0], said[1], canvas.width - 1)
            y += 1
