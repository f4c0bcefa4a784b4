"""`images`, `pull`, `load`, `tag`, `rmi`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.content import Content
    from engine.storage.image_store import ImageStore
    from engine.storage.metadata import Database

Filters = Sequence[tuple[str, str]]


class ImageService:
    """The face's `images`. `users` tells which containers have an image: id → names."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        store: ImageStore,
        users: Callable[[], dict[str, list[str]]],
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._store = store
        self._users = users
