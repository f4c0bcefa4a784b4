"""The rows that make bytes true: one SQLite file, its schema and its migrations.

Files are content-addressed and written first; a row in here makes them visible. Writers take the
write lock at once (`BEGIN IMMEDIATE`: a reader that upgrades gets SQLITE_BUSY_SNAPSHOT, against
which no timeout helps) and do no input or output inside. A connection belongs to one thread.

https://sqlite.org/wal.html · https://sqlite.org/lang_transaction.html
"""

from __future__ import annotations

import _sqlite3 as sqlite3  # the package around it brings datetime: 1 ms of each command
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, Corrupt, Unavailable
from engine.home import Home, locked
from engine.storage import reserve

if TYPE_CHECKING:
    from engine.storage.rebuild import Rebuilt

BUSY_SECONDS = 10.0

# Each entry brings the schema from its index to the next; entries are only ever added.
MIGRATIONS = (
    """
    CREATE TABLE blob(
        digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, media_type TEXT NOT NULL,
        created_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE origin(
        digest TEXT NOT NULL REFERENCES blob ON DELETE CASCADE,
        host TEXT NOT NULL, repository TEXT NOT NULL,
        PRIMARY KEY(digest, host, repository)
    ) WITHOUT ROWID;

    CREATE TABLE layer(
        id TEXT PRIMARY KEY,             -- 26 base32: its directory
        link INTEGER NOT NULL UNIQUE,    -- l/<link>
        diff_id TEXT NOT NULL,
        parent_chain TEXT,               -- NULL: the same over every parent, so shareable
        blob TEXT NOT NULL,              -- digest, though the blob itself may be gone
        raw_bytes INTEGER NOT NULL,      -- sum of the sizes of its files
        disk_bytes INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        created_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX layer_identity ON layer(diff_id, coalesce(parent_chain, ''));
    CREATE TABLE chain(
        chain_id TEXT PRIMARY KEY,
        parent TEXT REFERENCES chain,
        layer TEXT NOT NULL REFERENCES layer,
        depth INTEGER NOT NULL           -- 1 at the bottom
    ) WITHOUT ROWID;
    CREATE INDEX chain_layer ON chain(layer);
    CREATE INDEX chain_parent ON chain(parent);

    CREATE TABLE image(
        id TEXT PRIMARY KEY,             -- digest of the config
        manifest TEXT NOT NULL REFERENCES blob,
        index_digest TEXT,
        chain_id TEXT REFERENCES chain,  -- NULL: no layers
        os TEXT NOT NULL, architecture TEXT NOT NULL, variant TEXT NOT NULL,
        created_ns INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
        waste_bytes INTEGER NOT NULL, layers INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE image_blob(             -- what an image keeps alive
        image TEXT NOT NULL REFERENCES image ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES blob,
        PRIMARY KEY(image, digest)
    ) WITHOUT ROWID;
    CREATE INDEX image_blob_digest ON image_blob(digest);
    CREATE TABLE reference(
        name TEXT PRIMARY KEY,           -- full form, docker.io/library/debian:bookworm
        image TEXT NOT NULL REFERENCES image ON DELETE CASCADE,
        target TEXT NOT NULL,            -- digest that the name stands for in its registry
        updated_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX reference_image ON reference(image);

    CREATE TABLE lease(
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, pid INTEGER NOT NULL,
        pid_start INTEGER NOT NULL, boot_id TEXT NOT NULL, created_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE lease_item(
        lease TEXT NOT NULL REFERENCES lease ON DELETE CASCADE,
        kind TEXT NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY(lease, kind, key)
    ) WITHOUT ROWID;

    CREATE TABLE container(
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        image TEXT NOT NULL, image_id TEXT NOT NULL REFERENCES image,
        chain_id TEXT REFERENCES chain,
        created_ns INTEGER NOT NULL, config TEXT NOT NULL,
        state TEXT NOT NULL, pid INTEGER NOT NULL,
        started_ns INTEGER NOT NULL, finished_ns INTEGER NOT NULL,
        exit_code INTEGER NOT NULL, error TEXT NOT NULL, oom_killed INTEGER NOT NULL,
        auto_remove INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX container_image ON container(image_id);

    CREATE TABLE network(
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL,
        subnet TEXT NOT NULL, gateway TEXT NOT NULL, internal INTEGER NOT NULL,
        interface TEXT NOT NULL, created_ns INTEGER NOT NULL, labels TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE endpoint(
        id TEXT PRIMARY KEY,
        network_id TEXT NOT NULL REFERENCES network,
        container_id TEXT NOT NULL, container_name TEXT NOT NULL,
        ip_address TEXT NOT NULL, mac_address TEXT NOT NULL,
        state TEXT NOT NULL,             -- creating, up, removing
        boot_id TEXT NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL,
        UNIQUE(network_id, ip_address), UNIQUE(network_id, container_id)
    ) WITHOUT ROWID;
    CREATE INDEX endpoint_container ON endpoint(container_id);
    CREATE TABLE port(
        protocol TEXT NOT NULL, host_ip TEXT NOT NULL, host_port INTEGER NOT NULL,
        endpoint_id TEXT NOT NULL REFERENCES endpoint ON DELETE CASCADE,
        container_port INTEGER NOT NULL,
        PRIMARY KEY(protocol, host_ip, host_port)
    ) WITHOUT ROWID;
    CREATE INDEX port_endpoint ON port(endpoint_id);

    CREATE TABLE volume(
        name TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, anonymous INTEGER NOT NULL,
        labels TEXT NOT NULL, size_bytes INTEGER NOT NULL DEFAULT -1,
        files INTEGER NOT NULL DEFAULT -1, written_ns INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE volume_use(
        volume TEXT NOT NULL REFERENCES volume,
        container_id TEXT NOT NULL REFERENCES container ON DELETE CASCADE,
        PRIMARY KEY(volume, container_id)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE image_unique(           -- what lists say, while it has just the images
        image TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX image_chain ON image(chain_id);  -- or each removal of a parent asks every child
    CREATE INDEX image_manifest ON image(manifest);
    CREATE INDEX container_chain ON container(chain_id);
    CREATE INDEX volume_use_container ON volume_use(container_id);
    """,
    """
    CREATE TABLE image_config(           -- what a container takes from it (image_configs.py)
        image TEXT PRIMARY KEY REFERENCES image ON DELETE CASCADE,
        document TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)


class Database:
    """Connections to ROOT/db.sqlite, one for each thread that asks."""

    def __init__(self, home: Home) -> None:
        """The schema is the newest when this returns. Raises Conflict when a newer program wrote
        the file, Corrupt when it is not a database, Unavailable when it cannot be opened."""
        self.path = f"{home.root}/db.sqlite"
        self.rebuilt: Rebuilt | None = None  # what was made again, as the old file was lost
        self._home = home
        reserve.give(home.root, reserve.TO_OPEN_BYTES)
        self._lock_path = f"{home.root}/lock/migrate"
        self._local = threading.local()
        self._open: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._lock = threading.Lock()
        try:
            self._migrate()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise self._explained(error) from error
            raise

    def query(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT. Raises Unavailable, Corrupt, as every call does."""
        try:
            return self._connection("NORMAL").execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def first(self, text: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a SELECT, or None."""
        rows = self.query(text, values)
        return rows[0] if rows else None

    @contextlib.contextmanager
    def transaction(self, *, publish: bool = False) -> Iterator[sqlite3.Cursor]:
        """A write transaction: committed on leaving, undone by an exception.

        With `publish` it is on the disk when this returns (`synchronous=FULL`); otherwise a power
        cut may undo the last ones, in order. What a constraint refuses stays an IntegrityError.
        """
        try:
            connection = self._connection("FULL" if publish else "NORMAL")
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._explained(error) from error
        try:
            yield cursor
            connection.commit()
        except BaseException as error:
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.rollback()
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise self._explained(error) from error
            raise

    def make_room(self) -> None:
        """Say first that something is about to go: a full disk takes the rows that say so."""
        reserve.give(self._home.root)

    def close(self) -> None:
        """Every thread's connection is closed; the object is of no use any more."""
        with self._lock:
            connections, self._open = self._open, []
        for _, connection in connections:
            connection.close()

    def _explained(self, error: sqlite3.Error) -> Exception:
        """The kind of failure that a person can act on; faults of ours stay what they are."""
        message = f"database {self.path}: {error}"
        if isinstance(error, sqlite3.OperationalError):
            if "locked" in str(error):
                hint = f"another pydock has held it for {BUSY_SECONDS:.0f} s; try again"
            else:
                hint = "see that the disk is writable and has some space"
            return Unavailable(message, hint)
        if isinstance(error, sqlite3.ProgrammingError):
            closed = "closed" in str(error)
            return Unavailable(message, "the engine was closed meanwhile") if closed else error
        return Corrupt(
            message,
            f"move {self.path} and what begins like it away: images and volumes are found again",
        )

    def _connection(self, synchronous: str) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, synchronous, None)
        if connection is None:
            # Only its own thread uses it, but close() may come from another one.
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA synchronous={synchronous}")
            setattr(self._local, synchronous, connection)
            with self._lock:
                self._forget_ended_threads()
                self._open.append((threading.current_thread(), connection))
        return connection

    def _forget_ended_threads(self) -> None:
        """A console lives for days and starts a thread for each stream."""
        ended = [(thread, each) for thread, each in self._open if not thread.is_alive()]
        self._open = [(thread, each) for thread, each in self._open if thread.is_alive()]
        for _, connection in ended:
            connection.close()

    def _migrate(self) -> None:
        if os.path.exists(self.path) and self._version() == len(MIGRATIONS):
            return
        with locked(self._lock_path):
            connection = self._connection("FULL")
            connection.execute("PRAGMA journal_mode=WAL")
            version = self._version()  # another process may have been faster
            if 0 < version < len(MIGRATIONS):
                with contextlib.closing(sqlite3.connect(f"{self.path}.{version}")) as copy:
                    connection.backup(copy)
            if version < len(MIGRATIONS):
                with self.transaction(publish=True) as cursor:
                    for script in MIGRATIONS[version:]:
                        for statement in script.split(";"):
                            cursor.execute(statement)
                    if not version:
                        self.rebuilt = self._rebuild(cursor)
                    cursor.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    def _rebuild(self, cursor: sqlite3.Cursor) -> Rebuilt | None:
        """A new database knows what is there already: the old one was lost."""
        places = ("layers", "upper", "volumes")
        if not any(os.listdir(f"{self._home.root}/{place}") for place in places):
            return None
        from engine.storage import rebuild  # it needs what needs this file

        return rebuild.rebuild(self._home, cursor)

    def _version(self) -> int:
        """The schema that the file has. Raises Conflict when it is newer than this program."""
        (version,) = self.first("PRAGMA user_version")
        if version > len(MIGRATIONS):
            raise Conflict(
                f"database {self.path}: written by a newer pydock (schema {version}, this one "
                f"knows {len(MIGRATIONS)})",
                "upgrade pydock",
            )
        return int(version)
