"""The console over real containers, in a real pty."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.connect import connect
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from tests.support.terminal import Terminal
from tests.support.waiting import until

pytestmark = pytest.mark.root

BIN = Path(sys.executable).parent
CONSOLE = [str(BIN / "pydock-tui"), "--no-resync"]
SIZES = [(80, 24), (200, 50)]
TALK = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done"


@pytest.fixture
def engine(roots: tuple[str, str], debian_reference: str) -> Iterator[LocalEngine]:
    """This host, with the Debian image and one talking container named c1."""
    with connect() as engine:
        engine.images.pull(debian_reference)
        engine.containers.create(
            CreateOptions(
                image=debian_reference,
                name="c1",
                command=("bash", "-c", TALK),
                network="none",
                memory_bytes=64 << 20,
            )
        )
        engine.containers.start("c1")
        yield engine
        for row in engine.containers.list(all=True):
            engine.containers.remove(row.id, force=True)


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_a_container_is_watched_entered_stopped_and_removed(
    engine: LocalEngine, columns: int, rows: int
) -> None:
    with Terminal(CONSOLE, columns=columns, rows=rows) as terminal:
        terminal.until("c1")
        terminal.until("running")
        terminal.until("line 3")  # its log, followed
        assert re.search(r"c1 +running +\d+\.\d", terminal.screen())  # CPU %
        assert "64M" in terminal.screen()  # its limit
        terminal.type("s")
        terminal.until("root@")
        terminal.type("stty size\r")
        terminal.until(f"{rows} {columns}")
        terminal.type("exit\r")
        terminal.until("c1 bash ended")  # back again
        terminal.type("x")
        terminal.until("exited 137")
        terminal.type("\x04")  # ctrl-d asks first
        terminal.until("Remove")
        assert "c1" in terminal.screen()
        terminal.type("\t\r")
        terminal.until("No containers yet")
    assert engine.containers.list(all=True) == []


def test_what_happens_elsewhere_shows_without_reading_again(engine: LocalEngine) -> None:
    with Terminal(CONSOLE, columns=120, rows=36) as terminal:
        terminal.until("running")
        engine.containers.pause("c1")
        terminal.until("paused")
        engine.containers.unpause("c1")
        terminal.until("running")
        engine.containers.rename("c1", "c2")
        terminal.until("c2")
        engine.containers.kill("c2")
        terminal.until("exited 137")


def test_a_killed_console_takes_nothing_with_it(engine: LocalEngine) -> None:
    with Terminal(CONSOLE) as terminal:
        terminal.until("line")
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait()
    before = len(list(engine.containers.logs("c1")))
    until(lambda: len(list(engine.containers.logs("c1"))) > before)
    with Terminal(CONSOLE) as terminal:
        terminal.until("running")
        terminal.close()  # the line is cut
        assert terminal.wait() in (128 + signal.SIGHUP, 129)
    assert engine.containers.list()[0].state == "running"


def test_an_idle_console_reads_nothing_of_the_store(engine: LocalEngine, tmp_path: Path) -> None:
    engine.containers.kill("c1")
    with Terminal(CONSOLE) as terminal:
        terminal.until("exited")
        terminal.settle()
        trace = tmp_path / "trace"
        watcher = subprocess.Popen(
            ["strace", "-f", "-p", str(terminal.pid), "-y", "-o", trace,
             "-e", "trace=read,pread64,openat,open"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        terminal.pump(10)
        watcher.send_signal(signal.SIGINT)
        watcher.wait()
        root = os.environ["PYDOCK_ROOT"]
        assert [line for line in trace.read_text().splitlines() if root in line] == []
        engine.containers.rename("c1", "changed")
        terminal.until("changed")
