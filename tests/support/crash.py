"""A process that does one thing to a store and kills itself at a given place, if there is one:
`python -m tests.support.crash PATH ACT MODULE:NAME before|after`."""

import gzip
import importlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.engine import Cancel
from engine.errors import NotFound
from engine.oci.reference import parse_reference
from engine.storage import archive, gc, made_image, metadata
from engine.storage.image_store import ImageStore
from tests.support.images import layout_tar, make_image
from tests.support.store import Store, bring_in, layer, open_store
from tests.support.tarball import END, directory, file, hardlink

BASE = layer(
    directory(b"etc", 0o711)
    + b"".join(file(b"etc/%d" % number, b"base" * number) for number in range(300))
    + END
)
APP = layer(file(b"etc/app", b"app") + hardlink(b"etc/link", b"etc/7") + END)  # leans on it
TOP = layer(directory(b"top") + file(b"top/run", b"top" * 1000) + END)
LAYERS = [BASE, APP, TOP]


def bring_in_all(store: Store) -> None:
    bring_in(store, LAYERS, reference=parse_reference("app").full)


def _arm(where: str, when: str) -> None:
    """The process dies before or after the first call."""
    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *between, name = path.split(".")
    for part in between:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, name)

    def deadly(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, deadly)


def _ingest(store: Store) -> None:
    ingest = store.content.ingest(BASE.digest, len(BASE.blob))
    assert ingest is not None
    with ingest:
        ingest.write(BASE.blob[:100])


def _remove(store: Store) -> None:
    images = ImageStore(store.database, store.content)
    for name in ("app", "base"):
        try:
            gc.remove_image(store.home, store.database, images, name)
        except NotFound:
            continue


def _make(store: Store) -> None:
    """As `commit` and `import` do."""
    document = {"os": "linux", "architecture": "amd64"}
    name = parse_reference("app")
    with made_image.staged(store.home, store.database) as place:
        raw = made_image.write_raw(
            io.BytesIO(BASE.blob), f"{place}/layer.tar", Cancel(), lambda done, total: None
        )
        made_image.publish(
            store.home, store.database, store.content, (), raw, document, name,
            progress=None, cancel=Cancel(),
        )  # fmt: skip


def _load(store: Store) -> None:
    """As `load` does."""
    with tempfile.TemporaryDirectory() as place:
        image = make_image([gzip.decompress(BASE.blob), gzip.decompress(TOP.blob)])
        data = layout_tar(Path(place, "layout"), {"app:latest": image})
    archive.load(io.BytesIO(data), home=store.home, database=store.database, content=store.content)


def main(path: str, act: str, where: str, when: str) -> None:
    if act == "old":  # as the program before this one left it
        metadata.MIGRATIONS = metadata.MIGRATIONS[:1]
        bring_in_all(open_store(Path(path)))
        return
    if act == "open":
        _arm(where, when)
    store = open_store(Path(path))
    if where and act != "open":
        _arm(where, when)
    print("ready", flush=True)
    match act:
        case "load":
            bring_in_all(store)
        case "ingest":
            _ingest(store)
        case "make":
            _make(store)
        case "archive":
            _load(store)
        case "rmi":
            _remove(store)
        case "gc":
            gc.sweep(store.home, store.database)


if __name__ == "__main__":
    main(*sys.argv[1:])
