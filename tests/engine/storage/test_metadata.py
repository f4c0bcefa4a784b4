"""The database: one schema, short write transactions, a connection for each thread."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.errors import Conflict, Corrupt, Unavailable
from engine.home import Home, open_home
from engine.storage import metadata
from engine.storage.metadata import MIGRATIONS, Database

pytestmark = pytest.mark.root


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "root"), str(tmp_path / "run"))


def count(database: Database) -> int:
    return int(database.first("SELECT count(*) FROM volume")[0])


def add_volume(database: Database, name: str, *, publish: bool = False) -> None:
    with database.transaction(publish=publish) as cursor:
        cursor.execute(
            "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES(?,0,0,'{}')", (name,)
        )


def test_a_new_database_has_the_newest_schema_and_its_settings(home: Home) -> None:
    database = Database(home)
    assert database.first("PRAGMA user_version") == (len(MIGRATIONS),)
    assert database.first("PRAGMA journal_mode") == ("wal",)
    assert database.first("PRAGMA foreign_keys") == (1,)
    assert database.first("PRAGMA synchronous") == (1,)
    with database.transaction(publish=True) as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
    database.close()


def test_a_newer_schema_is_a_conflict_that_says_so(home: Home) -> None:
    Database(home).close()
    connection = sqlite3.connect(f"{home.root}/db.sqlite")
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(Conflict, match="written by a newer pydock") as caught:
        Database(home)
    assert caught.value.hint == "upgrade pydock"


def test_an_older_schema_is_migrated_after_a_copy(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(home)
    add_volume(database, "kept")
    database.close()
    more = (*MIGRATIONS, "CREATE TABLE later(id TEXT PRIMARY KEY); INSERT INTO later VALUES('x')")
    monkeypatch.setattr(metadata, "MIGRATIONS", more)
    database = Database(home)
    assert database.first("SELECT id FROM later") == ("x",)
    assert count(database) == 1
    database.close()
    copy = sqlite3.connect(f"{home.root}/db.sqlite.{len(MIGRATIONS)}")
    assert copy.execute("SELECT name FROM volume").fetchall() == [("kept",)]
    copy.close()


def test_a_broken_migration_leaves_the_old_schema(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(home).close()
    with monkeypatch.context() as patch:
        broken = (*MIGRATIONS, "CREATE TABLE later(id TEXT); CREATE TABLE later(id TEXT)")
        patch.setattr(metadata, "MIGRATIONS", broken)
        with pytest.raises(Unavailable):
            Database(home)
    database = Database(home)
    assert database.first("PRAGMA user_version") == (len(MIGRATIONS),)
    assert database.query("SELECT name FROM sqlite_master WHERE name='later'") == []
    database.close()


def test_what_is_no_database_is_corrupt(home: Home) -> None:
    Path(home.root, "db.sqlite").write_bytes(b"this is no database at all, by no means" * 100)
    with pytest.raises(Corrupt, match="not a database"):
        Database(home)


def test_an_exception_undoes_the_transaction(home: Home) -> None:
    database = Database(home)

    def write_and_fail() -> None:
        with database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES('v',0,0,'{}')"
            )
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert count(database) == 0
    add_volume(database, "after")
    database.close()


def test_readers_do_not_wait_for_a_writer(home: Home) -> None:
    database = Database(home)
    with database.transaction(publish=True) as cursor:
        cursor.execute(
            "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES('v',0,0,'{}')"
        )
        assert count(database) == 0
    assert count(database) == 1
    database.close()


def test_a_second_writer_waits_and_then_says_who_has_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Database(home)
    monkeypatch.setattr(metadata, "BUSY_SECONDS", 0.1)
    second = Database(home)
    with first.transaction(), pytest.raises(Unavailable, match="locked"), second.transaction():
        pass
    add_volume(second, "then")
    first.close()
    second.close()


def test_many_threads_write_and_each_has_its_connection(home: Home) -> None:
    database = Database(home)

    def work(number: int) -> None:
        for step in range(10):
            add_volume(database, f"{number}.{step}", publish=step == 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 80
    # Those of ended threads go when the next one is made.
    other = threading.Thread(target=count, args=(database,))
    other.start()
    other.join()
    assert len(database._open) <= 3
    database.close()


def test_two_processes_create_one_database(home: Home) -> None:
    code = (
        "import sys; from engine.home import Home; from engine.storage.metadata import Database\n"
        "database = Database(Home(*sys.argv[1:4]))\n"
        "for n in range(20):\n"
        "    with database.transaction() as cursor:\n"
        "        cursor.execute('INSERT INTO volume(name, created_ns, anonymous, labels) '\n"
        "                       'VALUES(?,0,0,?)', (f'{sys.argv[4]}.{n}', '{}'))\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, *home, str(number)]) for number in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    database = Database(home)
    assert count(database) == 60
    database.close()


def test_a_closed_database_says_so(home: Home) -> None:
    database = Database(home)
    database.query("SELECT 1")
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        database.query("SELECT 1")
