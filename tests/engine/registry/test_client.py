"""Requests and refusals; and real registries with a password, with tokens, with TLS."""

import base64
import json
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import Corrupt, EngineError, InvalidInput, NotFound, Unavailable
from engine.oci.descriptor import Descriptor
from engine.registry.client import Repository, _starts_at
from engine.registry.hosts import Hosts
from engine.registry.retry import Transient
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import MadeImage, make_image
from tests.support.registry import PASSWORD, USER, Registry, TokenServer
from tests.support.tls import Authority

Open = Callable[..., Repository]
IMAGE = make_image([{"a": b"1"}])
LAYER = IMAGE.layers[0]
BLOB = Descriptor(LAYER.media_type, LAYER.digest, len(LAYER.data))


def log_in(home: Path, host: str, password: str = PASSWORD) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def trust(etc: Path, host: str, authority: Authority) -> None:
    place = etc / "docker/certs.d" / host
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes(authority.certificate.read_bytes())


def check(repository: Repository, image: MadeImage = IMAGE) -> None:
    """Everything that a pull asks for."""
    head = repository.head_manifest("1")
    assert head is not None
    assert head[:3] == (image.manifest.media_type, image.manifest.digest, len(image.manifest.data))
    assert repository.get_manifest(head.digest).data == image.manifest.data
    assert repository.get_manifest("1").descriptor == head
    assert repository.get_blob(BLOB, 1 << 20) == LAYER.data
    with repository.open_blob(BLOB, 5) as blob:
        assert blob.offset == 5
        assert blob.response.read(1 << 20, "blob") == LAYER.data[5:]


def test_open_registry(open_repository: Open, registry: Registry) -> None:
    check(open_repository(images.push(registry, "client/open", "1", IMAGE)))


def test_registry_with_a_password(open_repository: Open, user_home: Path, tmp_path: Path) -> None:
    with Registry(tmp_path, password=True) as registry:
        reference = images.push(registry, "ns/r", "1", IMAGE)
        with pytest.raises(NotFound, match="pull access denied") as caught:
            open_repository(reference).get_manifest("1")
        assert f"pydock login {registry.host}" in caught.value.hint
        log_in(user_home, registry.host)
        check(open_repository(reference))
        log_in(user_home, registry.host, "wrong")
        with pytest.raises(InvalidInput, match="wrong user name or password") as caught:
            open_repository(reference).get_manifest("1")
        assert "wrong:" not in caught.value.message
        assert caught.value.hint == f"pydock login {registry.host}"


def test_registry_with_tokens_and_tls(
    open_repository: Open,
    user_home: Path,
    etc: Path,
    tmp_path: Path,
    authority: Authority,
) -> None:
    """As Docker Hub does it: https, and signed tokens from another https server."""
    certificate = authority.issue("registry")
    with (
        TokenServer(authority, tls=certificate, anonymous=False) as giver,
        Registry(tmp_path, tokens=giver, tls=certificate) as registry,
    ):
        reference = images.push(registry, "ns/r", "1", IMAGE)
        with pytest.raises(Unavailable, match="unknown authority"):
            open_repository(reference).get_manifest("1")
        trust(etc, registry.host, authority)
        trust(etc, giver.host, authority)
        with pytest.raises(NotFound, match="pull access denied"):
            open_repository(reference).get_manifest("1")
        log_in(user_home, registry.host)
        check(open_repository(reference))
        giver.anonymous = True
        log_in(user_home, "another")
        check(open_repository(reference))


@pytest.mark.root
def test_registry_without_a_port_is_found_at_80_when_that_is_allowed(
    open_repository: Open, etc: Path
) -> None:
    with FaultServer(port=80) as server:
        images.serve(server, "ns/r", "1", IMAGE)
        check(open_repository("localhost/ns/r:1"))
    with pytest.raises(Unavailable, match="localhost: connection refused"):
        open_repository("localhost/ns/r:1").head_manifest("1")


def test_docker_hubs_names_and_addresses(
    open_repository: Open, user_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(user_home, "https://index.docker.io/v1/")
    repository = open_repository("debian:bookworm")
    monkeypatch.setattr(Hosts, "may_speak_http", lambda self, name: False)
    asked: list[tuple[str, str]] = []

    def request(method: str, url: str, headers: object, *, body: object) -> None:
        asked.append((method, url))
        raise Unavailable("no network in a test")

    monkeypatch.setattr(repository.transport, "request", request)
    with pytest.raises(Unavailable):
        repository.head_manifest("bookworm")
    assert asked == [("HEAD", "https://registry-1.docker.io/v2/library/debian/manifests/bookworm")]
    found = repository.server.authorizer._credential()
    assert found is not None
    assert found.user == USER


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {}),
        (403, {}),
        (404, {}),
        (405, {}),
        (200, {"Docker-Content-Digest": ""}),
        (200, {"Docker-Content-Digest": "md5:x"}),
    ],
)
def test_head_that_tells_too_little_leaves_it_to_get(
    open_repository: Open, status: int, headers: dict[str, str]
) -> None:
    def script(exchange: Exchange) -> bool:
        if exchange.command == "HEAD":
            exchange.reply(status, headers)
        return exchange.command == "HEAD"

    with FaultServer(script) as server:
        repository = open_repository(images.serve(server, "r", "1", IMAGE))
        if status == 401:  # without a challenge anywhere, it is a refusal of its own
            with pytest.raises(EngineError):
                repository.head_manifest("1")
        else:
            assert repository.head_manifest("1") is None
        assert repository.get_manifest("1").data == IMAGE.manifest.data


def test_manifest_whose_header_names_another_digest_is_corrupt(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        headers = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
        exchange.reply(200, headers, IMAGE.manifest.data)
        return True

    with FaultServer(script) as server, pytest.raises(Corrupt, match="digest mismatch"):
        open_repository(f"{server.host}/r").get_manifest("1")


def test_manifest_without_digest_header_is_hashed(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(200, {"Content-Type": "text/plain"}, IMAGE.manifest.data)
        return True

    with FaultServer(script) as server:
        document = open_repository(f"{server.host}/r").get_manifest("1")
    assert document.descriptor.digest == IMAGE.manifest.digest
    assert document.descriptor.media_type == "text/plain"


def test_manifest_beyond_its_limit_is_refused(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(200, body=b" " * (5 << 20))
        return True

    with FaultServer(script) as server, pytest.raises(InvalidInput, match="larger than"):
        open_repository(f"{server.host}/r").get_manifest("1")


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (403, b'{"errors":[{"code":"DENIED"}]}', NotFound, "pull access denied"),
        (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', NotFound, r"manifest for .*/r:1 not"),
        (404, b"<html>no such page</html>", Unavailable, "is not a registry"),
        (
            418,
            b'{"errors":[{"code":"TEAPOT","message":"short\x1b[31m\\nand stout"}]}',
            Unavailable,
            "418 .*TEAPOT",
        ),
        (400, b"x" * 70_000, InvalidInput, "larger than"),
        (400, b"y" * 60_000, Unavailable, "400 Bad Request"),
    ],
)
def test_refusal_is_told_in_one_clean_line(
    open_repository: Open, status: int, body: bytes, kind: type[EngineError], reason: str
) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(status, body=body)
        return True

    with FaultServer(script) as server, pytest.raises(kind, match=reason) as caught:
        open_repository(f"{server.host}/r:1").get_manifest("1")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522])
def test_passing_trouble_is_transient(open_repository: Open, status: int) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(status, {"Retry-After": "7"})
        return True

    with FaultServer(script) as server:
        repository = open_repository(f"{server.host}/r")
        for call in (repository.head_manifest, repository.get_manifest):
            with pytest.raises(Transient) as caught:
                call("1")
            assert caught.value.after_seconds == 7.0


def test_nearest_tags_are_hinted(open_repository: Open) -> None:
    tags = b'{"tags": ["bookworm", "bullseye", "bad tag", 7, "sid"]}'

    def script(exchange: Exchange) -> bool:
        if "tags/list" in exchange.path:
            exchange.reply(200, body=tags)
            return True
        return False

    with FaultServer(script) as server:
        for wanted, hint in (
            ("bookwrm", "it has bookworm"),
            ("x", "it has bookworm, bullseye, sid"),
        ):
            with pytest.raises(NotFound) as caught:
                open_repository(f"{server.host}/r:{wanted}").get_manifest(wanted)
            assert caught.value.hint == hint


class Pieces:
    """A body that is read in small steps, and knows how often it began."""

    def __init__(self, data: bytes) -> None:
        self.size_bytes = len(data)
        self.begun = 0
        self._data = data
        self._at = 0

    def rewind(self) -> None:
        self.begun += 1
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self._data[self._at : self._at + min(size, 1000)]
        self._at += len(piece)
        return piece


def test_body_is_sent_again_after_a_401_and_after_a_redirect(open_repository: Open) -> None:
    data = bytes(range(256)) * 20
    received: list[tuple[str, bytes, str | None]] = []

    def script(exchange: Exchange) -> bool:
        if exchange.path.startswith("/token"):
            exchange.reply(200, body=b'{"token": "t"}')
            return True
        body = exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
        authorization = exchange.headers["Authorization"]
        received.append((exchange.path, body, authorization))
        if not authorization:
            challenge = f'Bearer realm="{server.url}/token",scope="repository:ns/r:pull,push"'
            exchange.reply(401, {"WWW-Authenticate": challenge})
        elif exchange.path == "/v2/ns/r/blobs/uploads/1":
            exchange.reply(307, {"Location": "/v2/ns/r/elsewhere?x=1"})
        else:
            exchange.reply(201)
        return True

    with FaultServer(script) as server:
        repository = open_repository(
            f"{server.host}/ns/r", actions="pull,push", readable=("ns/base",)
        )
        body = Pieces(data)
        with repository.request("PUT", "blobs/uploads/1", {"X": "y"}, body) as response:
            assert response.status == 201
            assert response.url == f"{server.url}/v2/ns/r/elsewhere?x=1"
        asked = [request.path for request in server.requests if "/token" in request.path]
    assert body.begun == 3
    assert [each[0] for each in received] == ["/v2/ns/r/blobs/uploads/1"] * 2 + [
        "/v2/ns/r/elsewhere?x=1"
    ]
    assert {each[1] for each in received} == {data}
    assert [each[2] for each in received] == [None, "Bearer t", "Bearer t"]
    assert asked == [
        "/token?scope=repository%3Ans%2Fr%3Apull%2Cpush&scope=repository%3Ans%2Fbase%3Apull"
    ]


def test_what_a_registry_says_before_it_has_read_the_body_counts(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(413, body=b'{"errors":[{"code":"SIZE_INVALID","message":"too big"}]}')
        exchange.finish_early()
        return True

    with FaultServer(script) as server:
        repository = open_repository(f"{server.host}/r", actions="pull,push")
        response = repository.request("PUT", "blobs/uploads/1", {}, Pieces(bytes(40_000_000)))
        with pytest.raises(Unavailable, match=r"413 .* for blob x: .*too big"):
            repository.check(response, (201, 204), "blob", "x")


def test_credentials_do_not_follow_an_upload_address_abroad(
    open_repository: Open, user_home: Path
) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
        if not exchange.headers["Authorization"] and "abroad" not in exchange.path:
            exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        else:
            exchange.reply(201)
        return True

    with FaultServer(script) as home, FaultServer(script) as abroad:
        log_in(user_home, home.host)
        repository = open_repository(f"{home.host}/r", actions="pull,push")
        for target in ("blobs/uploads/", f"{home.url}/here?a=1", f"{abroad.url}/abroad"):
            with repository.request("PUT", target, {}, b"data") as response:
                assert response.status == 201
        assert [bool(request.headers["Authorization"]) for request in home.requests] == [
            False, True, True,
        ]  # fmt: skip
        assert abroad.requests[0].headers["Authorization"] is None
        with pytest.raises(Unavailable, match="private address"):
            repository.request("PUT", "http://169.254.169.254/x", {}, b"data")


CONTENT_RANGE = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"\A ?bytes [0-9]{0,21}-[0-9]{0,21}/([0-9]{0,21}|\*)? ?\Z"),
)


def believed(header: str, offset: int, size: int) -> bool:
    message = Message()
    message["Content-Range"] = header
    response = SimpleNamespace(status=206, headers=message)
    return _starts_at(response, offset, size)  # type: ignore[arg-type]


@given(CONTENT_RANGE, st.integers(1, 99))
def test_any_content_range_is_read_without_harm(header: str, offset: int) -> None:
    expected = {f"bytes {offset}-99/100", f"bytes {offset}-99/*"}
    assert believed(header, offset, 100) == (header.strip() in expected)


@pytest.mark.long
@given(CONTENT_RANGE, st.integers(1, 99))
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_very_many_content_ranges_are_read_without_harm(header: str, offset: int) -> None:
    expected = {f"bytes {offset}-99/100", f"bytes {offset}-99/*"}
    assert believed(header, offset, 100) == (header.strip() in expected)


@pytest.mark.parametrize(
    ("header", "right"),
    [
        ("bytes 5-99/100", True),
        ("bytes 5-99/*", True),
        ("bytes 5-98/100", False),
        ("bytes 4-99/100", False),
        ("bytes 5-99/101", False),
        ("bytes 5-99", False),
        ("items 5-99/100", False),
        ("bytes ٥-99/100", False),
        ("", False),
    ],
)
def test_content_range_must_be_what_was_asked_for(header: str, right: bool) -> None:
    assert believed(header, 5, 100) is right
