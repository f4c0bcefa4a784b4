"""Lists that come in pages: tags, catalog, referrers. The next page is where `Link` says.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from engine.errors import Unavailable
from engine.registry.origin import join_url, split_url
from engine.registry.refusal import raise_if_transient
from engine.registry.transport import Response

MAX_PAGE_BYTES = 4 << 20
MAX_PAGES = 1000
_PARAMETER = r'\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?'
_LINK = re.compile(rf"\s*<([^<>]*)>((?:{_PARAMETER})*)\s*(?:,|$)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


def parse_next(headers: Iterable[str]) -> str | None:
    """Where the next page is, as it stands in the Link headers; None at the end. What cannot be
    read ends the header it stands in. https://www.rfc-editor.org/rfc/rfc8288"""
    for header in headers:
        position = 0
        while match := _LINK.match(header, position):
            position = match.end()
            rel = _REL.search(match[2])
            if rel and "next" in (rel[1] or rel[2] or "").lower().split():
                return match[1]
            if position >= len(header):
                break
    return None


def follow_pages(
    ask: Callable[[str], Response],
    target: str,
    key: str,
    domain: str,
    fail: Callable[[Response, bytes], NoReturn],
) -> Iterator[Any]:
    """The entries of the list `key` on all pages, page by page; `fail` raises what an answer means
    that is no page. Raises Unavailable for pages that lead in circles or to another server."""
    seen: set[str] = set()
    while True:
        seen.add(target)
        with ask(target) as response:
            body = response.read(MAX_PAGE_BYTES, key)
            raise_if_transient(response, body, domain)
            if response.status != 200:
                fail(response, body)
            url = next_page(response, domain)
        yield from _entries(body, key, domain)
        if url is None:
            return
        if url in seen or len(seen) >= MAX_PAGES:
            raise Unavailable(f"registry {domain}: its pages of {key} have no end")
        target = url


def next_page(response: Response, domain: str) -> str | None:
    """The next page's URL. Raises Unavailable when it is another server's."""
    link = parse_next(response.headers.get_all("Link") or [])
    if link is None:
        return None
    url = join_url(response.url, link)
    if not split_url(url)[0].is_same(response.origin):
        raise Unavailable(f"registry {domain}: its next page is on another server")
    return url


def _entries(body: bytes, key: str, domain: str) -> list[Any]:
    try:
        document: Any = json.loads(body)
        found = document.get(key) or []  # null where there is nothing
    except (ValueError, AttributeError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise Unavailable(f"registry {domain}: its list of {key} cannot be read")
    return found
