"""Search by the first API, by the catalog, and where there is neither."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, InvalidInput, Unavailable, Unsupported
from engine.model.registry import SearchResult
from engine.registry import search as search_module
from engine.registry.hosts import Hosts
from engine.registry.search import search
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image
from tests.support.pulls import FAST
from tests.support.registry import Registry

Script = Callable[[Exchange], bool]


def look(etc: Path, term: str, limit: int = 25) -> list[SearchResult]:
    return search(term, limit, timeouts=FAST, hosts=Hosts(str(etc)))


def index(exchange: Exchange) -> bool:
    """Docker Hub's first API."""
    url = urlsplit(exchange.path)
    if url.path != "/v1/search":
        return False
    query = parse_qs(url.query)
    rows = [
        {"name": f"{query['q'][0]}{number}", "description": None, "star_count": number,
         "is_official": number == 1, "is_automated": False}
        for number in range(30)
    ]  # fmt: skip
    body = json.dumps({"num_results": 30, "results": rows[: int(query["n"][0])]}).encode()
    exchange.reply(200, {"Content-Type": "application/json"}, body)
    return True


def test_first_api_is_asked(etc: Path) -> None:
    with FaultServer(index) as server:
        found = look(etc, f"{server.host}/a&b", 3)
        assert found == [
            SearchResult(f"{server.host}/a&b{number}", "", number, number == 1)
            for number in range(3)
        ]
        assert len(server.requests) == 1


def test_docker_hub_is_meant_without_a_registry(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(index) as server:
        monkeypatch.setattr(search_module, "_HUB_INDEX", server.host)
        assert [row.name for row in look(etc, "web", 2)] == ["web0", "web1"]
        assert [row.name for row in look(etc, "library/web", 1)] == ["web0"]
        assert [row.name for row in look(etc, "me/web", 1)] == ["me/web0"]
        server.script = lambda exchange: False
        with pytest.raises(Unavailable, match=r"search at docker\.io: answers 404"):
            look(etc, "web")


def test_catalog_of_a_real_registry_is_looked_through(etc: Path, registry: Registry) -> None:
    image = make_image([{"a": b"1"}])
    for name in ("search/web", "search/other", "search/web-two"):
        images.push(registry, name, "1", image)
    found = [row.name for row in look(etc, f"{registry.host}/search/web")]
    assert found == [f"{registry.host}/search/web", f"{registry.host}/search/web-two"]
    assert len(look(etc, f"{registry.host}/search/", 1)) == 1
    assert look(etc, f"{registry.host}/nothing-like-it") == []


@pytest.mark.parametrize("status", [403, 404, 405])
def test_registry_with_neither_is_unsupported(etc: Path, status: int) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(404 if "/v1/" in exchange.path else status)
        return True

    with FaultServer(script) as server, pytest.raises(Unsupported) as caught:
        look(etc, f"{server.host}/web")
    assert caught.value.message == f"registry {server.host}: has no search and shows no catalog"
    assert "pydock pull" in caught.value.hint


def test_registry_that_wants_a_login_says_so(etc: Path) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return True

    with FaultServer(script) as server, pytest.raises(InvalidInput, match="wants a login") as seen:
        look(etc, f"{server.host}/web")
    assert seen.value.hint == f"pydock login {server.host}"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"results": 7}', b'{"results": [{}]}', b"<html>"])
def test_answer_that_is_none_leads_to_the_catalog(etc: Path, body: bytes) -> None:
    def script(exchange: Exchange) -> bool:
        if "/v1/" in exchange.path:
            exchange.reply(200, body=body)
        else:
            exchange.reply(200, body=b'{"repositories": ["web", 7, "other"]}')
        return True

    with FaultServer(script) as server:
        assert [row.name for row in look(etc, f"{server.host}/we")] == [f"{server.host}/web"]


@pytest.mark.parametrize("term", ["https://h/x", "a\nb", "x" * 301])
def test_term_that_is_none_is_refused(etc: Path, term: str) -> None:
    with pytest.raises(InvalidInput, match="search term"):
        look(etc, term)


def test_cancel_ends_it(etc: Path) -> None:
    cancel = Cancel()

    def script(exchange: Exchange) -> bool:
        cancel.cancel()
        exchange.stall()
        return True

    with FaultServer(script) as server, pytest.raises(Cancelled):
        search(f"{server.host}/x", 25, cancel=cancel, timeouts=FAST, hosts=Hosts(str(etc)))


def test_busy_registry_is_asked_again(etc: Path) -> None:
    def script(exchange: Exchange) -> bool:
        if len(server.requests) < 3:
            exchange.reply(503)
            return True
        return index(exchange)

    with FaultServer(script) as server:
        assert len(look(etc, f"{server.host}/x", 5)) == 5
