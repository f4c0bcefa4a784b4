"""Pushes to a real registry, and to one that misbehaves."""

import base64
import gzip
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from engine.home import Home, open_home
from engine.model.image import Pushed
from engine.model.progress import Progress
from engine.oci.digest import Digest, sha256_of
from engine.oci.platform import parse_platform
from engine.oci.reference import parse_reference
from engine.registry import upload
from engine.registry.hosts import Hosts
from engine.registry.pull import pull
from engine.registry.push import Packing, push
from engine.registry.timeouts import Timeouts
from engine.registry.upload import takes_pieces
from engine.storage import gc
from engine.storage.archive import load
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from engine.storage.repack import Repacking
from engine.storage.repair import fsck
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import MadeImage, MadeIndex, layer_tar, make_image, make_index
from tests.support.pulls import FAST
from tests.support.registry import PASSWORD, USER, Registry, TokenServer
from tests.support.tls import Authority
from tests.support.upload_server import Fault, UploadServer

pytestmark = pytest.mark.root
HASTY = FAST._replace(first_delay_seconds=0.005)
MIB = 1 << 20
UNIT = 1 << 16  # of which a piece has 16 here
_PYDOCK = "from engine.cli.script import script; script()"


class Store(NamedTuple):
    """A store of this test's own, and what its pushes told."""

    home: Home
    database: Database
    content: Content
    images: ImageStore
    told: list[Progress]
    etc: Path

    def load(self, name: str, image: MadeImage | MadeIndex) -> str:
        """`image` is here under `name`."""
        directory = Path(self.home.root).parent / f"layout{random.randrange(1 << 40)}"
        data = images.layout_tar(directory, {name: image})
        load(io.BytesIO(data), home=self.home, database=self.database, content=self.content)
        return name

    def pull(self, reference: str) -> None:
        pull(
            parse_reference(reference), home=self.home, database=self.database,
            content=self.content, images=self.images, timeouts=FAST, hosts=Hosts(str(self.etc)),
        )  # fmt: skip

    def tag(self, name: str, target: str) -> str:
        self.images.tag(self.images.get(name).id, parse_reference(target))
        return target

    def push(self, reference: str, *, platform: str = "", **more: Any) -> Pushed:
        self.told.clear()
        return push(
            parse_reference(reference),
            **{"timeouts": HASTY} | more,
            platform=parse_platform(platform) if platform else None,
            home=self.home,
            database=self.database,
            content=self.content,
            images=self.images,
            progress=self.told.append,
            hosts=Hosts(str(self.etc)),
        )

    def phases(self, digest: str) -> list[str]:
        """What was told of one layer, repetitions left out."""
        phases: list[str] = []
        for step in self.told:
            if step.id == digest[7:19] and (not phases or phases[-1] != step.phase):
                phases.append(step.phase)
        return phases


@pytest.fixture
def store(roots: tuple[str, str], etc: Path) -> Iterator[Store]:
    home = open_home(*roots)
    database = Database(home)
    content = Content(home, database)
    yield Store(home, database, content, ImageStore(database, content), [], etc)
    assert not database.query("SELECT * FROM lease")
    assert not list(Path(home.root, "staging").iterdir())
    database.close()


@pytest.fixture
def server() -> Iterator[UploadServer]:
    with UploadServer() as server:
        yield server


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def example(size: int = 100_000, **more: Any) -> MadeImage:
    return make_image([{"etc/": None, "etc/a": b"a"}, {"usr/noise": noise(size)}], **more)


def fetch(registry: Registry, repository: str, target: str) -> tuple[str, bytes]:
    """Digest and bytes of a manifest, as the registry has it."""
    connection = registry.connect()
    accept = ", ".join(kind for family in ("oci", "docker") for kind in _types(family))
    connection.request(
        "GET", f"/v2/{repository}/manifests/{target}",
        headers=registry.headers(repository) | {"Accept": accept},
    )  # fmt: skip
    response = connection.getresponse()
    data = response.read()
    connection.close()
    assert response.status == 200, data
    return response.headers["Docker-Content-Digest"], data


def _types(family: str) -> list[str]:
    types = images._TYPES[family]
    return [types["index"], types["manifest"]]


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_what_was_pulled_goes_back_byte_for_byte(
    store: Store, registry: Registry, family: images.Family, compression: images.Compression
) -> None:
    image = example(family=family, compression=compression)
    source = images.push(registry, f"from/{family}{compression}", "1", image)
    store.pull(source)
    target = store.tag(source, f"{registry.host}/to/{family}{compression}:new")
    pushed = store.push(target)
    assert pushed == Pushed(target, image.manifest.digest, len(image.manifest.data))
    assert fetch(registry, f"to/{family}{compression}", "new") == (
        image.manifest.digest, image.manifest.data,
    )  # fmt: skip


def test_a_second_push_sends_nothing_and_a_neighbour_lends(
    store: Store, registry: Registry
) -> None:
    image = example()
    source = images.push(registry, "lender", "1", image)
    store.pull(source)
    target = store.tag(source, f"{registry.host}/borrower:1")
    store.push(target)
    for layer in image.layers:
        assert store.phases(layer.digest) == ["queued", "mounted"]
    mounted = {step.text for step in store.told if step.phase == "mounted"}
    assert mounted == {"lender"}
    store.push(target)
    for layer in image.layers:
        assert store.phases(layer.digest) == ["queued", "exists"]


def test_an_index_goes_with_all_that_is_in_it(store: Store, registry: Registry) -> None:
    index = make_index([example()])
    source = images.push(registry, "several/a", "1", index)
    store.pull(source)
    pushed = store.push(store.tag(source, f"{registry.host}/several/b:1"))
    assert pushed.digest == index.root.digest
    assert fetch(registry, "several/b", "1") == (index.root.digest, index.root.data)


def test_of_an_index_that_is_not_all_here_the_image_goes(store: Store, registry: Registry) -> None:
    other = make_image([{"x": b""}], platform={"os": "linux", "architecture": "s390x"})
    index = make_index([example(), other])
    source = images.push(registry, "half/a", "1", index)
    store.pull(source)
    target = store.tag(source, f"{registry.host}/half/b:1")
    assert store.push(target).digest == index.images[0].manifest.digest
    (warning,) = [step.text for step in store.told if step.text.startswith("warning: ")]
    assert "not all of the multi-platform image is here" in warning
    with pytest.raises(NotFound, match="no linux/s390x of it is here") as caught:
        store.push(target, platform="linux/s390x")
    assert "pydock pull --platform linux/s390x" in caught.value.hint


# Layers that are here raw.


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_raw_layers_are_compressed_and_kept_so(
    store: Store, registry: Registry, codec: Any
) -> None:
    image = make_image([{"a": b"a" * 50_000}, {"b": b"b" * 50_000}], compression="")
    name = store.load(f"{registry.host}/raw/{codec}:1", image)
    store.push(name, packing=Packing(codec, asked=True))
    digest, data = fetch(registry, f"raw/{codec}", "1")
    layers = json.loads(data)["layers"]
    assert all(layer["mediaType"].endswith(f"+{codec}") for layer in layers)
    assert all(layer["size"] < 1000 for layer in layers)
    assert json.loads(data)["config"] == json.loads(image.manifest.data)["config"]
    row = store.images.get(name)
    assert (row.manifest, store.images.target(parse_reference(name).full)) == (digest, digest)
    assert store.content.read(Digest(layers[0]["digest"]))[:1] in (b"\x1f", b"\x28")
    again = store.push(name)
    assert again.digest == digest
    assert "compressing" not in store.phases(image.layers[0].digest)
    assert not any(Path(store.home.blob_path(each.digest)).exists() for each in image.layers)
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_an_image_that_is_repacked_leaves_an_index_that_is_not_all_here(
    store: Store, registry: Registry
) -> None:
    other = make_image([{"x": b""}], platform={"os": "linux", "architecture": "s390x"})
    index = make_index([make_image([{"a": b"a" * 50_000}], compression=""), other])
    source = images.push(registry, "repacked/a", "1", index)
    store.pull(source)
    target = store.tag(source, f"{registry.host}/repacked/b:1")
    pushed = store.push(target, packing=Packing("gzip", asked=True))
    row = store.images.get(target)
    assert (row.manifest, row.index_digest) == (pushed.digest, None)
    assert store.images.target(parse_reference(source).full) == pushed.digest
    assert list(fsck(store.home, store.database, repair=False)) == []
    assert store.push(target).digest == pushed.digest
    assert not [step for step in store.told if step.text.startswith("warning: not all")]


def test_the_same_tar_makes_the_same_blob(store: Store, registry: Registry) -> None:
    image = make_image([{"a": noise(300_000)}], compression="")
    digests = set()
    for number in range(2):
        name = store.load(f"{registry.host}/same{number}:1", image)
        store.push(name)
        _, data = fetch(registry, f"same{number}", "1")
        digests.add(json.loads(data)["layers"][0]["digest"])
        store.images.remove(name, force=True)
    (digest,) = digests
    blob = store.content.read(digest)
    assert blob[4:8] == bytes(4)  # no time
    assert blob[3] == 0  # no name
    assert gzip.decompress(blob) == layer_tar({"a": noise(300_000)})


def test_raw_layers_stay_raw_when_asked(store: Store, registry: Registry) -> None:
    image = example(compression="")
    name = store.load(f"{registry.host}/stay:1", image)
    assert store.push(name, packing=Packing(None, asked=True)).digest == image.manifest.digest


def test_a_layer_that_came_in_another_compression_goes_in_that(
    store: Store, registry: Registry, tmp_path: Path
) -> None:
    """gzip and zstd of one tar: the store keeps one blob for both."""
    layers = [{"a": noise(5000)}, {"b": b"1"}]
    images.push(registry, "held/gzip", "1", make_image(layers))
    images.push(registry, "held/zstd", "1", make_image(layers, compression="zstd"))
    store.pull(f"{registry.host}/held/gzip:1")
    store.pull(f"{registry.host}/held/zstd:1")
    (tmp_path / "other").mkdir()
    with Registry(tmp_path / "other") as other:
        target = store.tag(f"{registry.host}/held/zstd:1", f"{other.host}/held:1")
        pushed = store.push(target)
        digest, data = fetch(other, "held", "1")
        assert digest == pushed.digest
        kinds = [layer["mediaType"] for layer in json.loads(data)["layers"]]
        assert all(kind.endswith("+gzip") for kind in kinds)
        assert store.push(target).digest == digest


def test_pushes_of_one_raw_image_at_once_agree(store: Store, registry: Registry) -> None:
    image = make_image([{"a": b"a" * 500_000}, {"b": noise(MIB)}], compression="")
    name = store.load(f"{registry.host}/at-once:1", image)
    pushed: list[Pushed] = []
    threads = [threading.Thread(target=lambda: pushed.append(store.push(name))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pushed) == 4
    assert len(set(pushed)) == 1
    assert store.images.get(name).manifest == pushed[0].digest
    assert list(fsck(store.home, store.database, repair=False)) == []


@pytest.mark.parametrize("step", [(Content, "read"), (Repacking, "hold")], ids=["read", "held"])
def test_an_image_that_another_push_has_just_repacked_goes_as_it_is_now(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    """Its raw blobs are swept between the first look and the lease."""
    owner, name = step
    image = make_image([{"a": b"a" * 50_000}], compression="")
    reference = store.load(f"{registry.host}/overtaken/{name}:1", image)
    first: list[Pushed] = []

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        first.append(store.push(reference))
        return real(*arguments)

    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, overtaken)
    assert store.push(reference) == first[0]
    assert store.images.get(reference).manifest == first[0].digest
    assert list(fsck(store.home, store.database, repair=False)) == []


# What goes wrong.


def test_what_is_not_here_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound) as caught:
        store.push("localhost:9/nothing:1")
    assert caught.value.message == (
        "an image does not exist locally with the tag: localhost:9/nothing"
    )
    store.load("localhost:9/there:1", example())
    with pytest.raises(NotFound) as caught:
        store.push("localhost:9/there:2")
    assert caught.value.message == "tag does not exist: localhost:9/there:2"


def test_who_is_not_let_in_is_told_to_log_in(
    store: Store, authority: Authority, tmp_path: Path, user_home: Path
) -> None:
    (tmp_path / "r").mkdir()
    with Registry(tmp_path / "r", password=True) as registry:
        name = store.load(f"{registry.host}/closed:1", example())
        with pytest.raises(NotFound, match="push access denied for closed") as caught:
            store.push(name)
        assert f"pydock login {registry.host}" in caught.value.hint


def test_a_token_is_for_push_and_for_the_neighbour(
    store: Store, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "r").mkdir()
    with TokenServer(authority) as tokens, Registry(tmp_path / "r", tokens=tokens) as registry:
        source = images.push(registry, "one", "1", example())
        store.pull(source)
        tokens.requests.clear()
        store.push(store.tag(source, f"{registry.host}/two:1"))
        assert {step.phase for step in store.told if step.id} == {"queued", "mounted"}
        (request,) = tokens.requests
        assert "repository%3Atwo%3Apull%2Cpush" in request.path
        assert "repository%3Aone%3Apull" in request.path


def test_a_token_server_that_refuses_a_neighbour_is_asked_without_it(
    store: Store, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "r").mkdir()
    with TokenServer(authority) as tokens, Registry(tmp_path / "r", tokens=tokens) as registry:
        source = images.push(registry, "one", "1", example())
        store.pull(source)
        honest = tokens.script

        def strict(exchange: Exchange) -> bool:
            if exchange.path.count("scope=") > 1:
                exchange.reply(403)
                return True
            return honest(exchange)

        tokens.script = strict
        store.push(store.tag(source, f"{registry.host}/two:1"))
        assert {step.phase for step in store.told if step.id} == {"queued", "uploading", "done"}


def test_a_password_of_dockers_settings_lets_us_in(
    store: Store, tmp_path: Path, user_home: Path
) -> None:
    (tmp_path / "r").mkdir()
    with Registry(tmp_path / "r", password=True) as registry:
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (user_home / ".docker").mkdir()
        settings = {"auths": {registry.host: {"auth": auth}}}
        (user_home / ".docker/config.json").write_text(json.dumps(settings))
        image = example()
        name = store.load(f"{registry.host}/closed:1", image)
        assert store.push(name).digest == image.manifest.digest


def put(store: Store, server: UploadServer, image: MadeImage | None = None, **more: Any) -> str:
    """The digest that the server has under the tag, after a push there."""
    name = store.load(f"{server.host}/r:1", image or example())
    pushed = store.push(name, **more)
    data = server.manifests["1"]
    assert pushed.digest == sha256_of(data)
    return pushed.digest


@pytest.mark.parametrize("location", ["absolute", "relative", "path"])
def test_a_location_may_have_any_form(store: Store, server: UploadServer, location: str) -> None:
    if location == "path":
        server.location = lambda path: path
    elif location == "relative":
        server.location = lambda path: path.rpartition("/")[2]
    put(store, server)
    assert all(method == "PUT" for method, _ in server.pieces)


def test_credentials_stay_with_the_registry(
    store: Store, server: UploadServer, user_home: Path
) -> None:
    """It has blobs uploaded to another server."""

    def front(exchange: Exchange) -> bool:
        if "Authorization" not in exchange.headers:
            exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
            exchange.reply(401, {"WWW-Authenticate": 'Basic realm="x"'})
        elif exchange.command == "POST":
            name = f"front{len(server.sessions)}{time.monotonic_ns()}"
            server.sessions[name] = bytearray()
            location = f"{server.url}/v2/elsewhere/blobs/uploads/{name}?state=a%2Fb"
            exchange.reply(202, {"Location": location})
        elif exchange.command == "PUT":
            exchange.rfile.read(int(exchange.headers["Content-Length"]))
            exchange.reply(201)
        else:
            exchange.reply(404)
        return True

    with FaultServer(front) as registry:
        auth = base64.b64encode(b"me:secret").decode()
        (user_home / ".docker").mkdir()
        settings = {"auths": {registry.host: {"auth": auth}}}
        (user_home / ".docker/config.json").write_text(json.dumps(settings))
        image = example()
        store.push(store.load(f"{registry.host}/r:1", image))
    assert set(server.blobs) == {blob.digest for blob in image.blobs()}
    assert len(server.requests) == 3
    assert not any("Authorization" in request.headers for request in server.requests)


def faults(*actions: Any, method: str = "PUT") -> Fault:
    """Each of `actions` for one request of `method` to an upload."""
    waiting = list(actions)
    lock = threading.Lock()

    def fault(exchange: Exchange) -> bool:
        if exchange.command != method or "/blobs/uploads/u" not in exchange.path:
            return False
        if int(exchange.headers.get("Content-Length", 0)) < 2000:  # the config, or a last word
            return False
        with lock:
            action = waiting.pop(0) if waiting else None
        if action is None:
            return False
        action(exchange)
        return True

    return fault


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PIECE_BYTES", 16 * UNIT)


def one_layer(size: int) -> MadeImage:
    return make_image([{"noise": noise(size)}], compression="zstd")  # gzip takes its time


@pytest.mark.usefixtures("small_pieces")
def test_an_upload_that_breaks_goes_on_where_it_was(store: Store, server: UploadServer) -> None:
    server.fault = faults(lambda exchange: server.cut(exchange, 20 * UNIT))
    image = one_layer(40 * UNIT)
    put(store, server, image)
    size = len(image.layers[0].data)
    patched = [count for method, count in server.pieces if method == "PATCH"]
    assert sum(patched) == size - 20 * UNIT
    assert max(patched) == 16 * UNIT
    done = [step.current for step in store.told if step.phase == "uploading"]
    assert done == sorted(done)
    assert "retrying" in store.phases(image.layers[0].digest)


def test_an_upload_that_the_server_forgot_begins_anew(store: Store, server: UploadServer) -> None:
    def forget(exchange: Exchange) -> None:
        server.sessions.clear()
        exchange.reset()

    server.fault = faults(forget)
    put(store, server, one_layer(3 * MIB))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("fault", ["416", "stale", "201", "no range"])
def test_odd_answers_to_pieces_are_survived(store: Store, server: UploadServer, fault: str) -> None:
    """416: the upload is lost. A Range that does not grow: so is what was sent. 201: ECR's."""
    cut = faults(lambda exchange: server.cut(exchange, 20 * UNIT))
    odd = [1]

    def answer(exchange: Exchange) -> bool:
        if exchange.command != "PATCH" or not odd:
            return cut(exchange)
        odd.clear()
        session = server.session_of(exchange)
        server.take(exchange, session)
        headers = {"Location": server.location(exchange.path)}
        if fault in ("201", "stale"):
            headers["Range"] = f"0-{len(session) - 1}" if fault == "201" else "0-5"
        exchange.reply({"416": 416, "201": 201}.get(fault, 202), headers)
        return True

    server.fault = answer
    put(store, server, one_layer(40 * UNIT))
    assert not odd


@pytest.mark.usefixtures("small_pieces")
def test_a_registry_that_mixes_pieces_up_gets_the_whole(store: Store, server: UploadServer) -> None:
    def cut(exchange: Exchange) -> None:
        session = server.session_of(exchange)
        server.take(exchange, session, 20 * UNIT)
        session[-1] ^= 1
        exchange.reset()

    server.fault = faults(cut)
    put(store, server, one_layer(40 * UNIT))
    assert max(count for method, count in server.pieces if method == "PUT") > 40 * UNIT


@pytest.mark.parametrize(
    ("domain", "takes"),
    [
        ("docker.io", True),
        ("localhost:5000", True),
        ("gcr.io.example.org", True),
        ("123.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("123.dkr.ecr-fips.us-east-1.amazonaws.com", False),
        ("public.ecr.aws", False),
        ("gcr.io", False),
        ("eu.gcr.io", False),
        ("europe-docker.pkg.dev", False),
    ],
)
def test_registries_that_lose_pieces_get_the_whole(domain: str, takes: bool) -> None:
    assert takes_pieces(domain) is takes


@pytest.mark.usefixtures("small_pieces")
def test_pieces_are_as_large_as_the_server_wants(store: Store, server: UploadServer) -> None:
    server.least_piece = 18 * UNIT
    server.fault = faults(lambda exchange: server.cut(exchange, 0))
    image = one_layer(40 * UNIT)
    put(store, server, image)
    patched = [count for method, count in server.pieces if method == "PATCH"]
    assert patched == [18 * UNIT, 18 * UNIT, len(image.layers[0].data) - 36 * UNIT]


def test_an_answer_that_was_lost_is_asked_for(store: Store, server: UploadServer) -> None:
    image = one_layer(3 * MIB)

    def lose(exchange: Exchange) -> None:
        exchange.rfile.read(int(exchange.headers["Content-Length"]))
        server.blobs[image.layers[0].digest] = image.layers[0].data
        exchange.reset()

    server.fault = faults(lose)
    put(store, server, image)
    assert server.count("PUT", "/blobs/uploads/") == 2  # the layer's, and the config's


def test_a_mount_that_is_not_done_is_an_upload(store: Store, server: UploadServer) -> None:
    image = example()
    name = store.load(f"{server.host}/r:1", image)
    with store.database.transaction() as cursor:
        cursor.execute("INSERT INTO origin SELECT digest, ?, 'other' FROM blob", (server.host,))
    server.neighbours[image.layers[0].digest] = image.layers[0].data
    store.push(name)
    assert store.phases(image.layers[0].digest)[-1] == "mounted"
    assert store.phases(image.layers[1].digest)[-1] == "done"
    assert server.count("POST", "/blobs/uploads/") == 3  # one for each blob


def test_blobs_that_the_registry_lost_are_sent_again(store: Store, server: UploadServer) -> None:
    image = example()
    layer = image.layers[1].digest
    claims = [True]

    def fault(exchange: Exchange) -> bool:
        if exchange.command == "HEAD" and layer in exchange.path and claims:
            claims.clear()
            exchange.reply(200)
            return True
        return False

    server.fault = fault
    put(store, server, image)
    assert layer in server.blobs


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (413, "", InvalidInput, "413"),
        (403, "DENIED: quota exceeded", Unavailable, "quota"),
        (404, "NAME_UNKNOWN", NotFound, "NAME_UNKNOWN"),
        (400, "DIGEST_INVALID", Corrupt, "digest mismatch"),
        (405, "UNSUPPORTED", Exception, "UNSUPPORTED"),
        (500, "", Unavailable, "500"),
    ],
)
def test_refused_blobs_are_told(
    store: Store, server: UploadServer, status: int, code: str, kind: Any, words: str
) -> None:
    name, _, message = code.partition(": ")
    body = json.dumps({"errors": [{"code": name, "message": message}]}).encode()

    def refuse(exchange: Exchange) -> bool:
        if exchange.command != "PUT":
            return False
        exchange.rfile.read(int(exchange.headers["Content-Length"]))
        exchange.reply(status, {}, body)
        return True

    server.fault = refuse
    with pytest.raises(kind, match=words) as caught:
        put(store, server)
    assert "\n" not in caught.value.message
    assert not server.manifests
    server.fault = lambda exchange: False
    put(store, server)


def test_an_immutable_tag_is_a_conflict(store: Store, server: UploadServer) -> None:
    def refuse(exchange: Exchange) -> bool:
        if "/manifests/" not in exchange.path:
            return False
        exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
        exchange.reply(412, {}, b"configured as immutable")
        return True

    server.fault = refuse
    with pytest.raises(Conflict, match="immutable"):
        put(store, server)


def test_a_blob_damaged_on_its_way_is_corrupt(store: Store, registry: Registry) -> None:
    image = example()
    name = store.load(f"{registry.host}/damaged:1", image)
    path = Path(store.home.blob_path(image.layers[1].digest))
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    with pytest.raises(Corrupt, match="digest mismatch") as caught:
        store.push(name)
    assert "pydock fsck" in caught.value.hint


def test_a_cancelled_push_ends_and_the_next_one_works(store: Store, server: UploadServer) -> None:
    cancel = Cancel()

    def stall(exchange: Exchange) -> None:
        cancel.cancel()
        exchange.stall()

    server.fault = faults(stall)
    with pytest.raises(Cancelled):
        put(store, server, one_layer(3 * MIB), cancel=cancel, timeouts=Timeouts())
    assert not server.manifests
    server.fault = lambda exchange: False
    put(store, server, one_layer(3 * MIB))


def test_a_server_that_always_breaks_off_is_given_up(store: Store, server: UploadServer) -> None:
    server.keeps = False
    server.fault = faults(*[lambda exchange: server.cut(exchange, 1000)] * 20)
    with pytest.raises(Unavailable, match="6 times"):
        put(store, server, one_layer(3 * MIB))


def test_a_cancel_ends_the_compression(store: Store, server: UploadServer) -> None:
    cancel = Cancel()

    def progress(step: Progress) -> None:
        if step.phase == "compressing":
            cancel.cancel()

    image = make_image([{"a": noise(30 * MIB)}], compression="")
    name = store.load(f"{server.host}/r:1", image)
    with pytest.raises(Cancelled):
        push(
            parse_reference(name), home=store.home, database=store.database,
            content=store.content, images=store.images, progress=progress, cancel=cancel,
            hosts=Hosts(str(store.etc)),
        )  # fmt: skip
    assert not server.manifests
    assert image.layers[0].digest not in server.blobs
    assert store.images.get(name).manifest == image.manifest.digest


@pytest.mark.parametrize("kills", [4, pytest.param(300, marks=pytest.mark.long)])
def test_a_killed_push_leaves_nothing_that_the_next_one_minds(
    store: Store, registry: Registry, kills: int
) -> None:
    layers = [{f"{n}": noise(2 * MIB, n)} for n in range(3)]
    dice = random.Random(kills)
    for number in range(kills):
        image = make_image([*layers, {"number": str(number).encode()}], compression="")
        name = store.load(f"{registry.host}/killed/{kills}:{number}", image)
        process = subprocess.Popen(
            [sys.executable, "-c", _PYDOCK, "push", "-q", name],
            cwd=Path(__file__).parents[3],
        )
        time.sleep(dice.uniform(0.1, 1.5))
        process.kill()
        process.wait()
        gc.start(store.home, store.database)
        assert not store.database.query("SELECT * FROM lease")
        assert not list(Path(store.home.root, "staging").iterdir())
        assert list(fsck(store.home, store.database, repair=False)) == []
        pushed = store.push(name)
        assert fetch(registry, f"killed/{kills}", str(number))[0] == pushed.digest
        store.images.remove(name, force=True)


# With other people's tools.


def test_podman_and_skopeo_read_what_was_pushed(
    store: Store, registry: Registry, tmp_path: Path
) -> None:
    image = make_image([{"bin": None, "bin/x": b"x" * 5000}, {"y": noise(10_000)}], compression="")
    name = store.load(f"{registry.host}/tools:1", image)
    pushed = store.push(name)
    inspect = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(inspect.stdout)["Digest"] == pushed.digest
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}",
         f"dir:{tmp_path / 'copy'}"],
        check=True, capture_output=True,
    )  # fmt: skip
