"""Leases: what is on its way in, so that nobody collects it.

A lease lives as long as the process that took it: pid, its start time and the boot tell a
successor with the same pid apart.
"""

from __future__ import annotations

import os
import time

from engine.kernel import process
from engine.storage.metadata import Database


def boot_id() -> str:
    """Random for each boot of the host. proc_sys_kernel(5)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


class Lease:
    """A context: its items are safe from the sweep until it is left."""

    def __init__(self, database: Database, kind: str) -> None:
        self.id = os.urandom(8).hex()
        self._database = database
        pid = os.getpid()
        with database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO lease VALUES(?,?,?,?,?,?)",
                (self.id, kind, pid, process.start_time(pid), boot_id(), time.time_ns()),
            )

    def add(self, kind: str, key: str) -> None:
        """Keep the blob (kind "blob") or layer with this digest or id."""
        with self._database.transaction() as cursor:
            cursor.execute("INSERT OR IGNORE INTO lease_item VALUES(?,?,?)", (self.id, kind, key))

    def release(self) -> None:
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM lease WHERE id=?", (self.id,))

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def dead(database: Database) -> list[str]:
    """Ids of leases whose process has ended."""
    boot = boot_id()
    return [
        lease
        for lease, pid, started, lease_boot in database.query(
            "SELECT id, pid, pid_start, boot_id FROM lease"
        )
        if lease_boot != boot or not process.is_alive(pid, started)
    ]


def drop(database: Database, ids: list[str]) -> None:
    """These leases are gone."""
    with database.transaction() as cursor:
        cursor.executemany("DELETE FROM lease WHERE id=?", [(each,) for each in ids])
