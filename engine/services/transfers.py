"""`save` and `import`: which images and names their words stand for, and what is made of a tar."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.engine import Cancel
from engine.errors import InvalidInput, NotFound
from engine.model.progress import Progress
from engine.oci import platform as platforms
from engine.oci.instructions import apply_change
from engine.oci.platform import Platform, parse_platform
from engine.oci.reference import Reference, parse_reference
from engine.storage import made_image
from engine.storage.archive_writer import write_archive
from engine.storage.made_image import epoch_ns, staged
from engine.storage.outgoing import Outgoing
from engine.units import rfc3339

if TYPE_CHECKING:
    from engine.engine import OnProgress
    from engine.home import Home
    from engine.oci.digest import ImageID
    from engine.storage.content import Content
    from engine.storage.image_store import ImageRow, ImageStore
    from engine.storage.metadata import Database

_ID = r"(?:sha256:)?[0-9a-f]{1,64}"


def save(
    database: Database,
    content: Content,
    store: ImageStore,
    refs: Sequence[str],
    output: IO[bytes],
    platform: str | None,
    progress: OnProgress | None,
    cancel: Cancel | None,
) -> None:
    """One archive of all of `refs` is in `output`. Nothing is written before all of them are found.

    Raises NotFound (no such image, no such platform of it), Corrupt, Unavailable, Cancelled.
    """
    tell = progress or (lambda step: None)
    wanted = parse_platform(platform) if platform else None
    chosen: dict[str, tuple[ImageRow, list[Reference]]] = {}
    for ref in refs:
        for row, name in _named(store, ref):
            if wanted:
                _check_platform(ref, row, wanted)
            _, names = chosen.setdefault(row.id, (row, []))
            if name is not None and name not in names:
                names.append(name)
    with Outgoing(database, content, store) as outgoing:
        for row, names in chosen.values():
            outgoing.add(row, names)
        write_archive(
            output,
            outgoing.images,
            outgoing.read,
            cancel=cancel or Cancel(),
            on_bytes=lambda done, total: tell(Progress("", "exporting", done, total)),
        )
    tell(Progress("", "done"))


def _named(store: ImageStore, ref: str) -> list[tuple[ImageRow, Reference | None]]:
    """The images that `ref` stands for, each with the name that it has by it."""
    row = store.find(ref)
    is_name = row is not None and store.leads_to(ref, row.id)
    if row is not None and not is_name and re.fullmatch(_ID, ref):
        return [(row, None)]
    reference = parse_reference(ref)
    if reference.digest:
        return [(store.get(ref), None)]  # archives have no place for such names
    last = ref.rpartition("/")[2]
    names = [] if ":" in last else store.tags_of(reference)
    found: list[tuple[ImageRow, Reference | None]] = [
        (store.get(name), parse_reference(name)) for name in names
    ]
    return found or [(store.get(ref), reference)]


def _check_platform(ref: str, row: ImageRow, wanted: Platform) -> None:
    own = Platform(row.os, row.architecture, row.variant)
    if own not in platforms.compatible_with(wanted):
        raise NotFound(
            f"image with reference {ref} was found but does not provide the specified platform "
            f"({wanted}): it is for {own}",
            f"pydock pull --platform {wanted} {ref}",
        )


def import_(
    home: Home,
    database: Database,
    content: Content,
    archive: IO[bytes],
    target: str | None,
    changes: Sequence[str],
    message: str,
    platform: str | None,
    progress: OnProgress | None,
    cancel: Cancel | None,
) -> ImageID:
    """The id of a new image whose one layer is the tar in `archive`, plain or compressed."""
    reference = parse_reference(target) if target else None
    if reference is not None and reference.digest:
        raise InvalidInput(
            f"reference {reference.familiar}: refusing to create a tag with a digest reference",
            "name a tag",
        )
    own = parse_platform(platform) if platform else platforms.host_platform()._replace(variant="")
    config: dict[str, Any] = {}
    for line in changes:
        apply_change(config, line)
    created = rfc3339(epoch_ns() or time.time_ns())
    document: dict[str, Any] = {"architecture": own.architecture, "os": own.os}
    document |= {"variant": own.variant} if own.variant else {}
    document |= {
        "created": created,
        "config": config,
        "history": [{"created": created, "comment": message}],
    }
    cancel = cancel or Cancel()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress("", "verifying", done, total, "reading the archive"))

    with staged(home, database) as directory:
        layer = made_image.write_raw(archive, f"{directory}/layer.tar", cancel, tell)
        return made_image.publish(
            home, database, content, (), layer, document, reference,
            progress=progress, cancel=cancel,
        )  # fmt: skip
