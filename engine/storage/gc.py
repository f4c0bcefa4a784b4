"""What nothing leads to goes: rows in one transaction, then their bytes, by way of the trash.

Roots are images, which containers hold fast, and what a live lease keeps. Rows go first and
durably, so that a power cut leaves garbage at worst, never a row without bytes; `lock/gc.pending`
tells the next start that somebody was killed in between. Bytes leave their place under the
database's write lock, so nobody can record what is just going, and are removed from the trash
outside of every lock but its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from engine.named_tuple import NamedTuple
from engine.oci.digest import ChainID
from engine.oci.reference import parse_reference
from engine.storage import content, leases, reserve
from engine.storage.trash import discard, remove_all

if TYPE_CHECKING:
    import sqlite3

    from engine.home import Home
    from engine.model.image import Removed
    from engine.storage.image_store import Dropped, ImageStore
    from engine.storage.metadata import Database

GRACE_SECONDS = 600  # of bytes that no row names: somebody may be about to
INGEST_SECONDS = 7 * 86400  # how long a partial download waits for somebody to go on
_WAIT_SECONDS = 10.0

_LIVE_CHAINS = """
    WITH RECURSIVE live(chain_id) AS (
        SELECT chain_id FROM image WHERE chain_id IS NOT NULL
        UNION SELECT chain.parent FROM chain JOIN live USING(chain_id)
        WHERE chain.parent IS NOT NULL
    )
"""


class Swept(NamedTuple):
    """What a sweep took away."""

    chains: tuple[ChainID, ...]
    freed_bytes: int


class Plan(NamedTuple):
    """What a sweep would take away now."""

    layers: tuple[str, ...]  # ids
    blobs: tuple[str, ...]  # digests
    paths: tuple[str, ...]  # of what has no row


def remove_image(
    home: Home, database: Database, images: ImageStore, ref: str, *, force: bool = False
) -> Removed:
    """`rmi`: the name, and with the last name the image and all that it alone had.

    Raises NotFound, Conflict (containers use it; an id with several names).
    """
    from engine.model.image import Removed

    database.make_room()
    _write_marker(home)
    unlinked = images.remove(ref, force=force)
    _save_names(database)
    untagged = tuple(parse_reference(name).familiar for name in unlinked.names)
    if unlinked.image is None:
        return Removed(untagged, (), 0)
    swept = sweep(home, database, unlinked.blobs)
    return Removed(untagged, (unlinked.image, *swept.chains), swept.freed_bytes)


def remove_images(
    home: Home, database: Database, images: ImageStore, wanted: dict[str, tuple[str, ...]]
) -> tuple[Dropped, Swept]:
    """Images by id, each with the names that it had when it was chosen, and all that they alone
    had. One that has another name by now, or a container, stays."""
    database.make_room()
    _write_marker(home)
    dropped = images.drop(wanted)
    _save_names(database)
    return dropped, sweep(home, database, dropped.blobs)


def _save_names(database: Database) -> None:
    from engine.storage import name_list  # lists do without

    name_list.save(database)


def plan(home: Home, database: Database) -> Plan:
    """The sweep, without a trace: what it would do is done and undone in one transaction."""
    found = list_files(home)
    dead = leases.dead(database)
    staging = [f"{home.root}/staging/{name}" for name in dead + ownerless_staging(home, database)]
    with database.transaction() as cursor:
        cursor.executemany("DELETE FROM lease WHERE id=?", [(lease,) for lease in dead])
        rows = _drop_rows(cursor, _read_marker(home))
        paths = orphans(cursor, home, found, rows.blobs)
        cursor.connection.rollback()
    gone = {home.layer_dir(layer) for layer in rows.layers} | set(map(home.blob_path, rows.blobs))
    links = f"{home.root}/l/"
    paths = [path for path in paths if path not in gone and not path.startswith(links)]
    there = [path for path in staging if os.path.exists(path)]
    return Plan(tuple(rows.layers), tuple(rows.blobs), (*paths, *there))


def start(home: Home, database: Database) -> None:
    """What killed processes left is gone. Cheap when there is nothing."""
    reserve.keep(home.root)
    if os.path.exists(_marker(home)) or leases.dead(database) or ownerless_staging(home, database):
        sweep(home, database)
    content.drop_old_ingests(home, time.time() - INGEST_SECONDS)
    empty_trash(home)


def empty_trash(home: Home) -> None:
    """The trash is empty, unless somebody is just busy with that."""
    if not os.listdir(f"{home.root}/trash"):
        return
    with _locked(f"{home.root}/lock/trash", wait_seconds=0) as held:
        if held:
            remove_all(f"{home.root}/trash", os.listdir(f"{home.root}/trash"))


def sweep(home: Home, database: Database, doomed: Collection[str] = ()) -> Swept:
    """Everything that nothing leads to is gone; the blobs of `doomed` however young they are.

    Takes nothing while another process sweeps for long: a later sweep will.
    """
    with _locked(f"{home.root}/lock/gc", wait_seconds=_WAIT_SECONDS) as held:
        if not held:
            return Swept((), 0)
        trash = _bury_staging(home, database)
        doomed = {*doomed, *_read_marker(home)}
        with database.transaction(publish=True) as cursor:
            rows = _drop_rows(cursor, doomed)
            doomed.update(rows.blobs)
            _write_marker(home, doomed)  # before their rows are gone
        found = list_files(home)
        with database.transaction() as cursor:
            trash += discard_orphans(home, orphans(cursor, home, found, doomed))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_marker(home))
    # With the lock, so that no start waits for what we remove.
    with _locked(f"{home.root}/lock/trash", wait_seconds=0):
        remove_all(f"{home.root}/trash", map(os.path.basename, trash))
    return Swept(tuple(rows.chains), rows.freed_bytes)


class _Rows(NamedTuple):
    chains: list[ChainID]
    layers: list[str]
    blobs: list[str]
    freed_bytes: int


def _drop_rows(cursor: sqlite3.Cursor, doomed: Collection[str]) -> _Rows:
    chains = [
        ChainID(chain)
        for (chain,) in cursor.execute(
            _LIVE_CHAINS + "SELECT chain_id FROM chain WHERE chain_id NOT IN live "
            "ORDER BY depth DESC"
        ).fetchall()
    ]
    _delete(cursor, "chain", "chain_id", chains)
    layers = cursor.execute(
        """
        SELECT id, disk_bytes FROM layer WHERE id NOT IN (SELECT layer FROM chain)
        AND id NOT IN (SELECT key FROM lease_item WHERE kind='layer')
        """
    ).fetchall()
    _delete(cursor, "layer", "id", [layer for layer, _ in layers])
    young = time.time_ns() - GRACE_SECONDS * 1_000_000_000
    # Rows without an image are a killed removal's, unless somebody is bringing something in.
    (alone,) = cursor.execute("SELECT NOT EXISTS(SELECT 1 FROM lease)").fetchone()
    blobs = [
        (digest, size)
        for digest, size, created_ns in cursor.execute(
            """
            SELECT digest, size_bytes, created_ns FROM blob
            WHERE digest NOT IN (SELECT digest FROM image_blob)
            AND digest NOT IN (SELECT key FROM lease_item WHERE kind='blob')
            """
        ).fetchall()
        if alone or digest in doomed or created_ns < young
    ]
    _delete(cursor, "blob", "digest", [digest for digest, _ in blobs])
    freed = sum(size for _, size in layers) + sum(size for _, size in blobs)
    return _Rows(chains, [layer for layer, _ in layers], [digest for digest, _ in blobs], freed)


def _delete(cursor: sqlite3.Cursor, table: str, key: str, values: Sequence[str]) -> None:
    """Those rows are gone, by one statement: half of what one for each takes."""
    cursor.execute(
        f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))",
        (json.dumps(values),),
    )


class Files(NamedTuple):
    """Names of what lies in the store's directories."""

    blobs: list[str]  # digests
    layers: list[str]
    links: list[str]
    uppers: list[str]
    containers: list[str]


def list_files(home: Home) -> Files:
    """What is there now. Ask before `orphans`: whoever brings something in takes its lease before
    its file is in its place."""
    return Files(
        [
            f"{algorithm}:{name}"
            for algorithm in ("sha256", "sha512")
            for name in os.listdir(f"{home.root}/blobs/{algorithm}")
        ],
        os.listdir(f"{home.root}/layers"),
        os.listdir(f"{home.root}/l"),
        os.listdir(f"{home.root}/upper"),
        os.listdir(f"{home.root}/containers"),
    )


def orphans(
    cursor: sqlite3.Cursor, home: Home, found: Files, doomed: Collection[str] = ()
) -> list[str]:
    """Paths of those of `found` that no row and no lease names; blobs and what containers have
    only when they are no longer young (or `doomed`). True while `cursor` has its transaction."""

    def names(text: str) -> set[str]:
        return {str(row[0]) for row in cursor.execute(text)}

    leased = names("SELECT key FROM lease_item")
    blobs = names("SELECT digest FROM blob") | leased
    layers = names("SELECT id FROM layer") | leased
    links = names("SELECT link FROM layer")
    containers = names("SELECT id FROM container")
    paths = [
        home.blob_path(digest)
        for digest in found.blobs
        if digest not in blobs and (digest in doomed or is_old(home.blob_path(digest)))
    ]
    paths += [home.layer_dir(layer) for layer in found.layers if layer not in layers]
    for link in found.links:
        path = f"{home.root}/l/{link}"
        with contextlib.suppress(OSError):
            if link not in links and os.readlink(path).split("/")[-2] not in leased:
                paths.append(path)
    directories = [home.upper_dir(name) for name in found.uppers if name not in containers]
    directories += [home.container_dir(name) for name in found.containers if name not in containers]
    paths += [path for path in directories if is_old(path)]
    return paths


def discard_orphans(home: Home, paths: list[str]) -> list[str]:
    """`paths` are gone from their places; where those that take time are in the trash."""
    links = f"{home.root}/l/"
    for path in paths:
        if path.startswith(links):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return [
        place for path in paths if not path.startswith(links) and (place := discard(home, path))
    ]


def is_old(path: str) -> bool:
    try:
        return os.stat(path).st_mtime < time.time() - GRACE_SECONDS
    except FileNotFoundError:
        return False


def ownerless_staging(home: Home, database: Database) -> list[str]:
    """Staging directories that no lease, dead or alive, stands for (a power cut took its row)."""
    found = os.listdir(f"{home.root}/staging")  # before the question: the lease comes first
    known = {lease for (lease,) in database.query("SELECT id FROM lease")} if found else set()
    return [name for name in found if name not in known]


def _bury_staging(home: Home, database: Database) -> list[str]:
    """What dead processes were unpacking is in the trash, and their leases are gone."""
    dead = leases.dead(database)
    names = dead + ownerless_staging(home, database)
    places = [discard(home, f"{home.root}/staging/{name}") for name in names]
    if dead:
        leases.drop(database, dead)
    return [place for place in places if place]


def _marker(home: Home) -> str:
    return f"{home.root}/lock/gc.pending"


def _write_marker(home: Home, doomed: Collection[str] = ()) -> None:
    """Until it is removed, the next start has something to finish: these blobs among others."""
    with open(_marker(home), "a") as file:
        file.write("".join(f"{digest}\n" for digest in doomed))


def _read_marker(home: Home) -> list[str]:
    try:
        with open(_marker(home)) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _locked(path: str, *, wait_seconds: float) -> Iterator[bool]:
    """Whether the lock was to be had within that time; held inside, given up with the process."""
    deadline = time.monotonic() + wait_seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.02)
            else:
                yield True
                return
    finally:
        os.close(descriptor)
