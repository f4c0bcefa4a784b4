"""A store with a thousand images: what lists, the sweep and df take."""

import os
import sys
import time
from pathlib import Path

from engine.storage import gc
from engine.storage.image_store import ImageStore
from engine.storage.usage import disk_usage
from tests.bench.measure import Sample, command, interleaved, table
from tests.support.crowd import fill
from tests.support.store import open_store

BIN = Path(sys.executable).parent
IMAGES, LAYERS = 1000, 22
ROUNDS = 9


def run(directory: Path) -> None:
    """Commands from the shell, then the engine's own calls, each in this process."""
    store = open_store(directory)
    fill(store, IMAGES, LAYERS)
    os.environ |= {"PYDOCK_ROOT": store.home.root, "PYDOCK_RUN_ROOT": store.home.run_root}
    rows = sum(
        store.database.first(f"SELECT count(*) FROM {name}")[0]
        for (name,) in store.database.query("SELECT name FROM sqlite_master WHERE type='table'")
    )
    results = interleaved(
        {
            "pydock images": lambda: command([BIN / "pydock", "images"]),
            "pydock inspect": lambda: command([BIN / "pydock", "inspect", "app:500"]),
            "pydock ps": lambda: command([BIN / "pydock", "ps"]),
        },
        ROUNDS,
    )
    table(f"{IMAGES} images, {rows} rows, from the shell", "pydock images", results)
    images = ImageStore(store.database, store.content)
    half = {each.row.id: each.references for each in images.list_() if each.row.created_ns % 2}
    calls = {
        "list": images.list_,
        "df": lambda: disk_usage(store.home, store.database),
        "what a sweep would take": lambda: gc.plan(store.home, store.database),
        "a sweep with nothing to take": lambda: gc.sweep(store.home, store.database),
        f"{len(half)} images removed and swept": lambda: gc.remove_images(
            store.home, store.database, images, half
        ),
    }
    taken = {}
    for name, call in calls.items():
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        taken[name] = Sample(time.perf_counter() - wall, time.process_time() - cpu)
    table("The same store, the engine's calls", "list", taken)
    store.database.close()
