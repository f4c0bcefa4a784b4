"""What comes from `-`, a path or a URL, and what goes to `-o FILE`: a whole file or none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from engine.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from engine.cli.call import Call


@contextlib.contextmanager
def write_to(call: Call, verb: str) -> Iterator[IO[bytes]]:
    """The file of `--output`, which gets its name when the block is left without an exception; else
    standard output. Raises InvalidInput for a terminal and for what can be no such file."""
    path = call.one("output")
    if path:
        with _whole_file(path) as file:
            yield file
        return
    if call.output.is_terminal:
        raise InvalidInput(
            f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect",
            f"pydock {verb} -o FILE …",
        )
    yield call.output.stream()


@contextlib.contextmanager
def read_from(source: str) -> Iterator[IO[bytes]]:
    """What is at `source`: standard input for `-`, a URL, a file. Raises InvalidInput, Unavailable
    (the server, or what is between)."""
    if source == "-":
        with open(0, "rb", closefd=False) as file:
            yield file
    elif source.startswith(("http://", "https://")):
        from engine.cli.download import fetch

        with fetch(source) as body:
            yield body
    else:
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidInput(f"open {source}: {reason}", "name a tar archive") from error
        with open(descriptor, "rb") as file:
            yield file


@contextlib.contextmanager
def _whole_file(path: str) -> Iterator[IO[bytes]]:
    directory, name = os.path.split(os.path.abspath(path))
    _check(path, directory)
    temporary = f"{directory}/.{name[:200]}.{os.urandom(4).hex()}"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.rename(temporary, path)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Unavailable(f"{path}: {(error.strerror or '').lower()}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _check(path: str, directory: str) -> None:
    """Docker's ValidateOutputPath."""
    if not os.path.isdir(directory):
        raise InvalidInput(
            f'invalid output path: directory "{os.path.dirname(path) or directory}" does not exist',
            "make it first, or name another file",
        )
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        kind = "directory" if stat.S_ISDIR(mode) else "device or pipe"
        raise InvalidInput(
            f'invalid output path: "{path}" must be a regular file: it is a {kind}',
            "name a file, or leave -o out and redirect the output",
        )
