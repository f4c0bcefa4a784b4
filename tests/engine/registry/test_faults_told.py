"""Twenty-one faults that cannot be survived: one clear line each, and nothing left."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import (
    Cancelled,
    Corrupt,
    EngineError,
    InvalidInput,
    NotFound,
    Unavailable,
)
from engine.home import open_home
from engine.oci.reference import parse_reference
from engine.registry.client import Repository
from engine.registry.hosts import Hosts
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content, Ingest
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support.fault_server import Exchange
from tests.support.fault_table import PASSWORD, PATIENCE, Fault, Play, Traces, told
from tests.support.pulls import Store
from tests.support.small_disk import unmount
from tests.support.tls import Authority

pytestmark = pytest.mark.root
TABLE: list[Fault] = []


def body(exchange: Exchange) -> bytes:
    return exchange.server.faults.documents[exchange.path.partition("?")[0]][1]


def always(answer: Callable[[Exchange], object]) -> Callable[[Exchange, int], object]:
    return lambda exchange, number: answer(exchange)


@told(TABLE, 41, Unavailable, "connection .*6 times")
def resets_without_end(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reset()))


@told(TABLE, 42, Unavailable, r"at \d+ of \d+ bytes: the answer ended too early, 6 times")
def body_always_too_short(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reply(200, {}, body(exchange)[:-1])))


@told(TABLE, 43, Corrupt, "sent wrong bytes twice")
def body_always_too_long(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reply(200, {}, body(exchange) + b"x")))


@told(TABLE, 44, Corrupt, "sent wrong bytes twice")
def body_always_wrong(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reply(200, {}, bytes(len(body(exchange))))))


@told(TABLE, 45, Unavailable, "only .* bytes a second|stalled")
def body_crawls(play: Play) -> None:
    play.lose_patience()

    def crawl(exchange: Exchange) -> None:
        exchange.send_head(200, None, len(body(exchange)))
        while not exchange.server.faults.stopped.wait(0.1):
            exchange.wfile.write(b"x")

    play.on_layer(always(crawl))


@told(TABLE, 46, Unavailable, "more than 5 redirects in a row")
def redirects_in_a_circle(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reply(302, {"Location": exchange.path})))


def lead_to(play: Play, location: str) -> None:
    play.log_in()
    play.on_layer(always(lambda exchange: exchange.reply(302, {"Location": location})))


@told(TABLE, 47, InvalidInput, "expected http or https")
def redirect_to_a_file(play: Play) -> None:
    lead_to(play, "file:///etc/shadow")


@told(TABLE, 47, Unavailable, "private address 169.254.169.254 refused")
def redirect_to_a_link_local_address(play: Play) -> None:
    lead_to(play, "http://169.254.169.254/latest/meta-data")


@told(TABLE, 48, NotFound, "does not exist or needs a login")
def refusals_without_end(play: Play) -> None:
    play.guard(accept=lambda exchange: False)


@told(TABLE, 48, InvalidInput, "wrong user name or password")
def password_is_wrong(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return True

    play.log_in()
    play.registry.script = script


@told(TABLE, 49, NotFound, "pull access denied for ns/r")
def forbidden(play: Play) -> None:
    play.registry.script = lambda exchange: exchange.reply(403) is None


@told(TABLE, 50, NotFound, "the manifest names it, but the registry does not have it")
def blob_is_gone(play: Play) -> None:
    play.on_layer(always(lambda exchange: exchange.reply(404)))


@told(TABLE, 51, Unavailable, "is not a registry: it answers with a web page")
def web_page(play: Play) -> None:
    page = {"Content-Type": "text/html; charset=utf-8"}
    play.registry.script = lambda exchange: exchange.reply(200, page, b"<html>") is None


@told(TABLE, 52, InvalidInput, "token from .* larger than")
def token_without_end(play: Play) -> None:
    play.guard(give=always(lambda exchange: exchange.reply(200, {}, b" " * (2 << 20))))


@told(TABLE, 52, Unavailable, "its answer holds no token")
def token_is_not_json(play: Play) -> None:
    play.log_in()
    play.guard(give=always(lambda exchange: exchange.reply(200, {}, PASSWORD.encode())))


@told(TABLE, 53, Corrupt, "Content-Encoding")
def blob_compressed_on_its_way(play: Play) -> None:
    headers = {"Content-Encoding": "gzip"}
    play.on_layer(always(lambda exchange: exchange.reply(200, headers, body(exchange))))


@told(TABLE, 54, Corrupt, "digest mismatch")
def digest_in_the_head_is_wrong(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        if "/manifests/" not in exchange.path:
            return False
        if exchange.command == "HEAD":
            exchange.reply(405)
        else:
            exchange.reply(200, {"Docker-Content-Digest": f"sha256:{'0' * 64}"}, body(exchange))
        return True

    play.registry.script = script


def write(exchange: Exchange, head: bytes) -> bool:
    exchange.wfile.write(head)
    exchange.close_connection = True
    return True


@told(TABLE, 55, Unavailable, "not an HTTP answer")
def ten_thousand_headers(play: Play) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 10_000 + b"\r\n"
    play.registry.script = lambda exchange: write(exchange, head)


@told(TABLE, 55, EngineError, "URL|no place")
def line_end_in_a_location(play: Play) -> None:
    play.log_in()
    location = "http://localhost:1/x%0d%0aHost: evil\x0bX: y"
    play.on_layer(always(lambda exchange: exchange.reply(302, {"Location": location})))


@told(TABLE, 60, Unavailable, "have no end")
def next_page_is_the_same(play: Play) -> None:
    list_tags(play, "<{path}>; rel=next")


@told(TABLE, 60, Unavailable, "on another server")
def next_page_is_elsewhere(play: Play) -> None:
    other = play.another()
    list_tags(play, f"<{other.url}/v2/ns/r/tags/list>; rel=next")


def list_tags(play: Play, link: str) -> None:
    def script(exchange: Exchange) -> bool:
        if "/tags/" not in exchange.path:
            return False
        headers = {"Link": link.format(path=exchange.path)}
        exchange.reply(200, headers, b'{"tags": ["a"]}')
        return True

    def action() -> None:
        hosts = Hosts(str(play.store.etc))
        repository = Repository(parse_reference(play.reference), hosts, PATIENCE, Cancel())
        try:
            list(repository.tags())
        finally:
            repository.close()

    play.registry.script = script
    play.action = action


@told(TABLE, 59, Unavailable, "the proxy wants a user name and password")
def proxy_wants_a_password(play: Play) -> None:
    proxy = play.another(lambda exchange: exchange.reply(407) is None)
    play.monkeypatch.setenv("https_proxy", proxy.url)
    play.action = lambda: play.pull("registry.invalid/ns/r:1")


@pytest.fixture
def play(store: Store, user_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    before = Traces()
    play = Play(store, user_home, monkeypatch)
    with play.servers:
        yield play
    before.check()


def check_told(play: Play, kind: type[Exception], words: str) -> None:
    """It ends so, leaves nothing, and the next pull works."""
    with pytest.raises(kind, match=words) as caught:
        play.action()
    assert isinstance(caught.value, EngineError)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600
    assert PASSWORD not in caught.value.message + caught.value.hint
    play.store.assert_nothing_half_made()
    play.check_secrets()
    play.registry.script = lambda exchange: False
    play.patience = PATIENCE
    play.monkeypatch.delenv("https_proxy", raising=False)
    play.pull()
    play.check_image()


@pytest.mark.parametrize("fault", TABLE, ids=str)
def test_fault_is_told(play: Play, fault: Fault) -> None:
    fault.play(play)
    assert fault.kind is not None
    check_told(play, fault.kind, fault.words)


# -- those that need a certificate


@pytest.mark.parametrize(
    ("number", "expired", "name", "known", "words"),
    [
        (56, True, "DNS:localhost", True, "certificate has expired"),
        (56, False, "DNS:other.example", True, "ostname mismatch"),
        (56, False, "DNS:localhost", False, "unknown authority"),
    ],
)
def test_certificate_that_proves_nothing_is_told(
    play: Play, authority: Authority, number: int, expired: bool, name: str, known: bool, words: str
) -> None:
    certificate = authority.issue(f"fault-{words[:5]}", name, expired=expired)
    server = play.serve(tls=certificate)
    play.log_in()
    if known:
        play.trust(server, authority.certificate)
    with pytest.raises(Unavailable, match=words):
        play.action()
    assert server.requests == []
    play.store.assert_nothing_half_made()


@pytest.mark.parametrize(
    ("number", "where", "words"),
    [(47, "redirect", "from https to http refused"), (52, "realm", "from https to http refused")],
)
def test_way_from_tls_to_plain_text_is_refused(
    play: Play, authority: Authority, number: int, where: str, words: str
) -> None:
    abroad = play.another()
    server = play.serve(tls=authority.issue(f"fault-{where}"))
    play.trust(server, authority.certificate)
    play.log_in()

    def redirect(exchange: Exchange) -> bool:
        if "/blobs/" in exchange.path:
            exchange.reply(302, {"Location": f"{abroad.url}{exchange.path}"})
        return "/blobs/" in exchange.path

    def challenge(exchange: Exchange) -> bool:
        exchange.reply(401, {"WWW-Authenticate": f'Bearer realm="{abroad.url}/token"'})
        return True

    server.script = redirect if where == "redirect" else challenge
    check_told(play, Unavailable, words)
    assert abroad.requests == []


# -- those of this machine


def pull_in_a_process(play: Play, files: int) -> "subprocess.CompletedProcess[str]":
    """`pydock pull` with at most so many open files."""
    program = (
        "import resource, sys; from engine.cli.main import main; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "pull", "-q", play.reference],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_too_few_descriptors_are_told(play: Play) -> None:
    """58. However many there are: it works, or says in one line why not."""
    codes = set()
    for files in (8, 16, 20, 28, 200):
        done = pull_in_a_process(play, files)
        assert "Traceback" not in done.stderr, (files, done.stderr)
        assert "this is a bug" not in done.stderr, (files, done.stderr)
        assert (done.returncode == 0) == (not done.stderr), (files, done.stderr)
        codes.add(done.returncode)
    assert codes >= {0, 1}
    play.check_image()


def test_disk_that_breaks_is_told(play: Play) -> None:
    """58."""

    def fail(self: Ingest, data: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    play.monkeypatch.setattr(Ingest, "write", fail)
    with pytest.raises(Unavailable, match=r"pull of .*: input/output error") as caught:
        play.action()
    assert "dmesg" in caught.value.hint
    play.store.assert_nothing_half_made()


def test_disk_that_fills_up_at_any_write_is_told(play: Play, tmp_path: Path) -> None:
    """57. However much is free: it works, or says that the disk is full, and leaves nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        with open_store(str(disk / "root"), str(tmp_path / "run"), play.store) as small:
            ballast = disk / "ballast"
            reasons = []
            for free in range(0, 900 << 10, 100 << 10):
                status = os.statvfs(disk)
                room = status.f_bavail * status.f_frsize
                ballast.write_bytes(bytes(max(room - free, 0)))
                try:
                    small.pull(play.reference, timeouts=PATIENCE)
                    break
                except Unavailable as error:
                    reasons.append(error.message)
                small.assert_nothing_half_made()
                ballast.unlink()
            assert len(reasons) > 2
            assert all("full" in reason or "no space left" in reason for reason in reasons)
            assert small.images.get(play.reference).id == play.image.config.digest
    finally:
        unmount(disk)


@contextlib.contextmanager
def open_store(root: str, run_root: str, like: Store) -> Iterator[Store]:
    home = open_home(root, run_root)
    database = Database(home)
    try:
        content = Content(home, database)
        yield like._replace(
            home=home, database=database, content=content, images=ImageStore(database, content)
        )
    finally:
        database.close()


@pytest.mark.parametrize("moment", ["token", "mirror", "redirect", "pause"])
def test_cancel_ends_every_wait(play: Play, moment: str) -> None:
    """61. The other waits of a pull are in test_pull_ends."""
    cancel = Cancel()

    def end(exchange: Exchange) -> bool:
        threading.Timer(0.05, cancel.cancel).start()
        if moment == "pause":
            exchange.reply(429, {"Retry-After": "2"})
        else:
            exchange.stall()
        return True

    if moment == "token":
        play.guard(give=lambda exchange, number: end(exchange))
    elif moment == "mirror":
        mirror = play.another(end)
        play.settings(f"[registry.'{play.registry.host}']\nmirrors = ['{mirror.host}']\n")
    elif moment == "redirect":
        abroad = play.another(end)
        play.on_layer(always(lambda each: each.reply(307, {"Location": f"{abroad.url}/x"})))
    else:
        play.on_layer(always(end))
    with pytest.raises(Cancelled):
        play.store.pull(play.reference, cancel=cancel, timeouts=Timeouts())
    play.store.assert_nothing_half_made()
