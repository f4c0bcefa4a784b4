"""How far a pull is: on a terminal one line a layer, kept up to date in place; in a pipe one line
for each thing that is done."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from engine import units
from engine.cli.output import scrub
from engine.engine import Cancel

if TYPE_CHECKING:
    from engine.cli.output import Output
    from engine.model.progress import Progress

_WORDS = {
    "queued": "Pulling fs layer",
    "waiting": "Waiting",
    "downloading": "Downloading",
    "retrying": "Retrying",
    "verifying": "Verifying Checksum",
    "extracting": "Extracting",
    "exists": "Already exists",
    "cached": "Already exists",
    "done": "Pull complete",
    "cancelled": "Cancelled",
    "error": "Failed",
}
_MOVING = ("downloading", "extracting")
_BAR_WIDTH = 50
_BAR_COLUMNS = 110  # below that docker shows figures only


class Display:
    """Takes Progress from any thread. `to_error`: on standard error, where `run` has it."""

    def __init__(self, output: Output, *, to_error: bool = False) -> None:
        self._output = output
        self._to_error = to_error
        self._lines: dict[str, str] = {}  # by layer, in order of appearance
        self._phases: dict[str, str] = {}
        self._lock = threading.Lock()
        self._rows = 0
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(2 if to_error else 1)
            self._columns, self._rows = size.columns, size.lines

    def put(self, step: Progress) -> None:
        """Show one more step."""
        with self._lock:
            if not step.id:
                self._say_whole(step)
            elif self._rows > len(self._lines) + 1 or (self._rows and step.id in self._lines):
                self._update(step)
            elif self._phases.get(step.id) != step.phase:
                self._phases[step.id] = step.phase
                self._write(f"{step.id}: {_word(step)}\n")

    def _say_whole(self, step: Progress) -> None:
        if step.text.startswith("warning: ") or step.phase == "retrying":
            self._write(f"{scrub(step.text)}\n")
            self._lines.clear()  # what is above must not be overwritten any more

    def _update(self, step: Progress) -> None:
        line = f"{step.id}: {_word(step)}{self._figures(step)}"[: self._columns - 1]
        if self._lines.get(step.id) == line:
            return
        new = step.id not in self._lines
        self._lines[step.id] = line
        up = len(self._lines) - list(self._lines).index(step.id)
        if new:
            self._write(f"{line}\n")
        else:
            self._write(f"\x1b[{up}A\x1b[2K\r{line}\x1b[{up}B\r")

    def _figures(self, step: Progress) -> str:
        if step.phase not in _MOVING or not step.total:
            return ""
        figures = f"{units.human_size(step.current):>8}/{units.human_size(step.total)}"
        if self._columns <= _BAR_COLUMNS:
            return f" {figures}"
        done = min(step.current * _BAR_WIDTH // step.total, _BAR_WIDTH)
        return f" [{'=' * done}>{' ' * (_BAR_WIDTH - done)}] {figures}"

    def _write(self, text: str) -> None:
        if self._to_error:
            self._output.error_data(text.encode())
        else:
            self._output.data(text.encode())
            self._output.flush()


def _word(step: Progress) -> str:
    word = _WORDS.get(step.phase, step.phase)
    return f"{word}: {scrub(step.text)}" if step.phase == "retrying" and step.text else word


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[Cancel]:
    """A token that ctrl-C and SIGTERM cancel, so that work ends in order; the second time they do
    what they always do."""
    cancel = Cancel()
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def asked(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        cancel.cancel()

    for number in numbers:
        signal.signal(number, asked)
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
