"""The files of several layers as overlayfs would show them, where nothing can be, or is, mounted.

Every directory is opened beneath its layer's descriptor and no symbolic link followed: the topmost
layer may be what a container writes.
"""

import os
import stat
from collections.abc import Iterator

from engine.kernel import xattr
from engine.kernel.files import open_in_root
from engine.storage.layer_fixup import Found, Stack
from engine.storage.upper import FUSE_OPAQUE, Item

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_Layers = list[int]  # descriptors of the roots of those that have the directory, top first


class Merged:
    """`layers` are diff directories, top first."""

    def __init__(self, layers: list[bytes]) -> None:
        self._stack = Stack(layers)

    def find(self, path: bytes) -> tuple[bytes, Found] | None:
        """Where `path` leads when its links are followed inside, and what is there; None when
        nothing is. Raises InvalidInput when it leads round in circles."""
        real = self._stack.resolve(path)
        found = self._stack.lookup(real)
        return None if found is None else (real, found)

    def walk(self, top: bytes = b"") -> Iterator[Item]:
        """Everything below the directory `top`, whose own path has no links: directories before
        what is in them, names sorted, paths relative to `top`."""
        roots = [os.open(layer, _DIRECTORY) for layer in self._stack.layers]
        try:
            here, layers = b"", roots
            for name in top.split(b"/") if top else []:
                layers = _below(layers, here, name)
                here = here + b"/" + name if here else name
            yield from _walk(layers, top)
        finally:
            for root in roots:
                os.close(root)


def _walk(layers: _Layers, top: bytes) -> Iterator[Item]:
    places = [(b"", layers)]
    while places:
        path, layers = places.pop()
        where = b"/".join(part for part in (top, path) if part)
        inner: list[tuple[bytes, _Layers]] = []
        opened: list[int] = []
        try:
            for layer in layers:
                opened.append(open_in_root(layer, where or b".", _DIRECTORY, links=False))
            owners: dict[bytes, int] = {}
            for position, directory in enumerate(opened):
                for name in map(os.fsencode, os.listdir(directory)):
                    owners.setdefault(name, position)
            for name, position in sorted(owners.items()):
                info = os.stat(name, dir_fd=opened[position], follow_symlinks=False)
                if name == FUSE_OPAQUE or _is_whiteout(info):
                    continue
                full = path + b"/" + name if path else name
                yield Item(full, opened[position], name, info, None, [], False, False, False)
                if stat.S_ISDIR(info.st_mode):
                    inner.append((full, _below(layers[position:], where, name)))
        finally:
            for directory in opened:
                os.close(directory)
        places += reversed(inner)


def _below(layers: _Layers, path: bytes, name: bytes) -> _Layers:
    """Those of `layers` that the directory `name` in the directory `path` is made of."""
    found: _Layers = []
    for layer in layers:
        directory = open_in_root(layer, path or b".", _DIRECTORY, links=False)
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                break
            found.append(layer)
            if xattr.is_opaque(b"/proc/self/fd/%d/%s" % (directory, name)):
                break
        except FileNotFoundError:
            continue
        finally:
            os.close(directory)
    return found


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
