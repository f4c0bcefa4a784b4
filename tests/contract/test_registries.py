"""What every engine says of logins and of what registries have."""

import pytest

from engine.engine import Engine
from engine.errors import InvalidInput
from tests.contract.conftest import Remote
from tests.support.double import Double


@pytest.fixture(autouse=True)
def home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person without credentials."""
    for name in ("PYDOCK_AUTH_FILE", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_nobody_is_logged_in_at_first(engine: Engine) -> None:
    for server in ("", "localhost:5000", "https://registry.example/v2/"):
        assert engine.registries.user(server) is None
        assert not engine.registries.logout(server).was_logged_in
    assert engine.registries.logout().server == "docker.io"
    with pytest.raises(InvalidInput, match=r"not logged in to registry\.example"):
        engine.registries.login("registry.example")


@pytest.mark.parametrize("server", ["short", "a b", "https://"])
def test_server_that_no_reference_can_name_is_refused(engine: Engine, server: str) -> None:
    for call in (engine.registries.user, engine.registries.login, engine.registries.logout):
        with pytest.raises(InvalidInput):
            call(server)


@pytest.mark.parametrize(("user", "password"), [("me", ""), ("", "secret")])
def test_half_a_credential_is_refused(engine: Engine, user: str, password: str) -> None:
    with pytest.raises(InvalidInput, match="required"):
        engine.registries.login("registry.example", user=user, password=password)


def test_login_opens_and_logout_closes(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.support.registry import PASSWORD, USER, Registry

    if isinstance(engine, Double):
        enter(engine, "localhost:5000", USER, engine.registries.password_of(USER))
        return
    with Registry(tmp_path_factory.mktemp("guarded"), password=True) as registry:
        enter(engine, registry.host, USER, PASSWORD)


def enter(engine: Engine, server: str, user: str, password: str) -> None:
    with pytest.raises(InvalidInput, match="incorrect user name or password"):
        engine.registries.login(server, user=user, password="wrong")
    assert engine.registries.user(server) is None
    done = engine.registries.login(server, user=user, password=password)
    assert done[:2] == (server, user)
    assert done.kept_in.endswith("/.docker/config.json")
    assert not done.is_encrypted
    assert engine.registries.user(f"https://{server}/") == user
    assert engine.registries.login(server)[:3] == (server, user, "")
    assert engine.registries.logout(server) == (server, True, ())
    assert engine.registries.user(server) is None


def test_search_finds_what_a_registry_has(engine: Engine, remote: Remote) -> None:
    host = remote("found/web:1").partition("/")[0]
    remote("found/web-two:1")
    names = [row.name for row in engine.registries.search(f"{host}/found/we")]
    assert sorted(names) == [f"{host}/found/web", f"{host}/found/web-two"]
    assert len(engine.registries.search(f"{host}/found/we", limit=1)) == 1
    assert list(engine.registries.search(f"{host}/nothing-like-it")) == []


def test_settings_of_registries_are_shown(engine: Engine) -> None:
    mirrors, insecure = engine.registries.settings()
    assert all(len(each) == 2 for each in mirrors)
    assert all(isinstance(each, str) for each in insecure)
