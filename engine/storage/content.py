"""The content store: blobs by digest, and the ingests that become them.

A blob is visible when its row is; the file is whole and verified before. Whoever downloads a blob
holds a kernel lock on it, which dies with the process, and leaves a partial file that the next one
takes up: its hash is made again from its bytes, so nothing is trusted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import Cancelled, Corrupt, InvalidInput, NotFound, Unavailable
from engine.oci.digest import Digest, hasher, sha256_of

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.home import Home
    from engine.storage.metadata import Database

_CHUNK_BYTES = 1 << 20
_WAIT_SECONDS = 0.1


def disk_full(path: str, needed_bytes: int, error: OSError) -> Unavailable:
    """The one way to say that the disk is full."""
    status = os.statvfs(os.path.dirname(path))
    free = status.f_bavail * status.f_frsize
    return Unavailable(
        f"disk full: {path} needs {needed_bytes} more bytes, the file system has {free}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else f"{path}: {error.strerror}",
        "free some space: pydock rmi removes images",
    )


class Content:
    """Blobs below ROOT/blobs."""

    def __init__(self, home: Home, database: Database) -> None:
        self._home = home
        self._database = database

    def find(self, digest: Digest) -> int | None:
        """The size of a blob that is here, row and file; else None."""
        row = self._database.first("SELECT size_bytes FROM blob WHERE digest=?", (digest,))
        if row is None or not self.has_file(digest, row[0]):
            return None
        return int(row[0])

    def has_file(self, digest: Digest, size_bytes: int) -> bool:
        """Whether a file of that size is where the blob belongs, row or not."""
        try:
            return os.stat(self._home.blob_path(digest)).st_size == size_bytes
        except FileNotFoundError:
            return False

    def open(self, digest: Digest) -> int:
        """A descriptor for reading. Raises NotFound."""
        try:
            return os.open(self._home.blob_path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"blob {digest}: not in the store", "pull the image again") from error

    def read(self, digest: Digest, limit_bytes: int = 8 << 20) -> bytes:
        """The whole of a document, checked. Raises NotFound, InvalidInput (too large), Corrupt."""
        with os.fdopen(self.open(digest), "rb") as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise InvalidInput(f"blob {digest}: larger than {limit_bytes} bytes")
        check_digest(digest, data)
        return data

    def put(self, data: bytes) -> Digest:
        """The digest of `data`, which is a file in blobs/ now; the publishing transaction makes
        its row."""
        digest = sha256_of(data)
        place = f"{self._home.root}/ingest/{os.urandom(8).hex()}"
        try:
            with open(place, "xb") as file:
                file.write(data)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place)
            raise disk_full(place, len(data), error) from error
        self.adopt(place, digest)
        return digest

    def adopt(self, path: str, digest: Digest) -> None:
        """The file at `path`, whose digest the caller has computed, is in blobs/ now; the
        publishing transaction makes its row. One that is there already is replaced by its like."""
        os.rename(path, self._home.blob_path(digest))

    def ingest(
        self,
        digest: Digest,
        size_bytes: int,
        *,
        cancel: Cancel | None = None,
        on_wait: Callable[[int], None] | None = None,
    ) -> Ingest | None:
        """The right to bring in this blob, or None when it is here.

        While another process has that right, this waits (`on_wait` hears how far that one is),
        then looks again: it may have finished, failed, or died and left a part.
        """
        place = self._ingest_path(digest)
        while (lock := _try_lock(place)) is None:
            if on_wait is not None:
                with contextlib.suppress(FileNotFoundError):
                    on_wait(os.stat(place).st_size)
            if cancel is None:
                time.sleep(_WAIT_SECONDS)
            elif cancel.wait(_WAIT_SECONDS):
                raise Cancelled(f"blob {digest}: cancelled")
        try:
            final = self._home.blob_path(digest)
            if _is_whole(final, digest, size_bytes, trusted=self.find(digest) is not None):
                _unlock(place, lock)
                return None
            return Ingest(place, final, lock, digest, size_bytes)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(lock)
            raise

    def _ingest_path(self, digest: Digest) -> str:
        return f"{self._home.root}/ingest/{digest.partition(':')[2]}"


def _try_lock(place: str) -> int | None:
    """The lock on the ingest at `place` (flock(2): it dies with its process), or None while
    another has it. Whoever is done removes the lock's file, so it may be a dead one that we got."""
    while True:
        lock = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _unlock(place: str, lock: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{place}.lock")
    os.close(lock)


def _is_whole(path: str, digest: Digest, size_bytes: int, *, trusted: bool) -> bool:
    """Whether the blob is here; if so, it is young again, which keeps the sweep away from it.

    One without a row is not `trusted`: somebody died between the rename and the transaction, or is
    on the way there. It counts when its bytes are right. Raises Corrupt when `size_bytes` is not
    the size of what has that digest.
    """
    try:
        with open(path, "rb") as file:
            if not trusted:
                algorithm = digest.partition(":")[0]
                found = hasher(algorithm)
                while data := file.read(_CHUNK_BYTES):
                    found.update(data)
                if digest != f"{algorithm}:{found.hexdigest()}":
                    return False
            size = os.fstat(file.fileno()).st_size
            if size != size_bytes:
                raise Corrupt(
                    f"blob {digest}: expected {size_bytes} bytes, it has {size}",
                    "the image's manifest is broken: push it again",
                )
            os.utime(file.fileno())
            return True
    except FileNotFoundError:
        return False


def drop_old_ingests(home: Home, before_seconds: float) -> None:
    """Partial files that nobody has touched since then (time.time()) are gone."""
    old: list[str] = []
    with os.scandir(f"{home.root}/ingest") as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < before_seconds:
                    old.append(entry.path)
    for path in old:
        drop_ingest(path.removesuffix(".lock"), before_seconds)


def drop_ingest(place: str, before_seconds: float) -> bool:
    """The partial file is gone, unless a process is at it or was since then (time.time())."""
    lock = _try_lock(place)
    if lock is None:
        return False
    try:
        if os.stat(place).st_mtime >= before_seconds:
            return False
        os.unlink(place)
    except FileNotFoundError:
        pass
    finally:
        _unlock(place, lock)
    return True


def busy_ingests(home: Home) -> list[str]:
    """Names of those that a process is at."""
    busy = []
    for name in os.listdir(f"{home.root}/ingest"):
        if not name.endswith(".lock"):
            continue
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(f"{home.root}/ingest/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                busy.append(name.removesuffix(".lock"))
            finally:
                os.close(lock)
    return busy


def idle_ingests(home: Home) -> list[str]:
    """Paths of the partial files that nobody is at."""
    busy = busy_ingests(home)
    names = [name for name in sorted(os.listdir(f"{home.root}/ingest")) if name not in busy]
    return [f"{home.root}/ingest/{name}" for name in names if not name.endswith(".lock")]


def check_digest(digest: Digest, data: bytes) -> None:
    """Raises Corrupt unless `data` has this digest."""
    algorithm = digest.partition(":")[0]
    found = hasher(algorithm, data).hexdigest()
    if digest != f"{algorithm}:{found}":
        raise Corrupt(
            f"blob {digest}: digest mismatch: expected {digest}, got {algorithm}:{found}",
            "pydock fsck --repair",
        )


class Ingest:
    """A blob being written. Leaving the context without `commit` keeps what is there for resume."""

    def __init__(self, path: str, final: str, lock: int, digest: Digest, size_bytes: int) -> None:
        self._path = path
        self._final = final
        self._lock = lock
        self._digest = digest
        self._size_bytes = size_bytes
        self._algorithm = digest.partition(":")[0]
        self._hash = hasher(self._algorithm)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.offset = 0
        self._rehash()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: memoryview | bytes) -> None:
        """More bytes at the end. Raises Corrupt beyond the size, Unavailable when the disk is
        full."""
        if self.offset + len(data) > self._size_bytes:
            raise Corrupt(
                f"blob {self._digest}: longer than the {self._size_bytes} bytes it should have",
                "pull again; a proxy may have altered it",
            )
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self.descriptor, view, self.offset)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]
        except OSError as error:
            raise disk_full(self._path, self._size_bytes - self.offset, error) from error

    def restart(self) -> None:
        """Begin again: what came so far was not what it should be."""
        os.ftruncate(self.descriptor, 0)
        self.offset = 0
        self._hash = hasher(self._algorithm)

    def commit(self) -> None:
        """The blob is in its place, whole and right. Raises Corrupt, and drops it then."""
        found = f"{self._algorithm}:{self._hash.hexdigest()}"
        if self.offset != self._size_bytes or found != self._digest:
            os.unlink(self._path)
            self._end()
            problem = (
                f"expected {self._size_bytes} bytes, got {self.offset}"
                if self.offset != self._size_bytes
                else f"digest mismatch: expected {self._digest}, got {found}"
            )
            raise Corrupt(
                f"blob {self._digest}: {problem}", "pull again; a proxy may have altered it"
            )
        os.rename(self._path, self._final)
        self._end()

    def close(self) -> None:
        """Give up the right to write; harmless when done before."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            os.close(self._lock)

    def _end(self) -> None:
        """Nothing is left to resume."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._path}.lock")
        self.close()

    def _rehash(self) -> None:
        size = os.fstat(self.descriptor).st_size
        if size > self._size_bytes:
            os.ftruncate(self.descriptor, 0)
            return
        while self.offset < size:
            data = os.pread(self.descriptor, _CHUNK_BYTES, self.offset)
            if not data:
                break
            self._hash.update(data)
            self.offset += len(data)
