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
from engine.kernel.files import open_in_root, syncfs
from engine.kernel.mount import MNT_DETACH, MS_PRIVATE, MS_REC, mount, umount
from engine.kernel.namespaces import CLONE_NEWNS, unshare
from engine.kernel.overlay import mount_overlay
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
        _dress(status, seed, b".", data)
    finally:
        os.close(seed)
        os.close(data)
    remove_tree(f"{directory}/{SEED}")


def _copy_image(directory: str, lower: Sequence[str], target: str) -> bool:
    """Whether the image has a directory at `target`; `_seed.new` is a copy of it then."""
    place = f"{directory}/{NEW}"
    os.mkdir(place, 0o700)
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    copy = os.open(place, _DIRECTORY)  # below the mount, which covers only its path
    try:
        with _image(lower, place) as image:
            try:
                source = open_in_root(image, os.fsencode(target.lstrip("/")), _LINKED)
            except FileNotFoundError:
                return False
            except NotADirectoryError as error:
                raise InvalidInput(
                    f"cannot mount volume over existing file, file exists {target}",
                    "mount it on a directory",
                ) from error
            try:
                _Copy(source, copy).run()
            finally:
                os.close(source)
        return True
    finally:
        os.close(copy)


@contextlib.contextmanager
def _image(lower: Sequence[str], place: str) -> Iterator[int]:
    """The root of the image's file system, mounted at `place` inside the block."""
    mount_overlay(list(lower), "", "", place)
    try:
        root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root
        finally:
            os.close(root)
    finally:
        umount(place, MNT_DETACH)


class _Copy:
    """A directory and all below it, once more: owners, modes, times, attributes, holes, links.

    By descriptors of directories that no link can lead away from. Not recursive: an image may nest
    deeper than Python's stack.
    """

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._links: dict[tuple[int, int], bytes] = {}  # first names of files that have several

    def run(self) -> None:
        directories = [b""]
        for path in directories:  # it grows meanwhile
            directories += self._fill(path)
        for path in reversed(directories):  # times last: no entry is made in them any more
            with self._open(path) as (source, target):
                _dress(os.fstat(source), source, b".", target)

    @contextlib.contextmanager
    def _open(self, path: bytes) -> Iterator[tuple[int, int]]:
        source = os.open(path or b".", _DIRECTORY, dir_fd=self._source)
        target = -1
        try:
            target = os.open(path or b".", _DIRECTORY, dir_fd=self._target)
            yield source, target
        finally:
            os.close(source)
            if target >= 0:
                os.close(target)

    def _fill(self, path: bytes) -> list[bytes]:
        """Everything in this directory is there; paths of the directories in it, still empty."""
        below = []
        with self._open(path) as (source, target):
            for name in map(os.fsencode, os.listdir(source)):
                status = os.stat(name, dir_fd=source, follow_symlinks=False)
                here = path + b"/" + name if path else name
                if stat.S_ISDIR(status.st_mode):
                    os.mkdir(name, 0o700, dir_fd=target)
                    below.append(here)
                    continue
                first = here
                if status.st_nlink > 1:
                    first = self._links.setdefault((status.st_dev, status.st_ino), here)
                if first == here:
                    self._make(status, source, name, target)
                else:
                    os.link(
                        first, name, src_dir_fd=self._target, dst_dir_fd=target,
                        follow_symlinks=False,
                    )  # fmt: skip
        return below

    def _make(self, status: os.stat_result, source: int, name: bytes, target: int) -> None:
        mode = status.st_mode
        if stat.S_ISREG(mode):
            _copy_file(status.st_size, source, name, target)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISCHR(mode) and not status.st_rdev:
            return  # a whiteout of the lowest layer, with nothing below it to hide
        else:
            os.mknod(name, mode, status.st_rdev, dir_fd=target)
        _dress(status, source, name, target)


def _copy_file(size_bytes: int, source: int, name: bytes, target: int) -> None:
    """Its bytes; holes stay holes."""
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        writer = os.open(name, _CREATE, 0o600, dir_fd=target)
        try:
            os.ftruncate(writer, size_bytes)
            end = 0
            while end < size_bytes:
                try:
                    start = os.lseek(reader, end, os.SEEK_DATA)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    break  # a hole up to its end
                end = os.lseek(reader, start, os.SEEK_HOLE)
                os.lseek(writer, start, os.SEEK_SET)
                while start < end and (sent := os.sendfile(writer, reader, start, end - start)):
                    start += sent
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _dress(status: os.stat_result, source: int, name: bytes, target: int) -> None:
    """The entry `name` of directory `target` looks as that of `source` does."""
    # In this order: a change of owner takes set-uid and capabilities away.
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    for key, value in xattr.all_of(b"/proc/self/fd/%d/%s" % (source, name)).items():
        try:
            xattr.set_at(target, name, key, value)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


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
