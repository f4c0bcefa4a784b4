"""Waiting for descriptors and for time, in one thread. Lean: monitors import this."""

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], None]


class Poller:
    """Calls who waits: `handler(events)` for a descriptor, `call()` after a time.

    A call may come for nothing, when one before it in the same round has closed a descriptor and
    another got its number.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def watch(self, descriptor: int, events: int, handler: "Handler") -> None:
        """From now on `events` are waited for there, no others; with 0 not even a hang-up."""
        if events:
            self._handlers[descriptor] = handler
            self._poll.register(descriptor, events)
        else:
            self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """Nothing is waited for there; to be called before it is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, call: "Callable[[], None]") -> None:
        """`call` is called once, so many seconds later."""
        self._timers.append((time.monotonic() + seconds, call))

    def turn(self) -> None:
        """Sleep until something happens, and let those who waited for it act."""
        timeout = None
        if self._timers:
            timeout = max(0.0, min(timer[0] for timer in self._timers) - time.monotonic()) * 1000
        for descriptor, events in self._poll.poll(timeout):
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        for timer in due:
            self._timers.remove(timer)
            timer[1]()
