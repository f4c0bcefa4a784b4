"""The inside of one image: its layers, what each of them holds, and what is stored for nothing."""

import time
from typing import TYPE_CHECKING, Any, ClassVar

from textual.geometry import Region

from engine.aio import offload
from engine.errors import EngineError
from engine.model.layer import CHANGED, GONE, LayerInfo, WasteRow
from tui import format
from tui.actions import Action
from tui.format import ABSENT
from tui.opened_image import EVERY, Files, OpenedImage
from tui.panes.layer_facts import command_of, draw_facts, draw_headline, draw_strip, note_of
from tui.panes.pane import SPLIT_FROM, Head, Pane, Plan
from tui.widgets.canvas import Canvas, Part
from tui.widgets.drawn import Drawn
from tui.widgets.table import Cell, Column, Row
from tui.widgets.tree import TreeView, find
from tui.widgets.treemap import TreeMap
from tui.widgets.waste import LEGEND, WasteView, draw_waste

if TYPE_CHECKING:
    from tui.app import ConsoleApp

CHANGES, ALL, WASTE = "Changes", "All", "Waste"
LIST_SHARE = 0.56
FACTS = 4
MAP_FROM = 36  # rows of the detail from which on the files lend some to their map
MOST_WASTE = 8  # rows of the waste matrix below the list
COLUMNS = (
    Column("#", 2, number=True, ink="faint"),
    Column("SIZE", 5, number=True),
    Column(" ", 10, 4),
    Column("ADDED", 5, 1, number=True),
    Column("CHGD", 5, 2, number=True),
    Column("GONE", 5, 3, number=True),
    Column("COMMAND"),
    Column(" ", 23, 6, ink="warn"),
)


class LayerFiles(TreeView):
    """The tree, with the directories above what a filter found open."""

    def show(self, files: Files) -> None:
        """Show these; what was open stays open."""
        self.put(files.tree, keep=files.found < 0)
        if files.opened:
            self._open |= files.opened
            self._build()
            self._moved()


class LayersPane(Pane):
    """Key: the layer's position in the image."""

    NUMBER = 3
    TITLE = "Layers"
    SCOPE = "layers"
    KIND = "images"
    NOUN = ("layer", "layers")
    COLUMNS = COLUMNS
    TABS = (CHANGES, ALL, WASTE)
    ACTIONS: ClassVar[tuple[Action, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.image: OpenedImage | None = None
        self.files = LayerFiles(self._note_of)
        self.wasted = WasteView(self._show_waste)
        self.map = TreeMap()
        self._bodies = {CHANGES: self.files, ALL: self.files, WASTE: self.wasted}
        self._ref = ""  # what was asked for last
        self._opened = False
        self._asked: tuple[Any, ...] = ()  # whose files are read, or were
        self._tried: tuple[Any, ...] = ()  # whose files were read last, or could not be
        self._goal: WasteRow | None = None  # whose file the cursor goes to, once it is read
        self._why_not = ""
        self._entries = ""

    def on_mount(self) -> None:
        self.mount(self.files, self.wasted, self.map)

    def on_tree_view_chosen(self, event: TreeView.Chosen) -> None:
        event.stop()
        self.map.show(self.files.files, event.node)
        self.redraw()

    # -- which image

    def seek(self, ref: str) -> None:
        """Open this image."""
        self._ref, self._opened = ref, False
        if self.is_mounted:
            self.work(self._open, ref, exclusive=True)

    def resume(self) -> None:
        super().resume()
        self._follow()

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        super().changed(kind, keys)
        if kind == "images" and self.is_open:
            self._follow()

    def _follow(self) -> None:
        """The newest image, when none was asked for or the one that was shown is gone."""
        rows, image = self.store.images.rows, self.image
        gone = image is not None and self.store.images.known and image.image_id not in rows
        if rows and ((image is None and not self._ref) or gone):
            self.seek(max(rows.values(), key=lambda row: row.created_ns).id)
        elif self._ref and image is None and not self._why_not:
            self.seek(self._ref)

    async def _open(self, ref: str) -> None:
        try:
            image = await offload(OpenedImage, self.engine, ref)
        except EngineError as error:
            self._why_not = error.message
            self.console.fail(f"{ref[:80]} cannot be opened", error)
            self._opened = True
            self.update_rows()
            return
        before, self.image, self._why_not = self.image, image, ""
        if before is not None:
            await offload(before.close)
        self.wasted.put(image.waste, len(image.layers))
        if before is None or before.image_id != image.image_id:
            self.list.marks.clear()
            self.list.move(-len(self.list.rows))
        self._opened = True
        self.update_rows()
        self.replan()
        self.redraw()
        self.chosen()
        self.console.footer.redraw()

    async def choose(self) -> None:
        """Another image, from a list."""
        from tui.dialogs.palette import Entry, Palette

        entries = [
            Entry("image", name, format.size(row.size_bytes), "", row.id)
            for row in self.store.images.rows.values()
            for name in row.references or (row.id[7:19],)
        ]
        chosen = await self.console.open(Palette(entries))
        if isinstance(chosen, str) and chosen != ":":
            self.seek(chosen)

    @property
    def ready(self) -> bool:
        return self.is_mounted and (self._opened or self.list.bare)

    @property
    def settled(self) -> bool:
        return super().settled and (self.tab == WASTE or self._tried == self._wanted_files())

    # -- what the frame asks

    def amount(self) -> str:
        return ""

    def title_of(self, key: str) -> str:
        return f"layer {int(key) + 1}" if key else ""

    @property
    def chosen_layer(self) -> LayerInfo | None:
        """The one under the cursor."""
        if self.image is None or not self.key:
            return None
        return self.image.layers[int(self.key)] if int(self.key) < len(self.image.layers) else None

    def body(self, tab: str) -> Drawn:
        return self._bodies[tab]

    def nothing(self) -> tuple[tuple[Part, ...], ...]:
        if self.store.images.rows:
            return (((self._why_not, "text"),),) if self._why_not else ()
        return (
            (("No images yet.", "strong bold"),),
            (("Layers are what images are made of, so start with one:", "dim"),),
            (),
            (("p", "accent bold"), ("   pull an image", "text")),
            (("pydock load -i FILE", "info"), ("   loads one from an archive", "dim")),
        )

    def rows(self) -> list[Row]:
        image = self.image
        if image is None:
            return []
        most = max((layer.size_bytes for layer in image.layers), default=0) or 1
        return [_row(layer, most) for layer in image.layers]

    def update_rows(self) -> None:
        self.stale = False
        bare = self.store.images.known and not self.store.images.rows
        self.list.empty = self.nothing()
        if bare != self.list.bare:
            self.list.bare = bare
            self.replan()
        self.list.put(self.rows())
        self.console.type_ahead()

    # -- the files

    def chosen(self) -> None:
        self.redraw()
        layer, wanted = self.chosen_layer, self._wanted_files()
        if layer is None or self.tab == WASTE:
            return
        if self._goal is not None and self._goal.written_in[0] != layer.position:
            self._goal = None  # the cursor went elsewhere before it was read
        if wanted != self._asked:
            self._asked = wanted
            self.files.work(self._read, *wanted, exclusive=True)

    def _wanted_files(self) -> tuple[Any, ...]:
        layer = self.chosen_layer
        text = self.prompt.line.text if self.filtering else ""
        return (self.image, layer.position, self.tab == ALL, text) if layer is not None else ()

    async def _read(self, image: OpenedImage, layer: int, aggregated: bool, text: str) -> None:
        try:
            files = await offload(image.files, layer, aggregated=aggregated, text=text)
        except EngineError as error:
            self._tried, self._asked = self._asked, ()
            self.console.fail(f"layer {layer + 1} cannot be read", error)
            self.console.type_ahead()
            return
        self._tried = self._asked
        count = max(0, len(files.tree) - 1)
        self._entries = f"{count:,} entries" if count != 1 else "1 entry"
        if text:
            self.prompt.note = ((f"{files.found:,} found   ", "dim"), ("esc clears", "dim"))
            self.prompt.redraw()
        self.files.empty = (("Nothing here is called so." if text else "It has no files.", "dim"),)
        self.files.show(files)
        goal = self._goal
        if goal is not None and not aggregated and layer == goal.written_in[0]:
            self._goal = None
            self.files.seek(find(files.tree, goal.path.removesuffix(EVERY)))
            self.enter()
        self.map.show(files.tree, self.files.node)
        self.redraw()
        self.console.type_ahead()

    def _filter_changed(self, text: str) -> None:
        if self.tab == WASTE:
            self.open_tab(CHANGES)
        self.chosen()

    def clear(self) -> bool:
        filtered = self.filtering
        cleared = super().clear()
        if filtered:
            self.chosen()
        return cleared

    def _note_of(self, node: int) -> Part:
        """What is special about a file: written again later, removed later, from below."""
        files, image, layer = self.files.files, self.image, self.chosen_layer
        if files is None or image is None or layer is None:
            return "", ""
        here, change = layer.position, files.change[node]
        if change == GONE:
            return f"from layer {files.layer[node] + 1}", "faint"
        row = image.waste_at.get(files.path(node))
        if row is None:
            return "", ""
        if row.removed_in > here:
            return f"removed in {row.removed_in + 1}", "warn"
        again = [number for number in row.written_in if number > here]
        if again:
            return f"again in {again[0] + 1}", "warn"
        before = [number for number in row.written_in if number < here]
        return (
            (f"from layer {before[-1] + 1}", "faint") if change == CHANGED and before else ("", "")
        )

    def _show_waste(self, row: WasteRow) -> None:
        """The file of this row, in the layer that wrote it first."""
        if self.filtering:
            self.clear()
        self._goal, self._asked = row, ()
        self.list.go(str(row.written_in[0]))
        self.open_tab(CHANGES)

    # -- keys

    def other_part(self) -> None:
        """From the list to the files, or back."""
        if not self.leave():
            self.enter()

    def other_view(self) -> None:
        """What this layer changed, or all files as they are after it."""
        self.open_tab(CHANGES if self.tab == ALL else ALL)

    def show_waste(self) -> None:
        """Everything that is stored for nothing; back where it is open."""
        self.open_tab(CHANGES if self.tab == WASTE else WASTE)

    # -- rooms and lines

    def plan(self, width: int, height: int) -> Plan:
        top = 2 if self.filtering else 1
        if self.list.bare:
            return Plan([(self.list, Region(0, 1, width, height - 1))], [])
        split = width >= SPLIT_FROM
        strip = split or height >= 26
        above = top + (5 if strip else 1)
        heads: list[Head] = []
        rows = len(self.list.rows) or 1
        if split:
            wide = round(width * LIST_SHARE)
            waste = self._waste_rows(width, height)
            foot = FACTS + 1 + (waste + 5 if waste else 0)
            high = max(5, min(rows + 1, height - above - foot - 1))
            y = above + high + 1
            if waste:
                heads.append(Head(0, y, wide + 1, "waste", note="w opens"))
                y += waste + 5
            heads.append(Head(0, y, wide + 1, self.title_of(self.key)))
            detail = Region(wide + 1, 1, width - wide - 1, height - 1)
            heads.append(Head(wide + 1, 0, width - wide - 1, *self._head()))
        else:
            wide = width
            high = max(3, min(rows + 1, self.list_rows(height) + (3 if strip else 0)))
            heads.append(Head(0, above + high, width, *self._head()))
            detail = Region(0, above + high + 1, width, max(0, height - above - high - 1))
        places: list[tuple[Any, Region]] = [(self.list, Region(0, above, wide, high))]
        if self.filtering:
            places.append((self.prompt, Region(0, 1, wide, 1)))
        body = self._bodies[self.tab]
        if split and body is self.files and detail.height >= MAP_FROM:
            high = detail.height * 45 // 100
            title, size = self.map.heading()
            heads.append(Head(detail.x, detail.y + high, detail.width, title, note=size))
            low = detail.y + high + 1
            places.append((self.map, Region(detail.x, low, detail.width, detail.bottom - low)))
            places.append((body, detail._replace(height=high)))
        else:
            places.append((body, detail))
        return Plan(places, heads, wide if split else 0, detail)

    def _waste_rows(self, width: int, height: int) -> int:
        """Rows of the matrix that stand below the list."""
        found = len(self.image.waste) if self.image is not None else 0
        if width < SPLIT_FROM or height < 32:
            return 0
        return min(found, MOST_WASTE, max(0, (height - 26) // 2))

    def _head(self) -> tuple[str, tuple[str, ...], str, str, bool]:
        name = f"files of {self.title_of(self.key)}" if self.key else ""
        focus = self.active_part is not self.list
        return name, self.TABS, self.tab, self.note(), focus

    def note(self) -> str:
        if self.tab == WASTE and self.image is not None:
            paths = len(self.image.waste)
            size = format.size(self.image.waste_bytes)
            return f"{paths:,} {'path' if paths == 1 else 'paths'}  {size}"
        return self._entries if self.image is not None else ""

    def draw(self, canvas: Canvas) -> None:
        super().draw(canvas)
        image, layer = self.image, self.chosen_layer
        if image is None or self.list.bare:
            return
        plan = self.plan(canvas.width, canvas.height)
        listing = dict(plan.places)[self.list]
        top, wide = 2 if self.filtering else 1, listing.width
        draw_headline(canvas, top, wide, image)
        if listing.y - top == 5:
            draw_strip(canvas, top + 2, wide, image.layers, layer.position if layer else -1)
        for head in plan.heads:
            if head.name == "waste":
                rows = image.waste[: self._waste_rows(canvas.width, canvas.height)]
                draw_waste(canvas, 0, head.y + 1, wide, rows, len(image.layers))
                canvas.spans(3, head.y + len(rows) + 3, LEGEND, wide - 1)
            elif plan.wall and head.x == 0 and layer is not None:
                draw_facts(canvas, head.y + 1, wide, layer, time.time_ns())


def _row(layer: LayerInfo, most: int) -> Row:
    note = note_of(layer)
    ink = "warn" if note else "info"
    size = format.size(layer.size_bytes) if layer.size_bytes else ABSENT
    bar: Cell = tuple(format.bar(layer.size_bytes / most, 10, ink, "")) if layer.size_bytes else ""
    return Row(
        str(layer.position),
        (
            str(layer.position + 1),
            size,
            bar,
            format.count(layer.added) if layer.added else ABSENT,
            ((format.count(layer.changed), "modified"),) if layer.changed else ABSENT,
            ((format.count(layer.gone), "removed"),) if layer.gone else ABSENT,
            command_of(layer),
            note,
        ),
        (
            layer.position,
            layer.size_bytes,
            None,
            layer.added,
            layer.changed,
            layer.gone,
            command_of(layer),
            None,
        ),
    )


async def show_layers(console: "ConsoleApp", ref: str) -> None:
    """Open the layers pane on this image."""
    await console.switch(LayersPane.NUMBER)
    console.pane.seek(ref)


def _has_image(pane: LayersPane) -> str:
    return "" if pane.image is not None else "no image is open"


def _has_images(pane: LayersPane) -> str:
    return "" if pane.store.images.rows else "there is no image here"


LayersPane.ACTIONS = (
    Action("layers.part", "files", LayersPane.other_part, "or the list", _has_image, hint=True),
    Action("layers.view", "all files", LayersPane.other_view, "or changes", _has_image, hint=True),
    Action("layers.waste", "waste", LayersPane.show_waste, "what is hidden", _has_image, hint=True),
    Action("layers.image", "image", LayersPane.choose, "another one", _has_images, hint=True),
    *WasteView.ACTIONS,
)
