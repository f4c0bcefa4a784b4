"""`image mount` and `image unmount`: podman's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call


def _mount(call: Call) -> int:
    if call.words:
        target = call.words[1] if len(call.words) > 1 else None
        call.output.line(call.engine.images.mount(call.words[0], target))
        return 0
    mounts = call.engine.images.mounts()
    names = {row.id: row.references for row in call.engine.images.list()} if mounts else {}
    for each in mounts:
        name = next(iter(names.get(each.image_id, ())), each.image_id)
        call.output.line(f"{name} {each.path}")
    return 0


MOUNT = Command(
    "image mount",
    "[IMAGE [DIRECTORY]]",
    "Mount an image's file system read-only and print where; without IMAGE, list what is mounted",
    _mount,
    most=2,
)


def _unmount(call: Call) -> int:
    force, everything = call.on("force"), call.on("all")
    if everything == bool(call.words):
        raise InvalidInput(
            "image and --all are two ways to say it: give one",
            "pydock image unmount IMAGE, or pydock image unmount --all",
        )
    words = [each.path for each in call.engine.images.mounts()] if everything else call.words

    def unmount(ref: str) -> None:
        for image in dict.fromkeys(
            each.image_id for each in call.engine.images.unmount(ref, force=force)
        ):
            call.output.line(image)

    return call.each(words, unmount, say=False)


UNMOUNT = Command(
    "image unmount",
    "[OPTIONS] IMAGE|DIRECTORY [IMAGE|DIRECTORY...]",
    "Unmount an image's file system",
    _unmount,
    (
        Flag("all", "Unmount all images", short="a"),
        Flag("force", "Unmount though it is in use", short="f"),
    ),
    aliases="pydock image unmount, pydock image umount",
)
