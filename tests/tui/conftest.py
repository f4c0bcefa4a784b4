"""Console tests stand at one moment, in UTC."""

import time
from pathlib import Path

import pytest

from tests.support.scene import NOW_NS
from tui import app, feed
from tui.panes import container_detail, pane

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    time.tzset()
    monkeypatch.setattr(app, "HOLD_SECONDS", HOUR)
    monkeypatch.setattr(pane, "DWELL_SECONDS", 0.02)
    monkeypatch.setattr(container_detail, "APPEND_SECONDS", 0.01)
    monkeypatch.setattr(feed, "COALESCE_SECONDS", 0.01)
    monkeypatch.setattr(feed, "HOST_SECONDS", HOUR)  # each reading is a cell of a graph
