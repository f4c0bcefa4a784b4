"""Layers mounted by fuse-overlayfs(1), a process of its own, which ends when they are unmounted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence

from engine.errors import Unavailable
from engine.kernel.mount import MNT_DETACH, umount

_PROGRAM = "fuse-overlayfs"
_SPECIAL = str.maketrans({"\\": "\\\\", ",": "\\,", ":": "\\:"})


def mount(lower: Sequence[str], upper: str, work: str, target: str) -> None:
    """`lower` (top first) and over them `upper` are mounted on `target`, which is made; without
    `upper`, read-only. Raises Unavailable, and nothing is left then."""
    os.makedirs(target, mode=0o700, exist_ok=True)
    options = "lowerdir=" + ":".join(path.translate(_SPECIAL) for path in lower)
    if upper:
        options += f",upperdir={upper.translate(_SPECIAL)},workdir={work.translate(_SPECIAL)}"
    # Mounted nodev otherwise, as podman has it; a container's limits on devices are its cgroup's.
    command = [_PROGRAM, "-o", options, "-o", "dev", target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        said = done.stderr.strip().rpartition("\n")[2]
        if done.returncode == 0:
            return
    except OSError as error:
        said = (error.strerror or "").lower()
    with contextlib.suppress(OSError):
        umount(target, MNT_DETACH)
    with contextlib.suppress(OSError):
        os.rmdir(target)
    raise Unavailable(
        f"{_PROGRAM} could not mount {target}: {said or 'it died'}",
        'is it installed? `storage-driver = "vfs"` in config.toml does without',
    )
