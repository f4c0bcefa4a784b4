"""The volumes of the host: who uses them, and how big they are once measured."""

import time
from typing import TYPE_CHECKING, ClassVar, cast

from engine.aio import offload
from engine.model.volume import VolumeSummary
from tui import format, prune
from tui.actions import Action
from tui.format import ABSENT
from tui.panes.container_detail import json_line
from tui.panes.pane import Pane
from tui.widgets.canvas import Part, tail
from tui.widgets.details import Details, Line
from tui.widgets.drawn import Drawn
from tui.widgets.table import Cell, Column, Row

if TYPE_CHECKING:
    from tui.app import ConsoleApp

BAR, USERS = 12, 14
NOW_SECONDS = 60  # what was written in the last minute was written now
COLUMNS = (
    Column("NAME"),
    Column("SIZE", 5, number=True),
    Column(" ", BAR, 4),
    Column("FILES", 6, 1, number=True, ink="dim"),
    Column("USED BY", USERS, ink="dim"),
    Column("WRITTEN", 7, number=True, ink="dim"),
    Column("DRIVER", 6, 3, ink="dim"),
    Column("AGE", 4, number=True, ink="dim"),
)


class Facts(Details):
    """What is known of one volume."""

    LABEL = 13

    def show(self, volume: VolumeSummary | None) -> None:
        """Show this one."""
        self.put(self.facts(volume) if volume is not None else [], again=True)

    def facts(self, volume: VolumeSummary) -> list[Line]:
        """Its lines."""
        raise NotImplementedError


class Summary(Facts):
    """Its size, its place, its labels."""

    def facts(self, volume: VolumeSummary) -> list[Line]:
        now_ns = time.time_ns()
        size = self.fact(
            "size", ("not measured", "dim"), ("   s", "text bold"), (" measures", "dim")
        )
        if volume.size_bytes >= 0:
            files: Part = (f" in {_files(volume.files)}", "dim")
            exact: Part = (f"   {volume.size_bytes:,} bytes", "dim")
            size = self.fact("size", (format.size(volume.size_bytes), "strong bold"), files, exact)
        written = ABSENT
        if volume.written_ns:
            written = f"{format.still_age((now_ns - volume.written_ns) / 1e9)} ago"
        kind = "made for a container, goes with it" if volume.anonymous else "has a name, stays"
        lines = [
            size,
            self.fact("written", (written, "text")),
            self.fact("used by", _users(volume)),
            self.fact("mount point", (volume.mountpoint, "text")),
            self.fact("driver", (volume.driver, "text")),
            self.fact("kind", (kind, "dim")),
            self.fact(
                "made", (f"{format.still_age((now_ns - volume.created_ns) / 1e9)} ago", "dim")
            ),
        ]
        for number, (name, value) in enumerate(volume.labels):
            label = self.fact("" if number else "labels", (f"{name}=", "dim"), (value, "text"))
            lines.append(label)
        return lines


class Users(Facts):
    """The containers that mount it, and where."""

    def facts(self, volume: VolumeSummary) -> list[Line]:
        rows = cast("ConsoleApp", self.app).store.containers.rows.values()
        lines: list[Line] = []
        for row in sorted(rows, key=lambda row: row.name):
            for mount in row.mounts:
                if mount.type == "volume" and mount.name == volume.name:
                    glyph, ink, word, word_ink = format.state(row.state, row.exit_code)
                    how: Part = ("   read-only", "warn") if mount.read_only else ("", "dim")
                    name: Part = (f" {row.name:<24}", "text")
                    state: Part = (f"  {word:<12}", word_ink)
                    lines.append(((glyph, ink), name, state, (f"  {mount.target}", "text"), how))
        return lines or [(("No container uses it.", "dim"),)]


class Inspect(Facts):
    """Docker's JSON of it."""

    def facts(self, volume: VolumeSummary) -> list[Line]:
        import json

        from engine.docker_json import volume as document

        text = json.dumps(document(volume), indent=2, ensure_ascii=False)
        return [json_line(line) for line in text.splitlines()]


BODIES: dict[str, type[Facts]] = {"Summary": Summary, "Used by": Users, "Inspect": Inspect}


class VolumesPane(Pane):
    """Key: the volume's name."""

    NUMBER = 5
    TITLE = "Volumes"
    SCOPE = "volumes"
    KIND = "volumes"
    NOUN = ("volume", "volumes")
    COLUMNS = COLUMNS
    SORT = "SIZE"
    DESCENDING = True
    SNUG = True
    TABS = tuple(BODIES)
    ACTIONS: ClassVar[tuple[Action, ...]]

    @property
    def volume(self) -> VolumeSummary | None:
        """The one under the cursor."""
        return self.store.volumes.rows.get(self.key)

    def changed(self, kind: str, keys: frozenset[str]) -> None:
        super().changed(kind, keys)
        if self.is_open and ((kind == "volumes" and self.key in keys) or kind == "containers"):
            self.chosen()

    def chosen(self) -> None:
        body = self.current_body
        if isinstance(body, Facts):
            body.show(self.volume)

    def body(self, tab: str) -> Drawn:
        return BODIES[tab]()

    def nothing(self) -> tuple[tuple[Part, ...], ...]:
        if not self.store.volumes.known:
            return ()
        return (
            (("No volumes yet.", "strong bold"),),
            (("They keep what containers write, and are made by name:", "dim"),),
            (),
            (("pydock run -v NAME:/data …", "info"), ("   uses one", "dim")),
            (("pydock volume create NAME", "info"), ("    makes one", "dim")),
        )

    def rows(self) -> list[Row]:
        rows = self.store.volumes.rows.values()
        most = max((row.size_bytes for row in rows), default=0)
        now_ns = time.time_ns()
        return [_row(row, most, now_ns) for row in rows]

    async def measure(self) -> None:
        """Walk through what is in them."""
        flash = self.console.flash
        names = [key for key in self.list.targets() if key in self.store.volumes.rows]
        for name in names:
            flash.say((name, "strong"), ("  measuring …", "dim"))
            usage = await offload(self.engine.volumes.measure, name)
            found = f" holds {format.size(usage.size_bytes)} in {_files(usage.files)}"
            flash.say((name, "strong"), (found, "text"))
        self.console.feed.touch("volumes")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _users(volume: VolumeSummary) -> Part:
    if volume.used_by:
        return ", ".join(volume.used_by), "text"
    return "no container", "warn"


def _row(row: VolumeSummary, most: int, now_ns: int) -> Row:
    measured = row.size_bytes >= 0
    written_seconds = (now_ns - row.written_ns) / 1e9
    written: Cell = ABSENT
    if row.written_ns:
        fresh = written_seconds < NOW_SECONDS
        written = (("now", "ok"),) if fresh else format.age(written_seconds)
    bar: Cell = ""
    if measured and most:
        bar = tuple(format.bar(row.size_bytes / most, BAR, "info", ""))
    users: Cell = tail(", ".join(row.used_by), USERS)
    seconds = (now_ns - row.created_ns) / 1e9
    return Row(
        row.name,
        (
            row.name,
            format.size(row.size_bytes) if measured else ABSENT,
            bar,
            format.count(row.files) if measured else ABSENT,
            users or (("unused", "warn"),),
            written,
            row.driver,
            format.still_age(seconds),
        ),
        (
            row.name,
            row.size_bytes if measured else None,
            None,
            row.files if measured else None,
            users or None,
            written_seconds if row.written_ns else None,
            row.driver,
            seconds,
        ),
    )


def _some(pane: VolumesPane) -> str:
    return "" if pane.key else "there is no volume here"


VolumesPane.ACTIONS = (
    Action("volumes.measure", "measure", VolumesPane.measure, "how big it is", _some, hint=True),
    Action(
        "volumes.inspect",
        "inspect",
        lambda pane: pane.open_tab("Inspect"),
        "all that is known",
        _some,
        hint=True,
    ),
    Action(
        "volumes.prune",
        "prune",
        lambda pane: prune.volumes(pane.console),
        "what is unused",
        _some,
        hint=True,
        danger=True,
    ),
)
