"""The one crossing between asyncio and the engine's blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Executor, Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from engine.engine import Stream

T = TypeVar("T")
P = ParamSpec("P")


class Threads(Executor):
    """Runs calls in at most `most` daemon threads. The interpreter joins a ThreadPoolExecutor's
    when it ends: a `stop` on its way would hold a program back that wants to leave."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def submit(self, call: Callable[P, T], /, *args: P.args, **keywords: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, functools.partial(call, *args, **keywords)))
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if self._count < self._most:
                    self._count += 1
                    threading.Thread(target=self._work, name="engine", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            self._answer(*self._calls.get())
            self._idle.release()

    def _answer(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                value = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)


_THREADS = Threads(16)


async def offload(call: Callable[..., T], *args: Any, **keywords: Any) -> T:
    """The value of the blocking `call`, made in a thread. Cancelling leaves the call running: give
    it a `Cancel` token and cancel that."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, functools.partial(call, *args, **keywords))


async def _opened(call: Callable[[], Stream[T]]) -> Stream[T]:
    """The stream. Cancelled meanwhile, it is closed as soon as it is there."""
    opening = _THREADS.submit(call)
    try:
        return await asyncio.wrap_future(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: Future[Stream[Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


@contextlib.asynccontextmanager
async def stream(
    call: Callable[..., Stream[T]], *args: Any, **keywords: Any
) -> AsyncIterator[AsyncIterator[T]]:
    """An async iterator over the engine stream that `call` opens; closed on leaving."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=64)
    source = await _opened(functools.partial(call, *args, **keywords))
    stopped = threading.Event()

    def put(tag: str, value: Any) -> None:
        if stopped.is_set():  # nobody listens, and the loop may be gone
            return
        future = asyncio.run_coroutine_threadsafe(queue.put((tag, value)), loop)
        while not stopped.is_set():
            try:
                future.result(timeout=0.1)
            except TimeoutError:
                continue
            except CancelledError:  # the loop ended while we waited
                pass
            return
        future.cancel()

    def pump() -> None:
        try:
            for item in source:
                put("item", item)
                if stopped.is_set():
                    return
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)

    async def items() -> AsyncIterator[T]:
        while True:
            tag, value = await queue.get()
            if tag == "item":
                yield value
            elif tag == "error":
                raise value
            else:
                return

    # A thread of its own, not the pool's: a stream may wait for hours.
    thread = threading.Thread(target=pump, name="engine-stream", daemon=True)
    thread.start()
    try:
        yield items()
    finally:
        stopped.set()
        source.close()
