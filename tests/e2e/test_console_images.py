"""Images in the console, over the real engine and a real registry, in a real pty."""

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.connect import connect
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image, serve
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

BIN = Path(sys.executable).parent
CONSOLE = [str(BIN / "pydock-tui"), "--no-resync", "--pane", "images"]


PIECE_BYTES = 1 << 15
SLOW = 60.0  # seconds: a whole Debian goes over a loopback registry, and on the disk


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


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
        terminal.type(f"P\x15{copy}\r")  # under another name
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
        terminal.until(debian_reference)


def test_what_takes_the_disk_is_shown_and_pruned(roots: tuple[str, str]) -> None:
    image = make_image([{"big": os.urandom(1 << 20)}])
    with FaultServer() as server, connect() as engine:
        engine.images.pull(serve(server, "big", "1", image))
        engine.volumes.create()
        engine.volumes.create("kept")
        place = Path(engine.volumes.inspect("kept").mountpoint)
        (place / "data").write_bytes(os.urandom(3_000_000))
    with Terminal(CONSOLE, columns=120, rows=36) as terminal:
        terminal.until("/big:1")
        terminal.type("D")
        terminal.until("all of it")
        assert re.search(r"▌ Images +1 +0 +\d", terminal.screen())
        terminal.type("jj")
        terminal.until("▌ Volumes")
        assert re.search(r"kept +3\.0\dM", terminal.screen())
        terminal.type("b")
        terminal.until("Prune 1 volume?")
        terminal.type("a")
        terminal.until("Prune 2 volumes?")
        terminal.type("prune\r")
        terminal.until("2 volumes pruned, 3.0")
        terminal.until("No volumes yet.")
        terminal.type("qq")
        assert terminal.wait() == 0


def test_quitting_in_the_middle_of_a_pull_leaves_nothing_half_made(
    roots: tuple[str, str],
) -> None:
    image = make_image([{"big": os.urandom(8 << 20)}], compression="")
    (layer,) = image.layers
    opened = threading.Event()

    def half(exchange: Exchange) -> bool:
        if opened.is_set() or not exchange.path.endswith(layer.digest):
            return False
        exchange.send_head(200, {}, len(layer.data))
        for start in range(0, len(layer.data) // 2, PIECE_BYTES):
            exchange.wfile.write(layer.data[start : start + PIECE_BYTES])
            server.stopped.wait(0.01)  # progress is told a few times each second
        exchange.stall()
        return True

    with FaultServer(half) as server:
        reference = serve(server, "big", "1", image)
        with Terminal(CONSOLE, columns=120, rows=36) as terminal:
            terminal.until("No images yet")
            terminal.type(f"p{reference}\r")
            terminal.until_true(lambda: re.search(r"─ +[1-9]\d?%", terminal.screen()))
            terminal.type("q")
            assert terminal.wait() == 0
        with connect() as engine:
            assert engine.images.list() == []
            assert list(engine.system.fsck()) == []
        opened.set()
        with Terminal(CONSOLE, columns=120, rows=36) as terminal:
            terminal.until(f"pull {reference} was not finished")
            terminal.type(":resume\r")
            terminal.until(" pulled in", SLOW)
            terminal.type("q")
            assert terminal.wait() == 0
        asked = [each.headers["Range"] for each in server.requests if layer.digest in each.path]
        assert asked[0] is None
        assert asked[-1].startswith("bytes=")  # what had come is not asked for again
