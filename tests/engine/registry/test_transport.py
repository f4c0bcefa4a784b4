"""Against a server whose behaviour each test scripts."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, InvalidInput, Unavailable
from engine.registry.hosts import Hosts
from engine.registry.origin import split_url
from engine.registry.retry import Transient
from engine.registry.transport import Transport
from tests.support.closed_port import closed_port
from tests.support.fault_server import Exchange, FaultServer
from tests.support.pulls import FAST
from tests.support.tls import Authority


@pytest.fixture
def cancel() -> Cancel:
    return Cancel()


@pytest.fixture
def transport(etc: Path, cancel: Cancel) -> Iterator[Transport]:
    made = Transport(Hosts(str(etc)), FAST, cancel)
    yield made
    made.close()


def get(transport: Transport, url: str, **headers: str) -> bytes:
    with transport.request("GET", url, headers) as response:
        return response.read(1 << 20, "body")


def hello(exchange: Exchange) -> bool:
    exchange.reply(200, body=b"hello")
    return True


def trust(etc: Path, name: str, authority: Authority) -> None:
    place = etc / "pydock/certs.d" / name
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes(authority.certificate.read_bytes())


def test_connection_is_used_again(transport: Transport) -> None:
    clients: set[int] = set()

    def answer(exchange: Exchange) -> bool:
        clients.add(exchange.client_address[1])
        return hello(exchange)

    with FaultServer(answer) as server:
        for _ in range(5):
            assert get(transport, server.url) == b"hello"
    assert len(clients) == 1


def test_connection_closed_twice_serves_one_at_a_time(transport: Transport) -> None:
    clients: set[int] = set()

    def answer(exchange: Exchange) -> bool:
        clients.add(exchange.client_address[1])
        return hello(exchange)

    with FaultServer(answer) as server:
        with transport.request("GET", server.url, {}) as first:
            assert first.read(5, "body") == b"hello"
        first.close()
        with (
            transport.request("GET", server.url, {}) as one,
            transport.request("GET", server.url, {}) as other,
        ):
            assert one.read(5, "body") + other.read(5, "body") == b"hellohello"
    assert len(clients) == 2


def test_connection_closed_while_idle_is_replaced_silently(transport: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        hello(exchange)
        exchange.close_connection = True  # without saying so
        return True

    with FaultServer(answer) as server:
        for _ in range(3):
            assert get(transport, server.url) == b"hello"


def test_connection_closed_on_second_request_is_replaced(transport: Transport) -> None:
    numbers: dict[int, int] = {}

    def answer(exchange: Exchange) -> bool:
        client = exchange.client_address[1]
        numbers[client] = numbers.get(client, 0) + 1
        if numbers[client] == 2:
            exchange.reset()
            return True
        return hello(exchange)

    with FaultServer(answer) as server:
        for _ in range(4):
            assert get(transport, server.url) == b"hello"


@pytest.mark.parametrize("fault", ["reset", "finish_early"])
def test_broken_connection_is_transient(transport: Transport, fault: str) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, None, 100)
        exchange.wfile.write(b"half")
        getattr(exchange, fault)()
        return True

    with FaultServer(answer) as server, pytest.raises(Transient, match="connection"):
        get(transport, server.url)


@pytest.fixture
def hasty(etc: Path) -> Iterator[Transport]:
    """One that gives up on a silent server soon."""
    patience = FAST._replace(headers_seconds=0.2, stall_seconds=0.2)
    made = Transport(Hosts(str(etc)), patience, Cancel())
    yield made
    made.close()


def test_first_line_that_does_not_come_is_transient(hasty: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.stall()
        return True

    with FaultServer(answer) as server, pytest.raises(Transient, match="stalled"):
        get(hasty, server.url)


def test_body_that_stalls_is_transient(hasty: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, None, 100)
        exchange.wfile.write(b"half")
        exchange.stall()
        return True

    with FaultServer(answer) as server, pytest.raises(Transient, match="stalled"):
        get(hasty, server.url)


def test_body_that_crawls_is_transient(etc: Path) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, None, 10_000)
        while not exchange.server.faults.stopped.wait(0.02):
            exchange.wfile.write(b"x")
        return True

    patience = FAST._replace(slow_seconds=0.3)
    slow = Transport(Hosts(str(etc)), patience, Cancel())
    with FaultServer(answer) as server, pytest.raises(Transient, match="bytes a second"):
        get(slow, server.url)
    slow.close()


def test_chunked_answers_and_single_bytes_are_read(transport: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, {"Transfer-Encoding": "chunked"}, 0)
        for letter in b"hello":
            exchange.wfile.write(b"1\r\n%c\r\n" % letter)
            exchange.wfile.flush()
        exchange.wfile.write(b"0\r\n\r\n")
        return True

    with FaultServer(answer) as server:
        assert get(transport, server.url) == b"hello"
        assert get(transport, server.url) == b"hello"


def test_body_beyond_its_limit_is_refused(transport: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.reply(200, body=b"x" * 2_000_000)
        return True

    with FaultServer(answer) as server, pytest.raises(InvalidInput, match="larger than"):
        get(transport, server.url)


@pytest.mark.parametrize(
    "head",
    [
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 \x1b[31m\r\n\r\n",
    ],
)
def test_answer_that_is_no_http_is_refused(transport: Transport, head: bytes) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.wfile.write(head)
        exchange.close_connection = True
        return True

    with FaultServer(answer) as server, pytest.raises(Unavailable, match="not an HTTP") as caught:
        get(transport, server.url)
    assert caught.value.message.isprintable()


def test_redirect_keeps_authorization_at_home_and_drops_it_abroad(transport: Transport) -> None:
    def here(exchange: Exchange) -> bool:
        if exchange.path == "/a":
            exchange.reply(302, {"Location": "/b"})
        else:
            exchange.reply(307, {"Location": f"{abroad.url}/c"})
        return True

    with FaultServer(hello) as abroad, FaultServer(here) as home:
        secret = {"Authorization": "Bearer s", "Range": "bytes=5-"}
        assert get(transport, f"{home.url}/a", **secret) == b"hello"
        assert [request.headers["Authorization"] for request in home.requests] == ["Bearer s"] * 2
        assert abroad.requests[0].headers["Authorization"] is None
        assert abroad.requests[0].headers["Range"] == "bytes=5-"


def test_authorization_does_not_come_back_from_abroad(transport: Transport) -> None:
    def home(exchange: Exchange) -> bool:
        if exchange.path == "/end":
            return hello(exchange)
        exchange.reply(302, {"Location": f"{abroad.url}/x"})
        return True

    def back(exchange: Exchange) -> bool:
        exchange.reply(302, {"Location": f"{server.url}/end"})
        return True

    with FaultServer(home) as server, FaultServer(back) as abroad:
        get(transport, f"{server.url}/start", Authorization="Bearer s")
        assert [request.headers["Authorization"] for request in server.requests] == [
            "Bearer s",
            None,
        ]


def test_chain_of_four_redirects_is_followed_and_a_loop_is_not(transport: Transport) -> None:
    def answer(exchange: Exchange) -> bool:
        number = int(exchange.path[1:])
        if number == 4:
            return hello(exchange)
        exchange.reply(302, {"Location": str(number + 1 if number < 4 else number)})
        return True

    with FaultServer(answer) as server:
        assert get(transport, f"{server.url}/0") == b"hello"
        with pytest.raises(Unavailable, match="more than 5 redirects"):
            get(transport, f"{server.url}/9")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "expected http"),
        ("http://169.254.169.254/latest", "private address"),
        ("http://10.0.0.1/x", "private address"),
        ("http://[fe80::1]/x", "private address"),
        ("http://u:p@localhost/x", "user name"),
        ("http://[/", "URL"),
    ],
)
def test_redirect_to_where_only_we_can_go_is_refused(
    transport: Transport, location: str, reason: str
) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.reply(302, {"Location": location})
        return True

    with FaultServer(answer) as server, pytest.raises((Unavailable, InvalidInput), match=reason):
        get(transport, server.url)


def test_closed_port_is_unavailable_with_a_hint(transport: Transport) -> None:
    with closed_port() as port:
        with pytest.raises(Unavailable, match=f"localhost:{port}: connection refused") as caught:
            get(transport, f"http://localhost:{port}/")
        assert caught.value.hint


def test_server_that_was_there_before_is_tried_again(transport: Transport) -> None:
    with FaultServer(hello) as server:
        get(transport, server.url)
    transport.close()
    with pytest.raises(Transient, match="connection refused"):
        get(transport, server.url)


def test_unknown_host_is_unavailable(transport: Transport) -> None:
    with pytest.raises(Unavailable, match=r"nowhere\.invalid: "):
        get(transport, "http://nowhere.invalid/")


def test_dead_first_address_costs_little(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(hello) as server, socket.create_server(("127.0.0.1", 0), backlog=0) as dead:
        full = []  # a full backlog: SYNs are dropped, as by a dead IPv6 router
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(dead.getsockname())
            full.append(filler)
        stream = (socket.SOCK_STREAM, 6, "")
        found = [
            (socket.AF_INET, *stream, dead.getsockname()),
            (socket.AF_INET, *stream, ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keywords: found)
        assert get(transport, server.url) == b"hello"
        for filler in full:
            filler.close()


@pytest.mark.root  # in the child host, which has no route to anywhere
def test_address_without_a_route_is_passed_over(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = (socket.SOCK_STREAM, 6, "")
    lost: list[object] = [
        (socket.AF_INET6, *stream, ("2001:db8::1", 443, 0, 0)),
        (socket.AF_INET, *stream, ("203.0.113.1", 443)),
    ]
    with FaultServer(hello) as server:
        found = [*lost, (socket.AF_INET, *stream, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keywords: found)
        assert get(transport, server.url) == b"hello"
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keywords: lost)
        with pytest.raises(Unavailable, match="network is unreachable"):
            get(transport, "http://elsewhere.example/")


def test_cancel_wakes_whoever_waits(transport: Transport, cancel: Cancel) -> None:
    waiting = threading.Event()

    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, None, 100)
        exchange.wfile.write(b"half")
        exchange.wfile.flush()
        waiting.set()
        exchange.stall()
        return True

    def end() -> None:
        waiting.wait(10)
        time.sleep(0.05)  # until the reader is in the kernel
        cancel.cancel()

    with FaultServer(answer) as server:
        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(Cancelled):
            get(transport, server.url)
        thread.join()
        with pytest.raises(Cancelled):
            get(transport, server.url)


def test_tls_with_a_known_authority(transport: Transport, etc: Path, authority: Authority) -> None:
    with FaultServer(hello, tls=authority.issue("good")) as server:
        trust(etc, server.host, authority)
        assert get(transport, server.url) == b"hello"
        assert get(transport, server.url) == b"hello"
        assert transport.speaks_tls(split_url(server.url)[0])


def test_cancel_wakes_a_reader_of_tls(
    transport: Transport, etc: Path, authority: Authority, cancel: Cancel
) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.send_head(200, None, 100)
        exchange.wfile.write(b"half")
        exchange.wfile.flush()
        exchange.stall()
        return True

    with FaultServer(answer, tls=authority.issue("stall")) as server:
        trust(etc, server.host, authority)
        with transport.request("GET", server.url, {}) as response:
            assert response.read1(4) == b"half"
            threading.Timer(0.05, cancel.cancel).start()
            with pytest.raises(Cancelled):
                response.read1(4)


def test_certificates_that_prove_nothing_are_refused(
    transport: Transport, etc: Path, authority: Authority
) -> None:
    good = authority.issue("good")
    for certificate, trusted, reason in (
        (good, False, "unknown authority"),
        (authority.issue("old", expired=True), True, "has expired"),
        (authority.issue("other", "DNS:other.example"), True, "hostname mismatch"),
    ):
        with FaultServer(hello, tls=certificate) as server:
            if trusted:
                trust(etc, server.host, authority)
            with pytest.raises(Unavailable, match=reason) as caught:
                get(transport, server.url)
            assert not server.requests
            assert (f"certs.d/{server.host}" in caught.value.hint) == (not trusted)


def test_insecure_registry_may_have_any_certificate(etc: Path, authority: Authority) -> None:
    with FaultServer(hello, tls=authority.issue("other", "DNS:other.example")) as server:
        (etc / "pydock").mkdir()
        (etc / "pydock/config.toml").write_text(f'[registry."{server.host}"]\ninsecure = true\n')
        insecure = Transport(Hosts(str(etc)), FAST, Cancel())
        assert get(insecure, server.url) == b"hello"
        insecure.close()


def test_server_that_wants_a_client_certificate_gets_it(etc: Path, authority: Authority) -> None:
    certificate, client = authority.issue("server"), authority.issue("client")
    with FaultServer(hello, tls=certificate) as server:
        context = server._server.socket.context  # type: ignore[attr-defined]
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.certificate)
        trust(etc, server.host, authority)
        place = etc / "pydock/certs.d" / server.host
        (place / "me.cert").write_bytes(client.certificate.read_bytes())
        (place / "me.key").write_bytes(client.key.read_bytes())
        ours = Transport(Hosts(str(etc)), FAST, Cancel())
        assert get(ours, server.url) == b"hello"
        ours.close()


def test_plain_http_where_tls_is_expected_is_told_with_the_way_out(transport: Transport) -> None:
    with FaultServer(hello) as server:
        origin = split_url(f"https://{server.host}")[0]
        assert not transport.speaks_tls(origin)
        with pytest.raises(Unavailable, match="gave HTTP response to HTTPS client") as caught:
            get(transport, f"https://{server.host}/")
        assert f'[registry."{server.host}"] insecure = true' in caught.value.hint


class Tunnel(FaultServer):
    """A proxy that leads every CONNECT to one server, and fetches for plain http."""

    def __init__(self, target: FaultServer, *, password: str = "") -> None:
        super().__init__(self._answer)
        self.target = target
        self.password = password

    def _answer(self, exchange: Exchange) -> bool:
        given = exchange.headers.get("Proxy-Authorization", "")
        if self.password and given != self.password:
            exchange.reply(407, {"Proxy-Authenticate": "Basic"})
            return True
        if exchange.command != "CONNECT":
            exchange.reply(200, body=f"fetched {exchange.path}".encode())
            return True
        exchange.send_response(200)
        exchange.end_headers()
        exchange.close_connection = True
        with socket.create_connection(("127.0.0.1", self.target.port)) as upstream:
            client = exchange.connection
            pair = threading.Thread(target=_copy, args=(client, upstream), daemon=True)
            pair.start()
            _copy(upstream, client)
            pair.join()
        return True


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_proxy_tunnels_tls_and_fetches_plain_http(
    transport: Transport, etc: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = authority.issue("far", "DNS:far.example")
    with FaultServer(hello, tls=certificate) as server, Tunnel(server) as proxy:
        trust(etc, "far.example", authority)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert get(transport, "https://far.example/x", Authorization="Bearer s") == b"hello"
        assert server.requests[0].headers["Host"] == "far.example"
        assert proxy.requests[0].path == "far.example:443"
        assert "Authorization" not in proxy.requests[0].headers
        assert get(transport, "http://far.example/x") == b"fetched http://far.example/x"
        transport.close()


def test_proxy_with_a_password(
    transport: Transport, etc: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = authority.issue("far", "DNS:far.example")
    with (
        FaultServer(hello, tls=certificate) as server,
        Tunnel(server, password="Basic dTpw") as proxy,
    ):
        trust(etc, "far.example", authority)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unavailable, match="proxy wants a user name"):
            get(transport, "https://far.example/")
        monkeypatch.setenv("https_proxy", f"http://u:p@127.0.0.1:{proxy.port}")
        assert get(transport, "https://far.example/") == b"hello"
        transport.close()


def test_pool_is_shared_by_threads(transport: Transport) -> None:
    numbers = itertools.count()
    lock = threading.Lock()
    problems: list[BaseException] = []

    def answer(exchange: Exchange) -> bool:
        exchange.reply(200, body=exchange.path.encode() * 100)
        return True

    def work(url: str) -> None:
        try:
            for _ in range(20):
                with lock:
                    path = f"/{next(numbers)}"
                assert get(transport, url + path) == path.encode() * 100
        except BaseException as problem:
            problems.append(problem)

    with FaultServer(answer) as server:
        threads = [threading.Thread(target=work, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """Contexts that loaded this machine's authorities."""
    loaded: list[ssl.SSLContext] = []
    genuine = ssl.SSLContext.load_default_certs

    def load(context: ssl.SSLContext, *purpose: ssl.Purpose) -> None:
        loaded.append(context)
        genuine(context, *purpose)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    return loaded


def test_a_registry_on_this_machine_is_asked_for_tls_before_authorities_are_loaded(
    transport: Transport, authority: Authority, loads: list[ssl.SSLContext]
) -> None:
    with FaultServer(hello) as server:
        assert not transport.speaks_tls(split_url(f"https://{server.host}")[0])
        assert get(transport, server.url) == b"hello"
    assert loads == []
    with FaultServer(hello, tls=authority.issue("unknown")) as server:
        with pytest.raises(Unavailable, match="unknown authority"):
            transport.speaks_tls(split_url(server.url)[0])
        assert server.requests == []
    assert len(loads) == 1


def test_an_insecure_registry_needs_no_authorities(
    etc: Path, authority: Authority, loads: list[ssl.SSLContext]
) -> None:
    with FaultServer(hello, tls=authority.issue("any")) as server:
        (etc / "pydock").mkdir()
        (etc / "pydock/config.toml").write_text(f'[registry."{server.host}"]\ninsecure = true\n')
        insecure = Transport(Hosts(str(etc)), FAST, Cancel())
        assert insecure.speaks_tls(split_url(server.url)[0])
        assert get(insecure, server.url) == b"hello"
        insecure.close()
    assert loads == []


@pytest.mark.parametrize(
    ("answer", "is_http"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", True), (b"", False), (b"\x15\x03\x01", False)],
)
def test_what_asks_for_tls_is_a_greeting_and_no_more(
    transport: Transport, answer: bytes, is_http: bool
) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                heard.append(client.recv(1 << 16))
                client.sendall(answer)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        host, port = listener.getsockname()
        assert transport.dialer.answers_http(split_url(f"https://{host}:{port}")[0]) == is_http
        server.join()
    assert heard[0][:2] == b"\x16\x03"  # a record of a handshake
    assert host.encode() not in heard[0]
