"""Long work that goes on while the console is used: how far it is, and the way to end it."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from engine.aio import offload
from engine.engine import Cancel, OnProgress
from engine.model.progress import Phase, Progress
from tui import format
from tui.widgets.canvas import EDGE, Canvas, Part, middle

TICK_SECONDS = 0.25  # a bar moves at most four times a second
RATE_SECONDS = 5.0
SUBJECT = 32  # cells that a name may take
STEP = 14  # cells for the name of a job or of a step in it
BAR, WIDE = 24, 90  # cells of a bar; half of them where a line is shorter than this
HERE = frozenset({"cached", "exists", "mounted"})  # layers that nothing is done for
LOADED = frozenset({"verifying", "extracting", "done"})  # all their bytes have come
MOVING = frozenset({"downloading", "uploading", "compressing", "exporting"})
T = TypeVar("T")


class Job:
    """One piece of work. `add` is called by the threads that do it, the rest in the event loop."""

    def __init__(self, verb: str, subject: str) -> None:
        self.verb = verb
        self.subject = subject
        self.cancel = Cancel()
        self.ended = threading.Event()  # its thread has nothing more to do
        self._lock = threading.Lock()
        self._steps: dict[str, Progress] = {}
        self._whole = Progress("", "queued")
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, step: Progress) -> None:
        """It went on."""
        with self._lock:
            if step.id:
                self._steps[step.id] = step
            else:
                self._whole = step

    def steps(self) -> list[Progress]:
        """Where each of its parts is, but for those that were here before."""
        with self._lock:
            return [step for step in self._steps.values() if step.phase not in HERE]

    def bytes(self) -> tuple[int, int]:
        """How many have come, and of how many; (0, 0) while that is not known."""
        steps = self.steps()
        if not steps:
            return self._whole.current, self._whole.total
        done = sum(step.total if step.phase in LOADED else step.current for step in steps)
        return done, sum(step.total for step in steps)

    @property
    def share(self) -> float:
        """0 … 1, as far as bytes tell; the whole is reached only when it ends."""
        done, total = self.bytes()
        return min(0.99, done / total) if total else 0.0

    def sample(self) -> None:
        """Note how far it is: rates come from the last few seconds."""
        now = time.monotonic()
        self._samples.append((now, self.bytes()[0]))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    def rate(self) -> float:
        """Bytes each second, 0 while nobody knows."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    def tail(self, *, short: bool = False) -> str:
        """What is worth knowing besides the percentage."""
        done, total = self.bytes()
        steps = self.steps()
        if self.cancel.cancelled:
            return "stopping"
        stuck = next((step for step in steps if step.phase == "retrying" and step.text), None)
        if stuck is not None:
            return stuck.text
        if not total:
            return self._whole.text or "starting"
        if done >= total:
            late = [s for s in steps if s.phase == "extracting"]
            return f"extracting, {len(late)} to go" if late else "nearly done"
        words = [] if short else [f"{format.size(done)} of {format.size(total)}"]
        rate = self.rate()
        if rate >= 1:
            words += [f"{format.rate(rate)}/s", f"{format.span((total - done) / rate)} left"]
        return "   ".join(words)

    def parts(self, bar_cells: int, *, short: bool = False, pad: int = 0) -> list[Part]:
        """A line: subject (`pad` cells at least), bar, percentage, what else is known."""
        parts: list[Part] = [("◐ ", "info"), (f"{self.verb} ", "dim")]
        parts.append((f"{middle(self.subject, SUBJECT):<{pad}} ", "text"))
        if self.bytes()[1]:
            parts += format.bar(self.share, bar_cells)
            parts.append((f" {self.share:4.0%}", "strong bold"))
        return [*parts, (f"   {self.tail(short=short)}", "dim")]


def draw(canvas: Canvas, y: int, rows: int, end: int, jobs: list[Job]) -> None:
    """Jobs and, below each, the parts that it is made of: at most so many rows, up to column
    `end`."""
    last, bar = y + rows, BAR if end >= WIDE else BAR // 2
    for job in jobs:
        if y < last:
            canvas.spans(EDGE, y, job.parts(bar, pad=STEP - 1), end)
            y += 1
        for step in job.steps():
            if y < last:
                canvas.put(EDGE + 7, y, step.id[:10], "faint")
                canvas.spans(EDGE + 7 + STEP, y, _step(step, bar), end)
                y += 1


def height(jobs: list[Job]) -> int:
    """The rows that `draw` would take."""
    return sum(1 + len(job.steps()) for job in jobs)


def _step(step: Progress, bar_cells: int) -> list[Part]:
    share = 1.0 if step.phase == "done" else step.current / step.total if step.total else 0.0
    words: Phase | str = step.phase
    if step.phase in MOVING:
        words = f"{format.size(step.current)} of {format.size(step.total)}"
        words += "" if step.phase in ("downloading", "uploading") else f"   {step.phase}"
    elif step.phase in ("retrying", "waiting") and step.text:
        words = step.text
    ink = "warn" if step.phase == "retrying" else "faint"
    return [*format.bar(share, bar_cells, "dim"), (f" {share:4.0%}", "dim"), (f"   {words}", ink)]


class Jobs:
    """What is at work now. `changed` is called when there is something else to show."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.running: list[Job] = []
        self.stopped: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
        """What can go on where it was cut: verb and subject, and what begins it again."""
        self._left: list[Job] = []  # nobody waits for these any more
        self._changed = changed

    async def run(self, verb: str, subject: str, call: Callable[[OnProgress, Cancel], T]) -> T:
        """The value of `call(progress, cancel)`, made in a thread. Whoever stops waiting for it
        ends it."""
        job = Job(verb, subject)

        def work() -> T:
            try:
                return call(job.add, job.cancel)
            finally:
                job.ended.set()

        self.running.append(job)
        self._tick(job)
        try:
            return await offload(work)
        except asyncio.CancelledError:
            self._left.append(job)
            job.cancel.cancel()
            raise
        finally:
            self.running.remove(job)
            self._changed()

    def _tick(self, job: Job) -> None:
        if job in self.running:
            job.sample()
            self._changed()
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick, job)

    def find(self, verb: str, subject: str) -> Job | None:
        """The job that does this already."""
        return next((j for j in self.running if (j.verb, j.subject) == (verb, subject)), None)

    def cancel_last(self) -> None:
        """End the youngest one that is not ending already."""
        for job in reversed(self.running):
            if not job.cancel.cancelled:
                job.cancel.cancel()
                self._changed()
                return

    async def resume(self) -> None:
        """Go on with what was stopped last."""
        _, again = self.stopped.popitem()
        await again()

    def finish(self, grace_seconds: float) -> None:
        """What was cancelled because the console ends has cleaned up, or the grace is over."""
        deadline = time.monotonic() + grace_seconds
        for job in self._left:
            job.ended.wait(max(0.0, deadline - time.monotonic()))

    def summary(self) -> list[Part]:
        """For the tab row: the oldest one in a few cells."""
        if not self.running:
            return []
        job = self.running[0]
        share = f" {job.share:.0%}" if job.bytes()[1] else ""
        more = f" and {len(self.running) - 1} more" if len(self.running) > 1 else ""
        return [("◐ ", "info"), (f"{job.verb}{share}{more}", "text")]

    def line(self, width: int, key: str) -> list[Part]:
        """For the message row: the oldest one, and the key that ends the last one."""
        if not self.running:
            return []
        narrow = width < WIDE
        parts = self.running[0].parts(BAR // 2 if narrow else BAR, short=narrow)
        return [*parts, (f"   {key}", "text bold"), (" cancels", "dim")]
