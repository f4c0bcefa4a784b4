"""Whether containers can have their roots here is tried, not guessed."""

import os
import subprocess
from pathlib import Path

import pytest

from engine.errors import Unsupported
from engine.home import Home
from engine.storage import overlay_probe
from engine.workers import Worker
from tests.support.store import open_store

pytestmark = pytest.mark.root
LINE = "overlay (index=off, metacopy=off, redirect_dir=off) on ext4"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    store = open_store(tmp_path)
    store.database.close()
    return store.home


def test_it_says_how_roots_are_made_and_leaves_nothing(home: Home) -> None:
    assert overlay_probe.describe(home) == (LINE, "")
    assert os.path.exists(f"{home.run_root}/overlay.works")
    assert os.listdir(f"{home.root}/staging") == []


def test_a_file_system_that_cannot_hold_an_upper_layer_is_told(home: Home, tmp_path: Path) -> None:
    """overlayfs itself cannot: what a container in a container has."""
    for name in ("l", "u", "w", "here"):
        os.mkdir(tmp_path / name)
    options = f"lowerdir={tmp_path}/l,upperdir={tmp_path}/u,workdir={tmp_path}/w"
    here = tmp_path / "here"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", here], check=True)
    try:
        with pytest.raises(Unsupported):
            Worker("engine.storage.overlay_probe:probe", f"{here}/probe").run()
        for name in ("lock", "staging"):
            os.mkdir(here / name)
        line, warning = overlay_probe.describe(Home(str(here), str(tmp_path), "0badcafe"))
        assert line.startswith(f"fuse-overlayfs on overlay (overlayfs does not work on {here}: ")
        assert warning == ""
        assert os.listdir(here / "staging") == []
        assert not (tmp_path / "overlay.works").exists()
    finally:
        subprocess.run(["umount", here], check=True)
