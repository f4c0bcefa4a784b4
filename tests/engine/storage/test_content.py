"""Blobs come in once, whole and right, whoever dies on the way."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, InvalidInput, NotFound, Unavailable
from engine.oci.digest import Digest, sha256_of
from engine.storage import content as contents
from engine.storage.content import Content, drop_old_ingests
from tests.support.small_disk import small_disk
from tests.support.store import Store, open_store

pytestmark = pytest.mark.root

DATA = bytes(range(256)) * 4096
DIGEST = sha256_of(DATA)

# Downloads the first half, says so, and goes on when a line comes in.
SLOW = """
import sys
from engine.home import Home
from engine.storage.content import Content
from engine.storage.metadata import Database
home = Home(*sys.argv[1:4])
data = bytes(range(256)) * 4096
ingest = Content(home, Database(home)).ingest(sys.argv[4], len(data))
with ingest:
    start = ingest.offset
    ingest.write(memoryview(data)[start:len(data) // 2])
    print(start, flush=True)
    sys.stdin.readline()
    ingest.write(memoryview(data)[ingest.offset:])
    ingest.commit()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture
def content(store: Store) -> Content:
    return store.content


def add_row(store: Store, digest: Digest, size: int) -> None:
    with store.database.transaction() as cursor:
        cursor.execute("INSERT INTO blob VALUES(?,?,'text/plain',0)", (digest, size))


def left_in(store: Store) -> list[str]:
    return os.listdir(f"{store.home.root}/ingest")


def slow_process(store: Store) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *store.home, DIGEST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def said(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def end(process: subprocess.Popen[bytes]) -> int:
    _, _ = process.communicate(b"\n")
    return process.returncode


def test_a_blob_is_found_when_its_row_and_file_are_there(store: Store, content: Content) -> None:
    digest = content.put(DATA)
    assert content.find(digest) is None
    add_row(store, digest, len(DATA))
    assert content.find(digest) == len(DATA)
    assert content.read(digest) == DATA
    os.unlink(store.home.blob_path(digest))
    assert content.find(digest) is None
    with pytest.raises(NotFound):
        content.read(digest)
    assert left_in(store) == []


def test_a_document_is_checked_when_it_is_read(store: Store, content: Content) -> None:
    digest = content.put(DATA)
    with pytest.raises(InvalidInput, match="larger than 100 bytes"):
        content.read(digest, 100)
    Path(store.home.blob_path(digest)).write_bytes(DATA[:-1] + b"!")
    with pytest.raises(Corrupt, match="digest mismatch"):
        content.read(digest)


def test_an_ingest_becomes_a_blob(store: Store, content: Content) -> None:
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest:
        ingest.write(memoryview(DATA)[:1000])
        assert os.pread(ingest.descriptor, 10, 0) == DATA[:10]
        assert not content.has_file(DIGEST, len(DATA))
        ingest.write(memoryview(DATA)[1000:])
        ingest.commit()
    assert content.read(DIGEST) == DATA
    assert left_in(store) == []


def test_what_comes_too_long_or_wrong_is_corrupt(store: Store, content: Content) -> None:
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest, pytest.raises(Corrupt, match="longer than"):
        ingest.write(DATA + b"!")
    for wrong in (DATA[:-1], DATA[:-1] + b"!"):
        ingest = content.ingest(DIGEST, len(DATA))
        assert ingest is not None
        assert ingest.offset == 0
        with ingest:
            ingest.write(wrong)
            with pytest.raises(Corrupt, match="expected"):
                ingest.commit()
    assert left_in(store) == []
    assert not content.has_file(DIGEST, len(DATA))


def test_what_was_left_is_hashed_again_and_taken_up(store: Store, content: Content) -> None:
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest:
        ingest.write(DATA[:5000])
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest:
        assert ingest.offset == 5000
        ingest.restart()
        assert ingest.offset == 0
        ingest.write(DATA)
        ingest.commit()
    assert content.read(DIGEST) == DATA


def test_holes_that_a_power_cut_left_are_found_by_the_digest(
    store: Store, content: Content
) -> None:
    Path(store.home.root, "ingest", DIGEST[7:]).write_bytes(bytes(5000))
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest:
        ingest.write(memoryview(DATA)[ingest.offset :])
        with pytest.raises(Corrupt):
            ingest.commit()
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    with ingest:
        assert ingest.offset == 0


def test_a_file_without_a_row_counts_only_with_the_right_bytes(
    store: Store, content: Content
) -> None:
    path = Path(store.home.blob_path(DIGEST))
    path.write_bytes(DATA)
    os.utime(path, (0, 0))
    assert content.ingest(DIGEST, len(DATA)) is None
    assert path.stat().st_mtime > time.time() - 60  # whoever wants it keeps the sweep away
    path.write_bytes(bytes(len(DATA)))
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    ingest.close()


def test_a_descriptor_with_a_wrong_size_does_no_harm_to_the_blob(
    store: Store, content: Content
) -> None:
    digest = content.put(DATA)
    add_row(store, digest, len(DATA))
    with pytest.raises(Corrupt, match="expected 5 bytes"):
        content.ingest(digest, 5)
    assert content.read(digest) == DATA


def test_the_second_process_waits_for_the_first_and_then_has_it(
    store: Store, content: Content
) -> None:
    first = slow_process(store)
    assert said(first) == 0
    seen: list[int] = []

    def while_it_waits(size: int) -> None:
        seen.append(size)
        if len(seen) == 1:
            assert end(first) == 0

    assert content.ingest(DIGEST, len(DATA), on_wait=while_it_waits) is None
    assert seen == [len(DATA) // 2]
    assert content.read(DIGEST) == DATA
    assert left_in(store) == []


def test_the_next_one_goes_on_when_the_first_is_killed(store: Store, content: Content) -> None:
    first = slow_process(store)
    said(first)
    second = slow_process(store)
    third: list[Content | None] = []
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    end(first)
    assert said(second) == len(DATA) // 2
    waiter = threading.Thread(
        target=lambda: third.append(content.ingest(DIGEST, len(DATA)))  # type: ignore[arg-type]
    )
    waiter.start()
    assert end(second) == 0
    waiter.join()
    assert third == [None]
    assert content.read(DIGEST) == DATA


def test_waiting_ends_when_cancelled(store: Store, content: Content) -> None:
    ingest = content.ingest(DIGEST, len(DATA))
    assert ingest is not None
    cancel = Cancel()
    threading.Timer(0.1, cancel.cancel).start()
    with ingest, pytest.raises(Cancelled):
        content.ingest(DIGEST, len(DATA), cancel=cancel)


def test_threads_of_one_process_exclude_each_other_too(store: Store, content: Content) -> None:
    wins: list[int] = []

    def bring_in(number: int) -> None:
        ingest = content.ingest(DIGEST, len(DATA))
        if ingest is not None:
            with ingest:
                ingest.write(memoryview(DATA)[ingest.offset :])
                ingest.commit()
            wins.append(number)

    threads = [threading.Thread(target=bring_in, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert content.read(DIGEST) == DATA


@pytest.fixture
def full_store(tmp_path: Path) -> Iterator[Store]:
    with small_disk(tmp_path, 8 << 20) as mount:
        store = open_store(mount)
        yield store
        store.database.close()


def test_a_full_disk_is_said_in_one_line_and_resumable(full_store: Store) -> None:
    content = full_store.content
    size = 32 << 20
    data = os.urandom(1 << 20)
    digest = sha256_of(data * 32)
    ingest = content.ingest(digest, size)
    assert ingest is not None
    with ingest:
        with pytest.raises(Unavailable, match=r"disk full: .* needs \d+ more bytes") as caught:
            ingest.write(data * 32)
        assert "\n" not in str(caught.value)
        assert 0 < ingest.offset < size
        kept = ingest.offset
    with pytest.raises(Unavailable, match="disk full"):
        content.put(os.urandom(8 << 20))
    assert sorted(left_in(full_store)) == [digest[7:], f"{digest[7:]}.lock"]
    ingest = content.ingest(digest, size)
    assert ingest is not None
    with ingest:
        assert ingest.offset == kept


def test_old_partial_files_go_and_young_ones_and_those_in_use_stay(
    store: Store, content: Content
) -> None:
    others = [sha256_of(b"old"), sha256_of(b"busy")]
    for digest in (DIGEST, *others):
        ingest = content.ingest(digest, 1 << 20)
        assert ingest is not None
        with ingest:
            ingest.write(b"part")
    busy = content.ingest(others[1], 1 << 20)
    assert busy is not None
    for digest in others:
        for suffix in ("", ".lock"):
            os.utime(f"{store.home.root}/ingest/{digest[7:]}{suffix}", (0, 0))
    drop_old_ingests(store.home, time.time() - 3600)
    left = {name for name in left_in(store) if not name.endswith(".lock")}
    assert left == {DIGEST[7:], others[1][7:]}
    busy.close()


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our open and our flock the one before us is done and removes the file."""
    place = f"{store.home.root}/ingest/x"
    flock = fcntl.flock
    calls = []

    def removed_before(descriptor: int, operation: int) -> None:
        if not calls:
            os.unlink(f"{place}.lock")
        calls.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    lock = contents._try_lock(place)
    assert lock is not None
    assert len(calls) == 2
    assert os.fstat(lock).st_ino == os.stat(f"{place}.lock").st_ino
    assert contents._try_lock(place) is None
    contents._unlock(place, lock)
    assert left_in(store) == []
