"""Whether a layer's files are what its index says: names, kinds, sizes, contents, links."""

from __future__ import annotations

import os
import stat

from engine.model.layer import DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from engine.storage.layer_index import HASH, NO_HASH, WHITEOUT, LayerIndex, new_hash

_READ_BYTES = 1 << 20
_KINDS = {
    DIRECTORY: (stat.S_IFDIR,),
    FILE: (stat.S_IFREG,),
    SYMLINK: (stat.S_IFLNK,),
    DEVICE: (stat.S_IFCHR, stat.S_IFBLK),
    FIFO: (stat.S_IFIFO,),
}


def first_difference(index: LayerIndex, diff: str) -> str:
    """What is wrong with the first file below `diff` that is not as the index has it; "" when all
    are, and there are no others."""
    names: dict[int, set[bytes]] = {}
    for number in range(1, len(index)):
        names.setdefault(index.parent[number], set()).add(index.name(number))
    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, path in enumerate(index.paths()):
            if number and index.mark[number] & WHITEOUT:
                continue
            problem = _difference(index, number, path, root)
            if not problem and index.kind[number] == DIRECTORY:
                problem = _stranger(path, names.get(number, set()), root)
            if problem:
                return problem
    finally:
        os.close(root)
    return ""


def _difference(index: LayerIndex, number: int, path: bytes, root: int) -> str:
    shown = f"file {os.fsdecode(path)!r}"
    try:
        status = os.stat(path or b".", dir_fd=root, follow_symlinks=False)
        kind = index.kind[number]
        if kind in _KINDS and stat.S_IFMT(status.st_mode) not in _KINDS[kind]:
            return f"{shown} is of another kind"
        if kind == SYMLINK and os.readlink(path, dir_fd=root) != index.link(number):
            return f"{shown} leads elsewhere"
        if kind != FILE:
            return ""
        if status.st_size != index.size[number]:
            return f"{shown}: expected {index.size[number]} bytes, it has {status.st_size}"
        wanted = index.hash(number)
        if index.hash_name == HASH and wanted != NO_HASH and _hash(path, root) != wanted:
            return f"{shown}: its bytes are not those that were unpacked"
    except FileNotFoundError:
        return f"{shown} is missing"
    except OSError as error:
        return f"{shown}: {(error.strerror or '').lower()}"
    return ""


def _hash(path: bytes, root: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        found = new_hash()
        while data := os.read(descriptor, _READ_BYTES):
            found.update(data)
        return bytes(found.digest()[:16])
    finally:
        os.close(descriptor)


def _stranger(path: bytes, known: set[bytes], root: int) -> str:
    """A name in the directory that the index does not have."""
    descriptor = os.open(path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        strange = sorted({os.fsencode(name) for name in os.listdir(descriptor)} - known)
    finally:
        os.close(descriptor)
    return f"file {os.fsdecode(os.path.join(path, strange[0]))!r} was not in it" if strange else ""
