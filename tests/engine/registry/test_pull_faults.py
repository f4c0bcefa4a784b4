"""Pulls from servers that misbehave."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, InvalidInput, NotFound, Unavailable
from engine.home import open_home
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image
from tests.support.pulls import FAST, Store, example, noise
from tests.support.small_disk import unmount
from tests.support.waiting import until

pytestmark = pytest.mark.root
HASTY = FAST._replace(first_delay_seconds=0.005)


def faulty(fault: Callable[[Exchange, int], bool]) -> FaultServer:
    """An honest server, but for blobs: `fault(exchange, n)` sees the n-th request of each layer."""
    counts: dict[str, int] = {}

    def script(exchange: Exchange) -> bool:
        if "/blobs/" not in exchange.path:
            return False
        with exchange.server.faults.lock:
            counts[exchange.path] = counts.get(exchange.path, 0) + 1
        return fault(exchange, counts[exchange.path])

    return FaultServer(script)


def break_off(exchange: Exchange, _: int, *, after: int = 1 << 20) -> bool:
    """The end of the connection after each MiB."""
    media_type, data, _digest = exchange.server.faults.documents[exchange.path]
    start = int(exchange.headers.get("Range", "bytes=0-")[6:-1])
    if len(data) - start <= after:
        return False
    headers = {"Content-Type": media_type}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    exchange.send_head(206 if start else 200, headers, len(data) - start)
    exchange.wfile.write(data[start : start + after])
    exchange.finish_early()
    return True


def flip(data: bytes) -> bytes:
    return data[:50] + bytes([data[50] ^ 1]) + data[51:]


def once(action: Callable[[Exchange], None]) -> Callable[[Exchange, int], bool]:
    def fault(exchange: Exchange, number: int) -> bool:
        if number == 1:
            action(exchange)
            return True
        return False

    return fault


def body(exchange: Exchange) -> bytes:
    return exchange.server.faults.documents[exchange.path][1]


def ranged(headers: dict[str, str]) -> Callable[[Exchange, int], bool]:
    """Breaks off once, then answers the Range with these wrong headers and the whole blob."""

    def fault(exchange: Exchange, number: int) -> bool:
        if number == 1:
            return break_off(exchange, number, after=70_000)
        if exchange.headers.get("Range"):
            exchange.reply(206, headers, body(exchange))
            return True
        return False

    return fault


def no_range(exchange: Exchange, number: int) -> bool:
    if number == 1:
        return break_off(exchange, number, after=70_000)
    exchange.reply(200, body=body(exchange))
    return True


def refuse_range(exchange: Exchange, number: int) -> bool:
    if number == 1:
        return break_off(exchange, number, after=70_000)
    if exchange.headers.get("Range"):
        exchange.reply(416)
        return True
    return False


def three_times_500(exchange: Exchange, number: int) -> bool:
    if number <= 3:
        exchange.reply((500, 502, 503)[number - 1], body=b"oops")
    return number <= 3


def stall_once(exchange: Exchange, number: int) -> bool:
    if number > 1 or len(body(exchange)) < 100_000:
        return False
    exchange.send_head(200, None, len(body(exchange)))
    exchange.wfile.write(body(exchange)[:50_000])
    exchange.stall()
    return True


SURVIVED: dict[str, tuple[Callable[[Exchange, int], bool], int]] = {
    "reset once": (once(lambda e: e.reset()), 100_000),
    "end at each MiB": (break_off, 8 << 20),
    "body stalls once": (stall_once, 100_000),
    "server errors": (three_times_500, 100_000),
    "told to wait": (
        once(lambda e: e.reply(429, {"Retry-After": "0"}, b'{"errors":[]}')),
        100_000,
    ),
    "one corrupt byte once": (once(lambda e: e.reply(200, body=flip(body(e)))), 100_000),
    "too long once": (once(lambda e: e.reply(200, body=body(e) + b"x")), 100_000),
    "range ignored": (no_range, 200_000),
    "range refused": (refuse_range, 200_000),
    "range at a wrong offset": (ranged({"Content-Range": "bytes 5-9/200000"}), 200_000),
    "range unnamed": (ranged({}), 200_000),
    "other length": (ranged({"Content-Range": "bytes 70000-9/10"}), 200_000),
}


@pytest.mark.parametrize(("fault", "size"), SURVIVED.values(), ids=list(SURVIVED))
def test_fault_is_survived(store: Store, fault: Callable[[Exchange, int], bool], size: int) -> None:
    image = example(size)
    with faulty(fault) as server:
        reference = images.serve(server, "r", "1", image)
        patience = HASTY._replace(stall_seconds=0.3) if fault is stall_once else HASTY
        assert store.pull(reference, timeouts=patience) == image.config.digest
    assert store.tree(image, 1)["usr/noise"] == noise(size)


def test_expired_address_is_asked_for_again(store: Store) -> None:
    """A presigned URL breaks off in the middle, and is refused the second time."""
    image = example(200_000)
    seen: set[str] = set()

    def storage(exchange: Exchange) -> bool:
        if exchange.path in seen:
            exchange.reply(403, body=b"<Error>Request has expired</Error>")
            return True
        seen.add(exchange.path)
        digest = exchange.path.partition("?")[0].rpartition("/")[2]
        exchange.path = f"/v2/r/blobs/{digest}"
        assert "Authorization" not in exchange.headers
        return break_off(exchange, 0, after=70_000)

    number = iter(range(1000))

    def redirect(exchange: Exchange, _: int) -> bool:
        digest = exchange.path.rpartition("/")[2]
        location = f"{presigned.url}/s3/{digest}?signature={next(number) // 2}"
        exchange.reply(307, {"Location": location})
        return True

    with FaultServer(storage) as presigned, faulty(redirect) as server:
        reference = images.serve(server, "r", "1", image)
        presigned.documents.update(server.documents)
        assert store.pull(reference) == image.config.digest


def test_resume_takes_up_what_was_left(store: Store) -> None:
    image = example(2 << 20)
    big = image.layers[1]
    cancel = Cancel()

    def half(exchange: Exchange, number: int) -> bool:
        if exchange.path.endswith(big.digest) and number == 1:
            exchange.send_head(200, None, len(big.data))
            exchange.wfile.write(big.data[: 1 << 20])
            exchange.wfile.flush()
            exchange.stall()
            return True
        return False

    with faulty(half) as server:
        reference = images.serve(server, "r", "1", image)
        partial = Path(store.home.root) / "ingest" / big.digest[7:]

        def end() -> None:
            try:
                until(lambda: partial.exists() and partial.stat().st_size == 1 << 20)
            finally:
                cancel.cancel()

        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(Cancelled):
            store.pull(reference, cancel=cancel, timeouts=Timeouts())
        thread.join()
        assert partial.stat().st_size == 1 << 20
        store.assert_nothing_half_made()
        assert store.pull(reference) == image.config.digest
        ranges = [r.headers["Range"] for r in server.requests if r.path.endswith(big.digest)]
        assert ranges == [None, f"bytes={1 << 20}-"]


def test_partial_file_that_is_wrong_is_replaced(store: Store) -> None:
    image = example(200_000)
    partial = Path(store.home.root) / "ingest" / image.layers[1].digest[7:]
    partial.write_bytes(bytes(70_000))  # what a power cut leaves
    with FaultServer() as server:
        assert store.pull(images.serve(server, "r", "1", image)) == image.config.digest


def always(data: Callable[[bytes], bytes]) -> Callable[[Exchange, int], bool]:
    def fault(exchange: Exchange, _: int) -> bool:
        exchange.reply(200, body=data(body(exchange)))
        return True

    return fault


@pytest.mark.parametrize("wrong", [flip, lambda data: data + b"x"])
def test_wrong_bytes_twice_are_corrupt(store: Store, wrong: Callable[[bytes], bytes]) -> None:
    image = make_image([{"a": noise(10_000)}])
    digest = image.layers[0].digest

    def fault(exchange: Exchange, number: int) -> bool:
        return exchange.path.endswith(digest) and always(wrong)(exchange, number)

    with faulty(fault) as server:
        with pytest.raises(Corrupt, match=f"layer {digest}: the registry sent wrong bytes twice"):
            store.pull(images.serve(server, "r", "1", image))
        assert server.count("GET", digest) == 2
    store.assert_nothing_half_made()
    assert not os.listdir(f"{store.home.root}/blobs/sha256")


def test_wrong_diff_id_is_corrupt(store: Store) -> None:
    good, other = make_image([{"a": b"1"}]), make_image([{"a": b"2"}])
    lying = images.blob(good.config.media_type, other.config.data)
    manifest = good.manifest.data.replace(good.config.digest.encode(), lying.digest.encode())
    image = good._replace(config=lying, manifest=images.blob(good.manifest.media_type, manifest))
    with FaultServer() as server, pytest.raises(Corrupt, match="diff_id"):
        store.pull(images.serve(server, "r", "1", image))
    store.assert_nothing_half_made()


def test_config_with_other_bytes_is_corrupt(store: Store) -> None:
    image = example()
    with FaultServer() as server:
        reference = images.serve(server, "r", "1", image)
        path = f"/v2/r/blobs/{image.config.digest}"
        server.documents[path] = ("x", flip(image.config.data), image.config.digest)
        with pytest.raises(Corrupt, match="the registry sent other bytes"):
            store.pull(reference)
        assert server.count("GET", path) == 2
    store.assert_nothing_half_made()


FATAL: dict[str, tuple[Callable[[Exchange, int], bool], type[Exception], str]] = {
    "blob gone": (lambda e, n: e.reply(404) is None, NotFound, "registry does not have it"),
    "endless server errors": (
        lambda e, n: e.reply(500, body=b"oops\x1b[31m") is None,
        Unavailable,
        r'500 Internal Server Error: "oops .31m", 6 times',
    ),
    "endless resets": (lambda e, n: e.reset() is None, Unavailable, "connection .*6 times"),
    "always too short": (
        always(lambda data: data[:-1] if len(data) > 10_000 else data),
        Unavailable,
        r"at \d+ of \d+ bytes: the answer ended too early, 6 times",
    ),
    "compressed on the way": (
        lambda e, n: e.reply(200, {"Content-Encoding": "gzip"}, body(e)) is None,
        Corrupt,
        "Content-Encoding",
    ),
    "no such request": (
        lambda e, n: e.reply(400, body=b'{"errors":[{"code":"X","message":"no"}]}') is None,
        Unavailable,
        '400 Bad Request for blob .*"X: no"',
    ),
    "far too late": (
        lambda e, n: e.reply(429, {"Retry-After": "4000"}) is None,
        Unavailable,
        "too many requests, try again in 4000 seconds",
    ),
}


@pytest.mark.parametrize(("fault", "kind", "reason"), FATAL.values(), ids=list(FATAL))
def test_fault_that_cannot_be_survived_is_told(
    store: Store, fault: Callable[[Exchange, int], bool], kind: type[Exception], reason: str
) -> None:
    with faulty(fault) as server, pytest.raises(kind, match=reason) as caught:
        store.pull(images.serve(server, "r", "1", example()), timeouts=HASTY)
    assert str(caught.value).isprintable()
    store.assert_nothing_half_made()
    image = example()
    with FaultServer() as server:  # nothing stands in the way of the next one
        assert store.pull(images.serve(server, "r", "1", image)) == image.config.digest


def test_image_larger_than_the_disk_is_refused_before_a_byte(store: Store) -> None:
    image = example()
    manifest = image.manifest.data.replace(
        f'"size": {len(image.layers[1].data)}'.encode(), b'"size": 9007199254740992'
    )
    huge = image._replace(manifest=images.blob(image.manifest.media_type, manifest))
    with FaultServer() as server:
        with pytest.raises(Unavailable, match=r"disk full: .* need 9007199254"):
            store.pull(images.serve(server, "r", "1", huge))
        assert server.count("GET", image.layers[1].digest) == 0
    store.assert_nothing_half_made()


def test_disk_that_fills_up_meanwhile_is_told_and_given_back(store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    home = open_home(str(disk / "root"), str(tmp_path / "run"))
    database = Database(home)
    try:
        content = Content(home, database)
        small = Store(home, database, content, ImageStore(database, content), [], store.etc)
        image = make_image([{"noise": noise(3 << 20)}])
        ballast = disk / "ballast"

        def fill(exchange: Exchange) -> bool:
            if exchange.path.endswith(image.layers[0].digest) and not ballast.exists():
                status = os.statvfs(disk)
                ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - (1 << 20)))
            return False

        with FaultServer(fill) as server:
            reference = images.serve(server, "r", "1", image)
            with pytest.raises(Unavailable, match=r"disk full: .* needs .* has"):
                small.pull(reference)
            small.assert_nothing_half_made()
            partial = Path(home.root) / "ingest" / image.layers[0].digest[7:]
            assert partial.stat().st_size == 0
            ballast.write_bytes(b"")
            assert small.pull(reference) == image.config.digest
    finally:
        database.close()
        unmount(disk)


def test_web_page_is_no_manifest(store: Store) -> None:
    def page(exchange: Exchange) -> bool:
        exchange.reply(200, {"Content-Type": "text/html"}, b"<html>Welcome</html>")
        return True

    with FaultServer(page) as server, pytest.raises(Unavailable, match="is not a registry"):
        store.pull(f"{server.host}/x")


def test_hostile_manifest_is_refused(store: Store) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.reply(200, {"Content-Type": "application/json"}, b"[" * 200_000)
        return True

    with FaultServer(answer) as server, pytest.raises(InvalidInput, match="nested"):
        store.pull(f"{server.host}/x")
