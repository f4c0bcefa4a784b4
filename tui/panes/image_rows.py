"""Images as rows of a list: one each, or by repository with a row for every tag."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from engine.model.image import ImageSummary
from engine.named_tuple import NamedTuple
from tui import format
from tui.dialogs.confirm import Item
from tui.format import ABSENT
from tui.panes.image_detail import waste_share
from tui.widgets.canvas import Part, tail
from tui.widgets.table import Cell, Column, Row

SHARE, USERS = 12, 15
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


class Target(NamedTuple):
    """What a verb acts on: an image, and those of its names that are meant."""

    image: ImageSummary
    names: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all of its names are meant."""
        return len(self.names) == len(self.image.references)

    @property
    def title(self) -> str:
        """What it is called."""
        return self.names[0] if self.names else short_id(self.image.id)


class Listing(NamedTuple):
    """Rows, and what stands behind each key: an image, one name of it, or a repository's all."""

    rows: list[Row]
    targets: Mapping[str, tuple[Target, ...]]


def short_id(image_id: str) -> str:
    """An image's id as lists show it."""
    return image_id.removeprefix("sha256:")[:12]


def repository(reference: str) -> str:
    """`shop/api` of `shop/api:3.0`; a port is no tag."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def by_image(images: Iterable[ImageSummary]) -> Listing:
    """A row for each image; its key is the image's id."""
    images = list(images)
    draw = _Drawer(images)
    rows = []
    for image in images:
        name = image.references[0] if image.references else "<none>"
        more = len(image.references) - 1
        rows.append(draw.row(image.id, image, f"{name} +{more}" if more > 0 else name))
    return Listing(rows, {image.id: (Target(image, image.references),) for image in images})


def by_repository(images: Iterable[ImageSummary]) -> Listing:
    """A row for each name, its key; names of one repository together, below a row for it."""
    images = list(images)
    draw = _Drawer(images)
    groups: dict[str, list[Target]] = {}
    for image in images:
        for name in image.references:
            groups.setdefault(repository(name), []).append(Target(image, (name,)))
    rows: list[Row] = []
    targets: dict[str, tuple[Target, ...]] = {}
    for image in images:
        if not image.references:
            rows.append(draw.row(image.id, image, "<none>"))
            targets[image.id] = (Target(image, ()),)
    for group, tags in groups.items():
        if len(tags) > 1:
            key = f"{group}/"
            targets[key] = together(tags)
            rows.append(_head(key, group, tags))
        for tag in tags:
            (name,) = tag.names
            targets[name] = (tag,)
            if len(tags) > 1:
                short = name.removeprefix(group).lstrip(":") or name
                row = draw.row(name, tag.image, short)
                rows.append(row._replace(depth=1, group=group))
            else:
                rows.append(draw.row(name, tag.image, name))
    return Listing(rows, targets)


def together(targets: Iterable[Target]) -> tuple[Target, ...]:
    """One target for each image, with all of its names that are among them."""
    found: dict[str, Target] = {}
    for image, names in targets:
        before = found.get(image.id)
        known = before.names if before else ()
        found[image.id] = Target(image, (*known, *(n for n in names if n not in known)))
    return tuple(found.values())


def _head(key: str, group: str, tags: list[Target]) -> Row:
    images = {tag.image.id: tag.image for tag in tags}.values()
    unique = sum(image.unique_bytes for image in images)
    users = sorted({user for image in images for user in image.used_by})
    cells: tuple[Cell, ...] = (
        ((f"{group}  ", "strong bold"), (f"{len(tags)} tags", "dim")),
        "",
        "",
        "",
        format.size(unique),
        "",
        "",
        "",
        tail(", ".join(users), USERS),
        "",
    )
    aliases = tuple(name for tag in tags for name in tag.names)
    return Row(key, cells, (None,) * len(COLUMNS), aliases=aliases, group=group, is_head=True)


def items(targets: list[Target]) -> list[Item]:
    """What a question before their removal lists."""
    found = []
    for target in targets:
        image, more = target.image, target.names[1:]
        text = f"also {', '.join(more)}" if more else short_id(image.id)
        if not target.is_whole:
            others = [name for name in image.references if name not in target.names]
            text = f"only untagged: it stays as {', '.join(others)}"
        elif image.used_by:
            text = f"only untagged: {', '.join(image.used_by)} has it"
        found.append(Item(target.title, format.size(image.size_bytes), text))
    return found


def facts(targets: list[Target]) -> list[tuple[str, tuple[Part, ...]]]:
    """What goes and what stays: an image that has another name, or a container, is untagged."""
    going = [target.image for target in targets if target.is_whole and not target.image.used_by]
    freed = sum(image.unique_bytes for image in going)
    shared = sum(image.size_bytes for image in going) - freed
    users = sorted({name for t in targets if t.is_whole for name in t.image.used_by})
    nothing = "next to nothing: others share its layers" if going else "nothing"
    frees: tuple[Part, ...] = ((nothing, "dim"),)
    if freed:
        frees = (("at least ", "dim"), (format.size(freed), "ok bold"))
    found: list[tuple[str, tuple[Part, ...]]] = [("frees", frees), ("stops", (("nothing", "dim"),))]
    if users:
        stay = (" stay, but cannot be made again", "dim")
        found.append(("used by", ((", ".join(users), "warn"), stay)))
    if shared:
        found.append(
            ("keeps", ((format.size(shared), "text"), (" that other images share", "dim")))
        )
    undo = "pull it again" if going else "tag it again"
    found.append(("undo", ((undo, "dim"),)))
    return found


class _Drawer:
    """Rows of images, drawn against all of them."""

    def __init__(self, images: list[ImageSummary]) -> None:
        self._most = max((image.size_bytes for image in images), default=0) or 1
        usual = Counter(image.architecture for image in images).most_common(1)
        self._usual = usual[0][0] if usual else ""
        self._now_ns = time.time_ns()

    def row(self, key: str, image: ImageSummary, name: str) -> Row:
        """Under this name."""
        share, ink = waste_share(image)
        seconds = (self._now_ns - image.created_ns) / 1e9
        arch = "" if image.architecture == self._usual else image.architecture
        users = tail(", ".join(image.used_by), USERS)
        return Row(
            key,
            (
                ((name, "text" if image.references else "dim"),),
                image.id.removeprefix("sha256:")[:10],
                arch,
                format.size(image.size_bytes),
                format.size(image.unique_bytes),
                self._share(image),
                ((share, ink),),
                str(image.layers),
                users or ABSENT,
                format.still_age(seconds),
            ),
            (
                name,
                None,
                arch or None,
                image.size_bytes,
                image.unique_bytes,
                None,
                image.waste_bytes / max(1, image.size_bytes) if image.waste_bytes >= 0 else None,
                image.layers,
                users or None,
                seconds,
            ),
            aliases=(*image.references, *image.used_by),
        )

    def _share(self, image: ImageSummary) -> Cell:
        """What only this image has is heavy, what it shares is light; as long as it is big."""
        size, unique = image.size_bytes, image.unique_bytes
        whole = max(1, round(SHARE * size / self._most)) if size else 0
        own = min(whole, round(SHARE * unique / self._most)) if unique else 0
        if unique and not own:
            own = 1
        return (("━" * own, "info"), ("─" * (whole - own), "dim"))
