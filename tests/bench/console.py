"""The console: CPU, memory and bytes, over real containers, through a pty."""

import os
import sys
import time
from pathlib import Path

from tests.bench import busybox
from tests.support.terminal import Terminal

BIN = Path(sys.executable).parent
CONTAINERS = 100
BUSY = 20
SCRIPT = "while :; do i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; sleep 1; done"


def run(directory: Path) -> None:
    """Prints one table: an empty host, then one with a hundred containers."""
    from engine.connect import connect
    from engine.model.container import CreateOptions

    os.environ["PYDOCK_ROOT"] = str(directory / "root")
    os.environ["PYDOCK_RUN_ROOT"] = str(directory / "run")
    print("\n**The console, 200x50, `night` in truecolor**\n")
    print("| | to the first full frame, CPU s | bytes | RSS MB | then, bytes each second | CPU % |")
    print("|---|--:|--:|--:|--:|--:|")
    with connect() as engine:
        with busybox.archive(directory).open("rb") as archive:
            (reference,) = engine.images.load(archive)
        _row("no container", "No containers yet")
        for number in range(CONTAINERS):
            command = ("sh", "-c", SCRIPT) if number < BUSY else ("sleep", "1000000")
            name = f"c{number:03}"
            engine.containers.create(
                CreateOptions(image=reference, name=name, command=command, network="none")
            )
            engine.containers.start(name)
        _row(f"{CONTAINERS} running, {BUSY} of them busy", f"{CONTAINERS} of {CONTAINERS} up")
        for number in range(CONTAINERS):
            engine.containers.remove(f"c{number:03}", force=True)


def _row(what: str, first: str) -> None:
    with Terminal([str(BIN / "pydock-tui"), "--no-resync"], columns=200, rows=50) as terminal:
        terminal.until(first)
        cpu, rss = _usage(terminal.pid)
        first_bytes = terminal.bytes_read
        terminal.pump(5)
        before, bytes_before, begin = _usage(terminal.pid)[0], terminal.bytes_read, time.monotonic()
        terminal.pump(10)
        seconds = time.monotonic() - begin
        rate = (terminal.bytes_read - bytes_before) / seconds
        busy = (_usage(terminal.pid)[0] - before) / seconds * 100
        print(f"| {what} | {cpu:.2f} | {first_bytes} | {rss:.0f} | {rate:.0f} | {busy:.1f} |")


def _usage(pid: int) -> tuple[float, float]:
    """CPU seconds, and MB of memory that it holds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return cpu, pages * os.sysconf("SC_PAGE_SIZE") / 1e6
