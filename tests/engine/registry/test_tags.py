"""The tags of a repository: over pages, through failures."""

import json

import pytest

from engine.errors import NotFound
from engine.oci.reference import parse_reference
from engine.registry.hosts import Hosts
from engine.registry.tags import find_tags
from tests.support.fault_server import Exchange, FaultServer
from tests.support.pulls import FAST


def find(server: FaultServer, name: str = "r") -> list[str]:
    return find_tags(parse_reference(f"{server.host}/{name}"), timeouts=FAST, hosts=Hosts("/none"))


def test_all_pages_are_read_and_each_tag_is_told_once() -> None:
    pages = {"": (["a", "b"], "b"), "b": (["b", "c"], "c"), "c": (["d", "not a tag"], "")}
    failed: list[str] = []

    def answer(exchange: Exchange) -> bool:
        if "/tags/list" not in exchange.path:
            return False
        last = exchange.path.partition("last=")[2]
        if last == "b" and not failed:
            failed.append(last)
            exchange.reply(503)
            return True
        tags, following = pages[last]
        link = {"Link": f'</v2/r/tags/list?last={following}>; rel="next"'} if following else {}
        exchange.reply(200, link, json.dumps({"name": "r", "tags": tags}).encode())
        return True

    with FaultServer(answer) as server:
        assert find(server) == ["a", "b", "c", "d"]
    assert failed


def test_what_is_not_there_is_not_found() -> None:
    with FaultServer() as server, pytest.raises(NotFound):
        find(server, "none")
