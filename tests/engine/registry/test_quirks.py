"""What real registries do beside the specification, each played on a real socket.

Which one does what: the comments; sources are their issue trackers and documentation.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.errors import EngineError, NotFound, Unavailable, Unsupported
from engine.oci.descriptor import OCI_INDEX, Descriptor
from engine.registry.client import Repository
from engine.registry.retry import Transient
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import MadeImage, blob, make_image
from tests.support.registry import Registry

Open = Callable[..., Repository]
IMAGE = make_image([{"a": b"1" * 3000}])
LAYER = IMAGE.layers[0]
BLOB = Descriptor(LAYER.media_type, LAYER.digest, len(LAYER.data))
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SBOM = "application/spdx+json"


@pytest.fixture
def shelf() -> Iterator[FaultServer]:
    """An honest registry for a test to spoil."""
    with FaultServer() as server:
        images.serve(server, "ns/r", "1", IMAGE)
        yield server


def check(repository: Repository) -> None:
    """Everything that a pull asks for."""
    head = repository.head_manifest("1") or repository.get_manifest("1").descriptor
    assert head.digest == IMAGE.manifest.digest
    assert repository.get_manifest(head.digest).data == IMAGE.manifest.data
    assert repository.get_blob(BLOB, 1 << 20) == LAYER.data


def log_in(home: Path, host: str, **entry: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {host: entry}}))


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Tokens:
    """A token server on the registry's own socket, and the guard before the registry."""

    def __init__(
        self,
        server: FaultServer,
        *,
        challenge: str = 'Bearer realm="{url}/token",service="s",scope="{scope}"',
        give: Callable[[Exchange, dict[str, list[str]]], bool] = lambda exchange, query: False,
        free: Callable[[Exchange], bool] = lambda exchange: False,
    ) -> None:
        self.server = server
        self.asked: list[dict[str, list[str]]] = []
        self._challenge = challenge
        self._give = give
        self._free = free
        server.script = self._script

    def _script(self, exchange: Exchange) -> bool:
        url = urlsplit(exchange.path)
        if url.path == "/token":
            data = exchange.rfile.read(int(exchange.headers.get("Content-Length", 0))).decode()
            query = parse_qs(url.query) | parse_qs(data)
            self.asked.append(query)
            if not self._give(exchange, query):
                exchange.reply(200, body=json.dumps({"token": "t"}).encode())
            return True
        if exchange.headers["Authorization"] == "Bearer t" or self._free(exchange):
            return False
        scope = "repository:ns/r:pull"
        value = self._challenge.format(url=self.server.url, scope=scope)
        exchange.reply(401, {"WWW-Authenticate": value})
        return True


# -- letting in


def test_docker_hub_hides_what_is_private(shelf: FaultServer, open_repository: Open) -> None:
    """Hub gives a token for anything, and then says 401 insufficient_scope."""
    refuse = 'Bearer realm="{url}/token",service="s",scope="{scope}",error="insufficient_scope"'

    def deny(exchange: Exchange) -> bool:
        if exchange.path.startswith("/token"):
            return False
        value = refuse.format(url=shelf.url, scope="repository:ns/r:pull")
        exchange.reply(401, {"WWW-Authenticate": value}, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        return True

    tokens = Tokens(shelf)
    inner = shelf.script
    shelf.script = lambda exchange: deny(exchange) or inner(exchange)
    with pytest.raises(NotFound, match="does not exist or needs a login") as caught:
        open_repository(f"{shelf.host}/ns/r:1").get_manifest("1")
    assert caught.value.hint == f"check the name, or pydock login {shelf.host}"
    assert 1 <= len(tokens.asked) <= 2


def test_docker_hub_counts_pulls(shelf: FaultServer, open_repository: Open) -> None:
    """A limit that is near is said; HEAD is not counted, so it is what a second pull costs."""

    def script(exchange: Exchange) -> bool:
        path = exchange.path.partition("?")[0]
        media_type, data, digest = shelf.documents[path]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        headers |= {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "7;w=21600"}
        exchange.reply(200, headers, data)
        return True

    shelf.script = script
    told: list[str] = []
    repository = open_repository(f"{shelf.host}/ns/r:1", notice=told.append)
    check(repository)
    assert told == [
        f"warning: {shelf.host}: few pulls are left of 100: pydock login {shelf.host} has more"
    ]


def test_ghcr_has_a_placeholder_for_a_scope(shelf: FaultServer, open_repository: Open) -> None:
    """And anonymous `pull,push` is 403 there: never ask for more than is needed."""

    def give(exchange: Exchange, query: dict[str, list[str]]) -> bool:
        if query["scope"] != ["repository:ns/r:pull"]:
            exchange.reply(403)
            return True
        return False

    challenge = 'Bearer realm="{url}/token",service="s",scope="repository:user/image:pull"'
    tokens = Tokens(shelf, challenge=challenge, give=give)
    bare = shelf.script

    def script(exchange: Exchange) -> bool:  # the registry itself says 401 and no more
        if exchange.path.startswith("/v2/ns") and not exchange.headers["Authorization"]:
            exchange.reply(401)
            return True
        return bare(exchange)

    shelf.script = script
    check(open_repository(f"{shelf.host}/ns/r:1"))
    assert len(tokens.asked) == 1


def test_ecr_wants_a_password_from_its_helper(
    shelf: FaultServer,
    open_repository: Open,
    user_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Basic `AWS:…` by docker-credential-ecr-login; blobs lie at S3, which takes no second
    authorization."""
    helper = tmp_path / "docker-credential-ecr-login"
    helper.write_text(
        '#!/bin/sh\nread -r server\nprintf \'{"Username":"AWS","Secret":"%s"}\' "key of $server"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (user_home / ".docker").mkdir()
    config = {"credHelpers": {shelf.host: "ecr-login"}}
    (user_home / ".docker/config.json").write_text(json.dumps(config))

    def storage(exchange: Exchange) -> bool:
        if exchange.headers["Authorization"]:
            exchange.reply(400, body=b"<Code>InvalidArgument</Code>")
        else:
            exchange.reply(200, {}, LAYER.data)
        return True

    def script(exchange: Exchange) -> bool:
        if exchange.headers["Authorization"] != f"Basic {encode(f'AWS:key of {shelf.host}')}":
            exchange.reply(401, {"WWW-Authenticate": 'Basic realm="ecr",service="ecr.amazonaws"'})
        elif "/blobs/" in exchange.path:
            exchange.reply(307, {"Location": f"{s3.url}/blob?X-Amz-Signature=abc"})
        else:
            return False
        return True

    shelf.script = script
    with FaultServer(storage) as s3:
        check(open_repository(f"{shelf.host}/ns/r:1"))
        assert len(s3.requests) == 1


def test_public_ecr_refuses_the_head_and_gives_the_rest(
    shelf: FaultServer, open_repository: Open
) -> None:
    """distribution#4383; its token is only good for GET."""

    def script(exchange: Exchange) -> bool:
        if exchange.command == "HEAD":
            exchange.reply(403)
            return True
        return False

    shelf.script = script
    check(open_repository(f"{shelf.host}/ns/r:1"))


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("_json_key", '{"type": "service_account", "private_key": "-----BEGIN\\nx:y"}'),  # GAR
        ("oauth2accesstoken", "ya29.abc"),  # GAR
        ("robot$project+name", "se:cret"),  # Harbor, Quay
        ("00000000-0000-0000-0000-000000000000", "eyJ0"),  # ACR
        ("gitlab-ci-token", "glcbt-64_x"),  # GitLab
    ],
)
def test_users_with_strange_names_get_their_token(
    shelf: FaultServer, open_repository: Open, user_home: Path, user: str, password: str
) -> None:
    def give(exchange: Exchange, query: dict[str, list[str]]) -> bool:
        if exchange.headers["Authorization"] != f"Basic {encode(f'{user}:{password}')}":
            exchange.reply(401)
            return True
        assert query["account"] == [user]
        return False

    Tokens(shelf, give=give)
    log_in(user_home, shelf.host, auth=encode(f"{user}:{password}"))
    check(open_repository(f"{shelf.host}/ns/r:1"))


@pytest.mark.parametrize("refusal", [400, 401, 404, 405])
def test_identity_token_is_good_by_get_where_post_is_not(
    shelf: FaultServer, open_repository: Open, user_home: Path, refusal: int
) -> None:
    """ACR, Artifactory, Harbor, GCR know the one or the other."""

    def give(exchange: Exchange, query: dict[str, list[str]]) -> bool:
        if exchange.command == "POST":
            exchange.reply(refusal)
            return True
        if exchange.headers["Authorization"] != f"Basic {encode('me:identity')}":
            exchange.reply(401)
            return True
        return False

    Tokens(shelf, give=give)
    log_in(user_home, shelf.host, auth=encode("me:"), identitytoken="identity")
    check(open_repository(f"{shelf.host}/ns/r:1"))


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "t"},  # ACR, GitLab
        {"token": "t", "access_token": "other"},  # Docker Hub gives both
        {"token": "t", "expires_in": 0},
        {"token": "t", "expires_in": "300", "issued_at": "nonsense"},  # Quay
    ],
)
def test_token_has_two_names_and_a_life_of_any_kind(
    shelf: FaultServer, open_repository: Open, answer: dict[str, Any]
) -> None:
    def give(exchange: Exchange, query: dict[str, list[str]]) -> bool:
        exchange.reply(200, body=json.dumps(answer).encode())
        return True

    tokens = Tokens(shelf, give=give)
    check(open_repository(f"{shelf.host}/ns/r:1"))
    assert len(tokens.asked) == 1


def test_harbor_wants_a_token_for_head_though_it_is_public(
    shelf: FaultServer, open_repository: Open
) -> None:
    """And sets a session cookie, which would lead to a CSRF check if it came back."""

    def free(exchange: Exchange) -> bool:
        assert exchange.headers["Cookie"] is None
        return exchange.command == "GET"

    tokens = Tokens(shelf, free=free)
    inner = shelf.script

    def script(exchange: Exchange) -> bool:
        if exchange.path.startswith("/token"):
            exchange.reply(200, {"Set-Cookie": "sid=1; Path=/"}, b'{"token": "t"}')
            tokens.asked.append({})
            return True
        return inner(exchange)

    shelf.script = script
    check(open_repository(f"{shelf.host}/ns/r:1"))
    assert len(tokens.asked) == 1


def test_gitlab_has_its_token_server_elsewhere_and_nested_names(open_repository: Open) -> None:
    name = "group/sub.group/project/image/part"
    with FaultServer() as gitlab, FaultServer() as registry:
        images.serve(registry, name, "1", IMAGE)

        def give(exchange: Exchange) -> bool:
            asked.append(parse_qs(urlsplit(exchange.path).query)["scope"])
            exchange.reply(200, body=b'{"token": "t"}')
            return True

        def guard(exchange: Exchange) -> bool:
            if exchange.headers["Authorization"] == "Bearer t":
                return False
            realm = f'Bearer realm="{gitlab.url}/jwt/auth",service="container_registry"'
            exchange.reply(401, {"WWW-Authenticate": f'{realm},scope="repository:{name}:pull"'})
            return True

        asked: list[list[str]] = []
        gitlab.script, registry.script = give, guard
        check(open_repository(f"{registry.host}/{name}:1"))
        assert asked == [[f"repository:{name}:pull"]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nexus_sends_on_within_the_service_and_asks_again(
    shelf: FaultServer, open_repository: Open, user_home: Path, status: int
) -> None:
    """Nexus and Artifactory serve repositories by path; the new place wants its own 401."""
    log_in(user_home, shelf.host, auth=encode("me:pw"))
    for path in list(shelf.documents):
        moved = path.replace("/v2/ns/r/", "/repository/docker/v2/ns/r/")
        shelf.documents[moved] = shelf.documents.pop(path)

    def script(exchange: Exchange) -> bool:
        if not exchange.path.startswith("/repository/"):
            exchange.reply(status, {"Location": f"/repository/docker{exchange.path}"})
            return True
        if exchange.headers["Authorization"] != f"Basic {encode('me:pw')}":
            exchange.reply(401, {"WWW-Authenticate": 'BASIC realm="Sonatype Nexus"'})
            return True
        return False

    shelf.script = script
    check(open_repository(f"{shelf.host}/ns/r:1"))


def test_quay_gives_an_old_manifest_to_who_does_not_ask_for_a_new_one(
    shelf: FaultServer, open_repository: Open
) -> None:
    def script(exchange: Exchange) -> bool:
        if "/manifests/" not in exchange.path:
            return False
        accepted = ", ".join(exchange.headers.get_all("Accept") or [])
        assert OCI_INDEX in accepted
        assert "application/vnd.docker.distribution.manifest.v2+json" in accepted
        return False

    shelf.script = script
    check(open_repository(f"{shelf.host}/ns/r:1"))


def test_artifactory_calls_everything_octets(shelf: FaultServer, open_repository: Open) -> None:
    for path, (_, data, digest) in list(shelf.documents.items()):
        shelf.documents[path] = ("application/octet-stream", data, digest)
    check(open_repository(f"{shelf.host}/ns/r:1"))


def test_zot_warns_in_a_header(shelf: FaultServer, open_repository: Open) -> None:
    """Said once, whatever else it holds is not shown."""

    def script(exchange: Exchange) -> bool:
        media_type, data, digest = shelf.documents[exchange.path]
        exchange.send_response(200)
        exchange.send_header("Content-Type", media_type)
        exchange.send_header("Docker-Content-Digest", digest)
        exchange.send_header("Content-Length", str(len(data)))
        exchange.send_header("Warning", '299 - "moved to \\"new\\" \x1b[31mhost"')
        exchange.send_header("Warning", '110 - "stale"')
        exchange.end_headers()
        if exchange.command != "HEAD":
            exchange.wfile.write(data)
        return True

    shelf.script = script
    told: list[str] = []
    check(open_repository(f"{shelf.host}/ns/r:1", notice=told.append))
    assert told == [f'warning: {shelf.host}: "moved to "new" [31mhost"']


# -- referrers and deleting


def made_index(*types: str) -> tuple[bytes, list[str]]:
    """An index of referrers and their digests."""
    made = [blob("application/vnd.oci.image.manifest.v1+json", each.encode()) for each in types]
    manifests = [
        each.descriptor(artifactType=kind, annotations={"made": "here"})
        for each, kind in zip(made, types, strict=True)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return json.dumps(document).encode(), [each.digest for each in made]


def test_referrers_come_from_the_api_and_are_filtered_by_us_too(
    shelf: FaultServer, open_repository: Open
) -> None:
    """Zot filters; distribution 3 does not."""
    data, digests = made_index(SIGNATURE, SBOM)
    path = f"/v2/ns/r/referrers/{IMAGE.manifest.digest}"
    shelf.documents[path] = (OCI_INDEX, data, "")
    repository = open_repository(f"{shelf.host}/ns/r:1")
    found = repository.referrers(IMAGE.manifest.digest)
    assert [each.digest for each in found] == digests
    assert dict(found[0].annotations) == {"made": "here"}
    (only,) = repository.referrers(IMAGE.manifest.digest, SBOM)
    assert (only.digest, only.artifact_type) == (digests[1], SBOM)
    assert shelf.requests[-1].path == f"{path}?artifactType=application%2Fspdx%2Bjson"


def test_referrers_come_in_pages(shelf: FaultServer, open_repository: Open) -> None:
    pages = [made_index(SIGNATURE), made_index(SBOM)]

    def script(exchange: Exchange) -> bool:
        second = "page=2" in exchange.path
        headers = {"Content-Type": OCI_INDEX}
        if not second:
            headers["Link"] = f"<{exchange.path}?page=2>; rel=next"
        exchange.reply(200, headers, pages[second][0])
        return True

    shelf.script = script
    found = open_repository(f"{shelf.host}/ns/r:1").referrers(IMAGE.manifest.digest)
    assert [each.digest for each in found] == pages[0][1] + pages[1][1]


def away(exchange: Exchange) -> None:
    exchange.reply(303, {"Location": "/nowhere"})


@pytest.mark.parametrize(
    "answer",
    [
        lambda exchange: exchange.reply(404),  # distribution 2.8
        lambda exchange: exchange.reply(405),
        lambda exchange: exchange.reply(400),
        lambda exchange: exchange.reply(429),  # GHCR: artifacthub#4785
        away,  # GHCR
        lambda exchange: exchange.reply(200, {"Content-Type": "text/html"}, b"<html>"),
    ],
)
def test_registry_without_referrers_keeps_them_under_a_tag(
    shelf: FaultServer, open_repository: Open, answer: Callable[[Exchange], None]
) -> None:
    def script(exchange: Exchange) -> bool:
        if "/referrers/" in exchange.path:
            answer(exchange)
            return True
        return False

    shelf.script = script
    repository = open_repository(f"{shelf.host}/ns/r:1")
    assert repository.referrers(IMAGE.manifest.digest) == []
    data, digests = made_index(SIGNATURE, SBOM)
    tag = IMAGE.manifest.digest.replace(":", "-")
    shelf.documents[f"/v2/ns/r/manifests/{tag}"] = (OCI_INDEX, data, "")
    found = repository.referrers(IMAGE.manifest.digest, SBOM)
    assert [each.digest for each in found] == digests[1:]


def test_real_registry_has_no_referrers(open_repository: Open, registry: Registry) -> None:
    reference = images.push(registry, "quirks/r", "1", IMAGE)
    assert open_repository(reference).referrers(IMAGE.manifest.digest) == []


def push_another(registry: Registry, name: str) -> MadeImage:
    image = make_image([{"x": name.encode()}])
    images.push(registry, name, "1", image)
    return image


def test_real_registry_deletes(open_repository: Open, registry: Registry) -> None:
    image = push_another(registry, "quirks/delete")
    repository = open_repository(f"{registry.host}/quirks/delete:1", actions="pull,delete")
    with pytest.raises((Unsupported, NotFound)):  # 2.8: a tag cannot be deleted
        repository.delete("1")
    assert repository.head_manifest("1") is not None
    repository.delete(image.manifest.digest)
    with pytest.raises(NotFound):
        repository.get_manifest("1")
    with pytest.raises(NotFound, match=r"manifest sha256:.* is not in"):
        repository.delete(image.manifest.digest)
    layer = image.layers[0]
    repository.delete(layer.digest, "blobs")
    with pytest.raises(NotFound):
        repository.get_blob(Descriptor(layer.media_type, layer.digest, len(layer.data)), 1 << 20)


@pytest.mark.parametrize(
    ("status", "target", "kind", "reason"),
    [
        (405, IMAGE.manifest.digest, Unsupported, "does not delete, it answers 405"),
        (400, "1", Unsupported, "does not delete tags"),
        (404, "1", NotFound, "manifest 1 is not in"),
        (403, "1", NotFound, "access denied"),
        (409, "1", Unavailable, "409 Conflict"),
    ],
)
def test_registry_that_does_not_delete_is_told(
    shelf: FaultServer,
    open_repository: Open,
    status: int,
    target: str,
    kind: type[EngineError],
    reason: str,
) -> None:
    shelf.script = lambda exchange: [exchange.reply(status)] == [None]
    with pytest.raises(kind, match=reason):
        open_repository(f"{shelf.host}/ns/r:1", actions="delete").delete(target)
    shelf.script = lambda exchange: [exchange.reply(503)] == [None]
    with pytest.raises(Transient):
        open_repository(f"{shelf.host}/ns/r:1", actions="delete").delete(target)
