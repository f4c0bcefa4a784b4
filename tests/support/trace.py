"""What a container's init asks of the kernel, seen by strace."""

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.support import box
print(box.run(Path({root!r}), "true", cwd="/new/place").code)
"""


def traced_calls(root: Path, directory: Path) -> list[str]:
    """strace's lines of the process that has called pivot_root: files, mounts, prctl."""
    log = directory / "strace"
    script = _SCRIPT.format(path=[str(Path(__file__).parents[2]), *sys.path], root=str(root))
    command = [
        "strace",
        "-ff",
        "-o",
        str(log),
        "-e",
        "trace=%file,openat2,pivot_root,move_mount,prctl",
    ]
    process = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert process.stdout == "0\n", process.stderr
    for path in directory.glob("strace.*"):
        lines = path.read_text().splitlines()
        if any("pivot_root" in line for line in lines):
            return lines
    raise AssertionError("no process has called pivot_root")
