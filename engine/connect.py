"""From a target to an Engine. There is one kind of target yet: this host."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from engine.home import DEMO_ROOT, DEMO_RUN_ROOT, open_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.engine import Layers
    from engine.local import LocalEngine


def connect(
    root: str | None = None,
    run_root: str | None = None,
    *,
    demo: bool = False,
    starting: bool = False,
    warn: Callable[[str], None] | None = None,
) -> LocalEngine:
    """The engine of this host over the given roots, or the demo's. Raises Unavailable when not
    root.

    `starting`: the caller will start a container next; its monitor boots while the engine is
    imported, which takes as long. `warn` hears, a sentence each, what a start has changed on this
    host.
    """
    if demo:
        root, run_root = root or DEMO_ROOT, run_root or DEMO_RUN_ROOT
    home = open_home(root, run_root)
    standby = None
    if starting:
        from engine.monitor.standby import Standby

        with contextlib.suppress(OSError):  # the start will say what is in the way
            standby = Standby(home.cgroup_path("monitors"))
    from engine.local import LocalEngine

    try:
        return LocalEngine(home, demo=demo, standby=standby, warn=warn)
    except BaseException:
        if standby is not None:
            standby.kill()
        raise


def open_layer_files() -> Layers:
    """Images in files, for who is not root: no store is opened, nothing is repaired."""
    from engine.services.layers import LayerFiles

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return LayerFiles(f"{cache}/pydock/layers")
