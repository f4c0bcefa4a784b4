"""What is really on the disk below a directory, as a value that tests can compare."""

import os
import stat
from typing import NamedTuple


class Node(NamedTuple):
    kind: str  # file, dir, link, char, block, fifo, whiteout
    detail: bytes = b""  # content, target, "major:minor"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


def node_at(path: bytes) -> Node:
    info = os.lstat(path)
    mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            return Node("file", file.read(1 << 20), mode, uid, gid)
    if stat.S_ISDIR(info.st_mode):
        return Node("dir", b"", mode, uid, gid)
    if stat.S_ISLNK(info.st_mode):
        return Node("link", os.readlink(path), 0o777, uid, gid)
    if stat.S_ISFIFO(info.st_mode):
        return Node("fifo", b"", mode, uid, gid)
    device = b"%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    if stat.S_ISCHR(info.st_mode):
        if device == b"0:0":
            return Node("whiteout", b"", 0, 0, 0)
        return Node("char", device, mode, uid, gid)
    return Node("block", device, mode, uid, gid)


def tree_of(root: str | bytes) -> dict[str, Node]:
    """Every path below `root` with what it is; the root is not in it."""
    top = os.fsencode(root)
    found: dict[str, Node] = {}
    stack = [top]
    while stack:
        here = stack.pop()
        for name in os.listdir(here):
            path = here + b"/" + name
            found[os.fsdecode(path[len(top) + 1 :])] = node = node_at(path)
            if node.kind == "dir":
                stack.append(path)
    return found
