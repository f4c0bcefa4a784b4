"""Bytes on their way: pull, push, save, load, commit. Each is a job, so everything else goes on."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar

from engine.aio import offload
from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, Conflict, EngineError, NotFound, Unavailable
from engine.model.container import ContainerSummary
from engine.model.image import ImageSummary, Pushed
from engine.oci.reference import parse_reference
from tui import format
from tui.dialogs.push import PushOrder
from tui.jobs import SUBJECT
from tui.unfinished import Mark, Transfer
from tui.widgets.canvas import Part, middle

if TYPE_CHECKING:
    from tui.app import ConsoleApp

T = TypeVar("T")
Work = Callable[[OnProgress, Cancel], T]


async def pull(console: "ConsoleApp", ref: str) -> None:
    """Bring an image here."""
    await _pull(console, Transfer("pull", ref, (ref,)))


async def _pull(console: "ConsoleApp", transfer: Transfer) -> None:
    call, (ref,) = console.engine.images.pull, transfer.names

    def done(row: ImageSummary, took: str) -> str:
        return f" pulled in {took}, {format.size(row.size_bytes)} unpacked"

    await _job(
        console,
        "pull",
        ref,
        lambda progress, cancel: call(ref, progress=progress, cancel=cancel),
        done,
        transfer=transfer,
    )


async def push(console: "ConsoleApp", image: ImageSummary, order: PushOrder) -> None:
    """Bring an image to the registry that its name says; one that it has not yet becomes its. Or
    every tag of the name's repository that is here."""
    subject = order.target
    if order.all_tags:
        subject = parse_reference(order.target).familiar_name
        names = await offload(_tags, console, subject)
    else:
        names = (order.target,)
        if order.target not in image.references:
            await offload(console.engine.images.tag, image.id, order.target)
            console.feed.touch("images")
    await _push(console, Transfer("push", subject, names, order.compression))


def _tags(console: "ConsoleApp", repository: str) -> tuple[str, ...]:
    found = console.engine.images.list(filters=[("reference", repository)])
    names = (name for image in found for name in image.references)
    tags = sorted(name for name in names if name.startswith(f"{repository}:"))
    if not tags:
        raise NotFound(
            f"an image does not exist locally with the tag: {repository}",
            f"tag it first: {repository}:TAG",
        )
    return tuple(tags)


async def _push(console: "ConsoleApp", transfer: Transfer) -> None:
    def work(progress: OnProgress, cancel: Cancel) -> list[Pushed]:
        call, compression = console.engine.images.push, transfer.compression
        return [
            call(name, compression=compression, progress=progress, cancel=cancel)
            for name in transfer.names
        ]

    def done(pushed: list[Pushed], took: str) -> str:
        if len(pushed) > 1:
            return f" pushed in {took}, {len(pushed)} tags"
        return f" pushed in {took}, digest {pushed[0].digest[:19]}"

    await _job(console, "push", transfer.subject, work, done, transfer=transfer)


TRANSFERS = {"pull": _pull, "push": _push}
KEPT = {"pull": "what came is kept", "push": "what arrived is kept"}


def offer(console: "ConsoleApp") -> None:
    """What a console before this one did not finish can be resumed; say so."""
    left = [transfer for transfer in console.unfinished.left() if transfer.verb in TRANSFERS]
    for each in left:
        console.jobs.stopped[each.verb, each.subject] = partial(TRANSFERS[each.verb], console, each)
    if left:
        last, more = left[-1], len(left) - 1
        said: list[Part] = [(f"{last.verb} ", "text"), (middle(last.subject, SUBJECT), "strong")]
        said.append((f" and {more} more" if more else "", "text"))
        words = "were" if more else "was"
        said.append((f" {words} not finished   ", "text"))
        console.flash.say(*said, (":resume", "text bold"), (" goes on", "dim"))


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
    transfer: Transfer | None = None,
) -> None:
    """Do it, and say how it went: `done(value, "1.2 s")` goes on from the subject. A `transfer` can
    be resumed after a cut, also by the next console."""
    flash, jobs = console.flash, console.jobs
    named = middle(subject, SUBJECT)  # what became of it has room too
    if jobs.find(verb, subject):
        flash.say((f"{verb} ", "text"), (named, "strong"), (" goes on already", "text"))
        return

    async def again() -> None:
        await _job(console, verb, subject, work, done, transfer=transfer)

    began = time.monotonic()
    jobs.stopped.pop((verb, subject), None)
    noted = console.unfinished.begin(transfer) if transfer else contextlib.nullcontext(Mark())
    with noted as mark:
        try:
            value = await jobs.run(verb, subject, work)
        except Cancelled:
            said: list[Part] = [(f"{verb} ", "text"), (named, "strong"), (" cancelled", "text")]
            if transfer:
                jobs.stopped[verb, subject] = again
                said.append((f"; {KEPT[verb]}   ", "text"))
                said += [(":resume", "text bold"), (" goes on", "dim")]
            flash.say(*said)
        except EngineError as error:
            if transfer and isinstance(error, Unavailable):
                jobs.stopped[verb, subject] = again
            else:
                mark.finished = True
            console.fail(f"{verb} {named} failed", error)
        else:
            mark.finished = True
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
