"""Whether overlayfs works on this store's file system: tried, in a process with mounts of its own.

What a container's root needs is mounted and used once: a lower and an upper layer, a whiteout, an
opaque directory, with the options that pydock pins.

https://docs.kernel.org/filesystems/overlayfs.html
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable

from engine.errors import EngineError, Unsupported
from engine.home import Home, file_system, locked
from engine.kernel import namespaces
from engine.kernel.mount import MS_PRIVATE, MS_REC, mount
from engine.kernel.overlay import OPTIONS, mount_overlay
from engine.storage.driver import chosen
from engine.storage.snapshots import OVERLAY
from engine.storage.trash import remove_tree
from engine.workers import Worker, WorkerDied


def describe(home: Home) -> tuple[str, str]:
    """One line that says how containers' roots are made, and a warning, "" when that works: then it
    is not tried again before the next boot."""
    driver = chosen(home)
    if driver.name != OVERLAY:
        return f"{driver.name} on {file_system(home.root)} ({driver.reason})", ""
    options = ", ".join(f"{key}={value}" for key, value in OPTIONS)
    line = f"overlay ({options}) on {file_system(home.root)}"
    works = f"{home.run_root}/overlay.works"
    if os.path.exists(works):
        return line, ""
    problem = refusal(home)
    if problem:
        return line, f"overlayfs does not work on {home.root}: {problem}: containers cannot start"
    with contextlib.suppress(OSError):
        os.close(os.open(works, os.O_CREAT | os.O_CLOEXEC, 0o600))
    return line, ""


def refusal(home: Home) -> str:
    """What goes wrong when an overlay is mounted and used in this store; "" when nothing does."""
    place = f"{home.root}/staging/probe-{secrets.token_hex(4)}"
    with locked(f"{home.root}/lock/gc"):  # or it would be swept away under our feet
        try:
            Worker("engine.storage.overlay_probe:probe", place).run()
        except (EngineError, WorkerDied) as error:
            return str(error)
        finally:
            remove_tree(place)
    return ""


def probe(place: str, report: Callable[[object], None]) -> None:
    """Nothing, when it works. Raises Unsupported, with what did not."""
    lower, upper, work, merged = (f"{place}/{name}" for name in ("l", "u", "w", "m"))
    try:
        for path in (place, lower, f"{lower}/hidden", f"{lower}/opaque", upper, work, merged):
            os.mkdir(path, 0o700)
        for path in (f"{lower}/gone", f"{lower}/opaque/old"):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount("", "/", "", MS_REC | MS_PRIVATE)
        os.mknod(f"{upper}/hidden", stat.S_IFCHR, os.makedev(0, 0))
        os.mkdir(f"{upper}/opaque")
        os.setxattr(f"{upper}/opaque", "trusted.overlay.opaque", b"y")
        mount_overlay([lower], upper, work, merged)
        os.unlink(f"{merged}/gone")
        os.rename(f"{merged}/opaque", f"{merged}/renamed")
        found = (sorted(os.listdir(merged)), os.listdir(f"{merged}/renamed"))
    except OSError as error:
        raise Unsupported(f"{error.filename or place}: {error.strerror}") from error
    if found != (["renamed"], []):
        raise Unsupported(f"it shows what is deleted: {found}")
