"""What is not finished is noted, and offered when nobody works at it any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui.unfinished import KEPT_SECONDS, Transfer, Unfinished

PULL = Transfer("pull", "redis:7.4", ("redis:7.4",))
PUSH = Transfer("push", "host/a", ("host/a:1", "host/a:2"), "zstd")


def test_what_is_finished_leaves_nothing(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path, "0badcafe")
    with unfinished.begin(PULL) as mark:
        assert len(os.listdir(tmp_path)) == 1
        mark.finished = True
    assert os.listdir(tmp_path) == []


def test_what_was_cut_is_offered_the_oldest_first(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path / "new" / "place", "0badcafe")
    assert unfinished.left() == []
    for transfer in (PUSH, PULL):
        with unfinished.begin(transfer):
            for path in (tmp_path / "new" / "place").iterdir():
                os.utime(path, (os.stat(path).st_mtime - 10,) * 2)
    assert unfinished.left() == [PUSH, PULL]
    assert unfinished.left() == [PUSH, PULL]


def test_what_goes_on_is_not_offered(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path, "0badcafe")
    with unfinished.begin(PULL):
        assert unfinished.left() == []
        with unfinished.begin(PULL) as mark:  # another console does the same
            mark.finished = True
        assert len(os.listdir(tmp_path)) == 1
    assert unfinished.left() == [PULL]


def test_a_killed_console_leaves_an_offer(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from tui.unfinished import *\n"
        "with Unfinished(pathlib.Path(sys.argv[1]), '0badcafe')"
        ".begin(Transfer('pull', 'redis:7.4', ('redis:7.4',))): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path])
    assert done.returncode == -9
    assert Unfinished(tmp_path, "0badcafe").left() == [PULL]


def test_another_root_has_offers_of_its_own(tmp_path: Path) -> None:
    with Unfinished(tmp_path, "0badcafe").begin(PULL):
        pass
    assert Unfinished(tmp_path, "feedbeef").left() == []
    assert Unfinished(tmp_path, "0badcafe").left() == [PULL]


def test_an_offer_ends_with_the_bytes_that_it_is_about(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path, "0badcafe")
    with unfinished.begin(PULL):
        pass
    (path,) = tmp_path.iterdir()
    os.utime(path, (os.stat(path).st_mtime - KEPT_SECONDS - 60,) * 2)
    assert unfinished.left() == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"root_id": "0badcafe", "verb": "pull"}'])
def test_half_a_file_is_no_offer(tmp_path: Path, text: str) -> None:
    (tmp_path / "0123").write_text(text)
    assert Unfinished(tmp_path, "0badcafe").left() == []
    assert os.listdir(tmp_path) == []


def test_without_a_place_it_goes_on_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Unfinished(tmp_path / "file" / "below", "0badcafe").begin(PULL) as mark:
        mark.finished = True
