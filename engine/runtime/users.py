"""Who a process in a container is: the image's own /etc/passwd and /etc/group, read in its root.

Docker's rules for `USER name|uid[:group|gid]`, as in
github.com/moby/sys/blob/main/user/user.go, GetExecUser. Never the host's user database.
"""

import errno

from engine.kernel.files import read_in_root
from engine.kernel.libc import failure

_LIMIT_BYTES = 16 << 20
_MAXIMUM_ID = 2**31 - 1


def resolve(root: int, user: str) -> tuple[int, int, list[int], bytes]:
    """Uid, gid, supplementary groups (the gid among them) and home directory of `user` in `root`.

    Names must exist, numbers need not. An empty `user` is uid 0. Raises OSError ENOENT with what
    was not found, ERANGE for ids that Linux does not have.
    """
    name, _, group = user.partition(":")
    name = name or "0"
    entry = _find(_entries(root, b"etc/passwd", 7), name, 2)
    if entry is not None:
        uid, gid, home = _number(entry[2]), _number(entry[3]), entry[5]
    elif name.isdecimal():
        uid, gid, home = _number(name.encode()), 0, b""
    else:
        raise failure("read", errno.ENOENT, f"user {name}")
    groups: list[int] = []
    if group:
        found = _find(_entries(root, b"etc/group", 3), group, 2)
        if found is not None:
            gid = _number(found[2])
        elif group.isdecimal():
            gid = _number(group.encode())
        else:
            raise failure("read", errno.ENOENT, f"group {group}")
    elif entry is not None:
        groups = [
            _number(each[2])
            for each in _entries(root, b"etc/group", 4)
            if entry[0] in each[3].split(b",")
        ]
    return uid, gid, sorted({gid, *groups}), home or b"/"


def groups_of(root: int, names: tuple[str, ...]) -> list[int]:
    """The gids of `names` in `root`; numbers need not exist. Raises OSError as `resolve` does."""
    entries = _entries(root, b"etc/group", 3) if names else []
    found: list[int] = []
    for name in names:
        entry = _find(entries, name, 2)
        if entry is None and not name.isdecimal():
            raise failure("read", errno.ENOENT, f"group {name}")
        found.append(_number(entry[2] if entry else name.encode()))
    return found


def home_of(root: int, uid: int) -> bytes:
    """The home directory that the image gives to `uid`; "/" without an entry."""
    entry = _find(_entries(root, b"etc/passwd", 7), str(uid), 2)
    return (entry[5] if entry else b"") or b"/"


def _entries(root: int, path: bytes, fields: int) -> list[list[bytes]]:
    """The file's well-formed lines, cut at colons into at least `fields` parts."""
    data = read_in_root(root, path, _LIMIT_BYTES) or b""
    lines = (line.strip() for line in data.split(b"\n"))
    parts = (line.split(b":") for line in lines if line and not line.startswith(b"#"))
    return [each for each in parts if len(each) >= fields and each[2].isdigit()]


def _find(entries: list[list[bytes]], wanted: str, column: int) -> list[bytes] | None:
    """The first entry with this name; for a number, else the first with it in `column`."""
    name = wanted.encode("utf-8", "surrogateescape")
    for entry in entries:
        if entry[0] == name or (wanted.isdecimal() and int(entry[column]) == int(wanted)):
            return entry
    return None


def _number(text: bytes) -> int:
    value = int(text) if text.isdigit() else -1
    if not 0 <= value <= _MAXIMUM_ID:
        raise failure("read", errno.ERANGE, text)
    return value
