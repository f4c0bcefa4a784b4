"""The console on a scene: in a pilot, or as a program in a pty. Screens are kept as golden text."""

import contextlib
import difflib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.support.scene import NOW_NS, Scene
from tui import theme
from tui.app import ConsoleApp
from tui.terminal import Terminal

PATIENCE_SECONDS = 15.0  # a loaded machine is slow, not wrong
GOLDEN = Path(__file__).parent.parent / "golden" / "screens"


@contextlib.asynccontextmanager
async def console(
    scene: Scene, size: tuple[int, int] = (80, 24), *, pane: str = "containers", ref: str = ""
) -> AsyncIterator[Pilot[Any]]:
    """A pilot of a console that shows the scene and is quiet."""
    look = theme.load("night", {})
    app = ConsoleApp(scene, look, Terminal(), pane=pane, ref=ref, resync=False)
    async with app.run_test(size=size) as pilot:
        live = scene.containers.list()
        while not app.store.containers.known or (live and not app.store.histories):
            await pilot.pause(0.02)
        try:
            yield pilot
        finally:
            scene.close()


def screen(pilot: Pilot[Any]) -> str:
    """The screen as text, without blanks at the rows' ends."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until the screen has stood still for a while: streams and timers have had their turn."""
    before, still = "", 0
    while still < 3:
        await pilot.pause(0.1)
        now = screen(pilot)
        before, still = now, still + 1 if now == before else 0


async def shows(pilot: Pilot[Any], *texts: str, gone: bool = False) -> None:
    """Wait until all of these stand on the screen (or none, with `gone`)."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = screen(pilot)
        if all((text in now) is not gone for text in texts):
            return
        assert time.monotonic() < deadline, f"{texts} {'stayed' if gone else 'never came'}:\n{now}"
        await pilot.pause(0.02)


async def comes_true(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true:\n{screen(pilot)}"
        await pilot.pause(0.02)


async def matches_golden(pilot: Pilot[Any], name: str) -> None:
    """Wait until the screen is the one that is kept. PYDOCK_GOLDEN=write keeps what comes."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PYDOCK_GOLDEN") == "write":
        await settle(pilot)
        path.write_text(screen(pilot))
    kept, deadline = path.read_text(), time.monotonic() + PATIENCE_SECONDS
    while screen(pilot) != kept and time.monotonic() < deadline:
        await pilot.pause(0.02)
    found = screen(pilot)
    if found != kept:
        changes = difflib.ndiff(kept.splitlines(), found.splitlines())
        shown = "\n".join(line for line in changes if not line.startswith(" "))
        pytest.fail(f"{path} (PYDOCK_GOLDEN=write keeps the new one)\n{shown}")


def freeze_clock() -> None:
    """The clock stands at the scene's moment, in UTC; the host is read once."""
    from tui import feed

    feed.HOST_SECONDS = 3600.0
    time.time_ns = lambda: NOW_NS
    os.environ["TZ"] = "UTC"
    time.tzset()


def program(argument: str = "", *flags: str) -> list[str]:
    """Arguments for a pty: a console on a scene; `argument` is python that may change the `scene`
    and the keyword arguments `options` before it starts."""
    code = (
        "import os, sys\n"
        "from tests.support.console import freeze_clock\n"
        "from tests.support.scene import HOST, Scene\n"
        "freeze_clock()\n"
        "from tui import terminal, theme\n"
        "from tui.app import ConsoleApp\n"
        "from tui.main import code_of, run\n"
        "scene, options, look = Scene(), {'resync': False}, 'night'\n"
        f"{argument}\n"
        "seen = terminal.detect(os.environ, sys.stderr.encoding)\n"
        "app = ConsoleApp(scene, theme.load(look, {}), seen, **options)\n"
        "sys.exit(code_of(lambda: run(app)))\n"
    )
    return [sys.executable, *flags, "-c", code]
