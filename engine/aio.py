"""The one crossing between asyncio and the engine's blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from engine.engine import Stream

T = TypeVar("T")
_POOL = ThreadPoolExecutor(max_workers=16, thread_name_prefix="engine")


async def offload(call: Callable[..., T], *args: Any, **keywords: Any) -> T:
    """The value of the blocking `call`, made in a thread. Cancelling leaves the call running: give
    it a `Cancel` token and cancel that."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_POOL, functools.partial(call, *args, **keywords))


@contextlib.asynccontextmanager
async def stream(
    call: Callable[..., Stream[T]], *args: Any, **keywords: Any
) -> AsyncIterator[AsyncIterator[T]]:
    """An async iterator over the engine stream that `call` opens; closed on leaving."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=64)
    source = await offload(call, *args, **keywords)
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
