"""Images, the names that lead to them, and what of them is shared."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import Conflict, InvalidInput, NotFound, Unsupported
from engine.oci.config import ImageDocument, parse_config
from engine.oci.digest import ChainID, DiffID, Digest, ImageID
from engine.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from engine.storage.content import Content
    from engine.storage.metadata import Database

_HEX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")


class NewImage(NamedTuple):
    """An image on its way in, all of its blobs in the content store."""

    id: ImageID
    manifest: Digest
    index_digest: Digest | None
    layers: tuple[tuple[Digest, DiffID, int], ...]  # blob, diff_id, blob bytes; bottom first
    blobs: tuple[tuple[Digest, int, str], ...]  # every blob: digest, size, media type
    os: str
    architecture: str
    variant: str
    created_ns: int
    reference: str | None  # full form
    origin: tuple[str, str] | None  # registry host, repository


class ImageRow(NamedTuple):
    """An image as it is stored."""

    id: ImageID
    manifest: Digest
    index_digest: Digest | None
    chain_id: ChainID | None
    os: str
    architecture: str
    variant: str
    created_ns: int
    size_bytes: int
    waste_bytes: int
    layers: int


class ListedImage(NamedTuple):
    """A row of a list: what other images do not share is in `unique_bytes`."""

    row: ImageRow
    references: tuple[str, ...]  # full forms, sorted
    unique_bytes: int


_COLUMNS = (
    "id, manifest, index_digest, chain_id, os, architecture, variant, created_ns, size_bytes, "
    "waste_bytes, layers"
)
# Every (image, layer) pair, by walking each image's chain to its bottom.
_LAYERS_OF = """
    WITH RECURSIVE walk(image, chain_id, layer, parent) AS (
        SELECT image.id, chain.chain_id, chain.layer, chain.parent
        FROM image JOIN chain USING(chain_id)
        UNION ALL
        SELECT walk.image, chain.chain_id, chain.layer, chain.parent
        FROM walk JOIN chain ON chain.chain_id = walk.parent
    )
"""


class ImageStore:
    """Rows of images and references."""

    def __init__(self, database: Database, content: Content) -> None:
        self._database = database
        self._content = content

    def record(self, cursor: sqlite3.Cursor, image: NewImage, chain_id: ChainID | None) -> None:
        """Part of the publishing transaction: its blobs, itself, and its name, which leaves
        whatever image had it. The layers' and chains' rows are there already."""
        now = time.time_ns()
        cursor.executemany(
            "INSERT OR IGNORE INTO blob VALUES(?,?,?,?)",
            [(digest, size, media_type, now) for digest, size, media_type in image.blobs],
        )
        if image.origin is not None:
            host, repository = image.origin
            cursor.executemany(
                "INSERT OR IGNORE INTO origin VALUES(?,?,?)",
                [(digest, host, repository) for digest, _, _ in image.blobs],
            )
        size_bytes = sum(
            cursor.execute(
                "SELECT coalesce(max(raw_bytes), 0) FROM layer WHERE diff_id=?", (diff_id,)
            ).fetchone()[0]
            for _, diff_id, _ in image.layers
        )
        cursor.execute(
            f"INSERT INTO image({_COLUMNS}) VALUES(?,?,?,?,?,?,?,?,?,?,?) "
            "ON CONFLICT(id) DO UPDATE SET manifest=excluded.manifest, "
            "index_digest=excluded.index_digest",
            (
                image.id, image.manifest, image.index_digest, chain_id, image.os, image.architecture,
                image.variant, image.created_ns, size_bytes, -1, len(image.layers),
            ),
        )  # fmt: skip
        cursor.executemany(
            "INSERT OR IGNORE INTO image_blob VALUES(?,?)",
            [(image.id, digest) for digest, _, _ in image.blobs],
        )
        if image.reference is not None:
            self._point(cursor, image.reference, image.id, image.index_digest or image.manifest)

    def _point(self, cursor: sqlite3.Cursor, name: str, image: ImageID, target: str) -> None:
        cursor.execute(
            "INSERT INTO reference VALUES(?,?,?,?) ON CONFLICT(name) DO UPDATE SET "
            "image=excluded.image, target=excluded.target, updated_ns=excluded.updated_ns",
            (name, image, target, time.time_ns()),
        )

    def get(self, ref: str) -> ImageRow:
        """By name, by id, or by a unique beginning of an id. Raises NotFound, Conflict
        (ambiguous), InvalidInput."""
        row = self.find(ref)
        if row is None:
            raise NotFound(f"no such image: {ref[:200]}", f"pydock pull {ref[:200]}")
        return row

    def find(self, ref: str) -> ImageRow | None:
        """As `get`, None when there is none."""
        row = self._by_name(ref)
        if row is None and _HEX.fullmatch(ref):
            row = self._by_id(ref.removeprefix("sha256:"))
        if row is None:
            parse_reference_or_id(ref)
        return row

    def _by_name(self, ref: str) -> ImageRow | None:
        try:
            reference = parse_reference(ref)
        except (InvalidInput, Unsupported):
            return None
        found = self._database.first(
            f"SELECT {_prefixed()} FROM reference JOIN image ON image.id = reference.image "
            "WHERE reference.name=?",
            (reference.full,),
        )
        if found is None and reference.digest:
            # name@digest: any name of that repository whose target is the digest.
            found = self._database.first(
                f"SELECT {_prefixed()} FROM image WHERE manifest=? OR index_digest=?",
                (reference.digest, reference.digest),
            )
        return _row(found) if found else None

    def _by_id(self, prefix: str) -> ImageRow | None:
        found = self._database.query(
            f"SELECT {_COLUMNS} FROM image WHERE id >= ? AND id < ? LIMIT 2",
            (f"sha256:{prefix}", f"sha256:{prefix}g"),
        )
        if len(found) > 1:
            raise Conflict(f"image id {prefix}: more than one image begins so", "give more digits")
        return _row(found[0]) if found else None

    def target(self, name: str) -> Digest | None:
        """What full name `name` stands for in its registry, as far as we know."""
        found = self._database.first("SELECT target FROM reference WHERE name=?", (name,))
        return Digest(found[0]) if found else None

    def list_(self) -> list[ListedImage]:
        """All images, newest first."""
        names: dict[str, list[str]] = {}
        for name, image in self._database.query("SELECT name, image FROM reference ORDER BY name"):
            names.setdefault(image, []).append(name)
        unique = dict(
            self._database.query(
                _LAYERS_OF
                + """
                , once AS (
                    SELECT DISTINCT image, layer FROM walk
                ), alone AS (
                    SELECT min(image) AS image, layer FROM once GROUP BY layer HAVING count(*) = 1
                )
                SELECT alone.image, sum(layer.raw_bytes) FROM alone JOIN layer ON id = alone.layer
                GROUP BY alone.image
                """
            )
        )
        return [
            ListedImage(_row(found), tuple(names.get(found[0], ())), unique.get(found[0], 0))
            for found in self._database.query(
                f"SELECT {_COLUMNS} FROM image ORDER BY created_ns DESC, id"
            )
        ]

    def count(self) -> int:
        (count,) = self._database.first("SELECT count(*) FROM image")
        return int(count)

    def references(self, image: ImageID) -> list[str]:
        """Full names of an image, sorted."""
        return [
            name
            for (name,) in self._database.query(
                "SELECT name FROM reference WHERE image=? ORDER BY name", (image,)
            )
        ]

    def origins(self, image: ImageRow) -> list[tuple[str, str]]:
        """Registries and repositories that its manifest came from."""
        return self._database.query(
            "SELECT host, repository FROM origin WHERE digest=? ORDER BY host, repository",
            (image.index_digest or image.manifest,),
        )

    def layers_of(self, image: ImageRow) -> list[tuple[str, DiffID, Digest, int]]:
        """Its layers' id, diff_id, blob and raw bytes, bottom first."""
        return self._database.query(
            """
            WITH RECURSIVE walk(chain_id, layer, parent, depth) AS (
                SELECT chain_id, layer, parent, depth FROM chain WHERE chain_id=?
                UNION ALL
                SELECT chain.chain_id, chain.layer, chain.parent, chain.depth
                FROM walk JOIN chain ON chain.chain_id = walk.parent
            )
            SELECT layer.id, layer.diff_id, layer.blob, layer.raw_bytes
            FROM walk JOIN layer ON layer.id = walk.layer ORDER BY walk.depth
            """,
            (image.chain_id,),
        )

    def sharers(self, layer_ids: Iterable[str], but: ImageID) -> dict[str, list[str]]:
        """For each layer, the names (else short ids) of other images that have it."""
        wanted = set(layer_ids)
        found: dict[str, list[str]] = {}
        for layer, image, name in self._database.query(
            _LAYERS_OF
            + """
            SELECT walk.layer, walk.image, min(reference.name) FROM walk
            LEFT JOIN reference ON reference.image = walk.image
            WHERE walk.image <> ? GROUP BY walk.layer, walk.image
            """,
            (but,),
        ):
            if layer in wanted:
                familiar = parse_reference(name).familiar if name else image[7:19]
                found.setdefault(layer, []).append(familiar)
        return found

    def config(self, image: ImageRow) -> ImageDocument:
        """The parsed config. Raises NotFound, Corrupt."""
        return parse_config(self._content.read(Digest(image.id)))

    def set_waste(self, image: ImageID, waste_bytes: int) -> None:
        """Remember what the layer index says, for lists."""
        with self._database.transaction() as cursor:
            cursor.execute("UPDATE image SET waste_bytes=? WHERE id=?", (waste_bytes, image))

    def tag(self, image: ImageID, reference: Reference) -> None:
        """The name leads to this image, whatever it led to before."""
        if reference.digest:
            raise InvalidInput(
                f"reference {reference.familiar}: refusing to create a tag with a digest reference",
                "name a tag",
            )
        with self._database.transaction() as cursor:
            row = cursor.execute(
                "SELECT coalesce(index_digest, manifest) FROM image WHERE id=?", (image,)
            ).fetchone()
            if row is None:
                raise NotFound(f"no such image: {image}", "pydock images")
            self._point(cursor, reference.full, image, row[0])

    def untag(self, name: str) -> bool:
        """Full name `name` is no more; whether it was."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM reference WHERE name=?", (name,))
            return cursor.rowcount > 0

    def forget(self, image: ImageID) -> None:
        """The image's row and names are gone; what it alone kept alive is garbage now. Raises
        Conflict when a container appeared that uses it."""
        try:
            with self._database.transaction() as cursor:
                cursor.execute("DELETE FROM image WHERE id=?", (image,))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"image {image[7:19]}: a container uses it", "remove the container first"
            ) from error


def parse_reference_or_id(ref: str) -> None:
    """Raises InvalidInput when `ref` can be neither a name nor an id."""
    if not _HEX.fullmatch(ref):
        parse_reference(ref)


def _prefixed() -> str:
    return ", ".join(f"image.{column}" for column in _COLUMNS.split(", "))


def _row(found: tuple[object, ...]) -> ImageRow:
    return ImageRow(*found)  # type: ignore[arg-type]
