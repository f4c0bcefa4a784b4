"""What the images pane shows of one image, tab by tab."""

import json
import time
from typing import TYPE_CHECKING, cast

from engine.aio import offload
from engine.errors import EngineError
from engine.model.image import Image, ImageSummary
from engine.model.layer import LayerInfo
from tui import format
from tui.format import ABSENT
from tui.opened_image import OpenedImage
from tui.panes.container_detail import SECRET, json_line
from tui.panes.layer_facts import command_of, note_of, plain_command
from tui.widgets.canvas import Part
from tui.widgets.details import Details, Line

if TYPE_CHECKING:
    from tui.app import ConsoleApp

BAR = 16
KEPT = 32  # images whose layers are remembered
HIDDEN: Part = ("••••••", "faint")


class ImageFacts(Details):
    """Something of an image; read when it is shown, and again when it changed."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = ""

    @property
    def console(self) -> "ConsoleApp":
        return cast("ConsoleApp", self.app)

    def show(self, image: ImageSummary | None) -> None:
        """Show this one."""
        if image is None:
            self.drop_work()
            self._shown = ""
            self.put([])
        else:
            self.work(self._read, image.id, exclusive=True)

    async def _read(self, image_id: str) -> None:
        try:
            lines = await self.read(image_id)
        except EngineError as error:
            lines = [((error.message, "dim"),)]
        again, self._shown = self._shown == image_id, image_id
        self.put(lines, again=again)

    async def read(self, image_id: str) -> list[Line]:
        """Its lines."""
        return self.facts(await offload(self.console.engine.images.inspect, image_id))

    def facts(self, image: Image) -> list[Line]:
        """Lines of an image that was inspected."""
        raise NotImplementedError


class Summary(ImageFacts):
    """What is most worth knowing."""

    def facts(self, image: Image) -> list[Line]:
        row, config = image.summary, image.config
        shared = row.size_bytes - row.unique_bytes
        size: list[Part] = [(format.size(row.size_bytes), "strong bold")]
        size.append((f" in {_many(row.layers, 'layer')}", "dim"))
        if shared and row.unique_bytes:
            only = format.size(row.unique_bytes)
            size.append((f"   {only} only here, {format.size(shared)} shared", "dim"))
        elif shared:
            size.append(("   all of it shared", "dim"))
        run = " ".join((*config.entrypoint, *config.command))
        user = config.user or "root"
        names = [name.partition("=")[0] for name in config.env]
        secret = sum(is_secret(name) for name in names)
        env: list[Part] = [(_many(len(names), "variable"), "text")]
        if secret:
            env += [
                (", ", "dim"),
                (f"{secret} {'looks' if secret == 1 else 'look'} secret", "warn"),
            ]
        built = format.still_age((time.time_ns() - row.created_ns) / 1e9)
        platform = "/".join(part for part in (row.os, row.architecture, row.variant) if part)
        lines = [
            self.fact("size", *size),
            self.fact("waste", *_waste(row)),
            self.fact(
                "runs",
                (run or "nothing by itself", "text"),
                (" as ", "dim"),
                (user, "warn" if user in ("root", "0") else "text"),
            ),
            self.fact(
                "ports",
                (", ".join(config.exposed_ports) or ABSENT, "text"),
                ("   env ", "dim"),
                *env,
            ),
            self.fact("used by", (", ".join(row.used_by) or "no container", "text")),
            self.fact("built", (f"{built} ago", "text"), (f"   {platform}", "dim")),
            self.fact("digest", (row.digest, "dim")),
        ]
        if len(row.references) > 1:
            lines.insert(0, self.fact("names", (", ".join(row.references), "text")))
        return lines


class LayerBars(ImageFacts):
    """Each layer, as big as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, tuple[LayerInfo, ...]] = {}

    async def read(self, image_id: str) -> list[Line]:
        layers = self._known.get(image_id)
        if layers is None:
            layers = await offload(_layers, self.console, image_id)
            if len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            self._known[image_id] = layers
        most = max((layer.size_bytes for layer in layers), default=0) or 1
        lines: list[Line] = []
        for layer in layers:
            size = format.size(layer.size_bytes) if layer.size_bytes else "0"
            ink = "warn" if note_of(layer) else "info"
            lines.append(
                (
                    (f"{layer.position + 1:>2}  ", "faint"),
                    (f"{size:>5}  ", "text" if layer.size_bytes else "faint"),
                    *format.bar(layer.size_bytes / most, BAR, ink, ""),
                    (f"  {command_of(layer)}", "dim"),
                )
            )
        return lines


def _layers(console: "ConsoleApp", image_id: str) -> tuple[LayerInfo, ...]:
    opened = OpenedImage(console.engine, image_id)
    opened.close()
    return opened.layers


class Steps(ImageFacts):
    """How it was built: every step, newest first as `history` has it, and what it weighs."""

    async def read(self, image_id: str) -> list[Line]:
        steps = await offload(self.console.engine.images.history, image_id)
        lines: list[Line] = []
        for number, step in zip(range(len(steps), 0, -1), steps, strict=True):
            age = format.still_age((time.time_ns() - step.created_ns) / 1e9)
            size = format.size(step.size_bytes) if step.size_bytes else ""
            lines.append(
                (
                    (f"{number:>2}  {age if step.created_ns else ABSENT:>4}  ", "faint"),
                    (f"{size:>5}  ", "text"),
                    (plain_command(step.created_by), "text" if size else "dim"),
                    (f"   {step.comment}" if step.comment else "", "faint"),
                )
            )
        return lines or [(("It does not say.", "dim"),)]


class Config(ImageFacts):
    """What a container takes from it. What looks secret is masked until somebody asks."""

    LABEL = 13
    unmasked = False

    def facts(self, image: Image) -> list[Line]:
        config = image.config
        lines = [
            self.fact("entrypoint", (" ".join(config.entrypoint) or ABSENT, "text")),
            self.fact("command", (" ".join(config.command) or ABSENT, "text")),
            self.fact("directory", (config.working_directory or "/", "text")),
            self.fact("user", (config.user or "root", "text")),
            self.fact("ports", (", ".join(config.exposed_ports) or ABSENT, "text")),
            self.fact("volumes", (", ".join(config.volumes) or ABSENT, "text")),
            self.fact("stop signal", (config.stop_signal or "TERM", "text")),
        ]
        for number, entry in enumerate(config.env):
            name, _, value = entry.partition("=")
            masked = is_secret(name) and value and not self.unmasked
            shown: Part = HIDDEN if masked else (value, "text")
            lines.append(self.fact("" if number else "env", (f"{name}=", "dim"), shown))
        for number, (name, value) in enumerate(config.labels):
            label = self.fact("" if number else "labels", (f"{name}=", "dim"), (value, "text"))
            lines.append(label)
        return lines


class Users(ImageFacts):
    """The containers that are made of it."""

    def facts(self, image: Image) -> list[Line]:
        rows = self.console.store.containers.rows.values()
        lines: list[Line] = []
        for row in sorted(rows, key=lambda row: row.name):
            if row.image_id == image.summary.id:
                glyph, ink, word, word_ink = format.state(row.state, row.exit_code)
                name = (f" {row.name:<24}", "text")
                lines.append(((glyph, ink), name, (f"  {word}", word_ink)))
        return lines or [(("No container uses it.", "dim"),)]


class Inspect(ImageFacts):
    """Docker's JSON of it."""

    def facts(self, image: Image) -> list[Line]:
        from engine.docker_json import image as document

        text = json.dumps(document(image), indent=2, ensure_ascii=False)
        return [json_line(line) for line in text.splitlines()]


def is_secret(name: str) -> bool:
    """Whether a variable of this name is one that nobody should read over a shoulder."""
    return any(word in name.lower() for word in SECRET)


def waste_share(row: ImageSummary) -> tuple[str, str]:
    """The share that is stored for nothing, and its ink."""
    if row.waste_bytes <= 0 or not row.size_bytes:
        return (ABSENT, "faint")
    share = row.waste_bytes / row.size_bytes
    if share < 0.005:
        return (ABSENT, "faint")
    return f"{share:.0%}", "bad" if share >= 0.25 else "warn" if share >= 0.15 else "dim"


def _waste(row: ImageSummary) -> list[Part]:
    if row.waste_bytes < 0:
        return [("not measured", "dim")]
    if not row.waste_bytes:
        return [("nothing", "text")]
    share, ink = waste_share(row)
    return [
        (format.size(row.waste_bytes), ink if ink in ("warn", "bad") else "text"),
        (f" {share}   stored and not seen: ", "dim"),
        ("enter", "text bold"),
        (" shows where", "dim"),
    ]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
