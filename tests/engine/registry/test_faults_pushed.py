"""Six faults that a push survives: 35 to 40 of the table."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.oci.reference import parse_reference
from engine.registry import upload
from engine.registry.hosts import Hosts
from engine.registry.push import push
from engine.storage.archive import load
from tests.support import images
from tests.support.fault_server import Exchange
from tests.support.fault_table import PATIENCE, SIZE
from tests.support.pulls import Store, example
from tests.support.upload_server import UploadServer

pytestmark = pytest.mark.root
PIECE = 64 << 10
Player = Callable[[UploadServer, Exchange, int], bool]


def mount_is_not_done(server: UploadServer, exchange: Exchange, number: int) -> bool:
    """202 in place of 201: an upload has begun."""
    return False


def put_is_reset(server: UploadServer, exchange: Exchange, number: int) -> bool:
    if exchange.command != "PUT" or number > 1:
        return False
    server.cut(exchange, 50_000)
    return True


def piece_is_out_of_range(server: UploadServer, exchange: Exchange, number: int) -> bool:
    """After a cut, 416 to the first piece; the registry says where it is when asked."""
    if exchange.command == "PATCH" and number == 1:
        exchange.rfile.read(int(exchange.headers["Content-Length"]))
        exchange.reply(416, {"Range": "0-9"})
        return True
    return put_is_reset(server, exchange, number)


def range_is_stale(server: UploadServer, exchange: Exchange, number: int) -> bool:
    """The answer to a piece says what was there before it (ECR)."""
    if exchange.command == "PATCH" and number == 2:
        session = server.session_of(exchange)
        before = len(session)
        server.take(exchange, session)
        location = server.location(exchange.path)
        exchange.reply(202, {"Location": location, "Range": f"0-{before - 1}"})
        return True
    return put_is_reset(server, exchange, number)


def location_has_a_query(server: UploadServer, exchange: Exchange, number: int) -> bool:
    """The server refuses an upload without the state that it has put there."""
    return False


def piece_is_created(server: UploadServer, exchange: Exchange, number: int) -> bool:
    """201 in place of 202 (ECR)."""
    if exchange.command == "PATCH":
        session = server.session_of(exchange)
        server.take(exchange, session)
        headers = {"Location": server.location(exchange.path), "Range": f"0-{len(session) - 1}"}
        exchange.reply(201, headers)
        return True
    return put_is_reset(server, exchange, number)


TABLE: dict[int, Player] = {
    35: mount_is_not_done,
    36: put_is_reset,
    37: piece_is_out_of_range,
    38: range_is_stale,
    39: location_has_a_query,
    40: piece_is_created,
}


@pytest.mark.parametrize("number", TABLE, ids=lambda n: f"{n} {TABLE[n].__name__}")
def test_fault_of_a_push_is_survived(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(upload, "PIECE_BYTES", PIECE)
    image = example(SIZE)
    counts: dict[str, int] = {}

    def fault(exchange: Exchange) -> bool:
        large = int(exchange.headers.get("Content-Length", 0)) > 10_000
        if "/blobs/uploads/u" not in exchange.path or not large:
            return False
        with server.lock:
            counts[exchange.command] = counts.get(exchange.command, 0) + 1
        return TABLE[number](server, exchange, counts[exchange.command])

    with UploadServer(fault) as server:
        name = f"{server.host}/r:1"
        archive = images.layout_tar(tmp_path / "layout", {name: image})
        load(io.BytesIO(archive), home=store.home, database=store.database, content=store.content)
        if number == 35:
            with store.database.transaction() as cursor:
                cursor.execute(
                    "INSERT INTO origin SELECT digest, ?, 'other' FROM blob", (server.host,)
                )
        pushed = push(
            parse_reference(name),
            home=store.home,
            database=store.database,
            content=store.content,
            images=store.images,
            timeouts=PATIENCE,
            hosts=Hosts(str(store.etc)),
        )
        assert pushed.digest == image.manifest.digest
        assert server.manifests["1"] == image.manifest.data
        assert {each.digest: each.data for each in image.blobs()} == server.blobs
        if number >= 36:
            assert number in (36, 39) or counts["PATCH"] > 1
    assert not store.database.query("SELECT * FROM lease")
