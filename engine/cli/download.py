"""A file from a web server, for `import`: by urllib, with the proxies of the environment."""

from __future__ import annotations

import contextlib
import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from engine.errors import NotFound, Unavailable

_TIMEOUT_SECONDS = 30  # of silence


@contextlib.contextmanager
def fetch(url: str) -> Iterator[IO[bytes]]:
    """The body of `url`. Raises NotFound (404, 410), Unavailable; so does reading it."""
    try:
        response = urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        kind = NotFound if error.code in (404, 410) else Unavailable
        raise kind(f"{url}: {error.code} {error.reason}", "check the URL") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, getattr(error, "reason", error)) from error
    with response:
        yield io.BufferedReader(_Body(url, response), 1 << 18)


class _Body(io.RawIOBase):
    """The response without its descriptor: what TLS and buffers hold, poll(2) does not see."""

    def __init__(self, url: str, response: Any) -> None:
        self._url = url
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count: int = self._response.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(self._url, error) from error
        if not count and self._response.length:
            raise _failed(self._url, f"it ended {self._response.length} bytes too early")
        return count


def _failed(url: str, reason: object) -> Unavailable:
    said = getattr(reason, "strerror", None) or str(reason)
    return Unavailable(f"{url}: {said.lower()}", "check the URL and the network, then try again")
