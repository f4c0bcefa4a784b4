"""How containers' roots are made in this store: by one of docker's storage drivers.

overlay2 (the kernel mounts the layers) where the kernel takes this file system, else fuse-overlayfs
(a process of its own does) where that is installed, else vfs (every container has a copy of its
image's files). The settings can choose: `storage-driver = "vfs"` in config.toml, the machine's or
the person's. What was found holds until the next boot, or until the settings change.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from engine.home import locked
from engine.named_tuple import NamedTuple
from engine.storage.snapshots import FUSE, OVERLAY, VFS
from engine.storage.trash import remove_tree

if TYPE_CHECKING:
    from engine.home import Home

_KEY = "storage-driver"


class Driver(NamedTuple):
    """Its name, in docker's words, and why it is this one."""

    name: str
    reason: str


def chosen(home: Home, etc: str = "/etc") -> Driver:
    """The driver for new containers. Raises InvalidInput for broken settings, Unavailable when what
    they ask for is not installed."""
    user = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    paths = [f"{etc}/pydock/config.toml", f"{user}/pydock/config.toml"]
    stamp = " ".join(f"{path}:{_changed_ns(path)}" for path in paths)
    known = f"{home.run_root}/driver"
    with contextlib.suppress(OSError), open(known) as file:
        before, name, reason = file.read().split("\n")
        if before == stamp:
            return Driver(name, reason)
    try:
        found = _choose(home, paths)
    except OSError:  # a full disk lets nothing be tried: the usual one, until something can be
        return Driver(OVERLAY, "")
    temporary = f"{known}.{os.urandom(4).hex()}"
    with open(temporary, "x") as file:
        file.write("\n".join((stamp, *found)))
    os.rename(temporary, known)
    return found


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _choose(home: Home, paths: list[str]) -> Driver:
    wanted = _asked_for(paths)
    if wanted is None and _is_mountable(home):
        return Driver(OVERLAY, "")
    from shutil import which

    from engine.errors import Unavailable

    if wanted is not None:
        if wanted.name == FUSE and not which(FUSE):
            raise Unavailable(
                f"storage driver {FUSE}: it is not installed",
                f"apt-get install {FUSE}, or leave {_KEY} out of {wanted.reason}",
            )
        return wanted._replace(reason=f"{wanted.reason} asks for it")
    from engine.storage.overlay_probe import refusal

    problem = refusal(home)
    if not problem:  # the kernel is older than what was tried first
        return Driver(OVERLAY, "")
    problem = f"overlayfs does not work on {home.root}: {' '.join(problem.split())}"
    if which(FUSE) and os.path.exists("/dev/fuse"):
        return Driver(FUSE, problem)
    return Driver(VFS, f"{problem}; {FUSE} is not installed, or there is no /dev/fuse")


def _is_mountable(home: Home) -> bool:
    """Whether the kernel takes this store's file system for an overlay, as far as can be told
    without a process of its own."""
    from engine.kernel.overlay import is_mountable

    place = f"{home.root}/staging/probe-{os.urandom(4).hex()}"
    paths = [f"{place}/{name}" for name in ("l", "u", "w")]
    with locked(f"{home.root}/lock/gc"):  # or it would be swept away under our feet
        try:
            for path in (place, *paths):
                os.mkdir(path, 0o700)
            return is_mountable(*paths)
        finally:
            remove_tree(place)


def _asked_for(paths: list[str]) -> Driver | None:
    """What the last of the files that says something says, and which one that is."""
    paths = [path for path in paths if os.path.exists(path)]
    if not paths:
        return None
    import tomllib

    from engine.errors import InvalidInput

    found: Driver | None = None
    for path in paths:
        try:
            with open(path, "rb") as file:
                document = tomllib.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInput(f"{path}: {error}", "repair it, or move it away") from error
        name = document.get(_KEY)
        if name is None:
            continue
        if name not in (OVERLAY, FUSE, VFS):
            raise InvalidInput(
                f"{path}: {_KEY}: {name!r} is not a driver of pydock's",
                f"write one of {OVERLAY}, {FUSE}, {VFS}, or leave it out",
            )
        found = Driver(name, path)
    return found
