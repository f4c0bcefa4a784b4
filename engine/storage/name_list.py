"""ROOT/names: what each name leads to, beside the database, which alone knows it otherwise.

One line a name: full form, image id, digest of the target. Written anew after each change; read
only when the database is gone.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from engine.home import locked

if TYPE_CHECKING:
    from engine.storage.metadata import Database


def save(database: Database) -> None:
    """The list is as the rows are. A full disk is no failure: the rows are what counts."""
    root = os.path.dirname(database.path)
    temporary = f"{root}/names.new"
    with locked(f"{root}/lock/names"), contextlib.suppress(OSError):  # the last one reads last
        rows = database.query("SELECT name, image, target FROM reference ORDER BY name")
        with open(temporary, "w") as file:
            file.write("".join(f"{name} {image} {target}\n" for name, image, target in rows))
        os.rename(temporary, f"{root}/names")


def load(root: str) -> list[tuple[str, str, str]]:
    """(name, image, target) of each line; nothing where there is no list, or a broken one."""
    try:
        with open(f"{root}/names") as file:
            lines = [tuple(line.split()) for line in file]
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in lines if len(line) == 3]
