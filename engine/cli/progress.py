"""How far a pull is: on a terminal one line a layer, kept up to date in place; in a pipe one line
for each thing that is done; for programs a line of JSON for each step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine import units
from engine.cli.output import scrub
from engine.engine import Cancel
from engine.errors import InvalidInput

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
PUSH_WORDS = _WORDS | {
    "queued": "Preparing",
    "exists": "Layer already exists",
    "mounted": "Mounted from",
    "compressing": "Compressing",
    "uploading": "Pushing",
    "done": "Pushed",
}
COPY_WORDS = PUSH_WORDS | {"uploading": "Copying", "done": "Copied"}
_MOVING = ("downloading", "extracting", "compressing", "uploading")
_BAR_WIDTH = 50
_BAR_COLUMNS = 110  # below that docker shows figures only
_SAMPLE_SECONDS = 0.05
_YOUNG_SECONDS = 0.5  # a connection's first moments tell nothing
_RATE_SECONDS = 3.0  # what was longer ago than this hardly counts for the rate
MODES = ("auto", "plain", "tty", "rawjson")  # buildx's words


class Display:
    """Takes Progress from any thread. `to_error`: on standard error, where `run` has it. `mode`
    is one of MODES; of them "rawjson" is a class of its own: see `show`."""

    def __init__(
        self,
        output: Output,
        *,
        to_error: bool = False,
        mode: str = "auto",
        words: Mapping[str, str] = _WORDS,
    ) -> None:
        self._output = output
        self._to_error = to_error
        self._words = words
        self._lines: dict[str, str] = {}  # by layer, in order of appearance
        self._phases: dict[str, str] = {}
        self._rates: dict[str, _Rate] = {}
        self._lock = threading.Lock()
        self._columns, self._rows = (80, 24) if mode == "tty" else (0, 0)
        if mode != "plain":
            with contextlib.suppress(OSError):
                size = os.get_terminal_size(2 if to_error else 1)
                self._columns, self._rows = size.columns, size.lines

    def say(self, text: str, name: str = "") -> None:
        """A line of its own, about `name` when there is one."""
        with self._lock:
            self._write(f"{name}: {scrub(text)}\n" if name else f"{scrub(text)}\n")
            self._lines.clear()  # what is above must not be overwritten any more

    def put(self, step: Progress) -> None:
        """Show one more step."""
        if not step.id:
            if step.text.startswith("warning: ") or step.phase == "retrying":
                self.say(step.text)
            return
        with self._lock:
            if self._rows > len(self._lines) + 1 or (self._rows and step.id in self._lines):
                self._update(step)
            elif self._phases.get(step.id) != step.phase:
                self._phases[step.id] = step.phase
                self._write(f"{step.id}: {_word(step, self._words)}\n")

    def _update(self, step: Progress) -> None:
        line = f"{step.id}: {_word(step, self._words)}{self._figures(step)}"[: self._columns - 1]
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
        if step.phase != "extracting":
            figures += self._speed(step)
        if self._columns <= _BAR_COLUMNS:
            return f" {figures}"
        done = min(step.current * _BAR_WIDTH // step.total, _BAR_WIDTH)
        return f" [{'=' * done}>{' ' * (_BAR_WIDTH - done)}] {figures}"

    def _speed(self, step: Progress) -> str:
        """`  10.2MB/s 12s`: how fast it comes, and how long the rest will take so."""
        rate = self._rates.setdefault(f"{step.id} {step.phase}", _Rate(step.current))
        bytes_per_second = rate.at(step.current)
        if not bytes_per_second:
            return ""
        left = units.go_duration(round((step.total - step.current) / bytes_per_second))
        return f"  {units.human_size(bytes_per_second, 3)}/s {left}"

    def _write(self, text: str) -> None:
        if self._to_error:
            self._output.error_data(text.encode())
        else:
            self._output.data(text.encode())
            self._output.flush()


class _Rate:
    """Bytes a second, the last ones counting most."""

    def __init__(self, current: int) -> None:
        self._last = current  # not 0 when something was there already
        self._start = self._then = time.monotonic()
        self._rate = 0.0

    def at(self, current: int) -> float:
        """The rate after this many bytes; 0.0 before there is one that means something."""
        seconds = time.monotonic() - self._then
        age = self._then + seconds - self._start
        if seconds >= _SAMPLE_SECONDS:
            fresh = (current - self._last) / seconds
            self._rate += (fresh - self._rate) * min(seconds / min(age, _RATE_SECONDS), 1.0)
            self._then, self._last = self._then + seconds, current
        return self._rate if age >= _YOUNG_SECONDS else 0.0


class RawJson:
    """The same for programs: a line of JSON for each step, with the fields of the messages that
    docker's API sends while it pulls: https://docs.docker.com/reference/api/engine/."""

    def __init__(self, output: Output, words: Mapping[str, str] = _WORDS) -> None:
        self._output = output
        self._words = words
        self._lock = threading.Lock()

    def say(self, text: str, name: str = "") -> None:
        self._write({"status": text} | ({"id": name} if name else {}))

    def put(self, step: Progress) -> None:
        if not step.id:
            self.say(step.text)
            return
        detail = {"current": step.current, "total": step.total} if step.total else {}
        self._write({"status": _word(step, self._words), "progressDetail": detail, "id": step.id})

    def _write(self, message: dict[str, Any]) -> None:
        from engine.cli.templates import to_json  # brings re and json: only when asked for

        with self._lock:
            self._output.data(f"{to_json(message)}\n".encode("utf-8", "surrogateescape"))
            self._output.flush()


def show(
    output: Output, mode: str, *, to_error: bool = False, words: Mapping[str, str] = _WORDS
) -> Display | RawJson:
    """What shows progress in `mode`, each phase in its word. Raises InvalidInput."""
    if mode not in MODES:
        raise InvalidInput(f"invalid progress mode: {mode[:40]}", f"one of {', '.join(MODES)}")
    if mode == "rawjson":
        return RawJson(output, words)
    return Display(output, to_error=to_error, mode=mode, words=words)


def _word(step: Progress, words: Mapping[str, str]) -> str:
    word = words.get(step.phase, step.phase)
    if step.phase == "mounted":
        return f"{word} {scrub(step.text)}"
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
