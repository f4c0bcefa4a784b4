"""Images in the console, over the real engine and a real registry, in a real pty."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.connect import connect
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

BIN = Path(sys.executable).parent
CONSOLE = [str(BIN / "pydock-tui"), "--no-resync", "--pane", "images"]


SLOW = 60.0  # seconds: a whole Debian goes over a loopback registry, and on the disk


@pytest.mark.parametrize(
    ("columns", "rows"), [(80, 24), pytest.param(200, 50, marks=pytest.mark.long)]
)
def test_an_image_goes_the_whole_round(
    roots: tuple[str, str], debian_reference: str, tmp_path: Path, columns: int, rows: int
) -> None:
    host, _, _ = debian_reference.partition("/")
    copy, archive = f"{host}/copy{columns}:1", tmp_path / "a.tar"
    with Terminal(CONSOLE, columns=columns, rows=rows) as terminal:
        terminal.until("No images yet")
        terminal.type(f"p{debian_reference}\r")
        terminal.until("◐ pull")
        terminal.until(" pulled in", SLOW)
        terminal.type("P\x15push " + f"{copy}\r")  # under another name
        terminal.until(" pushed in", SLOW)
        terminal.until("+1")
        terminal.type(f"X\x15save {archive}\r")
        terminal.until(" written in", SLOW)
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        terminal.type("\x04")
        terminal.until("frees")
        terminal.type("y")
        terminal.until(" removed, ", SLOW)
        terminal.until("No images yet")
        terminal.type(f"L{archive}\r")
        terminal.until("2 images", SLOW)
        terminal.type("a")
        terminal.until(copy.partition(":")[0][:16])
        terminal.type("b")
        terminal.until("Prune 1 image?")
        terminal.type("y")
        terminal.until("1 image pruned", SLOW)
        terminal.until("No images yet")
        terminal.type("q")
        assert terminal.wait() == 0


def test_what_another_process_pulls_shows(roots: tuple[str, str], debian_reference: str) -> None:
    with Terminal(CONSOLE, columns=120, rows=36) as terminal:
        terminal.until("No images yet")
        subprocess.run([BIN / "pydock", "pull", "-q", debian_reference], check=True)
        terminal.until(debian_reference, timeout_seconds=2)


def test_quitting_in_the_middle_of_a_pull_leaves_nothing_half_made(
    roots: tuple[str, str], debian_reference: str
) -> None:
    with Terminal(CONSOLE, columns=120, rows=36) as terminal:
        terminal.until("No images yet")
        terminal.type(f"p{debian_reference}\r")
        terminal.until("◐ pull")
        terminal.until("%")
        terminal.type("q")
        assert terminal.wait() == 0
    with connect() as engine:
        assert engine.images.list() == []
        assert list(engine.system.fsck()) == []
        engine.images.pull(debian_reference)
        assert [row.references for row in engine.images.list()] == [(debian_reference,)]
