"""What the layers pane says about an image and one of its layers: headline, strip, facts."""

from collections.abc import Sequence

from engine.model.layer import LayerInfo
from tui import format
from tui.format import ABSENT
from tui.opened_image import OpenedImage
from tui.widgets.canvas import EDGE, Canvas, Part, middle

LABEL = 9
NOP, SHELL, BUILDKIT = "/bin/sh -c #(nop) ", "/bin/sh -c ", " # buildkit"


def command_of(layer: LayerInfo) -> str:
    """The instruction that made it."""
    return plain_command(layer.command) or ABSENT


def plain_command(text: str) -> str:
    """An instruction of an image's history in one line, without what every builder adds."""
    command = " ".join(text.split()).removesuffix(BUILDKIT)
    if command.startswith(NOP):
        return command.removeprefix(NOP).strip()
    if command.startswith(SHELL):
        return f"RUN {command.removeprefix(SHELL)}"
    return command.replace(f"RUN {SHELL}", "RUN ", 1)


def note_of(layer: LayerInfo) -> str:
    """What is wasteful about a layer, "" when nothing is."""
    if layer.gone > layer.added + layer.changed and layer.size_bytes < format.M:
        return "frees nothing"
    if layer.changed >= 10 and layer.changed > layer.added:
        return f"{layer.changed:,} files again"
    if layer.waste_bytes >= max(layer.size_bytes / 10, format.M):
        return f"{format.size(layer.waste_bytes)} hidden later"
    return ""


def draw_headline(canvas: Canvas, y: int, width: int, image: OpenedImage) -> None:
    """Which image this is, and how well it is packed."""
    count = len(image.layers)
    parts: list[Part] = [
        (format.size(image.size_bytes), "text"),
        (f" in {count} {'layer' if count == 1 else 'layers'}   efficiency ", "dim"),
        (f"{image.efficiency:.0%}", "text"),
    ]
    if image.waste_bytes:
        share = image.waste_bytes / max(1, image.size_bytes)
        ink = "warn" if share >= 0.05 else "text"
        parts += [("   ", "dim"), (format.size(image.waste_bytes), ink), (" wasted", "dim")]
    room = width - EDGE - 5 - sum(len(text) for text, _ in parts)
    x = canvas.put(EDGE, y, middle(image.reference, max(16, room)), "strong bold")
    canvas.spans(x + 3, y, parts, width - 1)


def draw_strip(
    canvas: Canvas, y: int, width: int, layers: Sequence[LayerInfo], chosen: int
) -> None:
    """The image as one line, each layer as long as it is big; their numbers below."""
    total = sum(layer.size_bytes for layer in layers)
    room, at, free = width - EDGE - 2, 0.0, 0
    for layer in layers if total else ():
        start, at = at, at + layer.size_bytes / total * room
        first, last = EDGE + round(start), EDGE + round(at)
        if last - first < 1:
            continue
        here = layer.position == chosen
        ink = "accent" if here else "warn" if note_of(layer) else "info"
        canvas.put(first, y, "━" * max(1, last - first - 1), ink)
        number = str(layer.position + 1)
        if last - first > len(number) and first >= free:
            canvas.put(first, y + 1, number, "strong bold" if here else "faint")
            free = first + len(number) + 1


def draw_facts(canvas: Canvas, y: int, width: int, layer: LayerInfo, now_ns: int) -> None:
    """One layer: its command, what it did, its names."""
    made: list[Part] = [(f"{layer.added:,} files", "text"), (" added, ", "dim")]
    made += [(f"{layer.changed:,}", "text"), (" changed, ", "dim")]
    made += [(f"{layer.gone:,}", "text"), (" removed", "dim")]
    if layer.created_ns:
        made.append((f"   {format.still_age((now_ns - layer.created_ns) / 1e9)} ago", "dim"))
    blob: list[Part] = [(format.size(layer.blob_bytes), "text")]
    if layer.blob_bytes and layer.size_bytes:
        blob.append((f", ratio {layer.size_bytes / layer.blob_bytes:.1f}", "dim"))
    if layer.waste_bytes:
        blob += [("   ", "dim"), (format.size(layer.waste_bytes), "warn"), (" hidden later", "dim")]
    if layer.shared_with:
        names = ", ".join(layer.shared_with[:3])
        more = f" and {len(layer.shared_with) - 3} more" if len(layer.shared_with) > 3 else ""
        blob += [("   shared with ", "dim"), (names, "text"), (more, "dim")]
    room = width - EDGE - LABEL - 2
    facts: list[tuple[str, list[Part]]] = [
        ("command", [(middle(command_of(layer), room), "text")]),
        ("made", made),
        ("diff id", [(middle(layer.diff_id, min(room, 32)), "dim")]),
        ("blob", blob),
    ]
    for line, (label, parts) in enumerate(facts, y):
        canvas.put(EDGE, line, label, "faint")
        canvas.spans(EDGE + LABEL, line, parts, width - 1)
