"""401s of many kinds, against a scripted registry and a scripted token server."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.engine import Cancel
from engine.errors import EngineError, InvalidInput, NotFound, Unavailable
from engine.registry.client import Repository
from engine.registry.retry import Transient
from engine.registry.tokens import _join_scopes
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image

Open = Callable[..., Repository]
IMAGE = make_image([{"a": b"1"}])
SCOPE = "repository:ns/r:pull"


class Pair(NamedTuple):
    """A registry that wants tokens, and who gives them."""

    registry: FaultServer
    giver: FaultServer
    valid: set[str]
    settings: dict[str, Any]

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/ns/r:1"

    def asked(self) -> list[dict[str, list[str]]]:
        """The token server's questions."""
        return [parse_qs(urlsplit(request.path).query) for request in self.giver.requests]


@pytest.fixture
def pair() -> Iterator[Pair]:
    valid: set[str] = set()
    settings: dict[str, Any] = {"scope": SCOPE, "answer": {}, "status": 200, "header": None}

    def give(exchange: Exchange) -> bool:
        if settings["status"] != 200:
            exchange.reply(settings["status"], body=b'{"token": "half-a-secret"}')
            return True
        token = f"token-{len(giver.requests)}"
        valid.add(token)
        answer = settings["answer"] or {"token": token, "expires_in": 300}
        body = json.dumps(answer).replace("TOKEN", token).encode()
        exchange.reply(200, body=settings.get("body", body))
        return True

    def guard(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization", "").removeprefix("Bearer ") in valid:
            return False
        challenge = settings["header"]
        if challenge is None:
            challenge = f'Bearer realm="{giver.url}/token",service="s",scope="{settings["scope"]}"'
        bare = settings.get("bare") and exchange.path != "/v2/"
        exchange.reply(401, {} if bare else {"WWW-Authenticate": challenge}, b"{}")
        return True

    with FaultServer(give) as giver, FaultServer(guard) as registry:
        images.serve(registry, "ns/r", "1", IMAGE)
        yield Pair(registry, giver, valid, settings)


def log_in(home: Path, host: str, **entry: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {host: entry}}))


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fetch(repository: Repository) -> bytes:
    return repository.get_manifest("1").data


def test_token_is_fetched_once_and_kept(pair: Pair, open_repository: Open) -> None:
    repository = open_repository(pair.reference)
    for _ in range(3):
        assert fetch(repository) == IMAGE.manifest.data
    assert pair.asked() == [{"service": ["s"], "scope": [SCOPE]}]
    assert "Authorization" not in pair.giver.requests[0].headers
    assert "Authorization" not in pair.registry.requests[0].headers


def test_password_goes_to_the_token_server_alone(
    pair: Pair, open_repository: Open, user_home: Path
) -> None:
    log_in(user_home, pair.registry.host, auth=encode("me:p:w"))
    assert fetch(open_repository(pair.reference)) == IMAGE.manifest.data
    assert pair.giver.requests[0].headers["Authorization"] == f"Basic {encode('me:p:w')}"
    assert pair.asked()[0]["account"] == ["me"]
    sent = [request.headers.get("Authorization", "") for request in pair.registry.requests]
    assert sent == ["", "Bearer token-1"]


def test_many_threads_fetch_one_token(pair: Pair, open_repository: Open) -> None:
    repository = open_repository(pair.reference)
    threads = [threading.Thread(target=fetch, args=(repository,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pair.giver.requests) == 1


def test_token_is_renewed_before_it_ends(
    pair: Pair, open_repository: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    repository = open_repository(pair.reference)
    fetch(repository)
    authorizer = repository.server.authorizer
    monkeypatch.setattr(authorizer, "_clock", lambda: now[0])
    authorizer._renew_at = 1240.0
    now[0] = 1239.0
    fetch(repository)
    assert len(pair.giver.requests) == 1
    now[0] = 1241.0
    fetch(repository)
    assert len(pair.giver.requests) == 2
    assert authorizer._renew_at == 1241 + 240


def test_token_that_ended_early_is_replaced_once(pair: Pair, open_repository: Open) -> None:
    repository = open_repository(pair.reference)
    fetch(repository)
    pair.valid.clear()
    assert fetch(repository) == IMAGE.manifest.data
    assert len(pair.giver.requests) == 2


def test_endless_401_ends(pair: Pair, open_repository: Open) -> None:
    pair.settings["answer"] = {"token": "never-valid"}
    with pytest.raises(NotFound, match="pull access denied for ns/r") as caught:
        fetch(open_repository(pair.reference))
    assert f"pydock login {pair.registry.host}" in caught.value.hint
    assert len(pair.registry.requests) <= 3


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "TOKEN"},
        {"token": "TOKEN"},
        {"token": "TOKEN", "access_token": "other", "expires_in": 1},
        {"token": "TOKEN", "expires_in": None},
        {"token": "TOKEN", "expires_in": "soon"},
    ],
)
def test_answers_of_all_registries_are_understood(
    pair: Pair, open_repository: Open, answer: dict[str, Any]
) -> None:
    pair.settings["answer"] = answer
    repository = open_repository(pair.reference)
    assert fetch(repository) == IMAGE.manifest.data
    assert fetch(repository) == IMAGE.manifest.data
    assert len(pair.giver.requests) == 1  # even a second of life counts as a minute


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 7}',
        b'{"token": "a\\r\\nX: y"}',
        b"[" * 100_000,
        b'{"token": "' + b"x" * (2 << 20) + b'"}',
    ],
)
def test_answer_that_holds_no_token_is_told_without_its_words(
    pair: Pair, open_repository: Open, body: bytes
) -> None:
    pair.settings["body"] = body
    with pytest.raises((Unavailable, InvalidInput), match="token") as caught:
        fetch(open_repository(pair.reference))
    assert "html" not in caught.value.message


def test_scope_that_the_registry_names_is_asked_for(pair: Pair, open_repository: Open) -> None:
    pair.settings["scope"] = "repository:mapped/name:pull"
    fetch(open_repository(pair.reference))
    assert pair.asked()[0]["scope"] == ["repository:mapped/name:pull"]


def test_bare_401_is_looked_up_at_v2_without_its_placeholder(
    pair: Pair, open_repository: Open
) -> None:
    pair.settings.update(bare=True, scope="repository:user/image:pull")
    assert fetch(open_repository(pair.reference)) == IMAGE.manifest.data
    assert pair.asked()[0]["scope"] == [SCOPE]


def test_bearer_comes_before_basic(pair: Pair, open_repository: Open, user_home: Path) -> None:
    log_in(user_home, pair.registry.host, auth=encode("me:pw"))
    pair.settings["header"] = f'Basic realm="x", Bearer realm="{pair.giver.url}/token"'
    assert fetch(open_repository(pair.reference)) == IMAGE.manifest.data


def test_basic_is_sent_only_with_a_credential(
    pair: Pair, open_repository: Open, user_home: Path
) -> None:
    pair.settings["header"] = 'Basic realm="x"'
    with pytest.raises(NotFound, match="pull access denied"):
        fetch(open_repository(pair.reference))
    log_in(user_home, pair.registry.host, auth=encode("me:pw"))
    with pytest.raises(InvalidInput, match="wrong user name or password"):
        fetch(open_repository(pair.reference))
    assert [request.headers.get("Authorization") for request in pair.registry.requests] == [
        None,
        None,
        f"Basic {encode('me:pw')}",
    ]


def test_registry_token_is_used_as_it_is(
    pair: Pair, open_repository: Open, user_home: Path
) -> None:
    pair.valid.add("mine")
    log_in(user_home, pair.registry.host, registrytoken="mine")
    assert fetch(open_repository(pair.reference)) == IMAGE.manifest.data
    assert not pair.giver.requests


@pytest.mark.parametrize("refused", [None, 400, 401, 404, 405])
def test_identity_token_is_posted_and_else_sent_by_get(
    open_repository: Open, user_home: Path, refused: int | None
) -> None:
    bodies: list[str] = []

    def give(exchange: Exchange) -> bool:
        if exchange.command == "POST":
            bodies.append(exchange.rfile.read(int(exchange.headers["Content-Length"])).decode())
            if refused:
                exchange.reply(refused)
                return True
        exchange.reply(200, body=b'{"access_token": "t"}')
        return True

    def guard(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == "Bearer t":
            return False
        challenge = f'Bearer realm="{giver.url}/token",service="s"'
        exchange.reply(401, {"WWW-Authenticate": challenge})
        return True

    with FaultServer(give) as giver, FaultServer(guard) as registry:
        reference = images.serve(registry, "ns/r", "1", IMAGE)
        log_in(user_home, registry.host, auth=encode("u:"), identitytoken="identity")
        assert fetch(open_repository(reference)) == IMAGE.manifest.data
        assert parse_qs(bodies[0]) == {
            "grant_type": ["refresh_token"],
            "client_id": ["pydock"],
            "refresh_token": ["identity"],
            "service": ["s"],
            "scope": [SCOPE],
        }
        methods = [request.method for request in giver.requests]
        assert methods == (["POST", "GET"] if refused else ["POST"])


@pytest.mark.parametrize(
    ("status", "login", "kind"),
    [
        (401, True, InvalidInput),
        (403, True, InvalidInput),
        (401, False, NotFound),
        (403, False, NotFound),
        (404, True, Unavailable),
        (302, True, Unavailable),
    ],
)
def test_token_server_that_refuses_is_told(
    pair: Pair,
    open_repository: Open,
    user_home: Path,
    status: int,
    login: bool,
    kind: type[EngineError],
) -> None:
    if login:
        log_in(user_home, pair.registry.host, auth=encode("me:geheim"))
    pair.settings["status"] = status
    with pytest.raises(kind) as caught:
        fetch(open_repository(pair.reference))
    shown = f"{caught.value.message} {caught.value.hint}"
    assert "geheim" not in shown
    assert encode("me:geheim") not in shown
    assert "half-a-secret" not in shown


def test_busy_token_server_is_transient(pair: Pair, open_repository: Open) -> None:
    pair.settings["status"] = 503
    with pytest.raises(Transient, match="503"):
        fetch(open_repository(pair.reference))


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/token",
        "http://10.0.0.1/token",
        "ftp://h/token",
        "/relative",
        "http://me:pw@localhost/token",
    ],
)
def test_realm_where_only_we_can_go_is_refused(
    pair: Pair, open_repository: Open, user_home: Path, realm: str
) -> None:
    log_in(user_home, pair.registry.host, auth=encode("me:pw"))
    pair.settings["header"] = f'Bearer realm="{realm}"'
    with pytest.raises((Unavailable, InvalidInput)):
        fetch(open_repository(pair.reference))
    assert not pair.giver.requests


def test_unknown_scheme_is_told(pair: Pair, open_repository: Open) -> None:
    pair.settings["header"] = "Negotiate"
    with pytest.raises(Unavailable, match="unknown authorization"):
        fetch(open_repository(pair.reference))


def test_cancel_wakes_who_waits_for_a_token(pair: Pair, open_repository: Open) -> None:
    cancel = Cancel()

    def stall(exchange: Exchange) -> bool:
        threading.Timer(0.05, cancel.cancel).start()
        exchange.stall()
        return True

    pair.giver.script = stall
    with pytest.raises(EngineError, match="cancelled"):
        fetch(open_repository(pair.reference, cancel=cancel))


@pytest.mark.parametrize(
    ("asked", "wanted", "scopes"),
    [
        ("", ("repository:a:pull",), ["repository:a:pull"]),
        ("repository:a:pull", ("repository:a:pull",), ["repository:a:pull"]),
        # Ours when it covers theirs: one token for a whole push.
        ("repository:a:pull", ("repository:a:pull,push",), ["repository:a:pull,push"]),
        ("repository:a:push,pull", ("repository:a:pull,push",), ["repository:a:pull,push"]),
        # Theirs when it is more, or is called otherwise (a proxy).
        ("repository:a:pull,push", ("repository:a:pull",), ["repository:a:pull,push"]),
        ("repository:hub/a:pull", ("repository:a:pull",), ["repository:hub/a:pull"]),
        # What is read beside goes along, but not to who calls things otherwise.
        (
            "repository:a:pull",
            ("repository:a:pull,push", "repository:b:pull"),
            ["repository:a:pull,push", "repository:b:pull"],
        ),
        (
            "repository:x:pull",
            ("repository:a:pull,push", "repository:b:pull"),
            ["repository:x:pull"],
        ),
        ("registry:catalog:*", ("registry:catalog:*",), ["registry:catalog:*"]),
        ("repository:a:delete", ("repository:a:delete",), ["repository:a:delete"]),
        ("", (), []),
    ],
)
def test_scope_is_what_both_sides_mean(
    asked: str, wanted: tuple[str, ...], scopes: list[str]
) -> None:
    assert _join_scopes(asked, wanted) == scopes
