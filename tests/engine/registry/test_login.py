"""Logins at real and scripted registries; what is kept, where, and what is forgotten."""

import base64
import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.errors import EngineError, InvalidInput, Unavailable
from engine.model.registry import LoggedIn, LoggedOut
from engine.oci.reference import DOCKER_HUB
from engine.registry import keyring
from engine.registry.credentials import Credential, find_credential
from engine.registry.hosts import Hosts
from engine.registry.login import domain_of, log_in, log_out, user_of
from engine.registry.secret import Secret
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.pulls import FAST
from tests.support.registry import PASSWORD, USER, Registry, TokenServer
from tests.support.tls import Authority

HUB_KEY = "https://index.docker.io/v1/"
# A helper that keeps its one secret in a file beside itself.
HELPER = """#!/bin/sh
echo "$1" >> "$0.calls"
text=$(cat)
absent() { echo credentials not found in native keychain; exit 1; }
case $1 in
store) printf %s "$text" > "$0.json" ;;
get) grep -sqF "\\"ServerURL\\": \\"$text\\"" "$0.json" || absent; cat "$0.json" ;;
erase) rm "$0.json" 2>/dev/null || absent ;;
esac
"""


@pytest.fixture
def file(user_home: Path) -> Path:
    """docker's config.json."""
    (user_home / ".docker").mkdir()
    return user_home / ".docker/config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin/docker-credential-test"
    path.parent.mkdir()
    path.write_text(HELPER)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def enter(etc: Path, server: str, user: str = USER, password: str = PASSWORD) -> LoggedIn:
    return log_in(server, user, password, timeouts=FAST, hosts=Hosts(str(etc)))


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def guard(accepted: str = f"{USER}:{PASSWORD}") -> Callable[[Exchange], bool]:
    """A registry with a password."""

    def script(exchange: Exchange) -> bool:
        if exchange.headers["Authorization"] == f"Basic {encode(accepted)}":
            exchange.reply(200, body=b"{}")
        else:
            exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return True

    return script


@pytest.mark.parametrize(
    ("server", "domain"),
    [
        ("", DOCKER_HUB),
        ("docker.io", DOCKER_HUB),
        (HUB_KEY, DOCKER_HUB),
        ("registry-1.docker.io", DOCKER_HUB),
        ("r.example", "r.example"),
        ("https://r.example:5000/v2/", "r.example:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("localhost", "localhost"),
    ],
)
def test_server_is_a_host_or_a_url(server: str, domain: str) -> None:
    assert domain_of(server) == domain


@pytest.mark.parametrize("server", ["short", "a b", "h:99999", "https://", "me:pw@r.example", "\n"])
def test_server_that_no_reference_can_name_is_refused(server: str) -> None:
    with pytest.raises(InvalidInput, match=r"not a host\[:port\]") as caught:
        domain_of(server)
    assert "pw" not in caught.value.message


def test_login_with_a_password_is_kept_and_used(etc: Path, file: Path, tmp_path: Path) -> None:
    file.write_text('{"HttpHeaders": {"A": "1"}, "auths": {"other": {"auth": "eDp5"}}, "z": [1]}')
    file.chmod(0o644)
    with Registry(tmp_path, password=True) as registry:
        with pytest.raises(InvalidInput, match="incorrect user name or password") as caught:
            enter(etc, registry.host, password="wrong-secret")
        assert "wrong-secret" not in caught.value.message + caught.value.hint
        assert registry.host not in file.read_text()
        assert user_of(registry.host) is None
        done = enter(etc, registry.host)
        assert done == LoggedIn(registry.host, USER, str(file), False, "")
        assert user_of(registry.host) == USER
        # What is kept is tried when nothing else is given, and is not written again.
        before = file.stat().st_ino
        again = enter(etc, registry.host, "", "")
        assert again == LoggedIn(registry.host, USER, "", True, "")
        assert file.stat().st_ino == before
    document = json.loads(file.read_text())
    assert list(document) == ["HttpHeaders", "auths", "z"]
    assert document["auths"]["other"] == {"auth": "eDp5"}
    assert document["auths"][registry.host] == {"auth": encode(f"{USER}:{PASSWORD}")}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == [file.name]
    assert log_out(registry.host) == LoggedOut(registry.host, True, ())
    assert log_out(registry.host) == LoggedOut(registry.host, False, ())
    assert list(json.loads(file.read_text())["auths"]) == ["other"]


def test_login_with_tokens_over_tls(
    etc: Path, user_home: Path, tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.issue("login")
    with (
        TokenServer(authority, tls=certificate, anonymous=False) as giver,
        Registry(tmp_path, tokens=giver, tls=certificate) as registry,
    ):
        for host in (registry.host, giver.host):
            place = etc / "docker/certs.d" / host
            place.mkdir(parents=True)
            (place / "ca.crt").write_bytes(authority.certificate.read_bytes())
        with pytest.raises(InvalidInput, match="incorrect user name or password"):
            enter(etc, registry.host, password="wrong")
        assert enter(etc, registry.host).kept_in == f"{user_home}/.docker/config.json"
        assert stat.S_IMODE((user_home / ".docker").stat().st_mode) == 0o700
        asked = parse_qs(urlsplit(giver.requests[-1].path).query)
        assert asked == {
            "service": ["registry"], "account": [USER], "client_id": ["pydock"],
            "offline_token": ["true"],
        }  # fmt: skip


def test_identity_token_is_kept_in_place_of_the_password(etc: Path, file: Path) -> None:
    def script(exchange: Exchange) -> bool:
        if exchange.path.startswith("/token"):
            body = exchange.rfile.read(int(exchange.headers.get("Content-Length", 0))).decode()
            posted.append(body)
            exchange.reply(200, body=b'{"access_token": "t1", "refresh_token": "identity-1"}')
        elif exchange.headers["Authorization"] == "Bearer t1":
            exchange.reply(200)
        else:
            challenge = f'Bearer realm="{server.url}/token",service="s"'
            exchange.reply(401, {"WWW-Authenticate": challenge})
        return True

    posted: list[str] = []
    with FaultServer(script) as server:
        enter(etc, server.host)
        kept = json.loads(file.read_text())["auths"][server.host]
        assert kept == {"auth": encode(f"{USER}:"), "identitytoken": "identity-1"}
        assert PASSWORD not in file.read_text()
        assert enter(etc, server.host, "", "").user == USER
        assert parse_qs(posted[-1])["refresh_token"] == ["identity-1"]


@pytest.mark.parametrize("setting", ["credsStore", "credHelpers"])
def test_helper_keeps_it_when_one_is_named(
    etc: Path, file: Path, helper: Path, setting: str
) -> None:
    with FaultServer(guard()) as server:
        named = "test" if setting == "credsStore" else {server.host: "test"}
        old = {server.host: {"auth": encode("old:plain")}}
        file.write_text(json.dumps({setting: named, "auths": old}))
        done = enter(etc, server.host)
        assert done[2:] == ("docker-credential-test", True, "")
        assert json.loads(file.read_text())["auths"] == {server.host: {}}
        found = find_credential(server.host, "", FAST)
        assert found is not None
        assert (found.user, found.password.reveal()) == (USER, PASSWORD)
        assert log_out(server.host).was_logged_in
        assert not helper.with_suffix(".json").exists()
        assert not log_out(server.host).was_logged_in
    assert "store" in helper.with_suffix(".calls").read_text().split()


def test_helper_keeps_identity_tokens_under_their_own_name(file: Path, helper: Path) -> None:
    file.write_text('{"credsStore": "test"}')
    keyring.keep("r.example", Credential(USER, identity_token=Secret("identity")), FAST)
    kept = json.loads(helper.with_suffix(".json").read_text())
    assert kept == {"ServerURL": "r.example", "Username": "<token>", "Secret": "identity"}


@pytest.mark.parametrize("script", ["exit 3", "echo secret-1; exit 1", None])
def test_helper_that_fails_is_told_and_nothing_is_written(
    etc: Path, file: Path, helper: Path, script: str | None
) -> None:
    if script is None:
        helper.unlink()
    else:
        helper.write_text(f"#!/bin/sh\n{script}\n")
    before = '{"credsStore": "test"}'
    file.write_text(before)
    with FaultServer(guard()) as server, pytest.raises(Unavailable) as caught:
        enter(etc, server.host)
    assert "docker-credential-test" in caught.value.message
    assert "secret-1" not in caught.value.message
    assert caught.value.hint
    assert file.read_text() == before


def test_docker_hub_has_dockers_key_and_loses_all_of_them(file: Path) -> None:
    hub = Credential(USER, Secret(PASSWORD))
    file.write_text('{"auths": {"docker.io": {"auth": "eDp5"}}}')
    keyring.keep(DOCKER_HUB, hub, FAST)
    assert list(json.loads(file.read_text())["auths"]) == [HUB_KEY]
    file.write_text(json.dumps({"auths": {"index.docker.io": {"auth": "eDp5"}, HUB_KEY: {}}}))
    assert log_out("") == LoggedOut(DOCKER_HUB, True, ())
    assert json.loads(file.read_text()) == {"auths": {}}


def test_old_spellings_of_a_host_are_forgotten_too(file: Path) -> None:
    keys = ("r.example", "https://r.example/v1/", "http://r.example", "r.example/ns", "r.exam")
    file.write_text(json.dumps({"auths": {key: {"auth": "eDp5"} for key in keys}}))
    assert log_out("https://r.example").was_logged_in
    assert list(json.loads(file.read_text())["auths"]) == ["r.example/ns", "r.exam"]


def test_other_files_that_win_or_remain_are_named(etc: Path, user_home: Path, file: Path) -> None:
    other = user_home / "containers/auth.json"
    other.parent.mkdir()
    with FaultServer(guard()) as server:
        other.write_text(json.dumps({"auths": {server.host: {"auth": encode("x:y")}}}))
        assert enter(etc, server.host).hidden_by == str(other)
        assert log_out(server.host) == LoggedOut(server.host, True, (str(other),))


def test_file_that_the_environment_names_is_used(
    etc: Path, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "deep/auth.json"
    monkeypatch.setenv("PYDOCK_AUTH_FILE", str(own))
    with FaultServer(guard()) as server:
        assert enter(etc, server.host)[2:] == (str(own), False, "")
    assert not file.exists()


def test_link_stays_a_link(tmp_path: Path, file: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text("{}")
    file.symlink_to(target)
    keyring.keep("r.example", Credential("me", Secret("pw")), FAST)
    assert file.is_symlink()
    assert "r.example" in json.loads(target.read_text())["auths"]


def test_many_logins_at_once_keep_all(file: Path) -> None:
    def keep(number: int) -> None:
        keyring.keep(f"r{number}.example", Credential("me", Secret("pw")), FAST)

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(file.read_text())["auths"]) == 12
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_file_that_cannot_be_read_is_left_alone(etc: Path, file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        keyring.keep("r.example", Credential("me", Secret("pw")), FAST)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        log_out("r.example")
    assert file.read_text() == text


def test_directory_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "plain/docker"))
    with pytest.raises(Unavailable, match=r"credentials not saved: .*not a directory") as caught:
        keyring.keep("r.example", Credential("me", Secret("secret-1")), FAST)
    assert "secret-1" not in caught.value.message


@pytest.mark.root
def test_disk_without_room_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("DOCKER_CONFIG", str(disk))
        file = disk / "config.json"
        before = json.dumps({"HttpHeaders": {"A": "x" * 30_000}})
        file.write_text(before)
        (disk / "ballast").write_bytes(bytes(24 << 10))
        with pytest.raises(Unavailable, match=r"credentials not saved: .*no space left") as caught:
            keyring.keep("r.example", Credential("me", Secret("secret-1")), FAST)
        assert "secret-1" not in caught.value.message
        assert file.read_text() == before
        assert sorted(os.listdir(disk)) == ["ballast", "config.json"]
    finally:
        subprocess.run(["umount", disk], check=True)


def answer(status: int, headers: dict[str, str], body: bytes = b"") -> Callable[[Exchange], bool]:
    def script(exchange: Exchange) -> bool:
        exchange.reply(status, headers, body)
        return True

    return script


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        (answer(404, {}), Unavailable, "is not a registry: /v2/ answers 404"),
        (answer(200, {"Content-Type": "text/html"}), Unavailable, "with a web page"),
        (answer(403, {}), InvalidInput, "incorrect user name or password"),
        (answer(401, {}), Unavailable, "unknown authorization"),
        (answer(401, {"WWW-Authenticate": "Negotiate"}), Unavailable, "unknown authorization"),
        (answer(503, {}), Unavailable, "503 Service Unavailable, 6 times"),
        (answer(429, {"Retry-After": "900"}), Unavailable, "too many requests, try again in 900"),
    ],
)
def test_registry_that_does_not_accept_it_is_told(
    etc: Path, file: Path, script: Any, kind: type[EngineError], reason: str
) -> None:
    with FaultServer(script) as server, pytest.raises(kind, match=reason) as caught:
        enter(etc, server.host, password="secret-1")
    assert "secret-1" not in caught.value.message + caught.value.hint
    assert not file.exists()


@pytest.mark.parametrize(
    ("user", "password"),
    [("", "pw"), ("me", ""), ("a:b", "pw"), ("a\nb", "pw"), ("me", "x" * 20_000)],
)
def test_credential_that_cannot_be_one_is_refused_unsent(
    etc: Path, user: str, password: str
) -> None:
    with FaultServer(guard()) as server:
        with pytest.raises(InvalidInput):
            enter(etc, server.host, user, password)
        assert server.requests == []


def test_nobody_who_is_to_be_tried_is_told(etc: Path) -> None:
    with pytest.raises(InvalidInput, match=r"not logged in to r\.example"):
        enter(etc, "r.example", "", "")


def test_open_registry_takes_anyone(etc: Path, file: Path) -> None:
    with FaultServer(answer(200, {}, b"{}")) as server:
        assert enter(etc, server.host).kept_in == str(file)


def test_what_podmans_settings_say_of_a_registry_holds_for_its_login(
    etc: Path, file: Path, authority: Authority
) -> None:
    with FaultServer(guard(), tls=authority.issue("insecure")) as server:
        with pytest.raises(Unavailable, match="unknown authority"):
            enter(etc, server.host)
        (etc / "containers").mkdir()
        conf = etc / "containers/registries.conf"
        conf.write_text(f"[[registry]]\nlocation = '{server.host}'\ninsecure = true\n")
        assert enter(etc, server.host).user == USER
        conf.write_text(f"[[registry]]\nprefix = '{server.host}'\nlocation = 'moved.example'\n")
        with pytest.raises(Unavailable, match="unknown authority"):
            enter(etc, server.host)
        conf.write_text(f"[[registry]]\nlocation = '{server.host}'\nblocked = true\n")
        with pytest.raises(Unavailable, match="is blocked by"):
            enter(etc, server.host)


# With other people's tools.


def skopeo(*words: str, typed: str = "") -> str:
    done = subprocess.run(
        ["skopeo", *words], input=typed, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_skopeo_is_let_in_by_our_login_and_we_by_its(etc: Path, file: Path, tmp_path: Path) -> None:
    with Registry(tmp_path, password=True) as registry:
        reference = images.push(registry, "ns/r", "1", images.make_image([{"a": b"1"}]))
        enter(etc, registry.host)
        inspect = ("inspect", "--tls-verify=false", f"docker://{reference}")
        assert json.loads(skopeo(*inspect))["Name"] == f"{registry.host}/ns/r"
        log_out(registry.host)
        with pytest.raises(subprocess.CalledProcessError):
            skopeo(*inspect)
        words = ("login", "--tls-verify=false", "-u", USER, "--password-stdin", registry.host)
        for words_more in ((), ("--authfile", str(file))):
            skopeo(*words, *words_more, typed=PASSWORD)
            assert user_of(registry.host) == USER
            assert enter(etc, registry.host, "", "").user == USER
            skopeo("logout", *words_more, registry.host)
            assert user_of(registry.host) is None
