"""The images of the host: how big they are, what they share and waste, who uses them."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from textual.geometry import Region

from engine.aio import offload
from engine.errors import EngineError, NotFound
from engine.model.image import ImageSummary, Removed
from tui import format, jobs, prune, transfers
from tui.actions import Action
from tui.dialogs.confirm import Confirm, Item
from tui.format import ABSENT
from tui.panes.image_detail import (
    Config,
    ImageFacts,
    Inspect,
    LayerBars,
    Steps,
    Summary,
    Users,
    waste_share,
)
from tui.panes.layers import show_layers
from tui.panes.pane import SPLIT_FROM, Head, Pane, Plan
from tui.widgets.canvas import Canvas, Part, tail
from tui.widgets.drawn import Drawn
from tui.widgets.table import Cell, Column, Row

BODIES: dict[str, type[ImageFacts]] = {
    "Summary": Summary,
    "Layers": LayerBars,
    "History": Steps,
    "Config": Config,
    "Used by": Users,
    "Inspect": Inspect,
}
SHARE, USERS = 12, 15
SUMMARY_ROWS = 9
MOST_JOBS = 8
LIVE = ("running", "paused")
COLUMNS = (
    Column("REPOSITORY:TAG"),
    Column("ID", 10, 3, ink="faint"),
    Column("ARCH", 5, 5, ink="warn"),
    Column("SIZE", 5, number=True),
    Column("UNIQUE", 6, 1, number=True),
    Column("SHARE", SHARE, 4),
    Column("WASTE", 5, number=True, ink="dim"),
    Column("LAYERS", 6, 6, number=True, ink="dim"),
    Column("USED BY", USERS, 2, ink="dim"),
    Column("AGE", 4, number=True, ink="dim"),
)


class ImagesPane(Pane):
    """Key: the image's id."""

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
        self._job_rows = 0

    def on_mount(self) -> None:
        self.mount(self.bars)

    @property
    def image(self) -> ImageSummary | None:
        """The one under the cursor."""
        return self.store.images.rows.get(self.key)

    def title_of(self, key: str) -> str:
        row = self.store.images.rows.get(key)
        return row.references[0] if row and row.references else short_id(key)

    def found(self, ref: str) -> str:
        for row in self.store.images.rows.values():
            if ref in row.references or row.id.removeprefix("sha256:").startswith(ref):
                return row.id
        return super().found(ref)

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        super().changed(kind, keys)
        if self.is_open and kind == "images" and self.key in keys:
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
        rows = list(self.store.images.rows.values())
        most = max((row.size_bytes for row in rows), default=0) or 1
        usual = Counter(row.architecture for row in rows).most_common(1)
        now_ns = time.time_ns()
        return [_row(row, most, usual[0][0], now_ns) for row in rows]

    # -- verbs

    def targets(self) -> list[ImageSummary]:
        """What a verb acts on: the marked ones, else the one under the cursor."""
        rows = self.store.images.rows
        return [rows[key] for key in self.list.targets() if key in rows]

    async def look_into(self) -> None:
        """Look into it."""
        await show_layers(self.console, self.key)

    async def tag(self, name: str) -> None:
        """One more name for the image under the cursor."""
        title = self.title_of(self.key)
        await offload(self.engine.images.tag, self.key, name)
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
        """The image under the cursor, to the registry that the name says."""
        if self.image is not None:
            await transfers.push(self.console, self.image, name)

    async def save(self, path: str) -> None:
        """The marked images, or the one under the cursor, in one archive."""
        refs = [ref for row in self.targets() for ref in row.references or (row.id,)]
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
        """Ask, naming what goes and what stays; then remove them with all their names."""
        targets = self.targets()
        title = self.title_of(targets[0].id) if len(targets) == 1 else f"{len(targets)} images"
        if not await self.console.open(
            Confirm(f"Remove {title}?", "Remove", self._items(targets), self._facts(targets))
        ):
            return
        results = await asyncio.gather(*map(self._remove, targets))
        removed = [result for result in results if result is not None]
        self.console.feed.touch("images")
        if len(removed) == len(targets):
            freed = sum(result.freed_bytes for result in removed)
            self.console.flash.say(
                (title, "strong"), (f" removed, {format.size(freed)} freed", "text")
            )

    async def _remove(self, target: ImageSummary) -> Removed | None:
        force = bool(target.used_by) or len(target.references) > 1
        try:
            return await offload(self.engine.images.remove, target.id, force=force)
        except EngineError as error:
            self.console.fail(f"{self.title_of(target.id)} was not removed", error)
            return None

    def _items(self, targets: list[ImageSummary]) -> list[Item]:
        items = []
        for target in targets:
            names = target.references[1:]
            text = f"also {', '.join(names)}" if names else short_id(target.id)
            if target.used_by:
                text = f"only untagged: {', '.join(target.used_by)} has it"
            size = format.size(target.size_bytes)
            items.append(Item(self.title_of(target.id), size, text))
        return items

    def _facts(self, targets: list[ImageSummary]) -> list[tuple[str, tuple[Part, ...]]]:
        """What goes and what stays: an image that a container has loses its names only."""
        going = [target for target in targets if not target.used_by]
        freed = sum(target.unique_bytes for target in going)
        shared = sum(target.size_bytes for target in going) - freed
        users = sorted({name for target in targets for name in target.used_by})
        nothing = "next to nothing: others share its layers" if going else "nothing"
        frees: tuple[Part, ...] = ((nothing, "dim"),)
        if freed:
            frees = (("at least ", "dim"), (format.size(freed), "ok bold"))
        names = [name for target in targets if target.used_by for name in target.references]
        facts: list[tuple[str, tuple[Part, ...]]] = [("frees", frees)]
        if names:
            facts.append(("untags", ((", ".join(names), "text"),)))
        facts.append(("stops", (("nothing", "dim"),)))
        if users:
            stay = (" stay, but cannot be made again", "dim")
            facts.append(("used by", ((", ".join(users), "warn"), stay)))
        if shared:
            facts.append(
                ("keeps", ((format.size(shared), "text"), (" that other images share", "dim")))
            )
        facts.append(("undo", (("pull it again", "dim"),)))
        return facts


def short_id(image_id: str) -> str:
    """An image's id as lists show it."""
    return image_id.removeprefix("sha256:")[:12]


def _row(row: ImageSummary, most: int, usual: str, now_ns: int) -> Row:
    more = len(row.references) - 1
    name = row.references[0] if row.references else "<none>"
    if more > 0:
        name += f" +{more}"
    share, ink = waste_share(row)
    seconds = (now_ns - row.created_ns) / 1e9
    arch = "" if row.architecture == usual else row.architecture
    users = tail(", ".join(row.used_by), USERS)
    return Row(
        row.id,
        (
            ((name, "text" if row.references else "dim"),),
            row.id.removeprefix("sha256:")[:10],
            arch,
            format.size(row.size_bytes),
            format.size(row.unique_bytes),
            _share(row, most),
            ((share, ink),),
            str(row.layers),
            users or ABSENT,
            format.still_age(seconds),
        ),
        (
            name,
            None,
            arch or None,
            row.size_bytes,
            row.unique_bytes,
            None,
            row.waste_bytes / max(1, row.size_bytes) if row.waste_bytes >= 0 else None,
            row.layers,
            users or None,
            seconds,
        ),
        aliases=(*row.references, *row.used_by),
    )


def _share(row: ImageSummary, most: int) -> Cell:
    """What only this image has is heavy, what it shares is light; as long as it is big."""
    whole = max(1, round(SHARE * row.size_bytes / most)) if row.size_bytes else 0
    own = min(whole, round(SHARE * row.unique_bytes / most)) if row.unique_bytes else 0
    if row.unique_bytes and not own:
        own = 1
    return (("━" * own, "info"), ("─" * (whole - own), "dim"))


def _some(pane: ImagesPane) -> str:
    return "" if pane.targets() else "there is no image here"


def _unused(pane: ImagesPane) -> str:
    """Nobody removes the image of a container that runs."""
    rows = pane.store.containers.rows.values()
    for target in pane.targets():
        for row in rows:
            if row.image_id == target.id and row.state in LIVE:
                return f"{row.name} runs from {pane.title_of(target.id)}"
    return _some(pane)


def _on_config(pane: ImagesPane) -> str:
    return "" if pane.tab == "Config" else "only the Config tab hides something"


def _shows(name: str, tab: str, note: str) -> Action:
    def run(pane: ImagesPane) -> None:
        pane.open_tab(tab)

    reason: Callable[[ImagesPane], str] = _some
    return Action(f"images.{name}", name.replace("-", " "), run, note, reason)


def _named(pane: ImagesPane) -> str:
    return pane.image.references[0] if pane.image and pane.image.references else ""


def _archive(pane: ImagesPane) -> str:
    """A name for the archive of what would be saved."""
    targets = pane.targets()
    title = pane.title_of(targets[0].id) if len(targets) == 1 else "images"
    plain = "".join(char if char.isalnum() or char in ".-" else "-" for char in title)
    return f"{os.getcwd()}/{plain}.tar"


def _has_names(pane: ImagesPane) -> str:
    several = pane.image is not None and len(pane.image.references) > 1
    return "" if several else _some(pane) or "it has no other name: remove takes the last one"


ImagesPane.ACTIONS = (
    Action("images.layers", "layers", ImagesPane.look_into, "look into it", _some, hint=True),
    Action("images.tag", "tag", ImagesPane.tag, "one more name", _some, hint=True, takes="a name"),
    Action(
        "images.untag",
        "untag",
        ImagesPane.untag,
        "one name less",
        _has_names,
        takes="a name",
        begin=lambda pane: pane.image.references[-1],
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
        _some,
        hint=True,
        takes="a name",
        begin=_named,
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
