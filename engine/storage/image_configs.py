"""What containers take from images, in rows: a start reads no blob and parses no config.

An image's id is the digest of its config, so a row is never stale. It is made when it is first
asked for, by whatever program: an older database and one that was made again fill by use.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engine.errors import Unavailable
from engine.model.image_config import ImageConfig

if TYPE_CHECKING:
    from engine.oci.config import ImageDocument
    from engine.oci.digest import ImageID
    from engine.storage.metadata import Database


def find(database: Database, image: ImageID) -> ImageConfig | None:
    """None where nobody has asked yet, or a program that knew other fields."""
    found = database.first("SELECT document FROM image_config WHERE image=?", (image,))
    if found is None:
        return None
    values = json.loads(found[0])
    if values.keys() != set(ImageConfig._fields):
        return None
    return ImageConfig(**{name: _frozen(value) for name, value in values.items()})


def keep(database: Database, image: ImageID, config: ImageConfig) -> None:
    """`find` finds it, if there is such an image and room for it."""
    try:
        with database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO image_config SELECT id, ? FROM image WHERE id=?",
                (json.dumps(config._asdict()), image),
            )
    except Unavailable:  # a full disk: it is made again each time
        return


def config_of(document: ImageDocument) -> ImageConfig:
    """The part of an image's config that a container takes."""
    return ImageConfig(
        env=document.env,
        entrypoint=document.entrypoint,
        command=document.cmd,
        working_directory=document.working_directory,
        user=document.user,
        exposed_ports=document.exposed_ports,
        volumes=document.volumes,
        labels=document.labels,
        stop_signal=document.stop_signal,
    )


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
