"""Lists in pages, over real sockets; and whatever may stand in a Link header."""

import json
from collections.abc import Callable
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, NotFound, Unavailable
from engine.registry import client
from engine.registry.client import Repository
from engine.registry.pages import parse_next
from engine.registry.retry import Transient
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image
from tests.support.registry import Registry

Open = Callable[..., Repository]
TAGS = [f"v{number}" for number in range(250)]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        (['</v2/r/tags/list?n=2&last=b>; rel="next"'], "/v2/r/tags/list?n=2&last=b"),
        (["<x>;rel=next"], "x"),
        (["<x>; REL=NEXT"], "x"),
        (['<x>; rel="prev next"'], "x"),
        (['<a>; rel="first", <b>; title="c, d"; rel="next"'], "b"),
        (['<a>; rel="first"', '<b>; rel="next"'], "b"),
        (["<https://h/v2/?a=1,2>; rel=next"], "https://h/v2/?a=1,2"),
        (["<x>"], None),
        (["<x>; rel=last"], None),
        (["x; rel=next"], None),
        (["<x; rel=next"], None),
        (["", "<>; rel=next"], ""),
    ],
)
def test_next_page_stands_in_the_link(headers: list[str], expected: str | None) -> None:
    assert parse_next(headers) == expected


LINK_TEXT = st.text(st.sampled_from('<>;,= "\\relnxtaREL\t/é'), max_size=60)


@given(st.lists(LINK_TEXT, max_size=3))
def test_any_link_is_read_without_harm(headers: list[str]) -> None:
    found = parse_next(headers)
    assert found is None or any(f"<{found}>" in header for header in headers)


@pytest.mark.long
@given(st.lists(LINK_TEXT, max_size=3))
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_very_many_links_are_read_without_harm(headers: list[str]) -> None:
    found = parse_next(headers)
    assert found is None or any(f"<{found}>" in header for header in headers)


def shelf(exchange: Exchange) -> bool:
    """Tags in pages of what is asked for, at most 100."""
    url = urlsplit(exchange.path)
    query = parse_qs(url.query)
    size = min(int(query["n"][0]), 100)
    start = TAGS.index(query["last"][0]) + 1 if "last" in query else 0
    page = TAGS[start : start + size]
    headers = {}
    if start + size < len(TAGS):
        headers["Link"] = f'<{url.path}?last={page[-1]}&n={size}>; rel="next"'
    exchange.reply(200, headers, json.dumps({"name": "r", "tags": page}).encode())
    return True


def test_all_tags_come_page_by_page(open_repository: Open) -> None:
    with FaultServer(shelf) as server:
        assert list(open_repository(f"{server.host}/r").tags()) == TAGS
        assert len(server.requests) == 3
        first = list(islice(open_repository(f"{server.host}/r").tags(), 100))
        assert (first, len(server.requests)) == (TAGS[:100], 4)  # no page more than is read


def test_tags_of_a_real_registry(
    open_repository: Open, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAGE", 2)
    image = make_image([{"a": b"1"}])
    for tag in TAGS[:7]:
        images.push(registry, "pages/r", tag, image)
    tags = list(open_repository(f"{registry.host}/pages/r").tags())
    assert sorted(tags) == sorted(TAGS[:7])
    with pytest.raises(NotFound, match=r"repository .*pages/none not found"):
        list(open_repository(f"{registry.host}/pages/none").tags())


@pytest.mark.parametrize("body", [b'{"tags": null}', b'{"name": "r"}', b'{"tags": []}'])
def test_repository_without_tags_has_none(open_repository: Open, body: bytes) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(200, body=body)
        return True

    with FaultServer(script) as server:
        assert list(open_repository(f"{server.host}/r").tags()) == []


def test_what_is_no_tag_is_left_out(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(200, body=b'{"tags": ["a", "bad tag", 7, "x\\n", null, "b"]}')
        return True

    with FaultServer(script) as server:
        assert list(open_repository(f"{server.host}/r").tags()) == ["a", "b"]


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("<{path}>; rel=next", "have no end"),
        ("<http://169.254.169.254/v2/r/tags/list>; rel=next", "on another server"),
        ("<http://localhost:1/v2/r/tags/list>; rel=next", "on another server"),
        ("<file:///etc/passwd>; rel=next", "expected http"),
    ],
)
def test_pages_that_lead_astray_are_refused(open_repository: Open, link: str, reason: str) -> None:
    def script(exchange: Exchange) -> bool:
        headers = {"Link": link.format(path=exchange.path)}
        exchange.reply(200, headers, b'{"tags": ["a"]}')
        return True

    with FaultServer(script) as server:
        with pytest.raises(EngineError, match=reason):
            list(open_repository(f"{server.host}/r").tags())
        assert len(server.requests) <= 2


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"tags": "a"}', b"[" * 100_000])
def test_page_that_cannot_be_read_is_told(open_repository: Open, body: bytes) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(200, body=body)
        return True

    with FaultServer(script) as server, pytest.raises(Unavailable, match="cannot be read"):
        list(open_repository(f"{server.host}/r").tags())


def test_busy_registry_is_transient(open_repository: Open) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(429, {"Retry-After": "4"})
        return True

    with FaultServer(script) as server, pytest.raises(Transient) as caught:
        list(open_repository(f"{server.host}/r").tags())
    assert caught.value.after_seconds == 4
