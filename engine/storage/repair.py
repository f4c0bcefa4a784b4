"""fsck: whether rows and bytes agree, and what can be done where they do not.

Every blob is hashed and every layer's files are compared with its index, so this takes as long as
reading the store. Others may work meanwhile: what looks wrong is looked at once more, and young
files without rows are left alone, as in `gc`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.errors import Corrupt, EngineError
from engine.model.system import Damage
from engine.named_tuple import NamedTuple
from engine.oci.descriptor import Descriptor
from engine.oci.digest import ChainID, Digest
from engine.storage import gc, leases
from engine.storage.content import Content
from engine.storage.layer_check import first_difference
from engine.storage.layer_index import LayerIndex
from engine.storage.restore import restore_layer
from engine.storage.snapshots import Snapshots
from engine.storage.trash import discard, remove_tree

if TYPE_CHECKING:
    from engine.home import Home
    from engine.storage.metadata import Database

_AGAIN_SECONDS = 0.05

# Foreign keys keep these true; a database edited or damaged from outside may break them.
_DANGLING = (
    (
        "reference",
        "SELECT name FROM reference WHERE image NOT IN (SELECT id FROM image)",
        "DELETE FROM reference WHERE name=?",
        "leads to an image that is not there",
    ),
    (
        "blob of an image",
        "SELECT DISTINCT image FROM image_blob WHERE image NOT IN (SELECT id FROM image)",
        "DELETE FROM image_blob WHERE image=?",
        "belongs to an image that is not there",
    ),
    (
        "image",
        "SELECT id FROM image WHERE chain_id NOT IN (SELECT chain_id FROM chain) "
        "OR manifest NOT IN (SELECT digest FROM blob) OR id NOT IN (SELECT digest FROM blob)",
        "DELETE FROM image WHERE id=?",
        "its layers, config or manifest are not there: pull it again",
    ),
    (
        "use of a volume",
        "SELECT DISTINCT container_id FROM volume_use "
        "WHERE container_id NOT IN (SELECT id FROM container) "
        "OR volume NOT IN (SELECT name FROM volume)",
        "DELETE FROM volume_use WHERE container_id=?",
        "its container or volume is not there",
    ),
    (
        "port",
        "SELECT DISTINCT endpoint_id FROM port WHERE endpoint_id NOT IN (SELECT id FROM endpoint)",
        "DELETE FROM port WHERE endpoint_id=?",
        "belongs to an endpoint that is not there",
    ),
)


# A blob's file is there again and right. Raises an EngineError.
Refetch = Callable[[Descriptor], None]


def fsck(
    home: Home, database: Database, *, repair: bool, refetch: Refetch | None = None
) -> Iterator[Damage]:
    """What is wrong, as it is found; with `repair` it is mended first where that is possible, by
    `refetch` too, and the text says how. Nothing comes from a store that is whole."""
    return _Check(home, database, repair, refetch).run()


class _Layer(NamedTuple):
    id: str
    link: int
    diff_id: str
    parent_chain: str | None
    blob: Digest


class _Check:
    def __init__(
        self, home: Home, database: Database, repair: bool, refetch: Refetch | None
    ) -> None:
        self._home = home
        self._database = database
        self._repair = repair
        self._refetch = refetch
        self._content = Content(home, database)
        self._bad_blobs: set[str] = set()
        self._dropped = False

    def run(self) -> Iterator[Damage]:
        broken = list(self._database_damage())
        yield from broken
        if broken:
            return  # what rows say is not to be relied on
        yield from self._rows()
        yield from self._blobs()
        yield from self._layers()
        yield from self._containers()
        yield from self._volumes()
        if self._dropped:
            gc.sweep(self._home, self._database)
        yield from self._staging()
        yield from self._orphans()

    # Rows

    def _database_damage(self) -> Iterator[Damage]:
        for (text,) in self._database.query("PRAGMA quick_check"):
            if text != "ok":
                yield Damage("row", "db.sqlite", " ".join(str(text).split()))

    def _rows(self) -> Iterator[Damage]:
        for noun, select, delete, text in _DANGLING:
            for (key,) in self._database.query(select):
                if self._repair:
                    yield self._without_row(noun, key, delete, text)
                else:
                    yield Damage("row", f"{noun} {key}", text)

    def _without_row(self, noun: str, key: str, delete: str, text: str) -> Damage:
        try:
            with self._database.transaction() as cursor:
                cursor.execute(delete, (key,))
        except sqlite3.IntegrityError:
            return Damage("row", f"{noun} {key}", f"{text}; a container needs it, so it stays")
        self._dropped = True
        return Damage("row", f"{noun} {key}", f"{text}; the row is removed", repaired=True)

    def _drop_images(self, where: str, key: str) -> tuple[str, bool]:
        """Images that cannot be made whole go, unless containers use them: what happened."""
        images = [
            image
            for (image,) in self._database.query(f"SELECT id FROM image WHERE {where}", (key,))
        ]
        kept: list[str] = []
        for image in images:
            try:
                with self._database.transaction() as cursor:
                    cursor.execute("DELETE FROM image WHERE id=?", (image,))
            except sqlite3.IntegrityError:
                kept.append(image[7:19])
        self._dropped = True
        if kept:
            return f"image {', '.join(kept)} is broken; containers use it, so it stays", False
        gone = ", ".join(image[7:19] for image in images)
        return f"image {gone} cannot be restored and is removed: pull it again", True

    # Blobs

    def _blobs(self) -> Iterator[Damage]:
        for digest, size_bytes, media_type in self._database.query(
            "SELECT digest, size_bytes, media_type FROM blob"
        ):
            problem = self._blob_problem(digest, size_bytes)
            if not problem or self._database.first(
                "SELECT 1 FROM blob WHERE digest=?", (digest,)
            ) is None:  # fmt: skip
                continue
            if not self._repair:
                yield Damage("blob", digest, problem)
            elif self._fetched(Descriptor(media_type, digest, size_bytes)):
                yield Damage("blob", digest, f"{problem}; it is fetched again", True)
            else:
                self._bad_blobs.add(digest)
                done, mended = self._without_blob(digest)
                yield Damage("blob", digest, f"{problem}; {done}", mended)

    def _fetched(self, blob: Descriptor) -> bool:
        """What is there is of no use, so it goes first: nobody takes it for the blob."""
        if self._refetch is None:
            return False
        self._throw_away(self._home.blob_path(blob.digest))
        try:
            self._refetch(blob)
        except EngineError:
            return False
        return True

    def _blob_problem(self, digest: str, size_bytes: int) -> str:
        """ "" when the file is whole."""
        algorithm = digest.partition(":")[0]
        try:
            with open(self._home.blob_path(digest), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != size_bytes:
                    return f"expected {size_bytes} bytes, its file has {size}"
                found = hashlib.file_digest(file, algorithm).hexdigest()
        except OSError as error:
            return f"its file: {(error.strerror or '').lower()}"
        return "" if digest == f"{algorithm}:{found}" else f"its bytes have digest {found}"

    def _without_blob(self, digest: str) -> tuple[str, bool]:
        """Documents take their image with them; a layer's blob is only needed for push and save."""
        is_document = self._database.first(
            "SELECT 1 FROM image WHERE id=?1 OR manifest=?1", (digest,)
        )
        done, mended = "", True
        if is_document is not None:
            done, mended = self._drop_images("id=?1 OR manifest=?1", digest)
            if not mended:
                return done, False
        with self._database.transaction(publish=True) as cursor:
            cursor.execute("UPDATE image SET index_digest=NULL WHERE index_digest=?", (digest,))
            cursor.execute("DELETE FROM image_blob WHERE digest=?", (digest,))
            cursor.execute("DELETE FROM blob WHERE digest=?", (digest,))
        self._throw_away(self._home.blob_path(digest))
        return done or "it is removed, what was unpacked of it stays", True

    # Layers

    def _layers(self) -> Iterator[Damage]:
        rows = self._database.query(
            "SELECT id, link, diff_id, parent_chain, blob FROM layer "
            "ORDER BY (SELECT min(depth) FROM chain WHERE layer=layer.id)"  # lower ones first
        )
        for layer in map(_Layer._make, rows):
            kind, problem = self._layer_problem(layer)
            if problem and self._is_still_there(layer):
                if self._repair:
                    done, mended = self._restore(layer)
                    yield Damage(kind, layer.id, f"{problem}; {done}", mended)
                else:
                    yield Damage(kind, layer.id, problem)
            path, target = f"{self._home.root}/l/{layer.link}", f"../layers/{layer.id}/diff"
            if _link_of(path) != target and self._is_still_there(layer):
                if self._repair:
                    _link(target, path)
                yield Damage("link", f"l/{layer.link}", f"expected {target}", self._repair)

    def _is_still_there(self, layer: _Layer) -> bool:
        return self._database.first("SELECT 1 FROM layer WHERE id=?", (layer.id,)) is not None

    def _layer_problem(self, layer: _Layer) -> tuple[str, str]:
        """("", "") when its files are what its index says."""
        directory = self._home.layer_dir(layer.id)
        if not os.path.isdir(f"{directory}/diff"):
            return "layer", "its directory is missing"
        try:
            index = LayerIndex(f"{directory}/layer.pdl")
        except FileNotFoundError:
            return "index", "layer.pdl is missing"
        except (OSError, Corrupt) as error:
            return "index", f"layer.pdl cannot be read: {error}"
        try:
            if index.facts.diff_id != layer.diff_id:
                return "index", f"layer.pdl is of another layer, {index.facts.diff_id}"
            problem = first_difference(index, f"{directory}/diff")
            return ("layer", problem) if problem else ("", "")
        finally:
            index.close()

    def _restore(self, layer: _Layer) -> tuple[str, bool]:
        users = self._users(layer.id)
        if users:
            return f"container {', '.join(users)} runs on it: stop it and repair again", False
        if self._content.find(layer.blob) is not None and layer.blob not in self._bad_blobs:
            try:
                restore_layer(
                    self._home, self._database, layer.id, layer.blob, layer.diff_id,
                    layer.parent_chain,
                )  # fmt: skip
            except EngineError as error:
                return f"unpacking it again failed: {error.message}", False
            return "it is unpacked again", True
        return self._drop_images(
            """
            id IN (
                WITH RECURSIVE walk(image, layer, parent) AS (
                    SELECT image.id, layer, parent FROM image JOIN chain USING(chain_id)
                    UNION ALL SELECT walk.image, chain.layer, chain.parent
                    FROM walk JOIN chain ON chain.chain_id = walk.parent
                ) SELECT image FROM walk WHERE layer=?
            )
            """,
            layer.id,
        )

    def _users(self, layer_id: str) -> list[str]:
        """Names of running containers that have the layer mounted."""
        return [
            name
            for (name,) in self._database.query(
                """
                WITH RECURSIVE walk(name, layer, parent) AS (
                    SELECT name, layer, parent FROM container JOIN chain USING(chain_id)
                    WHERE state IN ('running', 'paused')
                    UNION ALL SELECT walk.name, chain.layer, chain.parent
                    FROM walk JOIN chain ON chain.chain_id = walk.parent
                ) SELECT DISTINCT name FROM walk WHERE layer=? ORDER BY name
                """,
                (layer_id,),
            )
        ]

    # What containers and volumes have on the disk

    def _containers(self) -> Iterator[Damage]:
        """The upper directory is made by the first start."""
        for container, name, chain, state, started_ns in self._database.query(
            "SELECT id, name, chain_id, state, started_ns FROM container WHERE chain_id IS NOT NULL"
        ):
            if self._has_upper(container, started_ns):
                continue
            text, mended = "its upper directory is missing, with all that it wrote", False
            if self._repair and state not in ("running", "paused"):
                self._throw_away(self._home.upper_dir(container))
                try:
                    snapshots = Snapshots(self._home, self._database)
                    snapshots.prepare(container, ChainID(chain))
                    snapshots.release(container)
                    text, mended = f"{text}; it has a new one", True
                except EngineError as error:
                    text = f"{text}; {error.message}"
            yield Damage("file", f"container {name}", text, mended)

    def _has_upper(self, container_id: str, started_ns: int) -> bool:
        upper = self._home.upper_dir(container_id)
        for _ in range(2):
            if all(os.path.isdir(f"{upper}/{each}") for each in ("diff", "work")):
                return True
            if not started_ns and not os.path.exists(upper):
                return True
            time.sleep(_AGAIN_SECONDS)  # a start, or a removal, may be in the middle of it
        return self._database.first("SELECT 1 FROM container WHERE id=?", (container_id,)) is None

    def _volumes(self) -> Iterator[Damage]:
        for (name,) in self._database.query("SELECT name FROM volume"):
            path = f"{self._home.root}/volumes/{name}/_data"
            if not os.path.isdir(path):
                if self._repair:
                    os.makedirs(path, mode=0o755)
                text = "its directory is missing" + ("; it has a new one" if self._repair else "")
                yield Damage("file", f"volume {name}", text, self._repair)
        known = self._database.query("SELECT name FROM volume")
        for name in self._unknown("volumes", {name for (name,) in known}):
            text = "a directory without a row"
            if self._repair:  # it holds a person's data: it is taken in, never thrown away
                with self._database.transaction(publish=True) as cursor:
                    cursor.execute(
                        "INSERT OR IGNORE INTO volume(name, created_ns, anonymous, labels) "
                        "VALUES(?,?,0,'{}')",
                        (name, time.time_ns()),
                    )
                text += "; it has one again"
            yield Damage("file", f"volume {name}", text, self._repair)

    def _unknown(self, directory: str, known: set[str]) -> list[str]:
        """Entries without a row, none of them young: their row may be about to come."""
        path = f"{self._home.root}/{directory}"
        return [
            name
            for name in sorted(os.listdir(path))
            if name not in known and gc.is_old(f"{path}/{name}")
        ]

    # Garbage

    def _staging(self) -> Iterator[Damage]:
        dead = set(leases.dead(self._database))
        for name in gc.ownerless_staging(self._home, self._database) + sorted(dead):
            path = f"staging/{name}"
            there = os.path.exists(f"{self._home.root}/{path}")
            if self._repair:
                self._throw_away(f"{self._home.root}/{path}")
                leases.drop(self._database, [name])
            text = "left by a process that ended" if there else "lease of a process that ended"
            yield Damage("file" if there else "row", path, f"{text}{self._removed}", self._repair)

    def _orphans(self) -> Iterator[Damage]:
        found = gc.list_files(self._home)
        with self._database.transaction() as cursor:
            paths = gc.orphans(cursor, self._home, found)
            trash = gc.discard_orphans(self._home, paths) if self._repair else []
        for place in trash:
            remove_tree(place)
        for path in paths:
            name = path.removeprefix(f"{self._home.root}/")
            kind = {"blobs": "blob", "layers": "layer", "l": "link"}.get(name.split("/")[0], "file")
            yield Damage(kind, name, f"no row has it{self._removed}", self._repair)

    @property
    def _removed(self) -> str:
        return "; it is removed" if self._repair else ""

    def _throw_away(self, path: str) -> None:
        if place := discard(self._home, path):
            remove_tree(place)


def _link_of(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _link(target: str, path: str) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}"
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
