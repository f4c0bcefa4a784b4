"""The work that goes on, part by part, where the pane has no room for it."""

from textual.geometry import Region

from tui import jobs
from tui.jobs import Job, Jobs
from tui.widgets.canvas import Canvas
from tui.widgets.sheet import Sheet


class Work(Sheet[None]):
    """Every job with its parts; one of them can be ended."""

    title = "jobs"

    def __init__(self, work: Jobs) -> None:
        super().__init__()
        self._work = work
        self._chosen: Job | None = None

    def place(self, width: int, height: int, detail: Region) -> Region:
        high = min(height - 4, max(8, jobs.height(self._work.running) + 5))
        return self.centred(width, height, 100, high, 2 if width < 100 else 4)

    def _at(self) -> int:
        running = self._work.running
        return running.index(self._chosen) if self._chosen in running else 0

    def fill(self, canvas: Canvas) -> None:
        y, last = 2, canvas.height - 3
        running = self._work.running
        if not running:
            canvas.put(3, y, "Nothing is at work.", "dim")
        for n, job in enumerate(running):
            rows = min(jobs.height([job]), last - y)
            if rows > 0:
                if n == self._at():
                    canvas.put(0 if not self.air else 1, y, "▌", "accent")
                jobs.draw(canvas, y, rows, canvas.width - 2, [job])
                y += rows
        canvas.spans(3, canvas.height - 2, [("x", "text bold"), (" cancels", "dim")])

    def press(self, key: str, character: str | None) -> None:
        running = self._work.running
        if running and key in ("j", "down", "k", "up"):
            step = 1 if key in ("j", "down") else -1
            self._chosen = running[max(0, min(len(running) - 1, self._at() + step))]
        elif running and key in ("x", "^x"):
            running[self._at()].cancel.cancel()
        elif key in ("enter", "q"):
            self.answer(None)
        self.redraw()
