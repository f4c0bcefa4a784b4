"""How an image came to be: the steps of its config beside the layers that they made."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.image import HistoryEntry, HistoryStep


def pair(
    entries: Sequence[HistoryEntry],
    sizes_bytes: Sequence[int],
    image_id: str,
    references: tuple[str, ...],
) -> tuple[HistoryStep, ...]:
    """Steps, newest first, each with the bytes of its layer. `sizes_bytes` are the layers', bottom
    first; those that no entry speaks of come on top, and the newest step has the image's id."""
    steps: list[HistoryStep] = []
    sizes = list(sizes_bytes)
    for entry in entries:
        size = 0 if entry.empty_layer or not sizes else sizes.pop(0)
        steps.append(HistoryStep("", (), entry.created_ns, entry.created_by, entry.comment, size))
    steps += [HistoryStep("", (), 0, "", "", size) for size in sizes]
    steps.reverse()
    return (steps[0]._replace(id=image_id, references=references), *steps[1:])
