"""Trying again what may work the next time: with back-off, a budget, and an ear for cancel."""

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from engine.engine import Cancel
from engine.errors import Cancelled, EngineError
from engine.registry.timeouts import Timeouts

T = TypeVar("T")
OnRetry = Callable[[int, EngineError], None]

TRANSIENT_STATUSES = frozenset((408, 429, 500, 502, 503, 504, 522))


class Transient(Exception):
    """Carries an error that may be gone the next time; never leaves this package."""

    def __init__(self, error: EngineError, after_seconds: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after_seconds = after_seconds  # what the server asked for


class Retry:
    """The budget of one piece of work. Not shared between threads."""

    def __init__(self, timeouts: Timeouts, cancel: Cancel, on_retry: OnRetry | None = None) -> None:
        self._timeouts = timeouts
        self._cancel = cancel
        self._on_retry = on_retry
        self.refill()

    def refill(self) -> None:
        """Progress was made: all tries are there again."""
        self._failures = 0
        self._waited_seconds = 0.0

    def run(self, call: Callable[[], T]) -> T:
        """The value of `call`, which is called again while it raises `Transient`. Raises the error
        inside when the budget is spent, Cancelled."""
        while True:
            try:
                return call()
            except Transient as failure:
                self._wait(failure)

    def _wait(self, failure: Transient) -> None:
        error = failure.error
        if self._cancel.cancelled:
            raise Cancelled("cancelled") from error
        limits = self._timeouts
        delay = min(limits.first_delay_seconds * 2**self._failures, limits.longest_delay_seconds)
        delay *= random.uniform(0.75, 1.25)
        if failure.after_seconds is not None:
            if failure.after_seconds > limits.longest_retry_after_seconds:
                raise error
            delay = failure.after_seconds
        self._failures += 1
        self._waited_seconds += delay
        if self._failures > limits.retries or self._waited_seconds > limits.retrying_seconds:
            raise type(error)(f"{error.message}, {self._failures} times", error.hint) from error
        if self._on_retry:
            self._on_retry(self._failures, error)
        if self._cancel.wait(delay):
            raise Cancelled("cancelled") from error


def parse_retry_after(text: str | None) -> float | None:
    """Seconds from now that a Retry-After header asks for; None when absent or not readable.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None
