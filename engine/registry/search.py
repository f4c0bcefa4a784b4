"""Search: by the first registry API, which Docker Hub still has, or through the catalog.

https://docs.docker.com/reference/api/engine/ (ImageSearch) · podman-search(1)
"""

from __future__ import annotations

import contextlib
import json
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import quote

from engine.engine import Cancel
from engine.errors import EngineError, InvalidInput, Unavailable, Unsupported
from engine.model.registry import SearchResult
from engine.oci.reference import DOCKER_HUB, parse_reference
from engine.registry.credentials import find_credential
from engine.registry.hosts import Hosts
from engine.registry.pages import MAX_PAGE_BYTES, follow_pages
from engine.registry.refusal import named, raise_if_transient
from engine.registry.retry import Retry
from engine.registry.server import Server
from engine.registry.source import Source
from engine.registry.timeouts import Timeouts
from engine.registry.transport import Response, Transport

_HUB_INDEX = "index.docker.io"
_MAX_NAMES = 100_000  # of a catalog that are looked through


def search(
    term: str,
    limit: int,
    *,
    cancel: Cancel | None = None,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> list[SearchResult]:
    """At most `limit` repositories whose name or description has `term`, in the registry's order;
    `HOST/term` asks another registry than Docker Hub. Raises Unsupported when it has no search
    and no catalog; what else a request raises."""
    domain, word = _split(term)
    timeouts, cancel, hosts = timeouts or Timeouts(), cancel or Cancel(), hosts or Hosts()
    source = Source(_HUB_INDEX, "") if domain == DOCKER_HUB else hosts.registry(domain)
    with contextlib.closing(Transport(hosts, timeouts, cancel)) as transport:

        def server(base: str, *scopes: str) -> Server:
            return Server(
                source._replace(base=base),
                transport,
                hosts,
                domain,
                lambda: find_credential(domain, "", timeouts),
                scopes,
            )

        retry = Retry(timeouts, cancel)
        found = retry.run(lambda: _search(server("/v1"), word, limit, domain))
        if found is None:
            catalog = server("/v2", "registry:catalog:*")
            found = retry.run(lambda: _look_through(catalog, word, limit, domain))
    prefix = "" if domain == DOCKER_HUB else f"{domain}/"
    return [result._replace(name=f"{prefix}{result.name}") for result in found]


def _split(term: str) -> tuple[str, str]:
    """The registry and what is looked for there."""
    first, slash, rest = term.partition("/")
    try:
        domain = parse_reference(f"{first}/x").domain if slash else DOCKER_HUB
    except EngineError:
        domain = DOCKER_HUB
    word = rest if slash and domain == first else term
    if "://" in term or not term.isprintable() or len(term) > 300:
        raise InvalidInput(f"search term {term[:80]!r}: a part of a name is expected")
    return domain, word.removeprefix("library/")


def _search(server: Server, word: str, limit: int, domain: str) -> list[SearchResult] | None:
    """None when the registry has no such thing."""
    with server.request("GET", f"search?q={quote(word, safe='')}&n={limit}", {}) as response:
        body = response.read(MAX_PAGE_BYTES, "search results")
        raise_if_transient(response, body, domain)
        if response.status != 200:
            if domain == DOCKER_HUB:
                raise Unavailable(f"search at {domain}: answers {named(response.status)}")
            return None
    try:
        document: Any = json.loads(body)
        rows = document["results"]
        return [_result(row) for row in rows[:limit]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if domain == DOCKER_HUB:
            raise Unavailable(f"search at {domain}: its answer cannot be read") from None
        return None


def _result(row: Any) -> SearchResult:
    stars = row.get("star_count")
    return SearchResult(
        name=str(row["name"]),
        description=str(row.get("description") or ""),
        stars=stars if isinstance(stars, int) else 0,
        is_official=row.get("is_official") is True,
    )


def _look_through(server: Server, word: str, limit: int, domain: str) -> list[SearchResult]:
    """Names in the catalog that have `word` in them, as podman searches."""
    found: list[SearchResult] = []

    def fail(response: Response, body: bytes) -> NoReturn:
        raise Unsupported(
            f"registry {domain}: has no search and shows no catalog",
            f"'pydock pull {domain}/NAME' works for who knows the name",
        )

    names = follow_pages(
        lambda target: server.request("GET", target, {}),
        "_catalog?n=100",
        "repositories",
        domain,
        fail,
    )
    for name in islice(names, _MAX_NAMES):
        if isinstance(name, str) and word in name:
            found.append(SearchResult(name, "", 0, False))
        if len(found) >= limit:
            break
    return found
