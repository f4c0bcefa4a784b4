"""From a chain of layers to a container's root: what overlayfs is given for it, or a directory.

Where the kernel mounts overlays nothing is mounted here: a container's init does that in its own
mount namespace. fuse-overlayfs is mounted while the container is on, a copy is made once
(engine.storage.driver says which). A container keeps the way that it began with:

    upper/<id>/diff, work   what it wrote, over the layers; with vfs all of its files
    upper/<id>/driver       who made them, if not overlay2; written when a copy is finished
    RUN_ROOT/roots/<id>     where fuse-overlayfs has mounted them

https://docs.kernel.org/filesystems/overlayfs.html#multiple-lower-layers
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from engine.errors import (
    Conflict,
    Corrupt,
    EngineError,
    NotFound,
    Unavailable,
    Unsupported,
)
from engine.kernel import xattr
from engine.named_tuple import NamedTuple
from engine.oci.digest import ChainID
from engine.storage.trash import discard, remove_tree

if TYPE_CHECKING:
    from collections.abc import Container

    from engine.home import Home
    from engine.storage.metadata import Database

OVERLAY, FUSE, VFS = "overlay2", "fuse-overlayfs", "vfs"  # docker's words for the drivers
MAX_LAYERS = 500  # of overlayfs: fsconfig(2) says EINVAL to the next

_CHAIN = """
    WITH RECURSIVE walk(layer, parent, depth) AS (
        SELECT layer, parent, depth FROM chain WHERE chain_id=?
        UNION ALL
        SELECT chain.layer, chain.parent, chain.depth
        FROM walk JOIN chain ON chain.chain_id = walk.parent
    )
    SELECT layer.id, layer.entries FROM walk JOIN layer ON layer.id = walk.layer
    ORDER BY walk.depth DESC
"""


class OverlayMount(NamedTuple):
    """Paths for overlayfs; `lower` has the top layer first. Without `upper`, the one directory in
    `lower` is all of the root, and writable."""

    lower: tuple[str, ...]
    upper: str
    work: str


class Snapshots:
    """The writable directories of containers, over the layers of their images."""

    def __init__(self, home: Home, database: Database) -> None:
        self._home = home
        self._database = database

    def prepare(self, container_id: str, chain_id: ChainID) -> OverlayMount:
        """A new root over the layers of `chain_id`; it looks as the image's does. Raises Conflict
        when the container has one, NotFound, Corrupt, Unsupported."""
        from engine.storage.driver import chosen  # a list does without

        lower = self.lower(chain_id)
        driver = chosen(self._home).name
        place = self._home.upper_dir(container_id)
        try:
            os.mkdir(place, 0o700)
        except FileExistsError as error:
            raise Conflict(
                f"container {container_id[:12]}: its upper directory exists already", "pydock fsck"
            ) from error
        made = OverlayMount(lower, f"{place}/diff", f"{place}/work")
        try:
            os.mkdir(made.work, 0o700)
            os.mkdir(f"{place}/diff.new", 0o755)
            if driver == VFS:
                self._copy(lower, f"{place}/diff.new")
                made = OverlayMount((made.upper,), "", "")
            _dress(f"{place}/diff.new", lower)
            if driver != OVERLAY:
                with open(f"{place}/driver", "x") as file:
                    file.write(driver)
            os.rename(f"{place}/diff.new", f"{place}/diff")  # nobody finds it half dressed
        except (OSError, EngineError) as error:
            with contextlib.suppress(OSError):
                remove_tree(place)
            if isinstance(error, EngineError):
                raise
            raise Unavailable(
                f"container {container_id[:12]}: {error.filename or place}: {error.strerror}",
                "check the disk and its free space",
            ) from error
        return self._fuse(container_id, made) if driver == FUSE else made

    def _copy(self, lower: tuple[str, ...], target: str) -> None:
        from engine.workers import Worker, WorkerDied

        try:
            Worker("engine.storage.plain_copy:copy_layers", (lower, target)).run()
        except WorkerDied as death:
            raise Unavailable(
                f"the process that copies the image's files died: {death}",
                "see the kernel's log (dmesg): memory may have run out",
            ) from death

    def _fuse(self, container_id: str, mount: OverlayMount) -> OverlayMount:
        from engine.storage import fuse_overlay

        self.release(container_id)
        path = f"{self._home.run_root}/roots/{container_id}"
        fuse_overlay.mount(mount.lower, mount.upper, mount.work, path)
        return OverlayMount((path,), "", "")

    def get(self, container_id: str) -> OverlayMount:
        """What `prepare` gave. Raises NotFound, Corrupt."""
        made, driver, _ = self.parts(container_id)
        if driver == FUSE:
            return OverlayMount((f"{self._home.run_root}/roots/{container_id}",), "", "")
        return OverlayMount((made.upper,), "", "") if driver == VFS else made

    def parts(self, container_id: str) -> tuple[OverlayMount, str, int]:
        """The layers and the directory of its own, which driver made that, and when (ns), if it was
        not overlay2. Raises NotFound, Corrupt."""
        row = self._database.first("SELECT chain_id FROM container WHERE id=?", (container_id,))
        place = self._home.upper_dir(container_id)
        if row is None or not os.path.isdir(f"{place}/diff"):
            raise NotFound(
                f"container {container_id[:12]}: its upper directory is missing",
                f"remove the container: pydock rm {container_id[:12]}",
            )
        made = OverlayMount(self.lower(row[0]), f"{place}/diff", f"{place}/work")
        try:
            with open(f"{place}/driver") as file:
                return made, file.read(), os.fstat(file.fileno()).st_ctime_ns
        except FileNotFoundError:
            return made, OVERLAY, 0

    def ready(self, container_id: str, chain_id: str | None) -> OverlayMount:
        """As `again` for a container that has a root, as `prepare` for one that has none yet.
        `chain_id` is what its row has."""
        if os.path.isdir(f"{self._home.upper_dir(container_id)}/diff"):
            return self.again(container_id)
        self.remove(container_id)  # a killed start has begun it
        return self.prepare(container_id, chain_id or "")  # type: ignore[arg-type]

    def again(self, container_id: str) -> OverlayMount:
        """As `get`, for another mount; the last one has ended. A volatile one forbids that, as the
        host may have crashed since, but such containers do not outlive a crash."""
        made, driver, _ = self.parts(container_id)
        if driver == FUSE:
            return self._fuse(container_id, made)
        if driver == VFS:
            return OverlayMount((made.upper,), "", "")
        with contextlib.suppress(FileNotFoundError):  # it was never mounted
            remove_tree(f"{made.work}/work/incompat")
        return made

    def release(self, container_id: str) -> None:
        """The container is off: nothing of it is mounted on this host."""
        path = f"{self._home.run_root}/roots/{container_id}"
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            from engine.kernel.mount import MNT_DETACH, umount

            with contextlib.suppress(OSError):  # somebody else was faster
                umount(path, MNT_DETACH)
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def abandoned(self, on: Container[str]) -> list[str]:
        """Ids whose roots are mounted on this host though they are not `on`: of killed starts."""
        with contextlib.suppress(FileNotFoundError):
            return [name for name in os.listdir(f"{self._home.run_root}/roots") if name not in on]
        return []

    def remove(self, container_id: str) -> None:
        """What the container wrote is gone; nothing happens when there is nothing."""
        self.release(container_id)
        place = discard(self._home, self._home.upper_dir(container_id))
        if place:
            remove_tree(place)

    def layers(self, chain_id: ChainID) -> list[str]:
        """Directories of the chain's layers, bottom first, one for each layer of the image."""
        rows = self._database.query(_CHAIN, (chain_id,))
        if not rows:
            raise NotFound(f"layers {chain_id[:19]}: not in the store", "pull the image again")
        return [self._home.layer_dir(layer) for layer, _ in reversed(rows)]

    def lower(self, chain_id: ChainID) -> tuple[str, ...]:
        """The diff directories that say something: no empty layers, no repeated ones (overlayfs
        takes the same directory twice for a loop, and the upper one says all that the lower does),
        none below one whose root is opaque."""
        rows = self._database.query(_CHAIN, (chain_id,))
        if not rows:
            raise NotFound(f"layers {chain_id[:19]}: not in the store", "pull the image again")
        lower: list[str] = []
        for layer, entries in rows:
            path = f"{self._home.layer_dir(layer)}/diff"
            if path in lower or (not entries and not _has_files(path)):
                continue
            if not os.path.isdir(path):
                raise Corrupt(f"layer {layer}: its directory is missing", "pull the image again")
            lower.append(path)
            if xattr.is_opaque(os.fsencode(path)):
                break
        if not lower:  # only empty layers: overlayfs wants one all the same
            lower.append(f"{self._home.layer_dir(rows[0][0])}/diff")
        if len(lower) > MAX_LAYERS:
            raise Unsupported(
                f"image of {len(lower)} layers: overlayfs stacks {MAX_LAYERS} at most",
                "squash some of its layers",
            )
        return tuple(lower)


def _has_files(path: str) -> bool:
    """A layer may hold what no entry names: implied directories, an opaque root."""
    with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
        return next(entries, None) is not None or xattr.is_opaque(os.fsencode(path))
    return True  # missing: the caller says so


def _dress(upper: str, lower: tuple[str, ...]) -> None:
    """overlayfs shows the upper directory as the root: it gets mode and owner of the topmost layer
    that has an entry for its root. One that no entry named is as `tar_apply` left it."""
    for path in lower:
        info = os.stat(path)
        if (info.st_mode & 0o7777, info.st_uid, info.st_gid, info.st_mtime_ns) != (0o755, 0, 0, 0):
            os.chown(upper, info.st_uid, info.st_gid)
            os.chmod(upper, info.st_mode & 0o7777)
            for key, value in xattr.all_of(os.fsencode(path)).items():
                os.setxattr(upper, key, value)
            return
