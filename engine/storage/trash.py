"""How things go: renamed out of everybody's sight at once, then removed at leisure."""

import contextlib
import errno
import os
from collections.abc import Iterable

from engine.home import Home

_LATE = 100  # directories that were empty, and are not: whoever fills them has not ended yet


def discard(home: Home, path: str) -> str:
    """`path` is gone from its place; returns where it is in the trash, "" if it was not there."""
    place = f"{home.root}/trash/{os.urandom(8).hex()}"
    try:
        os.rename(path, place)
    except FileNotFoundError:
        return ""
    return place


def remove_tree(path: str) -> None:
    """Nothing is at `path`; it was a file or a directory with whatever is below it."""
    parent, name = os.path.split(path)
    remove_all(parent, [name])


def remove_all(parent: str, names: Iterable[str]) -> None:
    """None of `names` is in the directory `parent`, which may be gone itself."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    remove_at(descriptor, os.fsencode(name))
        finally:
            os.close(descriptor)


def remove_at(directory: int, name: bytes) -> None:
    """The entry `name` of `directory` is gone; symbolic links are not followed. Others may be at
    the same tree: what they removed is gone too, what a dying process still makes goes as well.

    Not recursive: a layer may nest 2,000 directories, more than Python's stack or our descriptors.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    stack = [(name, False)]  # whether all in it was seen to go
    late = 0
    while stack:
        current, is_emptied = stack.pop()
        if not is_emptied:
            try:
                descriptor = os.open(current, flags, dir_fd=directory)
            except FileNotFoundError:
                continue
            stack.append((current, True))
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            stack.append((current + b"/" + os.fsencode(entry.name), False))
                        else:
                            with contextlib.suppress(FileNotFoundError):
                                os.unlink(entry.name, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            continue
        try:
            os.rmdir(current, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            late += 1
            if error.errno != errno.ENOTEMPTY or late == _LATE:
                raise
            stack.append((current, False))
