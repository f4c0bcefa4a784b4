"""From blocking calls to asyncio and back, without a lost error or a lost thread."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from engine.aio import Threads, offload, stream


class Source:
    """A stream of numbers that fails at one of them."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self._numbers = iter(range(count))
        self._fails_at = fails_at
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.closed.is_set():
            raise StopIteration
        number = next(self._numbers)
        if number == self._fails_at:
            raise OSError("broken")
        return number

    def close(self) -> None:
        self.closed.set()


class Silent(Source):
    """Says nothing until it is closed."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked = threading.Event()

    def __next__(self) -> int:
        self.asked.set()
        self.closed.wait()
        raise StopIteration


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "engine-stream"]


def threads_end() -> bool:
    for thread in threads():
        thread.join(60)
    return not threads()


async def test_value_and_error_of_a_blocking_call_come_back() -> None:
    assert await offload(divmod, 7, 2) == (3, 1)
    assert await offload(sorted, [1, 2], reverse=True) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        await offload(divmod, 7, 0)


async def test_loop_goes_on_while_a_call_blocks() -> None:
    released = threading.Event()
    waiting = asyncio.ensure_future(offload(released.wait))
    await asyncio.sleep(0)
    assert not waiting.done()
    released.set()
    assert await waiting


async def test_items_come_in_order_and_then_the_end() -> None:
    source = Source(500)
    async with stream(lambda: source) as items:
        assert [item async for item in items] == list(range(500))
    assert source.closed.is_set()
    assert threads_end()


async def test_error_comes_after_the_items_before_it() -> None:
    async with stream(Source, 10, fails_at=3) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="broken"):
            await anext(items)
    assert threads_end()


async def test_leaving_early_closes_the_stream_and_ends_its_thread() -> None:
    source = Source(10**9)
    async with stream(lambda: source) as items:
        assert await anext(items) == 0
    assert source.closed.is_set()
    assert threads_end()


async def test_cancelled_reader_closes_a_silent_stream() -> None:
    source = Silent()

    async def read() -> None:
        async with stream(lambda: source) as items:
            await anext(items)

    reader = asyncio.ensure_future(read())
    assert await offload(source.asked.wait, 60)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert source.closed.is_set()
    assert threads_end()


async def test_reader_that_is_cancelled_while_its_stream_opens_closes_it() -> None:
    source, opening, released = Silent(), threading.Event(), threading.Event()

    def open_slowly() -> Source:
        opening.set()
        released.wait(60)
        return source

    async def read() -> None:
        async with stream(open_slowly):
            pytest.fail("nobody waits for it any more")

    reader = asyncio.ensure_future(read())
    assert await offload(opening.wait, 60)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    released.set()
    assert await offload(source.closed.wait, 60)
    assert not threads()


async def test_reader_that_is_cancelled_while_its_stream_fails_to_open_hears_nothing() -> None:
    opening, released = threading.Event(), threading.Event()

    def fail_slowly() -> Source:
        opening.set()
        released.wait(60)
        raise OSError("no such container")

    async def read() -> None:
        async with stream(fail_slowly):
            pass

    reader = asyncio.ensure_future(read())
    assert await offload(opening.wait, 60)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    released.set()


async def test_call_that_cannot_open_starts_no_thread() -> None:
    def fail() -> Source:
        raise OSError("no such container")

    with pytest.raises(OSError, match="no such container"):
        async with stream(fail):
            pass
    assert not threads()


async def test_more_calls_than_threads_wait_their_turn() -> None:
    released = threading.Event()
    threads = Threads(2)
    waiting = [threads.submit(released.wait, 10) for _ in range(6)]
    names = [each for each in threading.enumerate() if each.name == "engine"]
    assert all(thread.daemon for thread in names)
    released.set()
    assert [each.result(10) for each in waiting] == [True] * 6
    assert waiting[0].cancel() is False


async def test_a_call_that_was_cancelled_in_the_queue_is_not_made() -> None:
    released, made = threading.Event(), threading.Event()
    threads = Threads(1)
    first, second = threads.submit(released.wait, 10), threads.submit(made.set)
    assert second.cancel()
    released.set()
    assert first.result(10)
    assert threads.submit(made.is_set).result(10) is False
