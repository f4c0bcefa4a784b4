from pathlib import Path

import pytest

from engine.errors import Unavailable
from engine.registry.helper import ask_helper


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker-credential-test"


def install(helper: Path, script: str) -> None:
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


def test_helper_is_asked_by_verb_and_server(helper: Path) -> None:
    install(
        helper,
        'read -r server; printf \'{"ServerURL":"x","Username":"%s %s","Secret":"s:1"}\' '
        '"$1" "$server"',
    )
    assert ask_helper("test", "https://index.docker.io/v1/", 10) == (
        "get https://index.docker.io/v1/",
        "s:1",
    )


def test_helper_without_the_credential_is_no_failure(helper: Path) -> None:
    install(helper, "echo credentials not found in native keychain; exit 1")
    assert ask_helper("test", "h", 10) is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo secret-1; exit 3", "status 3"),
        ("echo secret-1", "cannot be read"),
        ("echo '[\"secret-1\"]'", "cannot be read"),
        ('echo \'{"Username": 1, "Secret": "secret-1"}\'', "cannot be read"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_failing_helper_is_named_without_its_words(helper: Path, script: str, reason: str) -> None:
    install(helper, script)
    with pytest.raises(Unavailable, match=reason) as caught:
        ask_helper("test", "h", 10)
    assert "secret-1" not in caught.value.message
    assert "docker-credential-test" in caught.value.message


def test_helper_that_hangs_is_killed(helper: Path) -> None:
    install(helper, "exec sleep 60")
    with pytest.raises(Unavailable, match=r"no answer in 0\.1 seconds"):
        ask_helper("test", "h", 0.1)


@pytest.mark.parametrize("name", ["absent", "../test", "a b", ""])
def test_absent_or_strange_helper_is_refused(helper: Path, name: str) -> None:
    install(helper, "exit 0")
    with pytest.raises(Unavailable, match="not found in PATH"):
        ask_helper(name, "h", 10)
