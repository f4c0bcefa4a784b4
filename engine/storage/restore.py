"""A damaged layer unpacked again from its blob, in the place of what is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine.errors import Unavailable
from engine.kernel.files import syncfs
from engine.oci.digest import ChainID
from engine.storage.layer_worker import Task, Unpacked
from engine.storage.leases import Lease
from engine.storage.snapshots import Snapshots
from engine.storage.trash import discard, remove_tree
from engine.storage.unpack import BOTTOM
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.home import Home
    from engine.oci.digest import Digest
    from engine.storage.metadata import Database


def restore_layer(
    home: Home,
    database: Database,
    layer_id: str,
    blob: Digest,
    diff_id: str,
    parent_chain: str | None,
) -> None:
    """layers/<layer_id> is as it was after the pull. No container may have it mounted, and the
    layers below it (`parent_chain`) are whole. Raises Corrupt, Unavailable, NotFound."""
    with Lease(database, "repair") as lease:
        staging = f"{home.root}/staging/{lease.id}"
        directory = f"{staging}/layer"
        os.makedirs(directory, mode=0o700)
        try:
            _unpack(home, database, directory, blob, diff_id, parent_chain)
            _move_in(home, directory, layer_id)
        except WorkerDied as death:
            raise Unavailable(f"layer {layer_id}: its unpacking process died: {death}") from death
        except OSError as error:
            raise Unavailable(f"layer {layer_id}: {error.filename}: {error.strerror}") from error
        finally:
            if place := discard(home, staging):
                remove_tree(place)


def _unpack(
    home: Home,
    database: Database,
    directory: str,
    blob: Digest,
    diff_id: str,
    parent_chain: str | None,
) -> None:
    descriptor = os.open(home.blob_path(blob), os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        task = Task(directory, descriptor, -1, size, blob, diff_id)
        worker = Worker("engine.storage.layer_worker:unpack", tuple(task), (descriptor,))
        result = Unpacked(*worker.run())
    finally:
        os.close(descriptor)
    if parent_chain is None:
        return
    lower: list[str] = []
    if parent_chain != BOTTOM:
        layers = Snapshots(home, database).layers(ChainID(parent_chain))
        lower = list(dict.fromkeys(f"{layer}/diff" for layer in reversed(layers)))
    implied = [path for path in result.implied if path]  # the root is nobody's to imply
    argument = (directory, lower, implied, result.lower_links)
    Worker("engine.storage.layer_worker:fix_up", argument).run()


def _move_in(home: Home, directory: str, layer_id: str) -> None:
    layers = os.open(f"{home.root}/layers", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.environ.get("PYDOCK_SYNC") != "off":
            syncfs(layers)
        old = discard(home, home.layer_dir(layer_id))
        os.rename(directory, home.layer_dir(layer_id))
        os.fsync(layers)
    finally:
        os.close(layers)
    if old:
        remove_tree(old)
