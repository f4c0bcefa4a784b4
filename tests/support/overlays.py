"""An overlay that a test writes through, and what there is to see of it, to the last attribute."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.kernel.mount import umount
from engine.kernel.overlay import mount_overlay
from tests.support.trees import tree_of


@contextmanager
def mounted(lower: Sequence[Path], upper: Path | None, target: Path) -> Iterator[Path]:
    """`lower` (top first) and over them `upper`, on the directory `target`, made if need be."""
    target.mkdir(exist_ok=True)
    work = ""
    if upper is not None:
        upper.mkdir(exist_ok=True)
        work = f"{upper}.work"
        os.makedirs(work, exist_ok=True)
    mount_overlay([str(path) for path in lower], str(upper or ""), work, str(target))
    try:
        yield target
    finally:
        umount(str(target))


class Facts(NamedTuple):
    """What a path is, all of it."""

    kind: str
    detail: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    links: tuple[str, ...]  # other paths of the same file


def facts_of(root: str | Path) -> dict[str, Facts]:
    """Every path below `root`; the root is "", without its time."""
    top = os.fspath(root)
    nodes = tree_of(top)
    by_inode: dict[tuple[int, int], list[str]] = {}
    for path, node in nodes.items():
        info = os.lstat(f"{top}/{path}")
        if node.kind != "dir":
            by_inode.setdefault((info.st_dev, info.st_ino), []).append(path)
    found: dict[str, Facts] = {}
    for path, node in nodes.items():
        where = f"{top}/{path}"
        info = os.lstat(where)
        same = sorted(by_inode.get((info.st_dev, info.st_ino), ()))
        xattrs = tuple(
            (key, os.getxattr(where, key, follow_symlinks=False))
            for key in sorted(os.listxattr(where, follow_symlinks=False))
        )
        found[path] = Facts(
            *node, info.st_mtime_ns, xattrs, tuple(each for each in same if each != path)
        )
    info = os.stat(top)
    mode = stat.S_IMODE(info.st_mode)
    found[""] = Facts("dir", b"", mode, info.st_uid, info.st_gid, 0, (), ())
    return found
