"""Mirrors on real sockets: whoever fails is passed over, and nobody learns another's secrets."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import Corrupt, NotFound, Unavailable
from engine.oci.descriptor import Descriptor
from engine.registry.client import Repository
from tests.support import images
from tests.support.closed_port import closed_port
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image
from tests.support.pulls import FAST, Store
from tests.support.registry import PASSWORD, USER
from tests.support.tls import Authority

Open = Callable[..., Repository]
IMAGE = make_image([{"a": b"1" * 5000}])
OTHER = make_image([{"b": b"2"}])
LAYER = IMAGE.layers[0]
BLOB = Descriptor(LAYER.media_type, LAYER.digest, len(LAYER.data))


@pytest.fixture
def registry() -> Iterator[FaultServer]:
    with FaultServer() as server:
        images.serve(server, "ns/r", "1", IMAGE)
        yield server


@pytest.fixture
def mirror() -> Iterator[FaultServer]:
    """It holds the same, below a path of its own."""
    with FaultServer() as server:
        images.serve(server, "hub/ns/r", "1", IMAGE)
        yield server


def point(etc: Path, registry: FaultServer, *mirrors: str) -> None:
    (etc / "pydock").mkdir(exist_ok=True)
    text = f"[registry.'{registry.host}']\nmirrors = {list(mirrors)}\n"
    (etc / "pydock/config.toml").write_text(text)


def check(repository: Repository) -> None:
    """Everything that a pull asks for."""
    head = repository.head_manifest("1") or repository.get_manifest("1").descriptor
    assert repository.get_manifest(head.digest).data == IMAGE.manifest.data
    assert repository.get_blob(BLOB, 1 << 20) == LAYER.data
    with repository.open_blob(BLOB, 5) as blob:
        assert blob.response.read(1 << 20, "blob")[5 - blob.offset :] == LAYER.data[5:]


def test_mirror_gives_everything(
    open_repository: Open, etc: Path, registry: FaultServer, mirror: FaultServer
) -> None:
    point(etc, registry, f"{mirror.host}/hub")
    check(open_repository(f"{registry.host}/ns/r:1"))
    assert registry.requests == []


FAULTS: dict[str, Callable[[Exchange], None]] = {
    "not there": lambda exchange: exchange.reply(404),
    "server error": lambda exchange: exchange.reply(500),
    "too many": lambda exchange: exchange.reply(429, {"Retry-After": "3"}),
    "wants a login": lambda exchange: exchange.reply(401, {"WWW-Authenticate": "Basic"}),
    "web page": lambda exchange: exchange.reply(200, {"Content-Type": "text/html"}, b"<html>"),
    "reset": lambda exchange: exchange.reset(),
    "silence": lambda exchange: exchange.stall(),
    "redirect to the inside": lambda exchange: exchange.reply(
        302, {"Location": "http://169.254.169.254/"}
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_mirror_that_fails_is_passed_over_and_said_once(
    open_repository: Open, etc: Path, registry: FaultServer, fault: str
) -> None:
    def script(exchange: Exchange) -> bool:
        FAULTS[fault](exchange)
        return True

    told: list[str] = []
    hasty = FAST._replace(headers_seconds=1) if fault == "silence" else FAST
    with FaultServer(script) as mirror:
        point(etc, registry, mirror.host)
        repository = open_repository(f"{registry.host}/ns/r:1", timeouts=hasty, notice=told.append)
        check(repository)
    assert len(told) == 1
    assert told[0].startswith(f"warning: mirror {mirror.host}: ")
    assert told[0].isprintable()


def test_mirrors_are_asked_in_their_order_down_to_the_registry(
    open_repository: Open, etc: Path, registry: FaultServer, mirror: FaultServer
) -> None:
    with closed_port() as down, FaultServer() as empty:
        point(etc, registry, f"localhost:{down}", empty.host, f"{mirror.host}/hub")
        check(open_repository(f"{registry.host}/ns/r:1"))
        assert empty.count("GET", "manifests") == 1
        assert registry.requests == []
        mirror.documents.clear()
        check(open_repository(f"{registry.host}/ns/r:1"))
    assert registry.count("GET", "blobs") == 2


def test_mirror_with_wrong_bytes_is_not_believed(
    open_repository: Open, etc: Path, registry: FaultServer, mirror: FaultServer
) -> None:
    point(etc, registry, f"{mirror.host}/hub")
    for path, (kind, data, digest) in list(mirror.documents.items()):
        if not path.endswith("/manifests/1"):
            mirror.documents[path] = (kind, data[:-1] + b"?", digest)
    told: list[str] = []
    check(open_repository(f"{registry.host}/ns/r:1", notice=told.append))
    assert len(told) == 1
    assert mirror.count("GET", "blobs") == 1  # it is not asked for them again
    registry.documents.clear()
    with pytest.raises(NotFound):
        open_repository(f"{registry.host}/ns/r:1").get_manifest(IMAGE.manifest.digest)


def test_blob_that_breaks_at_the_mirror_goes_on_at_the_registry(
    open_repository: Open, etc: Path, registry: FaultServer
) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.send_head(200, None, len(LAYER.data))
        exchange.wfile.write(LAYER.data[:20])
        exchange.finish_early()
        return True

    with FaultServer(script) as mirror:
        point(etc, registry, mirror.host)
        repository = open_repository(f"{registry.host}/ns/r:1")
        with repository.open_blob(BLOB, 0) as blob:
            assert blob.response.read1(20) == LAYER.data[:20]
        with repository.open_blob(BLOB, 0) as blob:  # from the same place: it was of no use
            assert blob.response.read(1 << 20, "blob") == LAYER.data
        assert len(mirror.requests) == 1


def test_who_may_not_resolve_is_not_asked_what_a_tag_names(
    open_repository: Open, etc: Path, registry: FaultServer, mirror: FaultServer
) -> None:
    place = etc / "containerd/certs.d" / registry.host
    place.mkdir(parents=True)
    images.serve(mirror, "hub/ns/r", "1", OTHER)  # what the tag was yesterday
    (place / "hosts.toml").write_text(
        f"[host.'{mirror.url}/v2/hub']\noverride_path = true\ncapabilities = ['pull']\n"
    )
    check(open_repository(f"{registry.host}/ns/r:1"))
    assert {request.method for request in registry.requests} == {"HEAD"}
    assert all(request.path.endswith(f"?ns={registry.host}") for request in mirror.requests)


def test_each_place_has_its_own_credentials_and_headers(
    open_repository: Open, etc: Path, user_home: Path, registry: FaultServer
) -> None:
    def guard(exchange: Exchange) -> bool:
        if exchange.headers["Authorization"]:
            return False
        exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return True

    def auth(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    registry.script = guard
    with FaultServer(guard) as mirror, FaultServer() as abroad:
        images.serve(mirror, "ns/r", "1", IMAGE)
        place = etc / "containerd/certs.d" / registry.host
        place.mkdir(parents=True)
        (place / "hosts.toml").write_text(f"[host.'{mirror.url}'.header]\nX-Secret = 'header-1'\n")
        (user_home / ".docker").mkdir()
        auths = {
            registry.host: {"auth": auth(f"{USER}:{PASSWORD}")},
            mirror.host: {"auth": auth("mirror:own")},
        }
        (user_home / ".docker/config.json").write_text(json.dumps({"auths": auths}))
        check(open_repository(f"{registry.host}/ns/r:1"))
        assert registry.requests == []
        seen = {request.headers["Authorization"] for request in mirror.requests}
        assert seen == {None, f"Basic {auth('mirror:own')}"}
        assert {request.headers["X-Secret"] for request in mirror.requests} == {"header-1"}

        # Neither goes along when the mirror sends us on.
        def send_on(exchange: Exchange) -> bool:
            exchange.reply(307, {"Location": f"{abroad.url}{exchange.path}"})
            return True

        mirror.script = send_on
        images.serve(abroad, "ns/r", "1", IMAGE)
        check(open_repository(f"{registry.host}/ns/r:1"))
        assert len(abroad.requests) == 4
        for request in abroad.requests:
            assert request.headers["X-Secret"] is None
            assert request.headers["Authorization"] is None


def test_what_changes_a_repository_is_never_asked_of_a_mirror(
    open_repository: Open, etc: Path, registry: FaultServer, mirror: FaultServer
) -> None:
    point(etc, registry, f"{mirror.host}/hub")
    repository = open_repository(f"{registry.host}/ns/r:1", actions="pull,push")
    repository.request("POST", "blobs/uploads/").close()
    with pytest.raises(NotFound):
        list(repository.tags())
    with pytest.raises(NotFound):
        repository.delete("sha256:" + "0" * 64)
    assert mirror.requests == []


def test_mirror_is_believed_by_the_authority_that_hosts_toml_names(
    open_repository: Open, etc: Path, registry: FaultServer, authority: Authority
) -> None:
    certificate = authority.issue("mirror")
    with FaultServer(tls=certificate) as mirror:
        images.serve(mirror, "ns/r", "1", IMAGE)
        place = etc / "docker/certs.d" / registry.host
        place.mkdir(parents=True)
        toml = place / "hosts.toml"
        toml.write_text(f"[host.'{mirror.url}']\n")
        told: list[str] = []
        reference = f"{registry.host}/ns/r:1"
        check(open_repository(reference, notice=told.append))
        assert "unknown authority" in told[0]
        assert mirror.requests == []
        (place / "mirror.pem").write_bytes(authority.certificate.read_bytes())
        for setting in ("ca = 'mirror.pem'", "skip_verify = true"):
            toml.write_text(f"[host.'{mirror.url}']\n{setting}\n")
            asked = len(registry.requests)
            check(open_repository(reference))
            assert len(registry.requests) == asked


def test_registry_that_podmans_settings_move_or_block(
    open_repository: Open, etc: Path, registry: FaultServer
) -> None:
    (etc / "containers").mkdir()
    (etc / "containers/registries.conf").write_text(
        f"[[registry]]\nprefix = 'moved.example'\nlocation = '{registry.host}/ns'\n"
        "[[registry]]\nlocation = 'bad.example'\nblocked = true\n"
    )
    check(open_repository("moved.example/r:1"))
    with pytest.raises(Unavailable, match=r"bad\.example is blocked"):
        open_repository("bad.example/r:1")


def test_corrupt_registry_behind_a_mirror_is_corrupt(
    open_repository: Open, etc: Path, registry: FaultServer
) -> None:
    path = f"/v2/ns/r/manifests/{IMAGE.manifest.digest}"
    registry.documents[path] = ("text/plain", b"{}", "")
    with FaultServer() as empty:
        point(etc, registry, empty.host)
        with pytest.raises(Corrupt):
            open_repository(f"{registry.host}/ns/r:1").get_manifest(IMAGE.manifest.digest)


@pytest.mark.root
def test_pull_says_which_mirror_it_passes_over(store: Store, registry: FaultServer) -> None:
    def script(exchange: Exchange) -> bool:
        if "/blobs/" not in exchange.path:
            return False
        exchange.send_head(200, None, len(LAYER.data))
        exchange.wfile.write(LAYER.data[:20])
        exchange.reset()
        return True

    with FaultServer(script) as mirror:
        images.serve(mirror, "ns/r", "1", IMAGE)
        point(store.etc, registry, mirror.host)
        store.pull(f"{registry.host}/ns/r:1")
    places = f"{mirror.host}, then {registry.host}"
    assert store.told[0].text == f"{registry.host}/ns/r:1 from {places}"
    told = [step.text for step in store.told if "mirror" in step.text]
    assert len(told) == 1
    assert told[0].startswith(f"warning: mirror {mirror.host}: ")
    assert {request.path.split("/")[4] for request in registry.requests} == {"blobs"}
