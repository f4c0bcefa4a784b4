"""Prune: unused things go together, after a preview that names every one of them."""

from typing import TYPE_CHECKING

from engine.aio import offload
from engine.model.prune import Preview, Pruned
from tui import format
from tui.dialogs.prune import Choice, Prune

if TYPE_CHECKING:
    from tui.app import ConsoleApp


async def containers(console: "ConsoleApp") -> None:
    """Those that do not run, with what they wrote."""
    preview = await _preview(console, "container")
    noun = ("container", "containers")
    choice = Choice(preview, "stopped containers", noun, "none: what they wrote is lost")
    await _ask(console, [choice], "containers")


async def images(console: "ConsoleApp") -> None:
    """Those without a name; or all that no container has."""
    noun, undo = ("image", "images"), "pull or build them again"
    choices = [
        Choice(await _preview(console, "image"), "images without a name", noun, undo),
        Choice(
            await _preview(console, "image", all_images=True),
            "images that no container has",
            noun,
            undo,
        ),
    ]
    start = 0 if choices[0].preview.items else 1
    await _ask(console, choices, "images", start)


async def networks(console: "ConsoleApp") -> None:
    """Those that no container is in."""
    preview = await _preview(console, "network")
    noun = ("network", "networks")
    choice = Choice(preview, "networks that no container is in", noun, "create them again")
    await _ask(console, [choice], "networks")


async def volumes(console: "ConsoleApp") -> None:
    """Those that were made without a name; or all that no container has."""
    noun, undo = ("volume", "volumes"), "none: what is in them is lost"
    choices = [
        Choice(await _preview(console, "volume"), "volumes without a name", noun, undo),
        Choice(
            await _preview(console, "volume", all_volumes=True),
            "volumes that no container has",
            noun,
            undo,
            "prune",
        ),
    ]
    await _ask(console, choices, "volumes")


async def files(console: "ConsoleApp") -> None:
    """Parts of downloads, and what nothing leads to any more."""
    choice = Choice(
        await _preview(console, "file"),
        "files that nothing leads to",
        ("file", "files"),
        "none is needed; a stopped pull begins anew",
    )
    await _ask(console, [choice], "files")


async def _preview(
    console: "ConsoleApp", kind: str, *, all_images: bool = False, all_volumes: bool = False
) -> Preview:
    call = console.engine.system.prune_preview
    return await console.prepare(call, [kind], all_images=all_images, all_volumes=all_volumes)


async def _ask(console: "ConsoleApp", choices: list[Choice], what: str, start: int = 0) -> None:
    sheet = Prune(choices, start)
    if not await console.open(sheet):
        return
    console.flash.say((what, "strong"), ("  prune …", "dim"))
    pruned: Pruned = await offload(console.engine.system.prune, sheet.preview)
    console.feed.touch(what, "images")
    count = len(pruned.removed)
    noun = choices[0].noun[0 if count == 1 else 1]
    freed = f" pruned, {format.size(pruned.freed_bytes)} freed"
    kept = f"; {len(pruned.kept)} changed meanwhile and stayed" if pruned.kept else ""
    console.flash.say((f"{count} {noun}", "strong"), (f"{freed}{kept}", "text"))


PRUNES = {
    "Images": images,
    "Containers": containers,
    "Volumes": volumes,
    "Downloads": files,
    "Leftovers": files,
}
