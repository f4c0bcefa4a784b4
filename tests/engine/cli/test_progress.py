"""Signals that end work, and a display on small terminals."""

import io
import os
import signal
import time

import pytest

from engine.cli.main import main
from engine.cli.output import Output
from engine.cli.progress import Display, cancelled_by_signals
from engine.model.progress import Phase, Progress
from tests.support.double import Double


def output() -> tuple[Output, io.BytesIO]:
    out = io.BytesIO()
    return Output(out, out, terminal=True), out


def size(monkeypatch: pytest.MonkeyPatch, columns: int, rows: int) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd=1: os.terminal_size((columns, rows)))


def test_an_interrupt_cancels_and_a_second_one_is_itself() -> None:
    before = signal.getsignal(signal.SIGINT)
    with cancelled_by_signals() as cancel:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancel.cancelled
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_pull_is_130_and_leaves_nothing(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_remote("localhost:5000/slow:1", [{"a": 1000}])
    to, out = output()
    put = Display.put

    def put_once(display: Display, step: Progress) -> None:
        put(display, step)
        if step.phase == "downloading":
            monkeypatch.setattr(Display, "put", put)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "put", put_once)
    code = main(["pull", "localhost:5000/slow:1"], connect=lambda demo: double, output=to)
    assert code == 130
    assert double.images.list() == []
    assert b"cancelled" in out.getvalue().splitlines()[-2]


def test_lines_are_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    size(monkeypatch, 40, 24)
    to, out = output()
    Display(to).put(Progress("abc", "downloading", 1_000_000, 3_000_000))
    assert out.getvalue() == b"abc: Downloading      1MB/3MB\n"
    size(monkeypatch, 12, 24)
    to, out = output()
    Display(to).put(Progress("abc", "downloading", 1_000_000, 3_000_000))
    assert out.getvalue() == b"abc: Downlo\n"


def test_more_layers_than_rows_are_not_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    size(monkeypatch, 80, 4)
    to, out = output()
    display = Display(to)
    for number in range(6):
        display.put(Progress(f"layer{number}", "queued"))
    for number in range(6):
        display.put(Progress(f"layer{number}", "downloading", 1, 2))
        display.put(Progress(f"layer{number}", "downloading", 2, 2))
    text = out.getvalue().decode()
    assert (
        max(int(up) for up in text.replace("[", " ").replace("A", " ").split() if up.isdigit()) <= 3
    )
    assert text.count("layer5: Downloading") == 1


def test_warnings_stay_and_foreign_text_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    size(monkeypatch, 80, 24)
    to, out = output()
    display = Display(to)
    display.put(Progress("", "resolving", text="resolving x"))
    display.put(Progress("", "resolving", text="warning: \x1b[2J"))
    display.put(Progress("abc", "retrying", text="lost\x07"))
    assert out.getvalue() == b"warning: \\x1b[2J\nabc: Retrying: lost\\x07\n"


def test_rate_and_rest_of_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    size(monkeypatch, 80, 24)
    to, out = output()
    display = Display(to)

    def line(seconds: float, phase: Phase, done: int) -> str:
        now[0] += seconds
        display.put(Progress("abc", phase, done, 100_000_000))
        return out.getvalue().decode().rpartition("abc: ")[2].partition("\x1b")[0].rstrip("\n")

    # Resumed: the twenty megabytes that were here already have no part in the rate.
    assert line(0, "downloading", 20_000_000) == "Downloading     20MB/100MB"
    assert line(0.1, "downloading", 20_000_001) == "Downloading     20MB/100MB"
    assert line(1.9, "downloading", 40_000_000) == "Downloading     40MB/100MB  10MB/s 6s"
    assert line(3, "downloading", 40_000_000) == "Downloading     40MB/100MB"  # it stalls
    assert line(9, "downloading", 67_000_000) == "Downloading     67MB/100MB  3MB/s 11s"
    assert line(1, "extracting", 50_000_000) == "Extracting     50MB/100MB"
