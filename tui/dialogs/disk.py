"""What takes the disk: docker's rows, and below them each thing of the chosen one."""

from textual.geometry import Region

from engine.aio import offload
from engine.engine import Engine
from engine.errors import EngineError
from engine.model.disk import DiskUsage, Share
from engine.named_tuple import NamedTuple
from tui import format
from tui.prune import PRUNES
from tui.widgets.canvas import Canvas, Part, middle
from tui.widgets.sheet import Sheet

MOST_ROWS = 30
NAME, NUMBER, BAR = 14, 8, 12
TITLES = ("TOTAL", "ACTIVE", "SIZE", "RECLAIM")
PARTS = {  # titles of the figures of one thing
    "Images": ("SIZE", "SHARED", "UNIQUE", "USED BY"),
    "Containers": ("SIZE",),
    "Volumes": ("SIZE", "USED BY"),
}
WORDS = {
    "Downloads": "Parts of images that were not pulled to their end, and of layers at work.",
    "Leftovers": "Files that nothing leads to any more.",
    "Database": "The database, locks, links, and the directories themselves.",
}


SHARED = "shared and unique are the size; above, what images share counts once"
Thing = tuple[str, tuple[str, ...]]


class Found(NamedTuple):
    """What is shown: shares by type, and the things of a type, each with its figures."""

    shares: dict[str, Share]
    parts: dict[str, list[Thing]]
    total_bytes: int


class Disk(Sheet[str]):
    """The type whose unused things are to go; `chosen` is the one that the cursor begins on."""

    title = "disk usage"

    def __init__(self, engine: Engine, chosen: str = "") -> None:
        super().__init__()
        self._engine = engine
        self._chosen = chosen or "Images"
        self._found: Found | None = None
        self._said = "measuring …"
        self._top = 0
        self._most = 0  # how far it can be scrolled

    def on_mount(self) -> None:
        self.work(self._read)

    def place(self, width: int, height: int, detail: Region) -> Region:
        return self.centred(width, height, 96, min(height - 4, MOST_ROWS), 2)

    async def _read(self) -> None:
        try:
            self._found = await offload(_read, self._engine)
        except EngineError as error:
            self._said = error.message
        self.redraw()

    def fill(self, canvas: Canvas) -> None:
        left, end, found = 3, canvas.width - 3, self._found
        if found is None:
            canvas.put(left, 2, self._said, "dim", end)
            return
        bar = BAR if canvas.width >= 76 else 0
        _figures(canvas, 2, TITLES, "faint")
        for y, (name, share) in enumerate(found.shares.items(), 3):
            here = name == self._chosen
            canvas.put(left, y, name, "strong bold" if here else "text")
            can_go = share.reclaimable_bytes
            ink = "text" if can_go else "faint"
            _figures(canvas, y, (format.count(share.total), format.count(share.active)), "dim")
            x = left + NAME + 2 * NUMBER
            canvas.right(x + NUMBER, y, format.size(share.size_bytes))
            canvas.right(x + 2 * NUMBER, y, format.size(can_go), ink)
            if can_go:
                canvas.right(x + 2 * NUMBER + 6, y, f"{can_go / share.size_bytes:.0%}", "dim")
            if bar:
                part = share.size_bytes / max(1, found.total_bytes)
                canvas.spans(x + 2 * NUMBER + 8, y, format.bar(part, bar), end)
            if here:
                canvas.put(0 if not self.air else 1, y, "▌", "accent")
                canvas.ground(0, y, canvas.width, "selection")
        y = 3 + len(found.shares)
        canvas.put(left, y, "all of it", "dim")
        every = sum(share.reclaimable_bytes for share in found.shares.values())
        x = left + NAME + 3 * NUMBER
        canvas.right(x, y, format.size(found.total_bytes), "strong bold")
        canvas.right(x + NUMBER, y, format.size(every))
        self._fill_parts(canvas, found, y + 2)
        canvas.spans(left, canvas.height - 2, self._hints(found), end)

    def _fill_parts(self, canvas: Canvas, found: Found, y: int) -> None:
        left, end, last = 3, canvas.width - 3, canvas.height - 3
        titles, rows = PARTS.get(self._chosen, ()), found.parts.get(self._chosen, [])
        if not rows:
            said = WORDS.get(self._chosen, f"No {self._chosen.lower()} yet.")
            canvas.put(left, y, said, "dim", end)
            return
        if self._chosen == "Images":
            last -= 1
            canvas.put(left, last, SHARED, "faint", end)
        start = end - len(titles) * NUMBER
        canvas.put(left, y, "NAME", "faint")
        _figures(canvas, y, titles, "faint", start)
        room = max(1, last - y - 1)
        self._most = max(0, len(rows) - room)
        self._top = max(0, min(self._top, self._most))
        for at, (name, figures) in enumerate(rows[self._top : self._top + room], y + 1):
            canvas.put(left, at, middle(name, start - left - 2))
            _figures(canvas, at, figures, "text", start)

    def _hints(self, found: Found) -> list[Part]:
        hints: list[Part] = []
        if self._chosen in PRUNES:
            hints = [("b", "text bold"), (" prunes, after a preview   ", "dim")]
        if self._top < self._most:
            hints += [("pgdn", "text bold"), (f" {self._most - self._top} more   ", "dim")]
        elif self._top:
            hints += [("pgup", "text bold"), (" goes back   ", "dim")]
        return [*hints, ("^r", "text bold"), (" measures again", "dim")]

    def press(self, key: str, character: str | None) -> None:
        found = self._found
        if found is None:
            return
        names = list(found.shares)
        if key in ("j", "down", "k", "up"):
            step = 1 if key in ("j", "down") else -1
            at = names.index(self._chosen) + step
            self._chosen, self._top = names[max(0, min(len(names) - 1, at))], 0
            self._most = 0
        elif key in ("pgdn", "pgup"):
            self._top += 5 if key == "pgdn" else -5
        elif key == "b" and self._chosen in PRUNES:
            self.answer(self._chosen)
        elif key == "^r":
            self._found = None
            self.work(self._read, exclusive=True)
        elif key in ("q", "enter"):
            self.answer(None)
        self.redraw()


def _figures(
    canvas: Canvas, y: int, words: tuple[str, ...], ink: str, start: int = 3 + NAME
) -> None:
    for number, word in enumerate(words, 1):
        canvas.right(start + number * NUMBER, y, word, ink)


def _read(engine: Engine) -> Found:
    usage: DiskUsage = engine.system.df()
    names: dict[str, str] = {row.id: row.name for row in engine.containers.list(all=True)}
    shares = {
        "Images": usage.images,
        "Containers": usage.containers,
        "Volumes": usage.volumes,
        "Downloads": usage.downloads,
        "Leftovers": usage.leftovers,
        "Database": Share(1, 1, usage.metadata_bytes, 0),
    }
    size = format.size
    images: list[Thing] = [
        (
            ", ".join(row.references) or row.id.partition(":")[2][:10],
            (
                size(row.size_bytes),
                size(row.shared_bytes),
                size(row.unique_bytes),
                format.count(row.containers),
            ),
        )
        for row in sorted(usage.each_image, key=lambda row: (-row.size_bytes, row.references))
    ]
    containers: list[Thing] = [
        (names.get(row.id, row.id[:10]), (size(row.size_bytes),))
        for row in sorted(
            usage.each_container, key=lambda row: (-row.size_bytes, names.get(row.id, ""))
        )
    ]
    volumes: list[Thing] = [
        (row.name, (size(row.size_bytes), format.count(len(row.used_by))))
        for row in sorted(usage.each_volume, key=lambda row: (-row.size_bytes, row.name))
    ]
    parts = {"Images": images, "Containers": containers, "Volumes": volumes}
    return Found(shares, parts, usage.total_bytes)
