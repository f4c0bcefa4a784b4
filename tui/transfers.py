"""Bytes on their way: pull, push, save, load, commit. Each is a job, so everything else goes on."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, TypeVar

from engine.aio import offload
from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, Conflict, EngineError, NotFound, Unavailable
from engine.model.container import ContainerSummary
from engine.model.image import ImageSummary
from tui import format
from tui.jobs import SUBJECT
from tui.widgets.canvas import Part, middle

if TYPE_CHECKING:
    from tui.app import ConsoleApp

T = TypeVar("T")
Work = Callable[[OnProgress, Cancel], T]


async def pull(console: "ConsoleApp", ref: str) -> None:
    """Bring an image here."""
    call = console.engine.images.pull

    def done(row: ImageSummary, took: str) -> str:
        return f" pulled in {took}, {format.size(row.size_bytes)} unpacked"

    await _job(
        console,
        "pull",
        ref,
        lambda progress, cancel: call(ref, progress=progress, cancel=cancel),
        done,
        kept="what came is kept",
    )


async def push(console: "ConsoleApp", image: ImageSummary, name: str) -> None:
    """Bring an image to the registry that its name says; one that it has not yet becomes its."""
    images = console.engine.images
    if name not in image.references:
        await offload(images.tag, image.id, name)
        console.feed.touch("images")
    await _job(
        console,
        "push",
        name,
        lambda progress, cancel: images.push(name, progress=progress, cancel=cancel),
        lambda pushed, took: f" pushed in {took}, digest {pushed.digest[:19]}",
        kept="what arrived is kept",
    )


async def save(console: "ConsoleApp", refs: list[str], path: str) -> None:
    """Write images to a new file, for `load` here or anywhere."""

    def work(progress: OnProgress, cancel: Cancel) -> int:
        with _new_file(path) as file:
            console.engine.images.save(refs, file, progress=progress, cancel=cancel)
            return file.tell()

    await _job(
        console, "save", path, work, lambda size, took: f" written in {took}, {format.size(size)}"
    )


async def load(console: "ConsoleApp", path: str) -> None:
    """Take the images out of an archive."""

    def work(progress: OnProgress, cancel: Cancel) -> int:
        try:
            with open(os.path.expanduser(path), "rb") as archive:
                names = console.engine.images.load(archive, progress=progress, cancel=cancel)
        except OSError as error:
            raise _refused(path, error) from error
        return len(names)

    def done(count: int, took: str) -> str:
        return f" loaded in {took}, {count} {'image' if count == 1 else 'images'}"

    await _job(console, "load", path, work, done)


async def commit(console: "ConsoleApp", container: ContainerSummary, name: str) -> None:
    """Make an image of a container as it is now; its processes stand still meanwhile."""
    call = console.engine.containers.commit

    await _job(
        console,
        "commit",
        container.name,
        lambda progress, cancel: call(container.id, name, progress=progress, cancel=cancel),
        lambda image_id, took: f" is now also the image {name}",
    )


async def _job(
    console: "ConsoleApp",
    verb: str,
    subject: str,
    work: Work[T],
    done: Callable[[T, str], str],
    *,
    kept: str = "",
) -> None:
    """Do it, and say how it went: `done(value, "1.2 s")` goes on from the subject. With `kept`,
    which says what is there after a cut, it can be resumed."""
    flash, jobs = console.flash, console.jobs
    named = middle(subject, SUBJECT)  # what became of it has room too
    if jobs.find(verb, subject):
        flash.say((f"{verb} ", "text"), (named, "strong"), (" goes on already", "text"))
        return

    async def again() -> None:
        await _job(console, verb, subject, work, done, kept=kept)

    began = time.monotonic()
    jobs.stopped.pop((verb, subject), None)
    try:
        value = await jobs.run(verb, subject, work)
    except Cancelled:
        said: list[Part] = [(f"{verb} ", "text"), (named, "strong"), (" cancelled", "text")]
        if kept:
            jobs.stopped[verb, subject] = again
            said += [(f"; {kept}   ", "text"), (":resume", "text bold"), (" goes on", "dim")]
        flash.say(*said)
    except EngineError as error:
        if kept and isinstance(error, Unavailable):
            jobs.stopped[verb, subject] = again
        console.fail(f"{verb} {named} failed", error)
    else:
        seconds = time.monotonic() - began
        took = f"{seconds:.1f} s" if seconds < 60 else format.span(seconds)
        flash.say((named, "strong"), (done(value, took), "text"))
    console.feed.touch("images")


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[IO[bytes]]:
    """A file (0600) that has its name once all of it is written: nobody finds half an archive.
    Raises Conflict when there is one of that name."""
    path = os.path.abspath(os.path.expanduser(path))
    directory, name = os.path.split(path)
    if os.path.lexists(path):
        raise Conflict(f"{path} is there already", "give another name")
    try:
        descriptor, hidden = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.rename(hidden, path)
    except BaseException as error:
        os.unlink(hidden)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def _refused(path: str, error: OSError) -> EngineError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{path}: no such file or directory", "give a path on this host")
    return Unavailable(f"{path}: {error.strerror}", "give another path")
