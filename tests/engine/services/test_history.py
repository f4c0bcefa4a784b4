"""Steps and layers, beside each other even where they do not match."""

from engine.model.image import HistoryEntry
from engine.services.history import pair

STEPS = (
    HistoryEntry(1, "ADD rootfs", "", False),
    HistoryEntry(2, "ENV x", "", True),
    HistoryEntry(3, "RUN it", "note", False),
)


def seen(*sizes: int, steps: tuple[HistoryEntry, ...] = STEPS) -> list[tuple[str, int]]:
    return [(step.created_by, step.size_bytes) for step in pair(steps, sizes, "sha256:a", ())]


def test_each_step_has_the_size_of_its_own_layer() -> None:
    assert seen(70, 5) == [("RUN it", 5), ("ENV x", 0), ("ADD rootfs", 70)]


def test_layers_that_no_step_speaks_of_come_on_top() -> None:
    assert seen(70, 5, 9)[0] == ("", 9)
    assert seen(70, 5, steps=()) == [("", 5), ("", 70)]


def test_a_step_without_its_layer_weighs_nothing() -> None:
    assert seen(70) == [("RUN it", 0), ("ENV x", 0), ("ADD rootfs", 70)]


def test_only_the_newest_step_is_an_image() -> None:
    steps = pair(STEPS, (1, 2), "sha256:a", ("app:1",))
    assert [(step.id, step.references) for step in steps] == [
        ("sha256:a", ("app:1",)), ("", ()), ("", ())
    ]  # fmt: skip
