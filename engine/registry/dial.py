"""From an address to a connection: names, the first address that answers, proxies, TLS; cancel.

What a broken connection means to a person is said here too.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import select
import socket
import ssl
import threading
import time
from itertools import zip_longest
from typing import Any, NoReturn

from engine.engine import Cancel
from engine.errors import Cancelled, EngineError, Unavailable
from engine.registry.hosts import Hosts
from engine.registry.origin import Origin
from engine.registry.proxy import Proxy, find_proxy
from engine.registry.retry import Transient
from engine.registry.secret import quote_foreign
from engine.registry.timeouts import Timeouts

_NEXT_ADDRESS_SECONDS = 0.25  # https://www.rfc-editor.org/rfc/rfc8305
_TICK_SECONDS = 0.1  # how often a wait that nobody can interrupt looks for cancel
# What OpenSSL says of an answer that is not TLS.
_NOT_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
)
_TLS_ALERT, _TLS_HANDSHAKE = b"\x15", b"\x16"  # https://www.rfc-editor.org/rfc/rfc8446#section-5.1


class PlainHTTP(Exception):
    """A server that should speak TLS speaks HTTP."""


class Dialer:
    """Opens connections for one piece of work, and wakes whoever waits on one on cancel."""

    def __init__(self, hosts: Hosts, timeouts: Timeouts, cancel: Cancel) -> None:
        self._hosts = hosts
        self._timeouts = timeouts
        self._cancel = cancel
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.reached: set[Origin] = set()
        """Who has answered before: when it does not now, it may come back."""
        cancel.on_cancel(self._abort)

    def dial(self, origin: Origin) -> socket.socket:
        """A connection, with TLS for https; it is the caller's until `hang_up`. Raises PlainHTTP,
        Transient, Unavailable, Cancelled."""
        proxy = find_proxy(*origin[:3])
        sock = self._connect(origin, proxy)
        if origin.scheme != "https":
            return sock
        try:
            if proxy:
                self._tunnel(sock, origin, proxy)
            return self._start_tls(sock, origin)
        except BaseException:
            self.hang_up(sock)
            raise

    def answers_http(self, origin: Origin) -> bool:
        """True when a server that should speak TLS answers a greeting in something else; asked on
        a connection of its own, which proves nothing and carries nothing. False where that is not
        worth while: to load this machine's authorities takes longer than to ask a registry on it,
        but not where certificates are named, or none are checked. Raises as `dial`."""
        name = origin.name
        if (
            find_proxy(*origin[:3])
            or self._hosts.is_insecure(name)
            or self._hosts.has_certificates(name)
        ):
            return False
        sock = self._connect(origin, None)
        try:
            sock.sendall(_greeting())
            answer = sock.recv(1)
        except OSError as error:
            self.fail(origin, error)
        finally:
            self.hang_up(sock)
        return answer not in (b"", _TLS_ALERT, _TLS_HANDSHAKE)

    def hang_up(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(sock)
        sock.close()

    def fail(self, origin: Origin, error: Exception) -> NoReturn:
        """Raises what a broken exchange means."""
        if self._cancel.cancelled:
            raise Cancelled("cancelled") from error
        text = _explain(error)
        failure = Unavailable(f"{origin.name}: {text}")
        if isinstance(error, (OSError, http.client.IncompleteRead)):  # RemoteDisconnected is one
            raise Transient(failure) from error
        raise failure from error

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

    def _connect(self, origin: Origin, proxy: Proxy | None) -> socket.socket:
        """A connection to the first address that answers; each next one gets its chance a little
        later, so a dead IPv6 costs a quarter of a second."""
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        deadline = time.monotonic() + self._timeouts.connect_seconds
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
                        sock = _begin_to_connect(family, address)
                    except OSError as failure:  # no route to an IPv6 address, say
                        error = failure
                        continue
                    trying[sock.fileno()] = sock
                    poll.register(sock, select.POLLOUT)
                for descriptor, _ in poll.poll(_TICK_SECONDS * 1000):
                    poll.unregister(descriptor)
                    sock = trying.pop(descriptor)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        sock.settimeout(self._timeouts.connect_seconds)
                        self._track(sock)
                        return sock
                    error = OSError(number, _strerror(number))
                    sock.close()
            if trying:
                error = TimeoutError()
        finally:
            for sock in trying.values():
                sock.close()
        self._fail_to_connect(origin, proxy, error)

    def _resolve(
        self, origin: Origin, host: str, port: int, deadline: float
    ) -> list[tuple[int, Any]]:
        """Families and addresses, the families in turns. In a thread: it cannot be interrupted."""
        if host == "localhost":  # loopback whatever the resolver says: RFC 6761, 6.3
            return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
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
            if origin in self.reached:
                raise Transient(failure) from error
            raise failure from error
        raise Unavailable(
            f"{origin.name}: no such host{shown}", "check the registry's name"
        ) from error

    def _fail_to_connect(self, origin: Origin, proxy: Proxy | None, error: OSError) -> NoReturn:
        through = f" (through the proxy {proxy.host}:{proxy.port})" if proxy else ""
        if isinstance(error, TimeoutError):
            text = f"no connection within {self._timeouts.connect_seconds:g} seconds"
        else:
            text = _explain(error)
        failure = Unavailable(
            f"{origin.name}: {text}{through}", "check the address, and that the registry runs"
        )
        # Who never answered is not there; who answered before may come back.
        if origin in self.reached:
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
        context = self._hosts.tls_context(origin.name)
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


def _greeting() -> bytes:
    """What a client says first in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it goes no further than this
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


def _begin_to_connect(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        number = sock.connect_ex(address)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, _strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


def _untrusted(origin: Origin, error: ssl.SSLCertVerificationError) -> EngineError:
    if error.verify_code in (18, 19, 20, 21):  # X509_V_ERR_*: no way to a known authority
        return Unavailable(
            f"{origin.name}: certificate signed by an unknown authority",
            f"put its CA certificate at /etc/pydock/certs.d/{origin.name}/ca.crt",
        )
    return Unavailable(f"{origin.name}: certificate: {error.verify_message.lower().rstrip('.')}")


def plain_http(origin: Origin) -> EngineError:
    """What PlainHTTP means where nothing allows it."""
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
