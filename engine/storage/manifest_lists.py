"""Manifest lists that are not pushed yet: a file each, ROOT/manifests/<name>.json."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engine.errors import Corrupt, NotFound, Unavailable
from engine.model.manifest import ManifestEntry

if TYPE_CHECKING:
    from engine.home import Home
    from engine.oci.reference import Reference

MAX_BYTES = 64 << 20


class ManifestLists:
    """The lists by their names, each written as a whole."""

    def __init__(self, home: Home) -> None:
        self._directory = f"{home.root}/manifests"

    def find(self, name: Reference) -> tuple[ManifestEntry, ...] | None:
        """The list's entries in their order; None when there is no such list. Raises Corrupt."""
        path = self._path(name)
        try:
            with open(path, "rb") as file:
                return tuple(_entry(each) for each in json.loads(file.read(MAX_BYTES)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt(
                f"manifest list {name.familiar}: {path} is damaged",
                f"pydock manifest rm {name.familiar}, and create it again",
            ) from error

    def get(self, name: Reference) -> tuple[ManifestEntry, ...]:
        """As `find`. Raises NotFound."""
        entries = self.find(name)
        if entries is None:
            raise NotFound(
                f"no such manifest: {name.full}",
                f"pydock manifest create {name.familiar} IMAGE... makes one",
            )
        return entries

    def put(self, name: Reference, entries: tuple[ManifestEntry, ...]) -> None:
        """The list is kept. Raises Unavailable."""
        path = self._path(name)
        temporary = f"{path}.{os.urandom(4).hex()}"
        data = json.dumps([_json(entry) for entry in entries]).encode()
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unavailable(f"{path}: {reason}", "check the disk and its free space") from error

    def remove(self, name: Reference) -> None:
        """Raises NotFound."""
        try:
            os.unlink(self._path(name))
        except FileNotFoundError as error:
            raise NotFound(f"no such manifest: {name.full}", "it may have been pushed") from error

    def _path(self, name: Reference) -> str:
        """Long names become short ones: a file's name has 255 bytes at most."""
        quoted = quote(name.full, safe="")
        if len(quoted) > 200:
            import hashlib

            quoted = hashlib.sha256(name.full.encode()).hexdigest()
        return f"{self._directory}/{quoted}.json"


def _json(entry: ManifestEntry) -> dict[str, Any]:
    return entry._asdict() | {"data": base64.b64encode(entry.data).decode()}


def _entry(value: dict[str, Any]) -> ManifestEntry:
    return ManifestEntry(
        **value
        | {
            "data": base64.b64decode(value["data"]),
            "os_features": tuple(value["os_features"]),
        }
    )
