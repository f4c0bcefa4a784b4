"""Who unpacks which layer, among holders that could wait for each other."""

from pathlib import Path

from engine.oci.digest import DiffID
from engine.storage.layer_locks import LayerLocks

FIRST, SECOND = DiffID("sha256:" + "1" * 64), DiffID("sha256:" + "2" * 64)


def test_one_holds_it_until_it_is_given_back_or_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "locks")
    mine, theirs = LayerLocks(path), LayerLocks(path)
    assert mine.take(FIRST)
    assert not theirs.take(FIRST)
    assert theirs.take(SECOND)
    mine.give_back(FIRST)
    assert theirs.take(FIRST)
    theirs.close()
    assert mine.take(FIRST)
    assert mine.take(SECOND)
    mine.close()


def test_only_what_sorts_behind_may_be_waited_for(tmp_path: Path) -> None:
    """So that no two wait for each other."""
    locks = LayerLocks(str(tmp_path / "locks"))
    assert locks.may_wait(FIRST)
    assert locks.take(FIRST)
    assert locks.may_wait(SECOND)
    locks.give_back(FIRST)
    assert locks.take(SECOND)
    assert not locks.may_wait(FIRST)
    locks.close()
