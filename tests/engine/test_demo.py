"""The demo comes up, may come up again, and goes without a trace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import demo
from engine.connect import connect
from engine.local import LocalEngine
from tests.support.waiting import until

pytestmark = pytest.mark.root

NAMES = {"web", "worker", "cache"}


@pytest.fixture
def engine(roots: tuple[str, str]) -> Iterator[LocalEngine]:
    with connect(*roots, demo=True) as engine:
        demo.up(engine)
        yield engine


def states(engine: LocalEngine) -> dict[str, str]:
    return {row.name: row.state for row in engine.containers.list(all=True)}


def test_three_containers_run_and_do_something(engine: LocalEngine, roots: tuple[str, str]) -> None:
    assert states(engine) == dict.fromkeys(NAMES, "running")
    assert demo.NETWORK in [network.name for network in engine.networks.list()]
    until(lambda: list(engine.containers.logs("web")))
    kept = Path(roots[0], "volumes", demo.VOLUME, "_data", "requests")
    assert kept.read_text().startswith("1\n")


def test_second_time_starts_what_was_stopped_and_keeps_the_rest(engine: LocalEngine) -> None:
    before = {row.id for row in engine.containers.list()}
    engine.containers.kill("worker")
    engine.containers.pause("cache")
    engine.containers.remove("web", force=True)
    demo.up(engine)
    assert states(engine) == dict.fromkeys(NAMES, "running")
    assert len(before & {row.id for row in engine.containers.list()}) == 2


def test_down_removes_every_trace(engine: LocalEngine, roots: tuple[str, str]) -> None:
    engine.close()
    assert demo.down(*roots)
    assert not Path(roots[0]).exists()
    assert not Path(roots[1]).exists()
    assert not demo.down(*roots)
