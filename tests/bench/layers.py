"""Images that nobody has seen yet, and again: what taking them apart costs."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path

from tests.bench import layouts
from tests.bench.measure import command, interleaved, table

BIN = Path(sys.executable).parent
IMAGES = ("big", "flat")
ROUNDS = 3


def run(directory: Path) -> None:
    """`first` has no index yet; `again` has; `advice` reads files for its rules too."""
    os.environ |= {"PYDOCK_ROOT": f"{directory}/root", "PYDOCK_RUN_ROOT": f"{directory}/run"}
    index = directory / "root/index"

    def forget(what: str) -> None:
        if what == "first" and index.exists():
            for path in index.iterdir():
                path.unlink()

    for name in IMAGES:
        analyze = [BIN / "pydock", "analyze", layouts.layout(name)]
        results = interleaved(
            {
                "first": partial(command, analyze),
                "again": partial(command, analyze),
                "advice": partial(command, [*analyze, "--advice"]),
            },
            ROUNDS,
            between=forget,
        )
        table(f"pydock analyze {name}", "first", results)
    shutil.rmtree(directory / "root")
