"""A small threaded HTTP(S) server whose behaviour a test scripts.

`FaultServer(script)` calls `script(exchange)` for each request; a script that returns False leaves
the answer to the documents that were put on `server.documents`: an honest, read-only registry.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

from tests.support.tls import Certificate


class Request(NamedTuple):
    """One request, as it came."""

    method: str
    path: str
    headers: Message


class Exchange(BaseHTTPRequestHandler):
    """One request and what a script does to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: "_Server"

    def handle(self) -> None:
        # What a client's abort or our own reset does to the socket is no news here.
        with contextlib.suppress(OSError, ValueError):
            super().handle()

    def do_GET(self) -> None:
        faults = self.server.faults
        with faults.lock:
            faults.requests.append(Request(self.command, self.path, self.headers))
        if not faults.script(self):
            self.serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do_GET

    def serve(self) -> None:
        """The honest answer."""
        document = self.server.faults.documents.get(self.path.partition("?")[0])
        if document is None:
            self.reply(404, body=b'{"errors":[{"code":"NOT_FOUND","message":"not here"}]}')
            return
        media_type, data, digest = document
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        wanted = self.headers.get("Range")
        if not wanted:
            self.reply(200, headers, data)
            return
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if start >= len(data):
            self.reply(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.reply(206, headers, data[start:])

    def reply(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """A whole answer; Content-Length is added unless `headers` have a framing of their own."""
        self.send_head(status, headers, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_head(self, status: int, headers: Mapping[str, str] | None, length: int) -> None:
        """Status line and headers only, for scripts that break off in the body."""
        self.send_response(status)
        headers = headers or {}
        for name, value in headers.items():
            self.send_header(name, value)
        if not {"Content-Length", "Transfer-Encoding"} & set(headers):
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.finish_early()

    def finish_early(self) -> None:
        """Ends the connection with FIN, in the middle of whatever was sent."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
        self.close_connection = True
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[0]:
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def stall(self, seconds: float = 60) -> None:
        """Says nothing until the test ends."""
        self.server.faults.stopped.wait(seconds)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """The requests are kept, nothing is printed."""


Script = Callable[[Exchange], bool]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many threads at once: a refused SYN comes again after a second
    faults: "FaultServer"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the game."""


class FaultServer:
    """Listens on loopback (`port` 0: any) from construction on; `stop` or leaving ends it."""

    def __init__(
        self,
        script: Script = lambda exchange: False,
        *,
        tls: Certificate | None = None,
        port: int = 0,
    ) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.documents: dict[str, tuple[str, bytes, str]] = {}
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), Exchange)
        self._server.faults = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.host = f"localhost:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def count(self, method: str, part: str) -> int:
        """How many requests with `method` have `part` in their path."""
        with self.lock:
            return sum(r.method == method and part in r.path for r in self.requests)

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "FaultServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
