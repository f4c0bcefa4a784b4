"""Leases end with their process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.storage import leases
from engine.storage.leases import Lease
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def items(store: Store) -> list[tuple[str, str]]:
    return store.database.query("SELECT kind, key FROM lease_item ORDER BY kind, key")


def test_a_lease_lasts_as_long_as_its_context(store: Store) -> None:
    with Lease(store.database, "pull") as lease:
        lease.add("blob", "sha256:x")
        lease.add("layer", "abc")
        lease.add("layer", "abc")
        assert items(store) == [("blob", "sha256:x"), ("layer", "abc")]
        assert leases.dead(store.database) == []
    assert items(store) == []
    assert store.database.query("SELECT * FROM lease") == []


def test_a_lease_of_a_killed_process_is_dead(store: Store) -> None:
    code = (
        "import os, sys; from engine.home import Home; from engine.storage.leases import Lease\n"
        "from engine.storage.metadata import Database\n"
        "lease = Lease(Database(Home(*sys.argv[1:4])), 'pull'); lease.add('layer', 'x')\n"
        "print(lease.id, flush=True); os.kill(os.getpid(), 9)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, *store.home], stdout=subprocess.PIPE, check=False
    )
    name = died.stdout.decode().strip()
    assert leases.dead(store.database) == [name]
    leases.drop(store.database, [name])
    assert items(store) == []


def test_a_lease_of_another_boot_is_dead_though_its_pid_lives(store: Store) -> None:
    with Lease(store.database, "pull") as lease:
        with store.database.transaction() as cursor:
            cursor.execute("UPDATE lease SET boot_id='another'")
        assert leases.dead(store.database) == [lease.id]
