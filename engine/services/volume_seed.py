"""An empty volume is filled from the image: with what the image has where the volume is mounted.

docker's rule, for named volumes and anonymous ones, unless `nocopy` is said. `seed` runs in a
worker process, because it mounts the image in a mount namespace of its own and copies for long.
Beside the volume's `_data` there is, meanwhile,

    _seed.new   what is being copied: nothing yet, the next one begins anew
    _seed       the finished copy, whose entries move into `_data`: whoever comes next goes on

so that a kill at any moment leaves an empty volume or one that is filled to the last file by the
time somebody uses it. The volume's directory itself is the lock (flock(2)).
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence

from engine.errors import EngineError, InvalidInput, Unavailable
from engine.kernel import xattr
from engine.kernel.files import syncfs
from engine.storage.merged import Merged
from engine.storage.plain_copy import dress, fill
from engine.storage.trash import remove_tree

DATA, SEED, NEW = "_data", "_seed", "_seed.new"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKED = os.O_RDONLY | os.O_DIRECTORY  # the way there may be one of links, inside the image
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_REFUSED = (errno.ENOTSUP, errno.EPERM)  # to an attribute, by a file system that has no such


def may_hold(lower: Sequence[str], target: str) -> bool:
    """Whether the layers may have something at `target`: False is certain, and cheap to know. No
    link is followed here: where one is on the way, `seed` has to look."""
    path = ""
    for name in target.strip("/").split("/"):
        path += f"/{name}"
        modes = list(_modes(lower, path))
        if not modes:
            return False
        if any(map(stat.S_ISLNK, modes)):
            return True
    return True


def _modes(lower: Sequence[str], path: str) -> Iterator[int]:
    for directory in lower:
        try:
            yield os.lstat(directory + path).st_mode
        except OSError as error:
            if error.errno not in _ABSENT:
                raise


def settle(directory: str) -> None:
    """What a killed `seed` left of the volume in `directory` is finished, or gone. Waits for one
    that is at work."""
    with _locked(directory):
        _settle(directory)


def seed(
    argument: tuple[str, tuple[str, ...], str, bool], report: Callable[[object], None]
) -> bool:
    """Whether the volume was filled: (its directory, layers with the top one first, the path in
    the image, whether to wait for the disk). One that has something in it is left as it is.

    Its root looks as the image's directory does, also when that is empty. Raises InvalidInput when
    the image has a file there, Unavailable.
    """
    directory, lower, target, sync = argument
    os.umask(0)
    try:
        with _locked(directory) as place:
            _settle(directory)
            if os.listdir(f"{directory}/{DATA}"):
                return False
            try:
                if not _copy_image(directory, lower, target):
                    return False
                if sync:
                    syncfs(place)
                os.rename(f"{directory}/{NEW}", f"{directory}/{SEED}")
                if sync:
                    os.fsync(place)
            finally:
                remove_tree(f"{directory}/{NEW}")
            _move(directory)
            return True
    except OSError as error:
        raise _explain(error, directory) from error


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[int]:
    place = os.open(directory, _DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield place
    finally:
        os.close(place)


def _settle(directory: str) -> None:
    remove_tree(f"{directory}/{NEW}")
    if os.path.isdir(f"{directory}/{SEED}"):
        _move(directory)


def _move(directory: str) -> None:
    """The finished copy is in the volume, whose directory stays what it is: it may be mounted."""
    seed = os.open(f"{directory}/{SEED}", _DIRECTORY)
    data = os.open(f"{directory}/{DATA}", _DIRECTORY)
    try:
        status = os.fstat(seed)
        there = set(os.listdir(data))
        for name in os.listdir(seed):
            if name not in there:
                os.rename(name, name, src_dir_fd=seed, dst_dir_fd=data)
        dress(status, xattr.all_of(b"/proc/self/fd/%d/." % seed), data, b".")
    finally:
        os.close(seed)
        os.close(data)
    remove_tree(f"{directory}/{SEED}")


def _copy_image(directory: str, lower: Sequence[str], target: str) -> bool:
    """Whether the image has a directory at `target`; `_seed.new` is a copy of it then."""
    place = f"{directory}/{NEW}"
    os.mkdir(place, 0o700)
    image = Merged([os.fsencode(layer) for layer in lower])
    there = image.find(os.fsencode(target))
    if there is None:
        return False
    path, found = there
    if not stat.S_ISDIR(found.info.st_mode):
        raise InvalidInput(
            f"cannot mount volume over existing file, file exists {target}",
            "mount it on a directory",
        )
    copy = os.open(place, _DIRECTORY)
    try:
        fill(image.walk(path), copy)
        dress(found.info, xattr.all_of(found.path), copy, b".")
    finally:
        os.close(copy)
    return True


def _explain(error: OSError, directory: str) -> EngineError:
    name = os.path.basename(directory)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"disk full while volume {name} was filled from the image",
            "remove images with `pydock rmi`, or say nocopy: -v NAME:PATH:nocopy",
        )
    return Unavailable(
        f"volume {name}: could not be filled from the image: "
        f"{os.fsdecode(error.filename or directory)}: {error.strerror}",
        "-v NAME:PATH:nocopy leaves it empty",
    )
