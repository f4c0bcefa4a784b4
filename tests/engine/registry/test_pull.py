"""Pulls from a real registry, and from servers that misbehave."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from engine.home import Home, open_home
from engine.model.progress import Progress
from engine.oci.digest import ImageID, chain_ids
from engine.oci.platform import parse_platform
from engine.oci.reference import parse_reference
from engine.registry.hosts import Hosts
from engine.registry.pull import pull
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import MadeImage, make_image, make_index
from tests.support.registry import Registry

pytestmark = pytest.mark.root
FAST = Timeouts().scaled(1 / 20)
HASTY = FAST._replace(stall_seconds=0.3, first_delay_seconds=0.005)
S390X = {"os": "linux", "architecture": "s390x"}


class Store(NamedTuple):
    """A store of this test's own, and what its pulls told."""

    home: Home
    database: Database
    content: Content
    images: ImageStore
    told: list[Progress]
    etc: Path

    def pull(
        self,
        reference: str,
        platform: str = "",
        *,
        cancel: Cancel | None = None,
        timeouts: Timeouts = FAST,
    ) -> ImageID:
        return pull(
            parse_reference(reference),
            parse_platform(platform) if platform else None,
            home=self.home,
            database=self.database,
            content=self.content,
            images=self.images,
            progress=self.told.append,
            cancel=cancel,
            timeouts=timeouts,
            hosts=Hosts(str(self.etc)),
        )

    def phases(self, name: str) -> list[str]:
        """What was told of one layer, repetitions left out."""
        phases: list[str] = []
        for step in self.told:
            if step.id == name and (not phases or phases[-1] != step.phase):
                phases.append(step.phase)
        return phases

    def tree(self, image: MadeImage, layer: int) -> dict[str, bytes | None]:
        """The files of one unpacked layer; directories and whiteouts are None."""
        (directory,) = self.database.first(
            "SELECT layer FROM chain WHERE chain_id=?", (chain_ids(image.diff_ids)[layer],)
        )
        root = Path(self.home.layer_dir(directory)) / "diff"
        return {
            path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*")
        }

    def assert_nothing_half_made(self) -> None:
        """No rows, no layers, no staging: what is left is partial downloads alone."""
        for table in ("image", "layer", "chain", "reference", "lease"):
            assert not self.database.query(f"SELECT * FROM {table}"), table
        for name in ("layers", "l", "staging"):
            assert not os.listdir(f"{self.home.root}/{name}"), name


@pytest.fixture
def store(roots: tuple[str, str], etc: Path) -> Iterator[Store]:
    home = open_home(*roots)
    database = Database(home)
    content = Content(home, database)
    yield Store(home, database, content, ImageStore(database, content), [], etc)
    database.close()


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def example(size: int = 100_000) -> MadeImage:
    """Two layers; the second, larger one hides a file of the first."""
    return make_image(
        [
            {"etc/": None, "etc/a": b"a", "etc/b": b"b"},
            {"etc/.wh.a": b"", "usr/": None, "usr/noise": noise(size)},
        ]
    )


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_image_of_each_kind_is_unpacked(
    store: Store, registry: Registry, family: images.Family, compression: images.Compression
) -> None:
    image = make_image(
        [{"a": b"1"}, {"d/": None, "d/b": b"2"}], family=family, compression=compression
    )
    repository = f"kinds/{family}{compression}"
    reference = images.push(registry, repository, "1", make_index([image], family=family))
    assert store.pull(reference) == image.config.digest
    assert store.tree(image, 0) == {"a": b"1"}
    assert store.tree(image, 1) == {"d": None, "d/b": b"2"}
    row = store.images.get(reference)
    assert (row.id, row.manifest) == (image.config.digest, image.manifest.digest)
    for blob in (*image.blobs(), *image.manifests()):
        assert store.content.read(blob.digest) == blob.data


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """An honest server that keeps what it was asked."""
    with FaultServer() as server:
        yield server


def test_second_pull_is_one_head(store: Store, server: FaultServer) -> None:
    index = make_index([example(), make_image([{"x": b""}], platform=S390X)])
    reference = images.serve(server, "r", "1", index)
    first = store.pull(reference)
    server.requests.clear()
    assert store.pull(reference) == first
    assert [request[:2] for request in server.requests] == [("HEAD", "/v2/r/manifests/1")]
    assert store.told[-1].text.startswith("image is up to date")


def test_tag_that_moved_brings_only_what_is_new(store: Store, server: FaultServer) -> None:
    old = make_image([{"base": noise(1000)}, {"top": b"1"}])
    new = make_image([{"base": noise(1000)}, {"top": b"2"}])
    reference = images.serve(server, "r", "1", old)
    store.pull(reference)
    images.serve(server, "r", "1", new)
    server.requests.clear()
    assert store.pull(reference) == new.config.digest
    fetched = {request.path.rpartition("/")[2] for request in server.requests}
    assert fetched == {"1", new.manifest.digest, new.config.digest, new.layers[1].digest}
    assert store.images.get(reference).id == new.config.digest
    assert store.phases(new.layers[0].digest[7:19])[-1] == "cached"


def test_digest_reference_needs_no_registry_the_second_time(
    store: Store, server: FaultServer
) -> None:
    image = example()
    images.serve(server, "r", "1", image)
    reference = f"{server.host}/r@{image.manifest.digest}"
    assert store.pull(reference) == image.config.digest
    server.requests.clear()
    assert store.pull(reference) == image.config.digest
    assert not server.requests


def test_same_layers_in_other_blobs_need_no_download(store: Store, server: FaultServer) -> None:
    """gzip and zstd of one tar: two digests, one diff_id."""
    layers = [{"a": noise(1000)}, {"b": b"1"}]
    store.pull(images.serve(server, "r", "gzip", make_image(layers)))
    other = make_image(layers, compression="zstd")
    server.requests.clear()
    assert store.pull(images.serve(server, "r", "zstd", other)) == other.config.digest
    assert not any(server.count("GET", layer.digest) for layer in other.layers)


def test_image_that_has_a_layer_twice_is_pulled(store: Store, server: FaultServer) -> None:
    image = make_image([{"a": b"1"}, {"b": b"2"}, {"a": b"1"}])
    assert store.pull(images.serve(server, "r", "1", image)) == image.config.digest
    assert server.count("GET", image.layers[0].digest) == 1


def test_asked_platform_is_pulled(store: Store, registry: Registry) -> None:
    other = make_image([{"x": b""}], platform=S390X)
    reference = images.push(registry, "platforms", "1", make_index([example(), other]))
    assert store.pull(reference, "linux/s390x") == other.config.digest
    with pytest.raises(NotFound, match=r"no image for linux/riscv64, there is .*linux/s390x"):
        store.pull(reference, "linux/riscv64")


def test_single_image_of_another_platform_is_a_conflict_when_asked(
    store: Store, registry: Registry
) -> None:
    reference = images.push(registry, "single", "1", make_image([{"x": b""}], platform=S390X))
    with pytest.raises(Conflict, match="linux/s390x"):
        store.pull(reference, "linux/riscv64")
    store.pull(reference)
    assert any(step.text.startswith("warning: ") for step in store.told)


def test_registry_named_insecure_is_pointed_out(store: Store, server: FaultServer) -> None:
    reference = images.serve(server, "r", "1", example())
    store.pull(reference)
    assert not any("insecure" in step.text for step in store.told)
    (store.etc / "pydock").mkdir()
    (store.etc / "pydock/config.toml").write_text(f'[registry."{server.host}"]\ninsecure = true\n')
    store.pull(reference)
    assert any(f"{server.host} is named insecure" in step.text for step in store.told)


def test_progress_of_a_layer_never_runs_backwards(store: Store, registry: Registry) -> None:
    image = example(3_000_000)
    store.pull(images.push(registry, "progress", "1", image))
    for layer in image.layers:
        name = layer.digest[7:19]
        assert store.phases(name)[0] == "queued"
        assert store.phases(name)[-1] == "done"
        last: dict[str, int] = {}
        for step in store.told:
            if step.id == name:
                assert last.get(step.phase, 0) <= step.current <= step.total == len(layer.data)
                last[step.phase] = step.current


def test_absent_tag_and_absent_repository_are_not_found(store: Store, registry: Registry) -> None:
    images.push(registry, "present", "bookworm", example())
    with pytest.raises(NotFound) as caught:
        store.pull(f"{registry.host}/none:1")
    assert caught.value.message == f"manifest for {registry.host}/none:1 not found"
    assert "pydock login" in caught.value.hint
    with pytest.raises(NotFound, match="present:bokworm not found") as caught:
        store.pull(f"{registry.host}/present:bokworm")
    assert caught.value.hint == "it has bookworm"
    store.assert_nothing_half_made()


def test_unreachable_registry_is_unavailable(store: Store) -> None:
    with pytest.raises(Unavailable, match="localhost:9: connection refused") as caught:
        store.pull("localhost:9/x")
    assert caught.value.hint
    store.assert_nothing_half_made()


def test_pulls_of_one_image_at_once_fetch_each_blob_once(store: Store, server: FaultServer) -> None:
    image = example(5_000_000)
    reference = images.serve(server, "r", "1", image)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            store.pull(reference)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert [server.count("GET", layer.digest) for layer in image.layers] == [1, 1]


# Servers that misbehave.


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
    """A reset after each MiB."""
    media_type, data, _digest = exchange.server.faults.documents[exchange.path]
    start = int(exchange.headers.get("Range", "bytes=0-")[6:-1])
    if len(data) - start <= after:
        return False
    headers = {"Content-Type": media_type}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    exchange.send_head(206 if start else 200, headers, len(data) - start)
    exchange.wfile.write(data[start : start + after])
    exchange.wfile.flush()
    time.sleep(0.01)  # a reset discards what the client has not read yet
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
    "reset at each MiB": (break_off, 8 << 20),
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
        assert store.pull(reference, timeouts=HASTY) == image.config.digest
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
            while not partial.exists() or partial.stat().st_size < 1 << 20:
                time.sleep(0.01)
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
        subprocess.run(["umount", disk], check=True)


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


# The end in the middle.


@pytest.mark.parametrize("moment", ["resolve", "config", "layer"])
def test_cancel_at_any_moment_ends_within_its_time(store: Store, moment: str) -> None:
    reached = threading.Event()
    part = {"resolve": "/manifests/1", "config": "/blobs/", "layer": "/blobs/"}[moment]
    image = example(300_000)

    def script(exchange: Exchange) -> bool:
        is_config = exchange.path.endswith(image.config.digest)
        if part not in exchange.path or (moment == "layer" and is_config):
            return False
        reached.set()
        exchange.stall()
        return True

    cancel = Cancel()
    ended: list[float] = []

    def end() -> None:
        reached.wait(10)
        time.sleep(0.05)
        ended.append(time.monotonic())
        cancel.cancel()

    with FaultServer(script) as server:
        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(Cancelled):
            store.pull(images.serve(server, "r", "1", image), cancel=cancel, timeouts=Timeouts())
        took = time.monotonic() - ended[0]
        thread.join()
    assert took < 5  # the promise is 0.2 s; a busy machine is no failure
    store.assert_nothing_half_made()


_PULL = """
import sys
from pathlib import Path
from engine.home import open_home
from engine.oci.reference import parse_reference
from engine.registry.pull import pull
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
home = open_home(); database = Database(home); content = Content(home, database)
print("begin", flush=True)
pull(parse_reference(sys.argv[1]), home=home, database=database, content=content,
     images=ImageStore(database, content))
"""


def kill_at_random(store: Store, reference: str, times: int, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", _PULL, reference],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        time.sleep(moments.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def many_layers(count: int) -> MadeImage:
    layers = [{f"d{n}/": None, f"d{n}/f": noise(300_000, n)} for n in range(count)]
    return make_image(layers)


def check_killed_pulls(store: Store, registry: Registry, times: int, seed: int) -> None:
    image = many_layers(8)
    reference = images.push(registry, f"killed{seed}", "1", image)
    kill_at_random(store, reference, times, seed)
    assert store.pull(reference) == image.config.digest
    for number in range(8):
        assert store.tree(image, number)[f"d{number}/f"] == noise(300_000, number)
    for layer in image.layers:
        assert store.content.read(layer.digest) == layer.data
    assert not os.listdir(f"{store.home.root}/ingest") or all(
        name.endswith(".lock") for name in os.listdir(f"{store.home.root}/ingest")
    )


def test_pull_after_killed_pulls_succeeds(store: Store, registry: Registry) -> None:
    check_killed_pulls(store, registry, 4, 1)


def test_processes_that_pull_one_image_share_its_downloads(
    store: Store, server: FaultServer
) -> None:
    image = many_layers(4)
    reference = images.serve(server, "r", "1", image)
    processes = [
        subprocess.Popen([sys.executable, "-c", _PULL, reference], stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert [server.count("GET", layer.digest) for layer in image.layers] == [1] * 4
    assert store.images.get(reference).id == image.config.digest
    assert len(os.listdir(f"{store.home.root}/layers")) == 4
    assert not os.listdir(f"{store.home.root}/staging")
    assert not store.database.query("SELECT * FROM lease")


@pytest.mark.long
def test_pull_after_many_killed_pulls_succeeds(store: Store, registry: Registry) -> None:
    for seed in range(2, 12):
        check_killed_pulls(store, registry, 10, seed)
