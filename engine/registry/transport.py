"""HTTP over a small pool of connections: TLS, proxies, redirects, stalls, cancel.

The standard library's http.client does the protocol; what it leaves out is here. Nothing is tried
again in this file, but for a pooled connection that turns out to be closed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from itertools import chain, zip_longest
from types import TracebackType
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urljoin, urlsplit

from engine.engine import Cancel
from engine.errors import Cancelled, EngineError, InvalidInput, Unavailable
from engine.registry.hosts import Hosts
from engine.registry.proxy import Proxy, find_proxy, is_loopback
from engine.registry.retry import Transient
from engine.registry.secret import quote_foreign
from engine.registry.timeouts import Timeouts

USER_AGENT = "pydock/0.1"
MAX_REDIRECTS = 5
MAX_IDLE = 4  # connections per server
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NEXT_ADDRESS_SECONDS = 0.25  # https://www.rfc-editor.org/rfc/rfc8305
_TICK_SECONDS = 0.1  # how often a wait that nobody can interrupt looks for cancel
# What OpenSSL says of an answer that is not TLS.
_NOT_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
)


class Origin(NamedTuple):
    """A server. `name` is `host[:port]` as it was written, the key of settings and certificates."""

    scheme: str
    host: str
    port: int
    name: str

    def is_same(self, other: Origin) -> bool:
        """True when credentials for one may go to the other."""
        return self[:3] == other[:3]


class PlainHTTP(Exception):
    """A server that should speak TLS speaks HTTP."""


def split_url(url: str) -> tuple[Origin, str]:
    """The server and the request target of an http(s) URL. Raises InvalidInput."""
    shown = quote_foreign(url.partition("?")[0], 200)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(f"URL {shown}: characters that have no place in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"URL {shown}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"URL {shown}: expected http or https")
    if "@" in parts.netloc:
        raise InvalidInput("URL with a user name or password inside")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return Origin(parts.scheme, parts.hostname, port, parts.netloc.lower()), target


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise InvalidInput(f"URL {quote_foreign(location, 200)}: {error}") from error


def is_private_address(host: str) -> bool:
    """True for an address (not a name) that the outside cannot mean: private, link-local …"""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host.lower() == "localhost"


class Response:
    """An answer whose body is still to be read; close it, and the connection is used again."""

    def __init__(
        self,
        transport: Transport,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        raw: http.client.HTTPResponse,
        origin: Origin,
    ) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self.origin = origin
        self._transport = transport
        self._connection = connection
        self._sock = sock
        self._raw = raw
        self._window_start = time.monotonic()
        self._window_bytes = 0

    def read1(self, limit: int) -> bytes:
        """What has arrived, at most `limit` bytes; empty at the end. Raises Transient when the
        connection breaks, stalls or crawls, Cancelled."""
        try:
            data = self._raw.read1(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._transport.fail(self.origin, error)
        if not data and self._raw.length:
            self._transport.fail(self.origin, http.client.RemoteDisconnected(""))
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
        """Gives the connection back, if nothing is left in it."""
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
        self.hosts = hosts
        self.timeouts = timeouts
        self._cancel = cancel
        self._idle: dict[Origin, list[tuple[http.client.HTTPConnection, socket.socket]]] = {}
        self._sockets: set[socket.socket] = set()
        self._reached: set[Origin] = set()
        self._lock = threading.Lock()
        cancel.on_cancel(self._abort)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], *, body: bytes | None = None
    ) -> Response:
        """The answer, after at most five redirects of a GET or HEAD; any status.

        Authorization goes to the first server only. Raises Transient, Unavailable, InvalidInput,
        Cancelled.
        """
        first, target = split_url(url)
        origin = first
        sent = {"User-Agent": USER_AGENT} | dict(headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._exchange(origin, method, target, sent, body)
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return response
            location = response.headers.get("Location", "")
            response.close()
            url = _join(url, location)
            origin, target = split_url(url)
            self.check_leads_outside(first, origin, "redirect")
            if not origin.is_same(first):
                sent.pop("Authorization", None)
        raise Unavailable(f"{first.name}: more than {MAX_REDIRECTS} redirects in a row")

    def check_leads_outside(self, first: Origin, other: Origin, what: str) -> None:
        """Nothing, when `first` may send us to `other`. Raises Unavailable: a server must not make
        us talk plain text, or to what only this machine can reach."""
        if other.is_same(first):
            return
        if first.scheme == "https" and other.scheme != "https":
            raise Unavailable(f"{first.name}: {what} from https to http refused")
        if not is_private_address(other.host):
            return
        if other.host == first.host or (is_loopback(first.host) and is_loopback(other.host)):
            return
        raise Unavailable(f"{first.name}: {what} to the private address {other.host} refused")

    def speaks_tls(self, origin: Origin) -> bool:
        """True when a TLS connection stands (it is kept), False when the server speaks HTTP."""
        try:
            connection, sock = self._open(origin)
        except PlainHTTP:
            return False
        self.give_back(origin, connection, sock, reusable=True)
        return True

    def close(self) -> None:
        """Closes what is idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection, sock in chain.from_iterable(idle.values()):
            self._drop(connection, sock)

    def fail(self, origin: Origin, error: Exception) -> NoReturn:
        """Raises what a broken exchange means."""
        if self._cancel.cancelled:
            raise Cancelled("cancelled") from error
        text = _explain(error)
        failure = Unavailable(f"{origin.name}: {text}")
        if isinstance(error, (OSError, http.client.IncompleteRead)):  # RemoteDisconnected is one
            raise Transient(failure) from error
        raise failure from error

    # The pool.

    def _exchange(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Response:
        reuse = True
        while True:
            kept = self._take(origin) if reuse else None
            try:
                connection, sock = kept or self._open(origin)
            except PlainHTTP as error:
                raise _plain_http(origin) from error
            proxy = find_proxy(*origin[:3])
            sent = dict(headers)
            if proxy and origin.scheme == "http":
                target_sent = f"http://{origin.name}{target}"
                if proxy.authorization:
                    sent["Proxy-Authorization"] = proxy.authorization
            else:
                target_sent = target
            try:
                sock.settimeout(self.timeouts.headers_seconds)
                connection.request(method, target_sent, body, sent)
                raw = connection.getresponse()
                sock.settimeout(self.timeouts.stall_seconds)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._drop(connection, sock)
                if kept and _is_stale(error) and not self._cancel.cancelled:
                    reuse = False  # it was closed while it lay in the pool
                    continue
                self.fail(origin, error)
            self._reached.add(origin)
            if raw.status == 407:
                self._drop(connection, sock)
                raise Unavailable(f"{origin.name}: the proxy wants a user name and password")
            return Response(self, connection, sock, raw, origin)

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
        with self._lock:
            self._sockets.discard(sock)
        connection.close()
        sock.close()

    def _track(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.add(sock)
        if self._cancel.cancelled:
            self._abort()

    def _abort(self) -> None:
        """Wakes every thread that waits for a server."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would pull the TLS state from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # Opening.

    def _open(self, origin: Origin) -> tuple[http.client.HTTPConnection, socket.socket]:
        proxy = find_proxy(*origin[:3])
        connection = http.client.HTTPConnection(origin.host, origin.port)
        connection.auto_open = 0
        sock = self._connect(origin, proxy)
        try:
            if origin.scheme == "https":
                connection.default_port = 443  # so that Host has no port then
                if proxy:
                    self._tunnel(sock, origin, proxy)
                sock = self._start_tls(sock, origin)
        except BaseException:
            with self._lock:
                self._sockets.discard(sock)
            sock.close()
            raise
        connection.sock = sock
        return connection, sock

    def _connect(self, origin: Origin, proxy: Proxy | None) -> socket.socket:
        """A connection to the first address that answers; each next one gets its chance a little
        later, so a dead IPv6 costs a quarter of a second."""
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        deadline = time.monotonic() + self.timeouts.connect_seconds
        waiting = self._resolve(origin, host, port, deadline)
        trying: dict[int, socket.socket] = {}
        poll = select.poll()
        error: OSError = TimeoutError()
        next_start = 0.0
        try:
            while time.monotonic() < deadline and (waiting or trying):
                if self._cancel.cancelled:
                    raise Cancelled("cancelled")
                if waiting and (not trying or time.monotonic() >= next_start):
                    family, address = waiting.pop(0)
                    next_start = time.monotonic() + _NEXT_ADDRESS_SECONDS
                    try:
                        sock = socket.socket(family, socket.SOCK_STREAM)
                        trying[sock.fileno()] = sock
                        sock.setblocking(False)
                        sock.connect_ex(address)
                        poll.register(sock, select.POLLOUT)
                    except OSError as failure:
                        error = failure
                for descriptor, _ in poll.poll(_TICK_SECONDS * 1000):
                    poll.unregister(descriptor)
                    sock = trying.pop(descriptor)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        sock.settimeout(self.timeouts.connect_seconds)
                        self._track(sock)
                        return sock
                    error = OSError(number, _strerror(number))
                    sock.close()
        finally:
            for sock in trying.values():
                sock.close()
        self._fail_to_connect(origin, proxy, error)

    def _resolve(
        self, origin: Origin, host: str, port: int, deadline: float
    ) -> list[tuple[int, Any]]:
        """Families and addresses, the families in turns. In a thread: it cannot be interrupted."""
        found: list[Any] = []

        def look_up() -> None:
            try:
                found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                found[:] = [error]

        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_TICK_SECONDS)
            if self._cancel.cancelled:
                raise Cancelled("cancelled")
            if time.monotonic() > deadline:
                raise Transient(Unavailable(f"{origin.name}: no answer from the name server"))
        if isinstance(found[0], Exception):
            self._fail_to_resolve(origin, host, found[0])
        addresses = [(family, address) for family, _, _, _, address in found]
        preferred = [each for each in addresses if each[0] == addresses[0][0]]
        others = [each for each in addresses if each[0] != addresses[0][0]]
        return [each for pair in zip_longest(preferred, others) for each in pair if each]

    def _fail_to_resolve(self, origin: Origin, host: str, error: Exception) -> NoReturn:
        shown = "" if host == origin.host else f" of the proxy {host}"
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            failure = Unavailable(
                f"{origin.name}: temporary failure in looking up the name{shown}",
                "check this machine's network and /etc/resolv.conf",
            )
            if origin in self._reached:
                raise Transient(failure) from error
            raise failure from error
        raise Unavailable(
            f"{origin.name}: no such host{shown}", "check the registry's name"
        ) from error

    def _fail_to_connect(self, origin: Origin, proxy: Proxy | None, error: OSError) -> NoReturn:
        through = f" (through the proxy {proxy.host}:{proxy.port})" if proxy else ""
        if isinstance(error, TimeoutError):
            text = f"no connection within {self.timeouts.connect_seconds:g} seconds"
        else:
            text = _explain(error)
        failure = Unavailable(
            f"{origin.name}: {text}{through}", "check the address, and that the registry runs"
        )
        # Who never answered is not there; who answered before may come back.
        if origin in self._reached:
            raise Transient(failure) from error
        raise failure from error

    def _tunnel(self, sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
        """https://www.rfc-editor.org/rfc/rfc9110#CONNECT"""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        try:
            sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
            answer = http.client.HTTPResponse(sock, method="CONNECT")
            answer.begin()
            answer.close()
        except (OSError, http.client.HTTPException) as error:
            self.fail(origin, error)
        if answer.status == 407:
            raise Unavailable(
                f"{origin.name}: the proxy wants a user name and password",
                "set https_proxy=http://user:password@host:port",
            )
        if answer.status != 200:
            raise Unavailable(
                f"{origin.name}: proxy {proxy.host}:{proxy.port} answers {answer.status} "
                f"{quote_foreign(answer.reason, 80)}"
            )

    def _start_tls(self, sock: socket.socket, origin: Origin) -> ssl.SSLSocket:
        context = self.hosts.tls_context(origin.name)
        with self._lock:
            self._sockets.discard(sock)
        secured = context.wrap_socket(
            sock, server_hostname=origin.host, do_handshake_on_connect=False
        )
        self._track(secured)
        try:
            secured.do_handshake()
        except (OSError, ValueError) as error:
            with self._lock:
                self._sockets.discard(secured)
            secured.close()
            if self._cancel.cancelled:
                raise Cancelled("cancelled") from error
            self._fail_handshake(origin, error)
        return secured

    def _fail_handshake(self, origin: Origin, error: Exception) -> NoReturn:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise _untrusted(origin, error) from error
        reason = getattr(error, "reason", None)
        if reason in _NOT_TLS:
            raise PlainHTTP(origin.name) from error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            text = str(reason or "failed").lower().replace("_", " ")
            raise Unavailable(f"{origin.name}: TLS: {text}") from error
        self.fail(origin, error)


def _untrusted(origin: Origin, error: ssl.SSLCertVerificationError) -> EngineError:
    if error.verify_code in (18, 19, 20, 21):  # X509_V_ERR_*: no way to a known authority
        return Unavailable(
            f"{origin.name}: certificate signed by an unknown authority",
            f"put its CA certificate at /etc/pydock/certs.d/{origin.name}/ca.crt",
        )
    return Unavailable(f"{origin.name}: certificate: {error.verify_message.lower().rstrip('.')}")


def _plain_http(origin: Origin) -> EngineError:
    return Unavailable(
        f"{origin.name}: server gave HTTP response to HTTPS client",
        f'if you trust the network to it: [registry."{origin.name}"] insecure = true '
        "in /etc/pydock/config.toml",
    )


def _explain(error: Exception) -> str:
    """An exception of a connection in a person's words."""
    if isinstance(error, TimeoutError):
        return "stalled: no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "connection closed before the answer was complete"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer: {quote_foreign(str(error), 120)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {str(error.reason or 'connection broken').lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return _strerror(error.errno)
    return quote_foreign(str(error), 120)


def _strerror(number: int) -> str:
    return os.strerror(number).lower()


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
