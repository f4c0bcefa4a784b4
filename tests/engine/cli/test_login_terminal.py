"""`pydock login` as a person does it: a real terminal, the real engine, a real registry."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.registry import PASSWORD, USER, Registry
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

PYDOCK = [sys.executable, "-c", "import sys; from engine.cli.main import main; sys.exit(main())"]


@pytest.fixture
def config(roots: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker's config.json of a person of this test's own."""
    for name in ("PYDOCK_AUTH_FILE", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / ".docker/config.json"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    directory = tmp_path / "registry"
    directory.mkdir()
    with Registry(directory, password=True) as registry:
        yield registry


def test_name_is_asked_for_and_the_password_without_echo(config: Path, guarded: Registry) -> None:
    with Terminal([*PYDOCK, "login", guarded.host], columns=200) as terminal:
        terminal.until("Username:")
        terminal.type(f"{USER}\n")
        terminal.until("Password:")
        terminal.type(f"{PASSWORD}\n")
        terminal.until("Login Succeeded")
        assert terminal.wait() == 0
        shown = terminal.screen()
    assert PASSWORD not in shown
    assert USER in shown
    assert f"stored unencrypted in '{config}'" in shown
    assert config.exists()
    with Terminal([*PYDOCK, "login", guarded.host], columns=200) as terminal:
        terminal.until("Authenticating with existing credentials... [Username: alice]")
        terminal.until("Login Succeeded")
        assert terminal.wait() == 0


def test_docker_hub_is_introduced_and_a_name_is_needed(config: Path) -> None:
    with Terminal([*PYDOCK, "login"], columns=100) as terminal:
        terminal.until("Username:")
        terminal.until("Log in with your Docker ID")
        terminal.type(" \n")
        terminal.until("pydock: username is required")
        terminal.until("See 'pydock login --help'.")
        assert terminal.wait() == 1
    assert not config.exists()


def test_interrupt_at_the_password_gives_the_echo_back(config: Path, guarded: Registry) -> None:
    line = f"{' '.join(map(repr, PYDOCK[:1]))} -c '{PYDOCK[2]}' login -u me {guarded.host}"
    with Terminal(["sh", "-c", f"trap : INT; {line}; echo code $?; stty -a"]) as terminal:
        terminal.until("Password:")
        terminal.type("half\x03")
        terminal.until("code 130")
        terminal.until(" echo ")
        assert "half" not in terminal.screen()
    assert not config.exists()


def test_refusal_leaves_nothing_and_says_no_secret(config: Path, guarded: Registry) -> None:
    words = [*PYDOCK, "login", "-u", USER, "--password-stdin", guarded.host]
    done = subprocess.run(words, input="secret-1", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "incorrect user name or password" in done.stderr
    assert "secret-1" not in done.stderr
    assert not config.exists()
    done = subprocess.run(words, input="x" * 70_000, capture_output=True, text=True, check=False)
    assert "password on standard input: larger than 65536 bytes" in done.stderr


def test_a_login_opens_what_a_logout_closes(config: Path, guarded: Registry) -> None:
    reference = images.push(guarded, "private/r", "1", images.make_image([{"a": b"1"}]))

    def pydock(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PYDOCK, *words], input=typed, capture_output=True, text=True, check=False
        )

    refused = pydock("pull", "-q", reference)
    assert refused.returncode == 1
    assert f"hint: check the name, or pydock login {guarded.host}" in refused.stderr
    words = ("login", "-u", USER, "--password-stdin", guarded.host)
    assert pydock(*words, typed=f"{PASSWORD}\n").stdout == "Login Succeeded\n"
    assert pydock("pull", "-q", reference).stdout == f"{reference}\n"
    done = pydock("logout", guarded.host)
    assert done.stdout == f"Removing login credentials for {guarded.host}\n"
    assert pydock("pull", "-q", reference).returncode == 1
