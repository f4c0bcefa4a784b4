"""`make bench`: ours and the real peers in one interleaved run, as Markdown tables."""

import os
import sys
import tempfile
from pathlib import Path

from tests.bench import archive, console, layers, pull, push, start, store
from tests.support import host

PARTS = {
    "start": start.run,
    "pull": pull.run,
    "push": push.run,
    "archive": archive.run,
    "store": store.run,
    "layers": layers.run,
    "console": console.run,
}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start has its .pyc files
    host.enter()
    uname = os.uname()
    print(f"{os.cpu_count()} cores, Linux {uname.release}, Python {sys.version.split()[0]}")
    try:
        for name in chosen:
            with tempfile.TemporaryDirectory(prefix="pydock-bench-") as directory:
                PARTS[name](Path(directory))
    finally:
        host.remove_cgroups()


main()
