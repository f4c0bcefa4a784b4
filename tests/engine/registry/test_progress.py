import pytest

from engine.model.progress import Progress
from engine.oci.digest import Digest
from engine.registry import progress
from engine.registry.progress import Teller, short


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    return clock


def test_layer_is_called_by_its_first_digits() -> None:
    assert short(Digest("sha256:0123456789abcdef")) == "0123456789ab"


def test_ten_a_second_are_told_and_the_end_always(now: list[float]) -> None:
    told: list[Progress] = []
    teller = Teller(told.append)
    for current in range(1000):
        now[0] += 0.001
        teller.tell("a", "downloading", current, 1000)
    teller.tell("a", "downloading", 1000, 1000)
    assert 10 <= len(told) <= 12
    assert told[-1].current == 1000


def test_every_change_of_phase_is_told(now: list[float]) -> None:
    told: list[Progress] = []
    teller = Teller(told.append)
    teller.tell("a", "queued", 0, 10)
    teller.tell("a", "downloading", 0, 10)
    teller.tell("a", "retrying", 5, 10, "reset")
    teller.tell("a", "downloading", 5, 10)
    assert [step.phase for step in told] == ["queued", "downloading", "retrying", "downloading"]


def test_current_never_runs_backwards_within_a_phase(now: list[float]) -> None:
    told: list[Progress] = []
    teller = Teller(told.append)
    for current in (0, 5, 3, 7):
        now[0] += 1
        teller.tell("a", "downloading", current, 10)
    assert [step.current for step in told] == [0, 5, 7]


def test_layers_do_not_slow_each_other_and_words_are_all_told(now: list[float]) -> None:
    told: list[Progress] = []
    teller = Teller(told.append)
    teller.tell("a", "downloading", 1, 10)
    teller.tell("b", "downloading", 1, 10)
    teller.tell("", "resolving", text="one")
    teller.tell("", "resolving", text="two")
    teller.tell("", "resolving", text="two")
    assert len(told) == 4


def test_nobody_has_to_listen() -> None:
    Teller(None).tell("a", "done")
