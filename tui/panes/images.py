"""The images of the host: how big they are, what they share and waste, who uses them."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import ClassVar

from textual.geometry import Region

from engine.aio import offload
from engine.errors import EngineError, NotFound
from engine.model.image import ImageSummary
from tui import format, jobs, prune, transfers
from tui.actions import Action
from tui.dialogs.confirm import Confirm
from tui.dialogs.push import Push
from tui.panes.image_detail import (
    Config,
    ImageFacts,
    Inspect,
    LayerBars,
    Steps,
    Summary,
    Users,
)
from tui.panes.image_rows import (
    COLUMNS,
    Target,
    by_image,
    by_repository,
    facts,
    items,
    short_id,
    together,
)
from tui.panes.layers import show_layers
from tui.panes.pane import SPLIT_FROM, Head, Pane, Plan
from tui.widgets.canvas import Canvas, Part
from tui.widgets.drawn import Drawn
from tui.widgets.table import Row

BODIES: dict[str, type[ImageFacts]] = {
    "Summary": Summary,
    "Layers": LayerBars,
    "History": Steps,
    "Config": Config,
    "Used by": Users,
    "Inspect": Inspect,
}
SUMMARY_ROWS = 9
MOST_JOBS = 8
LIVE = ("running", "paused")


class ImagesPane(Pane):
    """Key: the image's id; by repository, one of its names, or `repository/` for all of them."""

    NUMBER = 2
    TITLE = "Images"
    SCOPE = "images"
    KIND = "images"
    NOUN = ("image", "images")
    COLUMNS = COLUMNS
    SORT = "SIZE"
    DESCENDING = True
    SNUG = True
    TABS = tuple(BODIES)
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.bars = LayerBars()
        self.by_repository = False
        self._targets: Mapping[str, tuple[Target, ...]] = {}
        self._job_rows = 0

    def on_mount(self) -> None:
        self.mount(self.bars)

    @property
    def image(self) -> ImageSummary | None:
        """The one under the cursor, None where that is a repository."""
        found = self._targets.get(self.key, ())
        return found[0].image if len(found) == 1 else None

    def title_of(self, key: str) -> str:
        found = self._targets.get(key, ())
        if key.endswith("/"):
            return key.removesuffix("/")
        return found[0].title if found else short_id(key)

    def found(self, ref: str) -> str:
        for key, targets in self._targets.items():
            for image, names in () if key.endswith("/") else targets:
                if ref in names or image.id.removeprefix("sha256:").startswith(ref):
                    return key
        return super().found(ref)

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        super().changed(kind, keys)
        image = self.image
        if self.is_open and kind == "images" and image is not None and image.id in keys:
            self.chosen()

    def chosen(self) -> None:
        body = self.current_body
        if isinstance(body, ImageFacts):
            body.show(self.image)
        if self.bars.is_on_screen:
            self.bars.show(self.image)

    def body(self, tab: str) -> Drawn:
        return BODIES[tab]()

    def nothing(self) -> tuple[tuple[Part, ...], ...]:
        if not self.store.images.known:
            return ()
        return (
            (("No images yet.", "strong bold"),),
            ((f"{self.engine.info.root} is empty, so start with one:", "dim"),),
            (),
            (
                ("p", "accent bold"),
                ("   pull an image     ", "text"),
                ("debian, alpine …", "faint"),
            ),
            (
                ("L", "accent bold"),
                ("   load an archive   ", "text"),
                ("of docker save …", "faint"),
            ),
        )

    # -- rooms

    def extra(self, plan: Plan, listing: Region, detail: Region) -> Plan:
        """Beside each other, the summary lends its room to the layers, the list to the jobs."""
        if not plan.wall:
            return plan
        heads, places = list(plan.heads), dict(plan.places)
        body = self.current_body
        if self.tab == "Summary" and body is not None and detail.height > 2 * SUMMARY_ROWS:
            low = detail.y + SUMMARY_ROWS
            heads.append(Head(detail.x, low, detail.width, "layers", note="enter opens"))
            places[body] = detail._replace(height=SUMMARY_ROWS)
            places[self.bars] = Region(detail.x, low + 1, detail.width, detail.bottom - low - 1)
        rows = self._jobs_height()
        if rows and listing.height > rows + 8:
            key = self.console.cancel_key
            head = Head(0, listing.bottom - rows - 2, plan.wall + 1, "jobs", note=f"{key} cancels")
            heads.append(head)
            places[self.list] = listing.shrink((0, 0, rows + 3, 0))
        return plan._replace(heads=heads, places=list(places.items()))

    @property
    def shows_jobs(self) -> bool:
        return self.size.width >= SPLIT_FROM

    def _jobs_height(self) -> int:
        return min(MOST_JOBS, jobs.height(self.console.jobs.running))

    def draw(self, canvas: Canvas) -> None:
        rows = self._jobs_height()
        if rows != self._job_rows:
            self._job_rows = rows
            self.call_later(self.replan)
        super().draw(canvas)
        for head in self.plan(canvas.width, canvas.height).heads:
            if head.name == "jobs":
                jobs.draw(canvas, head.y + 1, rows, head.width - 2, self.console.jobs.running)

    # -- rows

    def rows(self) -> list[Row]:
        listed = by_repository if self.by_repository else by_image
        rows, self._targets = listed(self.store.images.rows.values())
        return rows

    def amount(self) -> str:
        if not self._hidden:
            return super().amount()
        shown = {t.image.id for row in self.list.rows for t in self._targets.get(row.key, ())}
        return f"{len(shown)} of {len(self.store.images.rows)}"

    def group(self) -> None:
        """By repository, or each image by itself; the cursor stays on the image."""
        name = self.title_of(self.key)
        self.by_repository = not self.by_repository
        self.list.marks.clear()
        self.seek(name)

    # -- verbs

    def targets(self) -> list[Target]:
        """What a verb acts on: the marked ones, else the one under the cursor."""
        keys = self.list.targets()
        return list(together(target for key in keys for target in self._targets.get(key, ())))

    async def look_into(self) -> None:
        """Look into it."""
        if self.image is not None:
            await show_layers(self.console, self.image.id)

    async def tag(self, name: str) -> None:
        """One more name for the image under the cursor."""
        title = self.title_of(self.key)
        if self.image is not None:
            await offload(self.engine.images.tag, self.image.id, name)
        self.console.flash.say((title, "strong"), (" is now also ", "text"), (name, "strong"))
        self.console.feed.touch("images")

    async def untag(self, name: str) -> None:
        """One name less for the image under the cursor, which stays."""
        row = self.image
        if row is None or name not in row.references:
            raise NotFound(
                f"{name} is no name of this image", ", ".join(row.references if row else ())
            )
        await offload(self.engine.images.remove, name)
        self.console.flash.say((name, "strong"), (" is no longer a name of it", "text"))
        self.console.feed.touch("images")

    async def push(self, name: str) -> None:
        """The image under the cursor, to the registry that a name says; where, and how, is asked
        for first."""
        image = self.image
        if image is not None:
            sheet = Push(self.title_of(self.key), name or _named(self))
            order = await self.console.open(sheet)
            if order is not None:
                await transfers.push(self.console, image, order)

    async def save(self, path: str) -> None:
        """The marked images, or the one under the cursor, in one archive."""
        refs = [ref for target in self.targets() for ref in target.names or (target.image.id,)]
        await transfers.save(self.console, refs, path)

    async def load(self, path: str) -> None:
        """What an archive holds."""
        await transfers.load(self.console, path)

    def unmask(self) -> None:
        """Show what looks secret in the configuration, or hide it again."""
        body = self.current_body
        if isinstance(body, Config):
            body.unmasked = not body.unmasked
            self.chosen()

    async def remove_them(self) -> None:
        """Ask, naming what goes and what stays; then remove them with the names that are meant."""
        targets = self.targets()
        title = targets[0].title if len(targets) == 1 else f"{len(targets)} images"
        if not await self.console.open(
            Confirm(f"Remove {title}?", "Remove", items(targets), facts(targets))
        ):
            return
        self.console.flash.say((title, "strong"), ("  remove …", "dim"))
        results = await asyncio.gather(*map(self._remove, targets))
        self.console.feed.touch("images")
        if None not in results:
            freed = format.size(sum(filter(None, results)))
            self.console.flash.say((title, "strong"), (f" removed, {freed} freed", "text"))

    async def _remove(self, target: Target) -> int | None:
        """Bytes that came free, None when it failed."""
        remove, image = self.engine.images.remove, target.image
        try:
            if target.is_whole:
                force = bool(image.used_by) or len(image.references) > 1
                return (await offload(remove, image.id, force=force)).freed_bytes
            for name in target.names:
                await offload(remove, name)
        except EngineError as error:
            self.console.fail(f"{target.title} was not removed", error)
            return None
        return 0


def _some(pane: ImagesPane) -> str:
    return "" if pane.targets() else "there is no image here"


def _one(pane: ImagesPane) -> str:
    if pane.image is None and pane.targets():
        return "that is a repository: choose one of its tags"
    return _some(pane)


def _unused(pane: ImagesPane) -> str:
    """Nobody removes the image of a container that runs."""
    rows = pane.store.containers.rows.values()
    for target in pane.targets():
        for row in rows:
            if target.is_whole and row.image_id == target.image.id and row.state in LIVE:
                return f"{row.name} runs from {target.title}"
    return _some(pane)


def _on_config(pane: ImagesPane) -> str:
    return "" if pane.tab == "Config" else "only the Config tab hides something"


def _shows(name: str, tab: str, note: str) -> Action:
    def run(pane: ImagesPane) -> None:
        pane.open_tab(tab)

    reason: Callable[[ImagesPane], str] = _some
    return Action(f"images.{name}", name.replace("-", " "), run, note, reason)


def _named(pane: ImagesPane) -> str:
    found = pane._targets.get(pane.key, ())
    return found[0].names[0] if found and found[0].names else ""


def _archive(pane: ImagesPane) -> str:
    """A name for the archive of what would be saved."""
    targets = pane.targets()
    title = targets[0].title if len(targets) == 1 else "images"
    plain = "".join(char if char.isalnum() or char in ".-" else "-" for char in title)
    return f"{os.getcwd()}/{plain}.tar"


def _last_name(pane: ImagesPane) -> str:
    """The name under the cursor; where an image stands with all of them, the last one."""
    (target,) = pane._targets[pane.key]
    return target.names[-1]


def _has_names(pane: ImagesPane) -> str:
    several = pane.image is not None and len(pane.image.references) > 1
    return "" if several else _one(pane) or "it has no other name: remove takes the last one"


ImagesPane.ACTIONS = (
    Action("images.layers", "layers", ImagesPane.look_into, "look into it", _one, hint=True),
    Action("images.tag", "tag", ImagesPane.tag, "one more name", _one, hint=True, takes="a name"),
    Action(
        "images.untag",
        "untag",
        ImagesPane.untag,
        "one name less",
        _has_names,
        takes="a name",
        begin=_last_name,
    ),
    Action(
        "images.remove",
        "remove",
        ImagesPane.remove_them,
        "asks first",
        _unused,
        hint=True,
        danger=True,
    ),
    Action(
        "images.push",
        "push",
        ImagesPane.push,
        "to its registry",
        _one,
        hint=True,
        takes="a name",
        asks=True,
    ),
    Action(
        "images.save",
        "save",
        ImagesPane.save,
        "in an archive",
        _some,
        hint=True,
        takes="a file",
        begin=_archive,
    ),
    Action("images.load", "load", ImagesPane.load, "from an archive", takes="a file"),
    Action("images.group", "by repository", ImagesPane.group, "or each image by itself"),
    Action("images.unmask", "unmask", ImagesPane.unmask, "secret variables", _on_config),
    _shows("history", "History", "how it was built"),
    _shows("used-by", "Used by", "its containers"),
    _shows("inspect", "Inspect", "all that is known"),
    Action(
        "images.prune",
        "prune",
        lambda pane: prune.images(pane.console),
        "what is unused",
        danger=True,
    ),
)
