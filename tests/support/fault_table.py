"""The network faults that a client must live with, each played by one function.

A fault sets scripts of its `Play`; `survives` and `told` enter it in the table. After each one the
same must hold: right bytes or one clear error, nothing half made, no secret abroad, no thread and
no descriptor left, and the next pull works.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import images
from tests.support.descriptors import open_now, opened_since
from tests.support.fault_server import Exchange, FaultServer, Script
from tests.support.pulls import FAST, Store, example, noise
from tests.support.tls import Certificate
from tests.support.waiting import until

PATIENCE = FAST._replace(first_delay_seconds=0.005)
USER, PASSWORD = "alice", "sesame-1"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
SIZE = 200_000


class Play:
    """One registry with one image, who is asked beside it, and what happens to it."""

    def __init__(self, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.monkeypatch = monkeypatch
        self.image = example(SIZE)
        self.servers = contextlib.ExitStack()
        self.abroad: list[FaultServer] = []
        self.action: Callable[[], Any] = self.pull
        self.patience = PATIENCE
        self._home = home
        self._counts: dict[str, int] = {}
        self.registry = self.serve()

    def lose_patience(self) -> None:
        """A server that says nothing, or little, is given up soon."""
        self.patience = PATIENCE._replace(stall_seconds=0.3, headers_seconds=0.3, slow_seconds=0.3)

    def serve(self, tls: Certificate | None = None) -> FaultServer:
        """The registry is this new server: honest, with the image in it."""
        self.registry = self.servers.enter_context(FaultServer(tls=tls))
        self.reference = images.serve(self.registry, "ns/r", "1", self.image)
        return self.registry

    def another(self, script: Script = lambda exchange: False) -> FaultServer:
        """Another server, which must learn no secret."""
        server = self.servers.enter_context(FaultServer(script))
        server.documents.update(self.registry.documents)
        self.abroad.append(server)
        return server

    def log_in(self, **entry: str) -> None:
        """USER has a password at the registry."""
        joined = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (self._home / ".docker").mkdir(exist_ok=True)
        auths = {self.registry.host: entry or {"auth": joined}}
        (self._home / ".docker/config.json").write_text(json.dumps({"auths": auths}))

    def settings(self, text: str) -> None:
        """Our own config.toml."""
        (self.store.etc / "pydock").mkdir(exist_ok=True)
        (self.store.etc / "pydock/config.toml").write_text(text)

    def trust(self, server: FaultServer, authority: Path) -> None:
        place = self.store.etc / "docker/certs.d" / server.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(authority.read_bytes())

    def pull(self, reference: str = "") -> None:
        self.store.pull(reference or self.reference, timeouts=self.patience)

    def on_blobs(self, fault: Callable[[Exchange, int], object]) -> None:
        """`fault(exchange, n)` sees the n-th request for each blob; False leaves it be."""

        def script(exchange: Exchange) -> bool:
            if "/blobs/" not in exchange.path:
                return False
            return fault(exchange, self.count(exchange.path)) is not False

        self.registry.script = script

    def on_layer(self, fault: Callable[[Exchange, int], object]) -> None:
        """The same for the larger layer alone."""
        digest = self.image.layers[1].digest

        def script(exchange: Exchange) -> bool:
            if "/blobs/" not in exchange.path or not exchange.path.endswith(digest):
                return False
            return fault(exchange, self.count(exchange.path)) is not False

        self.registry.script = script

    def count(self, key: str) -> int:
        with self.registry.lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            return self._counts[key]

    def guard(
        self,
        challenge: str = 'Bearer realm="{url}/token",service="s",scope="repository:ns/r:pull"',
        *,
        give: Callable[[Exchange, int], object] = lambda exchange, number: False,
        accept: Callable[[Exchange], bool] | None = None,
        rest: Script = lambda exchange: False,
    ) -> FaultServer:
        """The registry wants tokens (t1, t2 …), which the server that is returned gives."""
        valid: set[str] = set()

        def token(exchange: Exchange) -> bool:
            exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
            number = self.count("token")
            valid.add(f"Bearer t{number}")
            if give(exchange, number) is False:
                body = json.dumps({"token": f"t{number}"}).encode()
                exchange.reply(200, {}, body)
            return True

        giver = self.servers.enter_context(FaultServer(token))

        def script(exchange: Exchange) -> bool:
            allowed = exchange.headers["Authorization"] in valid
            if not allowed or (accept is not None and not accept(exchange)):
                value = challenge.format(url=giver.url)
                exchange.reply(401, {"WWW-Authenticate": value} if value else {})
                return True
            return rest(exchange)

        self.registry.script = script
        return giver

    # What must hold afterwards.

    def check_image(self) -> None:
        row = self.store.images.get(self.reference)
        assert row.id == self.image.config.digest
        assert self.store.tree(self.image, 1)["usr/noise"] == noise(SIZE)
        for each in (*self.image.blobs(), *self.image.manifests()):
            assert self.store.content.read(each.digest) == each.data

    def check_secrets(self) -> None:
        for server in self.abroad:
            for request in server.requests:
                assert "Authorization" not in request.headers
                assert PASSWORD not in str(request.headers) + request.path


class Fault(NamedTuple):
    """A row of the table."""

    number: int
    name: str
    play: Callable[[Play], object]
    kind: type[Exception] | None  # None: it succeeds
    words: str

    def __str__(self) -> str:
        return f"{self.number} {self.name}"


Player = Callable[[Play], object]


def survives(table: list[Fault], number: int) -> Callable[[Player], Player]:
    """A fault after which all is well."""

    def enter(play: Player) -> Player:
        table.append(Fault(number, play.__name__.replace("_", " "), play, None, ""))
        return play

    return enter


def told(
    table: list[Fault], number: int, kind: type[Exception], words: str
) -> Callable[[Player], Player]:
    """A fault that ends in an error of `kind`, whose message has `words` in it."""

    def enter(play: Player) -> Player:
        table.append(Fault(number, play.__name__.replace("_", " "), play, kind, words))
        return play

    return enter


class Traces:
    """Threads and open files of this process, as they were."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._files = open_now()

    def check(self) -> None:
        """Nothing is left; what ends by itself may take a moment."""
        try:
            until(lambda: not any(self._left()))
        except AssertionError:
            raise AssertionError(f"left behind: {self._left()}") from None

    def _left(self) -> tuple[set[threading.Thread], list[tuple[str, str]]]:
        """The database keeps its own files."""
        files = [each for each in opened_since(self._files) if "db.sqlite" not in each[1]]
        return set(threading.enumerate()) - self._threads, files
