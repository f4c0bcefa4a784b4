"""How things go: renamed out of everybody's sight at once, then removed at leisure."""

import os

from engine.home import Home


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
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_at(descriptor, os.fsencode(name))
    except FileNotFoundError:
        pass
    finally:
        os.close(descriptor)


def remove_at(directory: int, name: bytes) -> None:
    """The entry `name` of `directory` is gone; symbolic links are not followed.

    Not recursive: a layer may nest 2,000 directories, more than Python's stack or our descriptors.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    stack = [name]
    while stack:
        current = stack[-1]
        descriptor = os.open(current, flags, dir_fd=directory)
        below: list[bytes] = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below.append(current + b"/" + os.fsencode(entry.name))
                    else:
                        os.unlink(entry.name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        if below:
            stack += below
        else:
            os.rmdir(current, dir_fd=directory)
            stack.pop()
