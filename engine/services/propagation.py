"""Whether mounts of the host and of a container can follow each other at a path.

mount_namespaces(7); docker's rules: github.com/moby/moby/blob/master/daemon/oci_linux.go,
ensureShared.
"""

from __future__ import annotations

import os

from engine.errors import InvalidInput

_SHARED, _SLAVE = ("shared", "rshared"), ("slave", "rslave")


def check_propagation(source: str, words: tuple[str, ...]) -> None:
    """`source` is on a mount that can be propagated as `words` ask for. Raises InvalidInput."""
    for word in words:
        if word not in _SHARED + _SLAVE:
            continue
        point, fields = mount_of(os.path.realpath(source))
        shared = any(each.startswith("shared:") for each in fields)
        follows = shared or any(each.startswith("master:") for each in fields)
        if word in _SHARED and not shared:
            raise InvalidInput(
                f"path {source} is mounted on {point} but it is not a shared mount",
                f"mount --make-shared {point}",
            )
        if word in _SLAVE and not follows:
            raise InvalidInput(
                f"path {source} is mounted on {point} but it is not a shared or slave mount",
                f"mount --make-shared {point}",
            )


def mount_of(path: str) -> tuple[str, list[str]]:
    """The mount point that holds `path`, and its optional fields. Source: proc_pid_mountinfo(5)."""
    best: tuple[str, list[str]] = ("/", [])
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            words = line.split(" - ")[0].split()
            point = words[4].replace("\\040", " ").replace("\\134", "\\")
            below = path == point or path.startswith(f"{point.rstrip('/')}/")
            if below and len(point) >= len(best[0]):
                best = point, words[6:]  # of several at one place the last is on top
    return best
