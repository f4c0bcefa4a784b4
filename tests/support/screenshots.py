"""`make screenshots`: the panes of the real console over the demo, as PNG and SVG."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import demo
from engine.connect import connect
from engine.home import DEMO_ROOT
from tests.support import host, svg
from tests.support.picture import FONTS, Painter
from tests.support.terminal import Terminal

COLUMNS, ROWS = 120, 36
HISTORY_SECONDS = 65  # until the graphs of a minute are full
SETTLE_SECONDS = 3
# What to type for each pane: its number, then what shows more of it.
KEYS = {
    "containers": ("1",),
    "images": ("2",),
    "layers": ("3",),
    "networks": ("4", "m"),  # the map
    "volumes": ("5", "s"),  # their sizes
}
PICTURES = Path("screenshots")
CONSOLE = Path(sys.executable).parent / "pydock-tui"


def main() -> int:
    """0 when every pane is in `screenshots/`; what was made is printed."""
    if os.geteuid() != 0:
        print("screenshots: containers need root: run it with sudo", file=sys.stderr)
        return 1
    if not FONTS.joinpath("jetbrains-mono").is_dir():
        print("screenshots: apt-get install fonts-jetbrains-mono fonts-dejavu", file=sys.stderr)
        return 1
    host.enter()
    try:
        with tempfile.TemporaryDirectory() as directory:
            # The demo's usual place, seen by nobody else.
            where = os.path.dirname(DEMO_ROOT)
            subprocess.run(["mount", "--bind", directory, where], check=True)
            _take()
    finally:
        host.remove_cgroups()
    return 0


def _take() -> None:
    engine = connect(demo=True)
    try:
        demo.up(engine)
        arguments = [str(CONSOLE), "--demo", "--pane", "containers", "web"]
        with Terminal(arguments, COLUMNS, ROWS) as terminal:
            terminal.until("worker")
            terminal.pump(HISTORY_SECONDS)
            for pane, keys in KEYS.items():
                for key in keys:
                    terminal.type(key)
                    terminal.pump(SETTLE_SECONDS)
                _save(terminal, pane)
    finally:
        engine.erase()


def _save(terminal: Terminal, pane: str) -> None:
    path = PICTURES / f"{pane}.png"
    Painter().save(terminal.cells(), path)
    svg.save(terminal.cells(), path.with_suffix(".svg"))
    print(f"{path} {path.stat().st_size / 1024:.0f} KB, {path.with_suffix('.svg')}")


if __name__ == "__main__":
    sys.exit(main())
