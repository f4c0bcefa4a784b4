"""A client's home without credentials, and its parts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Cancel
from engine.home import open_home
from engine.oci.reference import parse_reference
from engine.registry.client import Repository
from engine.registry.hosts import Hosts
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support.fault_server import FaultServer
from tests.support.pulls import FAST, Store
from tests.support.tls import Authority

Open = Callable[..., Repository]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Stands for /etc."""
    path = tmp_path / "etc"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without credentials, settings or proxies."""
    for name in ("PYDOCK_AUTH_FILE", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    return home


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def open_repository(etc: Path) -> Iterator[Open]:
    """`open_repository(reference)`: a client's end, closed after the test."""
    opened: list[Repository] = []

    def open_one(
        reference: str,
        *,
        cancel: Cancel | None = None,
        timeouts: Timeouts = FAST,
        **more: Any,
    ) -> Repository:
        repository = Repository(
            parse_reference(reference), Hosts(str(etc)), timeouts, cancel or Cancel(), **more
        )
        opened.append(repository)
        return repository

    yield open_one
    for repository in opened:
        repository.close()


@pytest.fixture
def store(roots: tuple[str, str], etc: Path) -> Iterator[Store]:
    home = open_home(*roots)
    database = Database(home)
    content = Content(home, database)
    yield Store(home, database, content, ImageStore(database, content), [], etc)
    database.close()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """An honest server that keeps what it was asked."""
    with FaultServer() as server:
        yield server
