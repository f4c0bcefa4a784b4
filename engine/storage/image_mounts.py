"""Images mounted where a person looks: read-only, in the host's own mount namespace.

The kernel is the only record. A mount's source, which mountinfo shows, names the root and the
image; so nothing is left when somebody else unmounts it, or after a reboot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from engine.kernel.mount import (
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    umount,
)
from engine.kernel.overlay import mount_overlay
from engine.model.image import ImageMount
from engine.oci.digest import ChainID
from engine.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.image_store import ImageRow
    from engine.storage.metadata import Database
    from engine.storage.snapshots import Snapshots

_OCTAL = re.compile(r"\\([0-7]{3})")


def mounted(home: Home) -> list[ImageMount]:
    """Images of this root that are mounted now, in the order of mounting."""
    mark = _source(home, "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    if mark not in text:
        return []
    found: list[ImageMount] = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        source = right.split(" ")[1]
        if source.startswith(mark):
            path = _OCTAL.sub(lambda match: chr(int(match[1], 8)), left.split(" ")[4])
            found.append(ImageMount(f"sha256:{source.removeprefix(mark)}", path))
    return found


def places(home: Home) -> dict[str, str]:
    """Where images are mounted, by their id: one place of each."""
    return {each.image_id: each.path for each in mounted(home)}


def mount(
    home: Home, database: Database, snapshots: Snapshots, image: ImageRow, target: str | None
) -> str:
    """Where the image is mounted now: at `target`, which is a directory, or below RUN_ROOT.

    Raises NotFound (no such directory; the image has just gone), Conflict (another image is mounted
    there), Unsupported (no layers), Unavailable.
    """
    if image.chain_id is None:
        raise Unsupported(f"image {image.id[:19]}: it has no layers")
    path = f"{home.run_root}/mounts/{image.id.partition(':')[2]}"
    if target is None:
        os.makedirs(path, mode=0o700, exist_ok=True)
    else:
        path = os.path.realpath(target)
        _check_target(home, target, path)
    for each in mounted(home):
        if each.path == path:
            if each.image_id == image.id:
                return path
            raise Conflict(
                f"{path}: image {each.image_id[7:19]} is mounted there",
                f"pydock image unmount {path}",
            )
    empty = f"{home.run_root}/mounts/empty"  # overlayfs wants two layers at least
    os.makedirs(empty, mode=0o700, exist_ok=True)
    lower = [*snapshots.lower(ChainID(image.chain_id)), empty]
    argument = lower, path, _source(home, image.id.partition(":")[2])
    try:
        Worker("engine.storage.image_mounts:work", argument).run()
    except WorkerDied as death:
        raise Unavailable(f"image {image.id[:19]}: the process that mounts it died: {death}") from (
            death
        )
    # Whoever removes images looks for mounts inside a transaction: one of us sees the other.
    with database.transaction() as cursor:
        found = cursor.execute("SELECT 1 FROM image WHERE id=?", (image.id,)).fetchone()
    if found is None:
        unmount(home, path)
        raise NotFound(f"no such image: {image.id[:19]}", "it was removed meanwhile")
    return path


def unmount(home: Home, path: str, *, force: bool = False) -> None:
    """Nothing of ours is mounted at `path`. `force` takes it out of sight though it is in use.

    Raises Conflict (in use), Unavailable.
    """
    try:
        umount(path, MNT_DETACH if force else 0)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Conflict(
                f"{path}: it is in use", "end what works there, or use --force"
            ) from error
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # somebody else was faster
            raise Unavailable(f"{path}: {(error.strerror or '').lower()}") from error
    if os.path.dirname(path) == f"{home.run_root}/mounts":
        with contextlib.suppress(OSError):
            os.rmdir(path)


def work(argument: Any, report: Callable[[object], None]) -> None:
    """In a worker, because older kernels need its working directory: the layers (top first) are
    mounted."""
    lower, path, source = argument
    try:
        mount_overlay(
            list(lower), "", "", path, source=source,
            attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(
            f"{error.filename or path}: {(error.strerror or '').lower()}",
            "see the kernel's log (dmesg)",
        ) from error


def _source(home: Home, image: str) -> str:
    return f"pydock:{home.root_id}:image:{image}"


def _check_target(home: Home, target: str, path: str) -> None:
    if not os.path.isdir(path):
        raise NotFound(f"{target}: no such directory", "make it first")
    for root in map(os.path.realpath, (home.root, home.run_root)):
        if os.path.commonpath((path, root)) in (path, root):
            raise InvalidInput(
                f"{target}: pydock's own files are in it, or around it",
                "name a directory beside them",
            )
