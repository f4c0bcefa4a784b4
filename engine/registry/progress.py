"""Progress as clients want it: not too often, never backwards, one voice at a time."""

from __future__ import annotations

import threading
import time

from engine.engine import OnProgress
from engine.model.progress import Phase, Progress
from engine.oci.digest import Digest

TELL_SECONDS = 0.1


def short(digest: Digest) -> str:
    """How a layer is called on the screen."""
    return digest.partition(":")[2][:12]


class Teller:
    """Passes progress on, at most ten times a second for each layer and phase."""

    def __init__(self, progress: OnProgress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._last: dict[str, Progress] = {}
        self._told: dict[str, float] = {}

    def tell(
        self, name: str, phase: Phase, current: int = 0, total: int = 0, text: str = ""
    ) -> None:
        """What happens to the layer `name` ("" for the pull as a whole)."""
        self.pass_on(Progress(name, phase, current, total, text))

    def pass_on(self, step: Progress) -> None:
        if self._progress is None:
            return
        with self._lock:
            last = self._last.get(step.id)
            now = time.monotonic()
            if last is not None and last.phase == step.phase and step.id:
                step = step._replace(current=max(step.current, last.current))
                soon = now - self._told[step.id] < TELL_SECONDS
                if soon and step.text == last.text and step.current < step.total:
                    return
            if step == last:
                return
            self._last[step.id] = step
            self._told[step.id] = now
            self._progress(step)
