"""`login`, `logout`, `search`, over the double."""

import json

import pytest

from engine.errors import Unavailable
from engine.model.registry import LoggedIn, LoggedOut, SearchResult
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.double_registries import DoubleRegistries

HOST = "registry.example"
PASSWORD = DoubleRegistries.password_of("me")
WARNING = """
WARNING! Your credentials are stored unencrypted in '/root/.docker/config.json'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""


@pytest.fixture
def registries(double: Double) -> DoubleRegistries:
    assert isinstance(double.registries, DoubleRegistries)
    return double.registries


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_login_with_the_password_from_a_pipe(pydock: Pydock, ending: bytes) -> None:
    said = pydock("login", "-u", "me", "--password-stdin", HOST, stdin=PASSWORD.encode() + ending)
    assert (said.code, said.out, said.err) == (0, "Login Succeeded\n", WARNING)


def test_login_with_the_password_in_sight_is_warned_of(pydock: Pydock) -> None:
    said = pydock("login", "-u", "me", "-p", PASSWORD, HOST)
    assert (said.code, said.out) == (0, "Login Succeeded\n")
    assert said.err.startswith("WARNING! Using --password via the CLI is insecure. Use --passw")
    assert PASSWORD not in said.err


def test_wrong_password_is_told(pydock: Pydock, registries: DoubleRegistries) -> None:
    said = pydock("login", "-u", "me", "--password-stdin", HOST, stdin=b"secret-1")
    assert (said.code, said.out) == (1, "")
    assert said.err == f"pydock: registry {HOST}: incorrect user name or password\n"
    assert registries.users == {}


def test_login_again_tries_what_is_kept(pydock: Pydock, registries: DoubleRegistries) -> None:
    registries.users[HOST] = "me"
    said = pydock("login", HOST)
    assert said.code == 0
    assert said.lines == [
        "Authenticating with existing credentials... [Username: me]",
        "To login with a different account, run 'pydock logout' followed by 'pydock login'",
        "",
        "Login Succeeded",
    ]


def test_login_that_needs_a_person_says_so(
    pydock: Pydock, registries: DoubleRegistries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("login",), ("login", "-u", "me", HOST), ("login", "-p", "x", HOST)):
        said = pydock(*words)
        assert said.code == 1
        assert "cannot perform an interactive login from a non TTY device" in said.err
        assert "hint: pydock login -u USER --password-stdin" in said.err
    registries.users[HOST] = "me"

    def fail(*args: object, **more: object) -> None:
        raise Unavailable("registry down")

    monkeypatch.setattr(registries, "login", fail)
    assert "pydock: registry down" in pydock("login", HOST).err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-p", "x", "--password-stdin"), "--password and --password-stdin are mutually exclusive"),
        (("--password-stdin",), "must provide --username with --password-stdin"),
        (("a", "b"), "'pydock login' requires at most 1 argument"),
        (("-u", "me", "-p", "x", "short"), "registry 'short': not a host[:port]"),
    ],
)
def test_login_that_cannot_be_understood(
    pydock: Pydock, words: tuple[str, ...], reason: str
) -> None:
    said = pydock("login", *words)
    assert said.code == 1
    assert reason in said.err


def test_password_that_is_no_text_is_refused(pydock: Pydock) -> None:
    said = pydock("login", "-u", "me", "--password-stdin", HOST, stdin=b"\xff\xfe")
    assert (said.code, said.err) == (1, "pydock: what was typed is not UTF-8\n")


def test_where_else_a_login_lies_is_told(
    pydock: Pydock, registries: DoubleRegistries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        registries,
        "login",
        lambda *args, **more: LoggedIn(HOST, "me", "docker-credential-pass", True, "/run/a.json"),
    )
    said = pydock("login", "-u", "me", "-p", PASSWORD, HOST)
    assert said.err.splitlines()[1:] == [
        f"WARNING! /run/a.json has credentials for {HOST} too, and they win."
    ]
    monkeypatch.setattr(
        registries, "logout", lambda server: LoggedOut(HOST, True, ("/run/a.json",))
    )
    said = pydock("logout", HOST)
    assert said.err == f"WARNING! /run/a.json still has credentials for {HOST}.\n"


def test_logout_has_dockers_words(pydock: Pydock, registries: DoubleRegistries) -> None:
    registries.users = {HOST: "me", "docker.io": "me"}
    assert pydock("logout", HOST).out == f"Removing login credentials for {HOST}\n"
    assert pydock("logout", HOST).out == f"Not logged in to {HOST}\n"
    assert pydock("logout").out == "Removing login credentials for https://index.docker.io/v1/\n"
    assert registries.users == {}


@pytest.fixture
def found(registries: DoubleRegistries) -> None:
    long = "an image with a description that\nis much longer than a line has room for"
    registries.results = [
        SearchResult("someone/web", long, 3, False),
        SearchResult("web", "Official build", 12_000, True),
        SearchResult("else/web", "", 0, False),
    ]


@pytest.mark.usefixtures("found")
def test_search_has_dockers_columns(pydock: Pydock) -> None:
    assert pydock("search", "web").lines == [
        "NAME          DESCRIPTION                                     STARS     OFFICIAL",
        "web           Official build                                  12000     [OK]",
        "someone/web   an image with a description that is much lon…   3         ",
        "else/web                                                      0         ",
    ]
    assert "longer than a line has room for" in pydock("search", "--no-trunc", "web").out
    assert pydock("search", "--format", "{{.Name}} {{.StarCount}}", "web").lines[0] == "web 12000"
    row = json.loads(pydock("search", "--format", "json", "--limit", "2", "web").lines[0])
    assert row["IsOfficial"] == "[OK]"


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("is-official=true",), ["web"]),
        (("is-official=0",), ["someone/web", "else/web"]),
        (("stars=3",), ["web", "someone/web"]),
        (("stars=3", "is-official=false"), ["someone/web"]),
        (("is-automated=true",), []),
    ],
)
def test_search_is_filtered(pydock: Pydock, filters: tuple[str, ...], names: list[str]) -> None:
    words = [word for each in filters for word in ("--filter", each)]
    assert pydock("search", *words, "--format", "{{.Name}}", "web").lines == names


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--limit", "0", "x"), "limit 0 is outside the range of [1, 100]"),
        (("--limit", "101", "x"), "limit 101 is outside"),
        (("--filter", "x=1", "x"), "invalid filter 'x'"),
        (("--filter", "stars=many", "x"), "invalid filter 'stars=many'"),
        (("--filter", "is-official=maybe", "x"), "invalid filter 'is-official=maybe'"),
        ((), "'pydock search' requires 1 argument"),
    ],
)
def test_search_that_cannot_be_understood(
    pydock: Pydock, words: tuple[str, ...], reason: str
) -> None:
    said = pydock("search", *words)
    assert said.code == 1
    assert reason in said.err
