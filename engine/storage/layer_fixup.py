"""What a layer that was unpacked alone gets wrong, put right over the layers below it.

1. A parent that the stream does not name is root's, 0755: it takes over what the topmost lower
   layer says of that directory, or it would hide the real owner and mode.
2. If that parent is a symbolic link below (`bin` → `usr/bin`, the layer has `bin/x` but no `bin/`),
   a directory in its place would hide all of /usr/bin: its content moves to where the link leads.
3. A hard link to a file of a lower layer: the file is copied up under its own name, then linked.
4. A whiteout in a directory that no lower layer has hides nothing, and as nothing is merged there
   overlayfs lists it (readdir(3) shows a name that stat(2) does not find): it is dropped.

The directories are this store's own and at rest, so paths are walked component by component, with
lstat(2), through directories that were seen to be directories.
"""

import os
import stat

from engine.errors import Corrupt, InvalidInput
from engine.kernel import xattr
from engine.model.layer import DIRECTORY, FILE, HARDLINK, SYMLINK
from engine.named_tuple import NamedTuple
from engine.storage.layer_index import (
    IMPLIED,
    IMPLIED_DIRECTORY,
    NO_HASH,
    OPAQUE,
    WHITEOUT,
    IndexBuilder,
    Row,
    new_hash,
    xattrs_hash,
)
from engine.storage.trash import remove_tree

_MAX_SYMLINKS = 40
_COPY_BYTES = 1 << 20


def fix_up(
    diff: bytes,
    lower: list[bytes],
    builder: IndexBuilder,
    implied: list[bytes],
    lower_links: list[tuple[bytes, bytes]],
) -> bool:
    """`diff` and `builder` are right over `lower` (top first); True when anything changed."""
    return _Fixer(diff, lower, builder).run(implied, lower_links)


def is_right(
    lower: list[bytes],
    implied: list[bytes],
    lower_links: list[tuple[bytes, bytes]],
    whiteouts: list[bytes],
) -> bool:
    """Whether `fix_up` would find nothing to do; cheap enough for any thread."""
    stack = Stack(lower)
    for path in implied:
        found = stack.lookup(path)
        if found is not None:
            info = found.info
            plain = (info.st_mode, info.st_uid, info.st_gid) == (stat.S_IFDIR | 0o755, 0, 0)
            if not plain or xattr.all_of(found.path):
                return False
    parents = {path.rpartition(b"/")[0] for path in whiteouts}
    return not lower_links and all(stack.is_directory(parent) for parent in parents)


class Found(NamedTuple):
    """What the layers below have at a path: `path` is the topmost one's file on the disk."""

    path: bytes
    info: os.stat_result


class Stack:
    """Several layers seen as overlayfs would show them."""

    def __init__(self, layers: list[bytes]) -> None:
        """Diff directories, top first; one that is opaque itself hides all below it."""
        opaque = next((i for i, layer in enumerate(layers) if xattr.is_opaque(layer)), len(layers))
        self.layers = layers[: opaque + 1]

    def lookup(self, path: bytes) -> Found | None:
        """What is at `path`, whose parents are no symbolic links; it may be one itself."""
        layers = self.layers
        if not path:
            return Found(layers[0], os.lstat(layers[0])) if layers else None
        found: Found | None = None
        for name in path.split(b"/"):
            found, layers = self.step(layers, name)
            if found is None:
                return None
        return found

    def is_directory(self, path: bytes) -> bool:
        found = self.lookup(path)
        return found is not None and stat.S_ISDIR(found.info.st_mode)

    @staticmethod
    def step(layers: list[bytes], name: bytes) -> tuple[Found | None, list[bytes]]:
        """`name` in the union of the directories `layers`, and the directories it is made of."""
        found: Found | None = None
        below: list[bytes] = []
        for layer in layers:
            path = layer + b"/" + name
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                break
            if not stat.S_ISDIR(info.st_mode):
                found = found or Found(path, info)
                break
            found = found or Found(path, info)
            below.append(path)
            if xattr.is_opaque(path):
                break
        return found, below

    def resolve(self, path: bytes) -> bytes:
        """`path` with every symbolic link in it followed, in this root; the end may be missing."""
        todo = path.split(b"/")[::-1]
        here: list[bytes] = []
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del here[-1:]
                continue
            found = self.lookup(b"/".join([*here, name]))
            if found is None or not stat.S_ISLNK(found.info.st_mode):
                here.append(name)
                continue
            links += 1
            if links > _MAX_SYMLINKS:
                raise InvalidInput(f"layer: too many symbolic links on the way to {path!r}")
            target = os.readlink(found.path)
            if target.startswith(b"/"):
                here = []
            todo += target.split(b"/")[::-1]
        return b"/".join(here)


class _Fixer:
    def __init__(self, diff: bytes, lower: list[bytes], builder: IndexBuilder) -> None:
        self._diff = diff
        self._lower = Stack(lower)
        self._whole = Stack([diff, *lower])
        self._builder = builder
        self._changed = False

    def run(self, implied: list[bytes], lower_links: list[tuple[bytes, bytes]]) -> bool:
        todo, done = list(implied), set[bytes]()
        while todo:
            path = todo.pop(0)  # parents before children
            done.add(path)
            if self._fix_parent(path):
                implied = self._builder.rows.marked(IMPLIED)  # some have new places now
                todo = sorted(set(implied) - done)
        for path, target in lower_links:
            self._fix_link(path, target)
        self._drop_idle_whiteouts()
        if self._changed:  # making, moving and linking touched the times of directories
            for path, row in self._builder.rows.of_kind(DIRECTORY):
                os.utime(self._disk(path), ns=(row.mtime_ns, row.mtime_ns))
        return self._changed

    def _fix_parent(self, path: bytes) -> bool:
        """The implied directory `path` is right; True when it had to go to another place."""
        found = self._lower.lookup(path)
        if found is not None and stat.S_ISDIR(found.info.st_mode):
            self._take_over(path, found)
        elif found is not None and stat.S_ISLNK(found.info.st_mode):
            # Not through `_whole`: there the directory that is wrong hides the link.
            self._move(path, self._lower.resolve(path))
            return True
        return False

    def _take_over(self, path: bytes, found: Found) -> None:
        """The directory looks as it does below."""
        info, xattrs = found.info, xattr.all_of(found.path)
        mode = stat.S_IMODE(info.st_mode)
        if (mode, info.st_uid, info.st_gid) == (0o755, 0, 0) and not xattrs:
            return
        mine = self._disk(path)
        os.chown(mine, info.st_uid, info.st_gid)
        os.chmod(mine, mode)
        for key, value in xattrs.items():
            os.setxattr(mine, key, value)
        os.utime(mine, ns=(info.st_mtime_ns, info.st_mtime_ns))
        row = self._builder.rows[path]
        self._builder.rows[path] = row._replace(
            mode=mode, uid=info.st_uid, gid=info.st_gid, mtime_ns=info.st_mtime_ns,
            xattrs=xattrs_hash(xattrs.items()),
        )  # fmt: skip
        self._changed = True

    def _move(self, path: bytes, target: bytes) -> None:
        """All that is in the directory `path` is in `target`, and `path` is gone."""
        self._changed = True
        self._parents(target)
        self._merge(path, target)

    def _merge(self, old: bytes, new: bytes) -> None:
        """`old` is at `new`; where both exist directories are merged, and the later entry wins."""
        rows = self._builder.rows
        old_disk, new_disk = self._disk(old), self._disk(new)
        mine, theirs = rows[old], rows.get(new)
        if theirs is None:
            os.rename(old_disk, new_disk)
            self._builder.move(old, new)
        elif mine.kind == theirs.kind == DIRECTORY:
            for name in sorted(os.listdir(old_disk)):
                self._merge(old + b"/" + name, new + b"/" + name)
            if not mine.mark & IMPLIED and mine.header_offset > theirs.header_offset:
                self._copy_metadata(old_disk, new_disk)
                rows[new] = mine._replace(mark=mine.mark | theirs.mark & OPAQUE)
            os.rmdir(old_disk)
            rows.pop(old)
        elif mine.mark & WHITEOUT or theirs.header_offset > mine.header_offset:
            if mine.mark & WHITEOUT and theirs.kind == DIRECTORY:
                os.setxattr(new_disk, xattr.OPAQUE, b"y")
                self._builder.mark(new, OPAQUE)
            remove_tree(os.fsdecode(old_disk))
            self._builder.remove(old)
        else:
            remove_tree(os.fsdecode(new_disk))
            self._builder.remove(new)
            os.rename(old_disk, new_disk)
            self._builder.move(old, new)
            if theirs.mark & WHITEOUT and mine.kind == DIRECTORY:
                os.setxattr(new_disk, xattr.OPAQUE, b"y")
                self._builder.mark(new, OPAQUE)

    def _copy_metadata(self, source: bytes, target: bytes) -> None:
        info = os.lstat(source)
        os.chown(target, info.st_uid, info.st_gid)
        os.chmod(target, stat.S_IMODE(info.st_mode))
        for key, value in xattr.all_of(source).items():
            os.setxattr(target, key, value)
        os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))

    def _parents(self, path: bytes) -> None:
        """The directory `path` (no symbolic links in it) is in this layer, as it is below."""
        done = b""
        for name in path.split(b"/"):
            done = done + b"/" + name if done else name
            row = self._builder.rows.get(done)
            if row is not None and row.kind == DIRECTORY:
                continue
            disk = self._disk(done)
            opaque = row is not None
            if row is not None:
                if not row.mark & WHITEOUT:
                    raise InvalidInput(f"layer: {done!r} is used as a directory, and is none")
                os.unlink(disk)
                self._builder.remove(done)
            os.mkdir(disk, 0o755)
            os.chmod(disk, 0o755)
            self._builder.put(done, IMPLIED_DIRECTORY)
            if opaque:
                os.setxattr(disk, xattr.OPAQUE, b"y")
                self._builder.mark(done, OPAQUE)
            elif (found := self._lower.lookup(done)) and stat.S_ISDIR(found.info.st_mode):
                self._take_over(done, found)

    def _drop_idle_whiteouts(self) -> None:
        rows = self._builder.rows
        for path in [p for p, row in rows.items() if row.mark & WHITEOUT and b"/" in p]:
            if not self._lower.is_directory(path.rpartition(b"/")[0]):
                os.unlink(self._disk(path))
                self._builder.remove(path)
                self._changed = True

    def _fix_link(self, path: bytes, target: bytes) -> None:
        """`path` is a hard link to a copy of what the lower layers have at `target`."""
        parent, _, name = target.rpartition(b"/")
        parent = self._whole.resolve(parent)
        source = parent + b"/" + name if parent else name
        rows = self._builder.rows
        if path in rows or path == source:
            return
        if source not in rows or rows[source].mark & WHITEOUT:
            found = None if source in rows else self._whole.lookup(source)
            if found is None:
                raise Corrupt(f"layer: hard link {path!r}: its target {target!r} does not exist")
            if stat.S_ISDIR(found.info.st_mode):
                raise InvalidInput(f"layer: hard link {path!r}: {target!r} is a directory")
            if parent:
                self._parents(parent)
            self._copy_up(source, found)
        # Its own parents may have moved to where a symbolic link of a lower layer leads.
        above, _, leaf = path.rpartition(b"/")
        above = self._whole.resolve(above)
        if above:
            self._parents(above)
        path = above + b"/" + leaf if above else leaf
        if path in rows or path == source:
            return
        os.link(self._disk(source), self._disk(path), follow_symlinks=False)
        origin = rows[source]
        first = origin.link if origin.kind == HARDLINK else source
        self._builder.put(path, origin._replace(kind=HARDLINK, size=0, link=first, stored=0))
        self._changed = True

    def _copy_up(self, path: bytes, found: Found) -> None:
        info, disk = found.info, self._disk(path)
        xattrs = xattr.all_of(found.path)
        kind, digest, link, size = FILE, NO_HASH, b"", info.st_size
        if stat.S_ISREG(info.st_mode):
            digest = _copy_file(found.path, disk)
        elif stat.S_ISLNK(info.st_mode):
            kind, size, link = SYMLINK, 0, os.readlink(found.path)
            os.symlink(link, disk)
        else:
            raise InvalidInput(f"layer: hard link to {path!r}, a device or pipe of a lower layer")
        os.chown(disk, info.st_uid, info.st_gid, follow_symlinks=False)
        if kind == FILE:
            os.chmod(disk, stat.S_IMODE(info.st_mode))
        for key, value in xattrs.items():
            os.setxattr(disk, key, value, follow_symlinks=False)
        os.utime(disk, ns=(info.st_mtime_ns, info.st_mtime_ns), follow_symlinks=False)
        self._builder.put(
            path,
            Row(
                kind, 0, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, size,
                info.st_mtime_ns, link, digest, xattrs_hash(xattrs.items()), 0, 0, 0, 0,
            ),
        )  # fmt: skip

    def _disk(self, path: bytes) -> bytes:
        return self._diff + b"/" + path if path else self._diff


def _copy_file(source: bytes, target: bytes) -> bytes:
    """A copy with its own inode (shared blocks where the file system can); the content's hash."""
    hasher = new_hash()
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        while data := old.read(_COPY_BYTES):
            hasher.update(data)
            new.write(data)
    return bytes(hasher.digest()[:16])
