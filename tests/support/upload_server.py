"""A registry in memory that takes uploads by the specification, and misbehaves when told to."""

import hashlib
import json
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from tests.support.fault_server import Exchange, FaultServer

Fault = Callable[[Exchange], bool]


class UploadServer(FaultServer):
    """`fault(exchange)` sees each request first; True says that it has answered.

    `blobs` and `manifests` are what was taken, by digest and target. An upload that breaks off
    keeps what came, as long as `keeps` says so. `location` turns a path into a Location.
    """

    def __init__(self, fault: Fault = lambda exchange: False) -> None:
        super().__init__(self._answer)
        self.fault = fault
        self.keeps = True
        self.location: Callable[[str], str] = lambda path: f"{self.url}{path}"
        self.least_piece = 0
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.sessions: dict[str, bytearray] = {}
        self.neighbours: dict[str, bytes] = {}  # what other repositories have, by digest
        self.pieces: list[tuple[str, int]] = []  # method and bytes of each body that came whole
        self._begun = 0
        self._own = threading.Lock()

    def _answer(self, exchange: Exchange) -> bool:
        if self.fault(exchange):
            return True
        parts = urlsplit(exchange.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path
        if path == "/v2/":
            exchange.reply(200)
        elif "/blobs/uploads/" in path:
            self._upload(exchange, path, query)
        elif "/blobs/" in path:
            data = self.blobs.get(path.rpartition("/")[2])
            exchange.reply(404) if data is None else exchange.reply(200, {}, data)
        elif exchange.command == "PUT":
            self._put_manifest(exchange, path)
        else:
            exchange.reply(404)
        return True

    def _upload(self, exchange: Exchange, path: str, query: dict[str, str]) -> None:
        name = path.rpartition("/")[2]
        if exchange.command == "POST":
            if query.get("mount") in self.neighbours:
                self.blobs[query["mount"]] = self.neighbours[query["mount"]]
                exchange.reply(201, {"Docker-Content-Digest": query["mount"]})
                return
            with self._own:
                self._begun += 1
                name = f"u{self._begun}"
                self.sessions[name] = bytearray()
            headers = {"Location": self.location(f"{path}{name}?state=a%2Fb")}
            if self.least_piece:
                headers["OCI-Chunk-Min-Length"] = str(self.least_piece)
            exchange.reply(202, headers)
            return
        session = self.sessions.get(name)
        if session is None or query.get("state") != "a/b":
            self._fail(exchange, 404, "BLOB_UPLOAD_UNKNOWN")
        elif exchange.command == "GET":
            headers = {"Range": f"0-{max(len(session) - 1, 0)}"}
            exchange.reply(204, headers | {"Location": self.location(exchange.path)})
        elif exchange.command == "DELETE":
            del self.sessions[name]
            exchange.reply(204)
        elif exchange.command == "PATCH":
            self._patch(exchange, session)
        else:
            self._finish(exchange, name, session, query["digest"])

    def _patch(self, exchange: Exchange, session: bytearray) -> None:
        start = int(exchange.headers["Content-Range"].partition("-")[0])
        if start != len(session):
            self._fail(exchange, 416, "RANGE_INVALID")
            return
        self.take(exchange, session)
        headers = {"Location": self.location(exchange.path), "Range": f"0-{len(session) - 1}"}
        exchange.reply(202, headers)

    def take(self, exchange: Exchange, session: bytearray, limit: int | None = None) -> None:
        """The request's body, or its first `limit` bytes, is in the session."""
        left = int(exchange.headers.get("Content-Length", "0"))
        whole = left if limit is None else min(left, limit)
        data = exchange.rfile.read(whole)
        session += data
        if limit is None:
            self.pieces.append((exchange.command, len(data)))

    def _finish(self, exchange: Exchange, name: str, session: bytearray, digest: str) -> None:
        self.take(exchange, session)
        if digest != f"sha256:{hashlib.sha256(session).hexdigest()}":
            self._fail(exchange, 400, "DIGEST_INVALID")
            return
        self.blobs[digest] = bytes(session)
        del self.sessions[name]
        exchange.reply(201, {"Docker-Content-Digest": digest})

    def session_of(self, exchange: Exchange) -> bytearray:
        """What came of the upload that the request is about."""
        return self.sessions[urlsplit(exchange.path).path.rpartition("/")[2]]

    def cut(self, exchange: Exchange, after_bytes: int) -> None:
        """Takes a part of the body, then resets the connection."""
        session = self.session_of(exchange)
        self.take(exchange, session, after_bytes)
        if not self.keeps:
            session.clear()
        exchange.reset()

    def _put_manifest(self, exchange: Exchange, path: str) -> None:
        data = exchange.rfile.read(int(exchange.headers["Content-Length"]))
        document = json.loads(data)
        named = [*document.get("layers", ()), document.get("config")]
        for each in filter(None, named):
            if each["digest"] not in self.blobs:
                self._fail(exchange, 400, "MANIFEST_BLOB_UNKNOWN")
                return
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.manifests[path.rpartition("/")[2]] = data
        exchange.reply(201, {"Docker-Content-Digest": digest})

    def _fail(self, exchange: Exchange, status: int, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        exchange.reply(status, {"Content-Type": "application/json"}, body)
