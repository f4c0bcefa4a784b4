"""Forty faults that a pull or a push survives."""

import json
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from engine.registry import dial
from tests.support.closed_port import closed_port
from tests.support.fault_server import Exchange
from tests.support.fault_table import (
    BASIC,
    PASSWORD,
    USER,
    Fault,
    Play,
    Traces,
    survives,
)
from tests.support.pulls import Store

pytestmark = pytest.mark.root
TABLE: list[Fault] = []


def body(exchange: Exchange) -> bytes:
    return exchange.server.faults.documents[exchange.path.partition("?")[0]][1]


def flip(data: bytes) -> bytes:
    return data[:50] + bytes([data[50] ^ 1]) + data[51:]


def cut(exchange: Exchange, after: int = 70_000) -> object:
    """The first bytes of what is asked for, then the end of the connection."""
    data = body(exchange)
    start = int(exchange.headers.get("Range", "bytes=0-")[6:-1])
    if len(data) - start <= after:
        return False
    headers = {}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    exchange.send_head(206 if start else 200, headers, len(data) - start)
    exchange.wfile.write(data[start : start + after])
    return exchange.finish_early()


@survives(TABLE, 1)
def reset_once(play: Play) -> None:
    play.on_blobs(lambda exchange, number: exchange.reset() if number == 1 else False)


@survives(TABLE, 2)
def reset_twice(play: Play) -> None:
    play.on_blobs(lambda exchange, number: exchange.reset() if number <= 2 else False)


@survives(TABLE, 3)
def reset_again_and_again_but_with_progress(play: Play) -> None:
    play.on_layer(lambda exchange, number: cut(exchange, 50_000))


@survives(TABLE, 4)
def early_end_of_the_body(play: Play) -> None:
    play.on_layer(lambda exchange, number: cut(exchange) if number == 1 else False)


def after_a_cut(play: Play, status: int, headers: dict[str, str]) -> None:
    """The Range of the second request is answered by the whole blob, so named."""

    def fault(exchange: Exchange, number: int) -> object:
        if number == 1:
            return cut(exchange)
        if "Range" not in exchange.headers:
            return False
        return exchange.reply(status, headers, body(exchange))

    play.on_layer(fault)


@survives(TABLE, 5)
def range_answered_by_all(play: Play) -> None:
    after_a_cut(play, 200, {})


@survives(TABLE, 6)
def range_at_a_wrong_offset(play: Play) -> None:
    after_a_cut(play, 206, {"Content-Range": "bytes 5-9/10"})


@survives(TABLE, 7)
def range_unnamed(play: Play) -> None:
    after_a_cut(play, 206, {})


@survives(TABLE, 8)
def server_errors(play: Play) -> None:
    def fault(exchange: Exchange, number: int) -> object:
        return exchange.reply((500, 502, 503)[number - 1]) if number <= 3 else False

    play.on_blobs(fault)


@survives(TABLE, 9)
def told_to_wait_a_second(play: Play) -> None:
    def fault(exchange: Exchange, number: int) -> object:
        return exchange.reply(429, {"Retry-After": "1"}) if number == 1 else False

    play.on_layer(fault)

    def action() -> None:
        play.pull()
        texts = [step.text for step in play.store.told if step.phase == "retrying"]
        assert any("too many requests, try again in 1 seconds (retry 1)" in each for each in texts)

    play.action = action


@survives(TABLE, 10)
def told_to_wait_until_a_date(play: Play) -> None:
    def fault(exchange: Exchange, number: int) -> object:
        later = formatdate(time.time() + 1, usegmt=True)
        return exchange.reply(503, {"Retry-After": later}) if number == 1 else False

    play.on_layer(fault)


@survives(TABLE, 11)
def body_stalls(play: Play) -> None:
    play.lose_patience()

    def fault(exchange: Exchange, number: int) -> object:
        if number > 1:
            return False
        exchange.send_head(200, None, len(body(exchange)))
        exchange.wfile.write(body(exchange)[:50_000])
        return exchange.stall()

    play.on_layer(fault)


@survives(TABLE, 12)
def head_stalls(play: Play) -> None:
    play.lose_patience()
    play.on_layer(lambda exchange, number: exchange.stall() if number == 1 else False)


@survives(TABLE, 13)
def one_wrong_byte_once(play: Play) -> None:
    def fault(exchange: Exchange, number: int) -> object:
        return exchange.reply(200, {}, flip(body(exchange))) if number == 1 else False

    play.on_blobs(fault)


@survives(TABLE, 14)
def presigned_address_expires(play: Play) -> None:
    seen: set[str] = set()

    def storage(exchange: Exchange) -> bool:
        if exchange.path in seen:
            exchange.reply(403, body=b"<Error>Request has expired</Error>")
            return True
        seen.add(exchange.path)
        return cut(exchange) is not False

    play.log_in()
    abroad = play.another(storage)

    def fault(exchange: Exchange, number: int) -> object:
        location = f"{abroad.url}{exchange.path}?signature={number // 2}"
        return exchange.reply(307, {"Location": location})

    play.on_blobs(fault)


@survives(TABLE, 15)
def token_ends_in_the_middle_of_a_blob(play: Play) -> None:
    used: dict[str, int] = {}

    def accept(exchange: Exchange) -> bool:
        token = exchange.headers["Authorization"]
        used[token] = used.get(token, 0) + 1
        return used[token] <= 3

    play.log_in()
    play.guard(
        accept=accept,
        rest=lambda exchange: "/blobs/" in exchange.path and (cut(exchange, 60_000) is not False),
    )


@survives(TABLE, 16)
def token_ends_between_blobs(play: Play) -> None:
    used: set[str] = set()

    def once(exchange: Exchange) -> bool:
        token = exchange.headers["Authorization"]
        if "/blobs/" not in exchange.path or token not in used:
            used.add(token)
            return True
        used.discard(token)
        return False

    play.guard(accept=once)


@survives(TABLE, 17)
def scope_is_a_placeholder(play: Play) -> None:
    def give(exchange: Exchange, number: int) -> object:
        return False if "repository%3Ans%2Fr%3Apull" in exchange.path else exchange.reply(403)

    giver = play.guard("", give=give)
    guarded = play.registry.script

    def script(exchange: Exchange) -> bool:
        if exchange.path == "/v2/":
            value = f'Bearer realm="{giver.url}/token",scope="repository:user/image:pull"'
            exchange.reply(401, {"WWW-Authenticate": value})
            return True
        return guarded(exchange)

    play.registry.script = script


@survives(TABLE, 18)
def refusal_says_nothing(play: Play) -> None:
    scope_is_a_placeholder(play)


@survives(TABLE, 19)
def two_challenges_in_one_header(play: Play) -> None:
    play.guard(
        'Basic realm="a, b", Bearer realm="{url}/token",scope="repository:ns/r:pull",service="s"'
    )


@survives(TABLE, 20)
def token_server_takes_no_post(play: Play) -> None:
    def give(exchange: Exchange, number: int) -> object:
        return exchange.reply(405) if exchange.command == "POST" else False

    play.log_in(username=USER, identitytoken=PASSWORD)
    play.guard(give=give)


@survives(TABLE, 21)
def token_is_called_access_token(play: Play) -> None:
    def give(exchange: Exchange, number: int) -> object:
        return exchange.reply(200, {}, json.dumps({"access_token": f"t{number}"}).encode())

    play.guard(give=give)


@survives(TABLE, 22)
def clocks_are_an_hour_apart(play: Play) -> None:
    def give(exchange: Exchange, number: int) -> object:
        answer = {"token": f"t{number}", "expires_in": 300, "issued_at": "2001-01-01T00:00:00Z"}
        return exchange.reply(200, {}, json.dumps(answer).encode())

    giver = play.guard(give=give)

    def action() -> None:
        play.pull()
        assert len(giver.requests) == 1

    play.action = action


@survives(TABLE, 23)
def blobs_are_on_another_host(play: Play) -> None:
    play.log_in()
    abroad = play.another()
    inner = "/blobs/"

    def script(exchange: Exchange) -> bool:
        if exchange.headers["Authorization"] != BASIC:
            exchange.reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        elif inner in exchange.path:
            exchange.reply(307, {"Location": f"{abroad.url}{exchange.path}"})
        else:
            return False
        return True

    play.registry.script = script


@survives(TABLE, 24)
def redirect_is_relative(play: Play) -> None:
    def fault(exchange: Exchange, number: int) -> object:
        if number > 1:
            return False
        return exchange.reply(302, {"Location": f"./{exchange.path.rpartition('/')[2]}"})

    play.on_blobs(fault)


@survives(TABLE, 25)
def four_redirects_in_a_row(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        path, _, hop = exchange.path.partition("?hop=")
        if "/blobs/" not in path or hop == "4":
            return False
        exchange.reply(307, {"Location": f"{path}?hop={int(hop or 0) + 1}"})
        return True

    play.registry.script = script


@survives(TABLE, 26)
def no_digest_in_the_head(play: Play) -> None:
    documents = play.registry.documents
    for path, (media_type, data, _) in list(documents.items()):
        documents[path] = (media_type, data, "")


@survives(TABLE, 27)
def head_is_refused(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        if exchange.command == "HEAD":
            exchange.reply(405)
        return exchange.command == "HEAD"

    play.registry.script = script


@survives(TABLE, 28)
def everything_is_called_octets(play: Play) -> None:
    documents = play.registry.documents
    for path, (_, data, digest) in list(documents.items()):
        documents[path] = ("application/octet-stream", data, digest)


def write_chunked(exchange: Exchange, size: int) -> None:
    data = body(exchange)
    media_type, _, digest = exchange.server.faults.documents[exchange.path]
    headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
    exchange.send_head(200, headers | {"Transfer-Encoding": "chunked"}, 0)
    if exchange.command == "HEAD":
        return
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        exchange.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    exchange.wfile.write(b"0\r\n\r\n")


@survives(TABLE, 29)
def answers_come_in_chunks(play: Play) -> None:
    play.registry.script = lambda exchange: write_chunked(exchange, 999) is None


@survives(TABLE, 30)
def connections_close_between_requests(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        exchange.serve()
        exchange.finish_early()  # without a word of it before
        return True

    play.registry.script = script


@survives(TABLE, 31)
def answers_come_byte_by_byte(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        if "/manifests/" not in exchange.path or exchange.command == "HEAD":
            return False
        media_type, data, digest = exchange.server.faults.documents[exchange.path]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        exchange.send_head(200, headers, len(data))
        for byte in data:
            exchange.wfile.write(bytes([byte]))
        return True

    play.registry.script = script


@survives(TABLE, 32)
def mirror_is_down(play: Play) -> None:
    port = play.servers.enter_context(closed_port())
    play.settings(f"[registry.'{play.registry.host}']\nmirrors = ['localhost:{port}']\n")


@survives(TABLE, 32)
def mirror_has_nothing(play: Play) -> None:
    mirror = play.another(lambda exchange: exchange.reply(404) is None)
    play.settings(f"[registry.'{play.registry.host}']\nmirrors = ['{mirror.host}']\n")


@survives(TABLE, 32)
def mirror_has_wrong_bytes(play: Play) -> None:
    play.log_in()
    mirror = play.another()
    for path, (media_type, data, digest) in list(mirror.documents.items()):
        if not path.endswith("/manifests/1"):
            mirror.documents[path] = (media_type, flip(data), digest)
    play.settings(f"[registry.'{play.registry.host}']\nmirrors = ['{mirror.host}']\n")


@survives(TABLE, 33)
def tag_moves_between_head_and_get(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        if exchange.command == "GET" and exchange.path.endswith("/manifests/1"):
            exchange.reply(404)
            return True
        return False

    play.registry.script = script


@survives(TABLE, 33)
def tag_moves_and_what_it_named_is_gone(play: Play) -> None:
    def script(exchange: Exchange) -> bool:
        if exchange.command != "HEAD":
            return False
        headers = {"Docker-Content-Digest": f"sha256:{'0' * 64}", "Content-Length": "500"}
        exchange.reply(200, headers | {"Content-Type": play.image.manifest.media_type})
        return True

    play.registry.script = script


@survives(TABLE, 34)
def ipv6_is_dead(play: Play) -> None:
    real = dial.Dialer._resolve

    def resolve(self: dial.Dialer, *where: object) -> list[tuple[int, object]]:
        found = real(self, *where)  # type: ignore[arg-type]
        return [(socket.AF_INET6, ("100::1", 9, 0, 0)), *found]  # the discard prefix

    play.monkeypatch.setattr(dial.Dialer, "_resolve", resolve)


@pytest.fixture
def play(store: Store, user_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    before = Traces()
    play = Play(store, user_home, monkeypatch)
    with play.servers:
        yield play
    before.check()


@pytest.mark.parametrize("fault", TABLE, ids=str)
def test_fault_is_survived(play: Play, fault: Fault) -> None:
    fault.play(play)
    play.action()
    play.check_image()
    play.check_secrets()
