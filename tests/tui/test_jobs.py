"""How far a job is, in bytes, words and cells."""

import pytest

from engine.model.progress import Phase, Progress
from tui import jobs
from tui.jobs import Job

M = 1_000_000


def job(*steps: tuple[str, Phase, int, int]) -> Job:
    """A pull with these steps behind it."""
    made = Job("pull", "redis:7.4")
    for step in steps:
        made.add(Progress(*step))
    return made


def words(made: Job) -> str:
    return "".join(text for text, _ in made.parts(12))


def test_layers_that_were_here_count_for_nothing() -> None:
    made = job(("a", "cached", 90 * M, 90 * M), ("b", "downloading", 21 * M, 42 * M))
    assert made.bytes() == (21 * M, 42 * M)
    assert made.share == 0.5


def test_a_layer_that_is_extracted_has_come_as_a_whole() -> None:
    made = job(("a", "downloading", 10, 10), ("a", "extracting", 2, 10), ("b", "queued", 0, 30))
    assert made.bytes() == (10, 40)


def test_the_whole_is_reached_only_at_the_end() -> None:
    made = job(("a", "extracting", 1, 10), ("b", "done", 10, 10))
    assert made.share == 0.99
    assert "extracting, 1 to go" in words(made)


def test_before_bytes_are_known_its_words_are_shown() -> None:
    made = job()
    made.add(Progress("", "resolving", text="redis:7.4 from docker.io"))
    assert words(made) == "◐ pull redis:7.4    redis:7.4 from docker.io"


def test_rate_and_time_left_come_from_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    made = job(("a", "downloading", 0, 40 * M))
    made.sample()
    assert made.rate() == 0
    for second in (1, 2, 3, 4, 5, 6, 7):
        clock[0] = 100.0 + second
        made.add(Progress("a", "downloading", second * 2 * M, 40 * M))
        made.sample()
    assert made.rate() == 2 * M
    assert words(made).endswith("━━━━────────  35%   14.0M of 40.0M   2.0M/s   13s left")


def test_a_long_name_leaves_room_for_the_rest() -> None:
    made = Job("pull", "x" * 100)
    assert "…" in words(made)


def test_a_cancelled_job_says_so() -> None:
    made = job(("a", "downloading", 1, 2))
    made.cancel.cancel()
    assert words(made).endswith("stopping")
