import base64
import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.registry.credentials import Credential, auth_files, find_credential
from engine.registry.timeouts import Timeouts


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def find(
    tmp_path: Path, document: Any, domain: str = "h:5000", path: str = "ns/repo"
) -> tuple[str, str] | None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    found = find_credential(domain, path, Timeouts(), (str(file),))
    return (found.user, found.password.reveal()) if found else None


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("h:5000", "h:5000"),
        ("https://h:5000", "h:5000"),
        ("https://h:5000/", "h:5000"),
        ("https://h:5000/v1/", "h:5000"),
        ("http://h:5000/v2", "h:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_keys_old_and_new_are_found(tmp_path: Path, key: str, domain: str) -> None:
    auths = {"auths": {key: {"auth": encode("me:p:ss")}}}
    assert find(tmp_path, auths, domain) == ("me", "p:ss")
    assert find(tmp_path, auths, "other") is None


def test_port_is_part_of_the_name(tmp_path: Path) -> None:
    assert find(tmp_path, {"auths": {"h": {"auth": encode("a:b")}}}) is None


def test_longest_key_wins(tmp_path: Path) -> None:
    auths = {
        key: {"auth": encode(f"{key}:x")} for key in ("h", "h/ns", "h/ns/repo", "h/ns/repo/more")
    }
    assert find(tmp_path, {"auths": auths}, "h") == ("h/ns/repo", "x")
    assert find(tmp_path, {"auths": auths}, "h", "ns/other") == ("h/ns", "x")
    assert find(tmp_path, {"auths": auths}, "h", "else") == ("h", "x")


def test_tokens_are_read(tmp_path: Path) -> None:
    file = tmp_path / "f"
    entry = {"auth": encode("<token>:"), "identitytoken": "i", "registrytoken": "r"}
    file.write_text(json.dumps({"auths": {"h": entry}}))
    found = find_credential("h", "r", Timeouts(), (str(file),))
    assert found is not None
    assert (found.identity_token.reveal(), found.registry_token.reveal()) == ("i", "r")


def test_username_and_password_may_stand_alone(tmp_path: Path) -> None:
    auths = {"auths": {"h": {"username": "u", "password": "p"}}}
    assert find(tmp_path, auths, "h") == ("u", "p")


@pytest.mark.parametrize(
    "document", [{}, {"auths": None}, {"auths": {"h": {}}}, {"auths": {"h": 1}}]
)
def test_nothing_stored_is_anonymous(tmp_path: Path, document: Any) -> None:
    assert find(tmp_path, document, "h") is None


def test_first_file_that_knows_wins(tmp_path: Path) -> None:
    files = []
    for name, host in (("a", "x"), ("b", "h"), ("c", "h")):
        path = tmp_path / name
        path.write_text(json.dumps({"auths": {host: {"auth": encode(f"{name}:p")}}}))
        files.append(str(path))
    found = find_credential("h", "r", Timeouts(), (str(tmp_path / "absent"), *files))
    assert found is not None
    assert found.user == "b"


def test_broken_file_is_named_without_its_words(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for text in (
        '{"auths": {"h": {"auth": "c2VjcmV0"',
        '{"auths": {"h": {"auth": "%secret%"}}}',
        "[]",
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=r"config\.json") as caught:
            find_credential("h", "r", Timeouts(), (str(file),))
        assert "secret" not in caught.value.message
        assert "c2VjcmV0" not in caught.value.message


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, user: str) -> None:
    helper = tmp_path / f"docker-credential-{name}"
    helper.write_text(
        "#!/bin/sh\nread -r server\n"
        'case "$server" in *known*|*docker*) '
        f'echo "{{\\"Username\\": \\"{user}\\", \\"Secret\\": \\"$server\\"}}";; '
        "*) echo credentials not found in native keychain; exit 1;; esac\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_helpers_and_stored_ones_have_an_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "one", "one")
    install(tmp_path, monkeypatch, "all", "all")
    stored = {"auths": {"known-b": {"auth": encode("stored:p")}, "known-c": {}}}
    document = stored | {"credHelpers": {"known-a": "one"}, "credsStore": "all"}
    assert find(tmp_path, document, "known-a") == ("one", "known-a")
    assert find(tmp_path, document, "known-b") == ("stored", "p")
    assert find(tmp_path, document, "known-c") == ("all", "known-c")
    assert find(tmp_path, document, "other") is None
    assert find(tmp_path, {"credsStore": "all"}, "docker.io") == (
        "all",
        "https://index.docker.io/v1/",
    )


def test_helpers_token_user_means_an_identity_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "one", "<token>")
    file = tmp_path / "f"
    file.write_text('{"credsStore": "one"}')
    found = find_credential("known", "r", Timeouts(), (str(file),))
    assert found is not None
    assert (found.user, found.identity_token.reveal()) == ("", "known")


def test_files_are_those_of_podman_and_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYDOCK_AUTH_FILE", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert auth_files() == (
        "/r/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
    )
    monkeypatch.setenv("PYDOCK_AUTH_FILE", "/a")
    monkeypatch.setenv("DOCKER_CONFIG", "/d")
    assert auth_files()[0] == "/a"
    assert auth_files()[-1] == "/d/config.json"
    assert not Credential().user
