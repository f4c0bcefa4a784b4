"""`logs`: streams, stamps, tails, and what of it a terminal gets."""

import threading
import time

import pytest

from engine.cli.logs import harmless
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


@pytest.fixture
def web(double: Double) -> str:
    double.add_container("web")
    for number in range(1, 4):
        double.say("web", f"line {number}")
    double.say("web", "bad", stream="stderr")
    return "web"


def test_streams_stay_apart(pydock: Pydock, web: str) -> None:
    assert pydock("logs", web) == (0, "line 1\nline 2\nline 3\n", "bad\n")


def test_a_tail_and_a_time_choose(pydock: Pydock, web: str) -> None:
    assert pydock("logs", "-n", "2", web) == (0, "line 3\n", "bad\n")
    assert pydock("logs", "--tail", "0", web).out == ""
    assert pydock("logs", "--tail", "all", web).out.count("\n") == 3
    assert pydock("logs", "--since", "10m", web).out.count("\n") == 3
    assert pydock("logs", "--until", "10m", web).out == ""
    assert pydock("logs", "--tail", "few", web).code == 125
    said = pydock("logs", "--since", "yesterday", web)
    assert (said.code, said.err.splitlines()[0]) == (
        1, "pydock: failed to parse value as time or duration: 'yesterday'",
    )  # fmt: skip


def test_stamps_have_nine_digits(pydock: Pydock, web: str) -> None:
    first = pydock("logs", "-t", web).lines[0]
    stamp, _, text = first.partition(" ")
    assert text == "line 1"
    assert len(stamp) == len("2026-01-01T00:00:00.000000000Z")
    assert stamp.startswith(time.strftime("%Y-%m-", time.gmtime()))


def test_following_ends_with_the_container(pydock: Pydock, double: Double, web: str) -> None:
    def live() -> None:
        time.sleep(0.2)
        double.say(web, "late")
        double.end(web)

    threading.Thread(target=live).start()
    assert pydock("logs", "-f", "-n", "1", web).out == "late\n"


def test_bytes_are_kept_in_a_pipe(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    double.say("web", b"\x1b[2J\xff")
    assert pydock("logs", "web").out == "\x1b[2J\ufffd\n"
    assert pydock("logs", "web", terminal=True).out == "\\x1b[2J\\xff\x1b[m\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain \xc3\xa9\ttab", "plain é\ttab"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[m"),
        (b"\x1b[38;5;9mx\x1b[m", "\x1b[38;5;9mx\x1b[m\x1b[m"),
        (b"\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H\x1b[m"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"progress\r", "progress"),
        (b"a\rb", "a\\rb"),
        (b"\x1b[", "\\x1b[\x1b[m"),
    ],
)
def test_only_colours_reach_a_terminal(line: bytes, shown: str) -> None:
    assert harmless(line).decode() == shown


def test_a_missing_container_is_told(pydock: Pydock) -> None:
    assert pydock("logs", "nobody").code == 1
