"""kill -9 while an image is made of a tar, or comes out of an archive: whole, or not there."""

import random
import signal
from pathlib import Path

import pytest

from tests.engine.storage.test_crash import check, die_at_random, run_and_die
from tests.support.store import open_store

pytestmark = pytest.mark.root

# Where a kill leaves something, and whether the image is there afterwards.
MAKING = {
    "layer written": ("engine.storage.made_image:write_raw", "after", False),
    "layer moved in": ("engine.storage.content:Content.adopt", "after", False),
    "config moved in": ("engine.storage.content:Content.put", "after", False),
    "published": ("engine.storage.unpack:Unpacking.publish", "after", True),
}
LOADING = {
    "spooled": ("engine.storage.spool:Spool.fill", "after", False),
    "one blob moved in": ("engine.storage.content:Content.adopt", "after", False),
    "published": ("engine.storage.unpack:Unpacking.publish", "after", True),
}


@pytest.mark.parametrize("place", MAKING)
def test_killed_while_an_image_is_made(tmp_path: Path, place: str) -> None:
    where, when, whole = MAKING[place]
    assert run_and_die(tmp_path, "make", where, when) == -signal.SIGKILL
    check(tmp_path, whole=whole).database.close()
    assert run_and_die(tmp_path, "make", "", "") == 0
    check(tmp_path, whole=True).database.close()


@pytest.mark.parametrize("place", LOADING)
def test_killed_while_an_archive_is_loaded(tmp_path: Path, place: str) -> None:
    where, when, whole = LOADING[place]
    assert run_and_die(tmp_path, "archive", where, when) == -signal.SIGKILL
    check(tmp_path, whole=whole).database.close()
    assert run_and_die(tmp_path, "archive", "", "") == 0
    check(tmp_path, whole=True).database.close()


@pytest.mark.parametrize("rounds", [6, pytest.param(300, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path: Path, rounds: int) -> None:
    choose = random.Random(rounds)
    open_store(tmp_path).database.close()
    for number in range(rounds):
        die_at_random(tmp_path, ("make", "rmi", "archive", "rmi")[number % 4], choose, 0.3)
        check(tmp_path).database.close()
