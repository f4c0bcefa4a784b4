"""Other limits for a cgroup that has processes: all of them hold afterwards, or none.

Of memory, and memory with swap, v1 wants the first never above the second at any moment; v2 sets
them apart. Imported only by who changes some.
"""

import errno
import os

from engine.kernel.cgroup import Cgroup
from engine.kernel.cgroup_settings import controllers, writes
from engine.kernel.files import read_file, write_file
from engine.kernel.libc import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.kernel.cgroup_settings import Settings

_UNLIMITED = -1


def update(cgroup: Cgroup, settings: "Settings") -> None:
    """They hold. Raises OSError: EBUSY when more memory is in use than there shall be, EOPNOTSUPP
    when this host has no such limit; what was written is taken back then."""
    before: list[tuple[str, bytes]] = []
    try:
        for controller in sorted(controllers(settings)):
            version, directory = cgroup.ready(controller)
            ordered = settings
            if controller == "memory" and "memory.limit" in settings:
                if version == 2:
                    _check_use(settings["memory.limit"], directory)
                ordered = _in_order(settings, version, directory)
            for path, text in writes(ordered, version, controller, directory):
                old = read_file(path)
                write_file(path, text.encode())
                before.append((path, old))
    except OSError:
        for path, old in reversed(before):
            write_file(path, old.strip() or b"\n")
        raise


def _in_order(settings: "Settings", version: int, directory: str) -> "Settings":
    """Memory before swap, but where v1's swap limit must make room for it."""
    swap = settings.get("memory.swap", 0)
    first = ["memory.limit", "memory.swap"]
    if version == 1 and swap:
        path = f"{directory}/memory.memsw.limit_in_bytes"
        if swap == _UNLIMITED or (os.path.exists(path) and swap >= int(read_file(path))):
            first.reverse()
    names = [*(name for name in first if name in settings), *settings]
    return {name: settings[name] for name in names}


def _check_use(limit_bytes: int, directory: str) -> None:
    """v2 would kill processes to make it true; v1 refuses."""
    path = f"{directory}/memory.stat"
    for line in read_file(path).splitlines():
        name, _, value = line.partition(b" ")
        if name == b"anon" and int(value) > limit_bytes:
            raise failure("write", errno.EBUSY, f"{directory}/memory.max")
