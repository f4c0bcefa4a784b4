"""HTTP over a small pool of connections: redirects, stalls, limits.

The standard library's http.client does the protocol; what it leaves out is here. Nothing is tried
again in this file, but for a pooled connection that turns out to be closed.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from itertools import chain
from types import TracebackType
from typing import Protocol

from engine.engine import Cancel
from engine.errors import InvalidInput, Unavailable
from engine.registry.dial import Dialer, PlainHTTP, plain_http
from engine.registry.hosts import Hosts
from engine.registry.origin import Origin, check_leads_outside, join_url, split_url
from engine.registry.proxy import find_proxy
from engine.registry.retry import Transient
from engine.registry.timeouts import Timeouts

USER_AGENT = "pydock/0.1"
MAX_REDIRECTS = 5
MAX_IDLE = 4  # connections per server
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_SAME_METHOD = frozenset((307, 308))  # a request with a body is sent again after these alone
# What another server than the one we asked may see of a request: nothing that could be a secret.
_ABROAD = frozenset(("accept", "content-type", "range", "user-agent"))
_SEND_BYTES = 64 << 10


class Body(Protocol):
    """What a request sends, read from its beginning each time that it is sent."""

    size_bytes: int

    def rewind(self) -> None: ...
    def read(self, size: int = ..., /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        ...


class Response:
    """An answer whose body is still to be read; close it, and the connection is used again."""

    def __init__(
        self,
        transport: Transport,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        raw: http.client.HTTPResponse,
        origin: Origin,
        url: str,
    ) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self.origin = origin
        self.url = url  # that answered, after redirects
        self._transport = transport
        self._connection = connection
        self._sock = sock
        self._raw = raw
        self._is_given_back = False
        self._window_start = time.monotonic()
        self._window_bytes = 0

    def read1(self, limit: int) -> bytes:
        """What has arrived, at most `limit` bytes; empty at the end. Raises Transient when the
        connection breaks, stalls or crawls, Cancelled."""
        try:
            data = self._raw.read1(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._transport.dialer.fail(self.origin, error)
        if not data and self._raw.length:
            self._transport.dialer.fail(self.origin, http.client.RemoteDisconnected(""))
        self._check_speed(len(data))
        return data

    def read(self, limit: int, what: str) -> bytes:
        """The whole body. Raises InvalidInput beyond `limit` bytes."""
        data = self.read_up_to(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"{what} from {self.origin.name}: larger than {limit} bytes")
        return data

    def read_up_to(self, limit: int) -> bytes:
        """The body, or its first `limit` bytes."""
        parts: list[bytes] = []
        while limit > 0 and (data := self.read1(min(limit, 64 << 10))):
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)

    def _check_speed(self, size: int) -> None:
        timeouts = self._transport.timeouts
        self._window_bytes += size
        elapsed = time.monotonic() - self._window_start
        if elapsed < timeouts.slow_seconds:
            return
        if self._window_bytes < timeouts.slow_bytes_per_second * elapsed:
            rate = int(self._window_bytes / elapsed)
            raise Transient(Unavailable(f"{self.origin.name}: only {rate} bytes a second"))
        self._window_start, self._window_bytes = time.monotonic(), 0

    def close(self) -> None:
        """Gives the connection back, if nothing is left in it; harmless when done before."""
        if self._is_given_back:  # somebody else may have it already
            return
        self._is_given_back = True
        whole = self._raw.isclosed() or self._raw.length == 0
        self._raw.close()
        self._transport.give_back(
            self.origin, self._connection, self._sock, reusable=whole and not self._raw.will_close
        )

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Transport:
    """Requests for one piece of work, from any of its threads; ends them all on cancel."""

    def __init__(self, hosts: Hosts, timeouts: Timeouts, cancel: Cancel) -> None:
        self.timeouts = timeouts
        self.dialer = Dialer(hosts, timeouts, cancel)
        self._cancel = cancel
        self._idle: dict[Origin, list[tuple[http.client.HTTPConnection, socket.socket]]] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Body | None = None,
    ) -> Response:
        """The answer, after at most five redirects (of other methods than GET and HEAD: 307 and
        308); any status. It may come before all of `body` was sent.

        Authorization and the like go to the first server only. Raises Transient, Unavailable,
        InvalidInput, Cancelled.
        """
        first, target = split_url(url)
        origin = first
        sent = {"User-Agent": USER_AGENT} | dict(headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._exchange(origin, method, target, sent, body, url)
            followed = _REDIRECTS if method in ("GET", "HEAD") else _SAME_METHOD
            if response.status not in followed:
                return response
            location = response.headers.get("Location", "")
            response.close()
            url = join_url(url, location)
            origin, target = split_url(url)
            check_leads_outside(first, origin, "redirect")
            if not origin.is_same(first):
                sent = {name: sent[name] for name in sent if name.lower() in _ABROAD}
        raise Unavailable(f"{first.name}: more than {MAX_REDIRECTS} redirects in a row")

    def speaks_tls(self, origin: Origin) -> bool:
        """True when a TLS connection stands (it is kept), False when the server speaks HTTP."""
        try:
            if self.dialer.answers_http(origin):
                return False
            connection, sock = self._open(origin)
        except PlainHTTP:
            return False
        self.give_back(origin, connection, sock, reusable=True)
        return True

    def listens(self, origin: Origin) -> bool:
        """True when a connection stands (it is kept)."""
        try:
            connection, sock = self._open(origin)
        except (Unavailable, Transient):
            return False
        self.give_back(origin, connection, sock, reusable=True)
        return True

    def close(self) -> None:
        """Closes what is idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection, sock in chain.from_iterable(idle.values()):
            self._drop(connection, sock)

    # The pool.

    def _exchange(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        url: str,
    ) -> Response:
        reuse = True
        while True:
            kept = self._take(origin) if reuse else None
            try:
                connection, sock = kept or self._open(origin)
            except PlainHTTP as error:
                raise plain_http(origin) from error
            proxy = find_proxy(*origin[:3])
            sent = dict(headers)
            if proxy and origin.scheme == "http":
                target_sent = f"http://{origin.name}{target}"
                if proxy.authorization:
                    sent["Proxy-Authorization"] = proxy.authorization
            else:
                target_sent = target
            try:
                sock.settimeout(self.timeouts.stall_seconds)
                raw = self._send(connection, method, target_sent, body, sent)
                sock.settimeout(self.timeouts.stall_seconds)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._drop(connection, sock)
                is_again = body is None or isinstance(body, bytes)  # else half of it may be there
                if kept and is_again and _is_stale(error) and not self._cancel.cancelled:
                    reuse = False  # it was closed while it lay in the pool
                    continue
                self.dialer.fail(origin, error)
            self.dialer.reached.add(origin)
            if raw.status == 407:
                self._drop(connection, sock)
                raise Unavailable(f"{origin.name}: the proxy wants a user name and password")
            return Response(self, connection, sock, raw, origin, url)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | Body | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        """The answer's head. A server that refuses a body may say so and hang up before it has
        read all of it: then what it said counts, not the broken pipe."""
        if body is not None and not isinstance(body, bytes):
            body.rewind()
            headers["Content-Length"] = str(body.size_bytes)
        broken: OSError | None = None
        try:
            connection.request(method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            if not body:
                raise
            broken = error
        timeouts = self.timeouts
        wait_seconds = timeouts.put_seconds if method == "PUT" else timeouts.headers_seconds
        connection.sock.settimeout(wait_seconds)
        if broken is None:
            return connection.getresponse()
        try:
            raw = http.client.HTTPResponse(connection.sock, method=method)
            raw.begin()
        except (OSError, http.client.HTTPException):
            raise broken from None
        raw.will_close = True  # the rest of the body was never sent
        return raw

    def _take(self, origin: Origin) -> tuple[http.client.HTTPConnection, socket.socket] | None:
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                if not idle:
                    return None
                connection, sock = idle.pop()
            if not _is_readable(sock):  # an idle connection that says something says goodbye
                return connection, sock
            self._drop(connection, sock)

    def give_back(
        self,
        origin: Origin,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        *,
        reusable: bool,
    ) -> None:
        with self._lock:
            idle = self._idle.setdefault(origin, [])
            if reusable and len(idle) < MAX_IDLE and not self._cancel.cancelled:
                idle.append((connection, sock))
                return
        self._drop(connection, sock)

    def _drop(self, connection: http.client.HTTPConnection, sock: socket.socket) -> None:
        connection.close()
        self.dialer.hang_up(sock)

    def _open(self, origin: Origin) -> tuple[http.client.HTTPConnection, socket.socket]:
        connection = http.client.HTTPConnection(origin.host, origin.port, blocksize=_SEND_BYTES)
        connection.auto_open = 0
        if origin.scheme == "https":
            connection.default_port = 443  # so that Host has no port then
        connection.sock = self.dialer.dial(origin)
        return connection, connection.sock


def _is_stale(error: Exception) -> bool:
    return isinstance(
        error,
        (
            http.client.RemoteDisconnected,
            ConnectionResetError,
            BrokenPipeError,
            ssl.SSLEOFError,
            ssl.SSLZeroReturnError,
        ),
    )


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # closed already
        return True
