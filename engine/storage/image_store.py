"""Images, the names that lead to them, and what of them is shared."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci.digest import ChainID, DiffID, Digest, ImageID
from engine.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from _sqlite3 import Cursor

    from engine.model.image_config import ImageConfig
    from engine.oci.config import ImageDocument
    from engine.oci.descriptor import Descriptor
    from engine.storage.content import Content
    from engine.storage.metadata import Database

_HEX = r"(?:sha256:)?[0-9a-f]{1,64}"


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


class Unlinked(NamedTuple):
    """What `remove` took out of the rows."""

    names: tuple[str, ...]  # full forms
    image: ImageID | None  # None while it still has a name or a container
    blobs: frozenset[str]  # digests that it led to, and perhaps others still do


class Dropped(NamedTuple):
    """What `drop` took out of the rows, and what it left, with the reason."""

    images: tuple[str, ...]
    kept: dict[str, str]
    blobs: frozenset[str]


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
# For what is an image's own: where each begins, and all chains, those on top first.
_TOPS = "SELECT id, chain_id FROM image"
_CHAINS = """
    SELECT chain_id, parent, layer, raw_bytes FROM chain JOIN layer ON layer.id = chain.layer
    ORDER BY depth DESC
"""
# The layers of one image, given its chain.
_CHAIN = """
    WITH RECURSIVE walk(chain_id, layer, parent, depth) AS (
        SELECT chain_id, layer, parent, depth FROM chain WHERE chain_id=?
        UNION ALL
        SELECT chain.chain_id, chain.layer, chain.parent, chain.depth
        FROM walk JOIN chain ON chain.chain_id = walk.parent
    )
"""


class ImageStore:
    """Rows of images and references. `mounted` tells where images are mounted on the host, by
    their id: those stay."""

    def __init__(
        self,
        database: Database,
        content: Content,
        mounted: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._database = database
        self._content = content
        self._mounted = mounted

    def record(self, cursor: Cursor, image: NewImage, chain_id: ChainID | None) -> None:
        """Part of the publishing transaction: its blobs, itself, and its name, which leaves
        whatever image had it. The layers' and chains' rows are there already.

        A layer that was here before in another compression came without its blob, which gets no
        row then. Raises Conflict when a document's blob has gone.
        """
        now = time.time_ns()
        blobs = [each for each in image.blobs if self._content.has_file(each[0], each[1])]
        here = {digest for digest, _, _ in blobs}
        for digest in (image.id, image.manifest, *filter(None, [image.index_digest])):
            if digest not in here:
                raise Conflict(
                    f"blob {digest}: it went away while the image came in", "pull it again"
                )
        cursor.executemany(
            "INSERT INTO blob VALUES(?,?,?,?) ON CONFLICT(digest) DO UPDATE "
            "SET size_bytes=excluded.size_bytes",
            [(digest, size, media_type, now) for digest, size, media_type in blobs],
        )
        if image.origin is not None:
            host, repository = image.origin
            cursor.executemany(
                "INSERT OR IGNORE INTO origin VALUES(?,?,?)",
                [(digest, host, repository) for digest, _, _ in blobs],
            )
        (size_bytes,) = cursor.execute(
            _CHAIN + "SELECT coalesce(sum(layer.raw_bytes), 0) FROM walk "
            "JOIN layer ON layer.id = walk.layer",
            (chain_id,),
        ).fetchone()
        cursor.execute(
            f"INSERT INTO image({_COLUMNS}) VALUES(?,?,?,?,?,?,?,?,?,?,?) "
            "ON CONFLICT(id) DO UPDATE SET manifest=excluded.manifest, "
            "index_digest=excluded.index_digest",
            (
                image.id, image.manifest, image.index_digest, chain_id, image.os,
                image.architecture, image.variant, image.created_ns, size_bytes, -1,
                len(image.layers),
            ),
        )  # fmt: skip
        cursor.executemany(
            "INSERT OR IGNORE INTO image_blob VALUES(?,?)",
            [(image.id, digest) for digest in sorted(here)],
        )
        if image.reference is not None:
            target = image.index_digest or image.manifest
            self._point(cursor, image.reference, image.id, target)

    def _point(self, cursor: Cursor, name: str, image: ImageID, target: str) -> None:
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
        if row is None and re.fullmatch(_HEX, ref):
            row = self._by_id(ref.removeprefix("sha256:"))
        if row is None and not re.fullmatch(_HEX, ref):
            parse_reference(ref)  # what cannot be a name at all is told so
        return row

    def _stored_name(self, ref: str) -> str | None:
        """The full form under which `ref` would be stored; None when it is no name."""
        try:
            return parse_reference(ref).full
        except (InvalidInput, Unsupported):
            return None

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
            # name@digest: came from that repository, or has a name in it.
            repository = f"{reference.domain}/{reference.path}"
            found = self._database.first(
                f"""
                SELECT {_prefixed()} FROM image
                WHERE (manifest=?1 OR index_digest=?1) AND (
                    EXISTS(SELECT 1 FROM origin WHERE digest=?1 AND host=?2 AND repository=?3)
                    OR EXISTS(SELECT 1 FROM reference WHERE reference.image=image.id
                              AND name BETWEEN ?4 || ':' AND ?4 || ':~'))
                """,
                (reference.digest, reference.domain, reference.path, repository),
            )
        return _row(found) if found else None

    def _by_id(self, prefix: str) -> ImageRow | None:
        found = self._database.query(
            f"SELECT {_COLUMNS} FROM image WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2",
            (f"sha256:{prefix}",),
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
        rows: dict[str, ImageRow] = {}
        names: dict[str, list[str]] = {}
        for *columns, name in self._database.query(
            f"SELECT {_prefixed()}, reference.name FROM image "
            "LEFT JOIN reference ON reference.image = image.id "
            "ORDER BY image.created_ns DESC, image.id, reference.name"
        ):
            if columns[0] not in rows:
                rows[columns[0]] = _row(columns)
                names[columns[0]] = []
            if name:
                names[columns[0]].append(name)
        unique = dict(self._database.query("SELECT image, size_bytes FROM image_unique"))
        if unique.keys() != rows.keys():
            unique = self._count_unique()
        return [
            ListedImage(row, tuple(names[image]), unique.get(image, 0))
            for image, row in rows.items()
        ]

    def listed(self, image: ImageRow) -> ListedImage:
        """What `list_` says of one of them."""
        (stale,) = self._database.first(
            "SELECT EXISTS(SELECT id FROM image EXCEPT SELECT image FROM image_unique) "
            "OR EXISTS(SELECT image FROM image_unique EXCEPT SELECT id FROM image)"
        )
        if stale:
            unique = self._count_unique().get(image.id, 0)
        else:
            (unique,) = self._database.first(
                "SELECT size_bytes FROM image_unique WHERE image=?", (image.id,)
            ) or (0,)
        return ListedImage(image, tuple(self.references(image.id)), unique)

    def _count_unique(self) -> dict[str, int]:
        """Bytes that no other image has, by image; remembered until images come or go. A chain's
        layer is an image's own when every chain above leads to that image alone."""
        try:
            with self._database.transaction() as cursor:
                unique = _unique(cursor.execute(_TOPS).fetchall(), cursor.execute(_CHAINS))
                cursor.execute("DELETE FROM image_unique")
                cursor.executemany("INSERT INTO image_unique VALUES(?,?)", unique.items())
                return unique
        except Unavailable:  # a full disk does not hide what is on it
            return _unique(self._database.query(_TOPS), self._database.query(_CHAINS))

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

    def leads_to(self, ref: str, image: ImageID) -> bool:
        """Whether `ref` is a name of the image, not only the beginning of an id."""
        name = self._stored_name(ref)
        return name is not None and name in self.references(image)

    def tags_of(self, repository: Reference) -> list[str]:
        """Full names of every tag in the repository of that reference, sorted."""
        prefix = f"{repository.domain}/{repository.path}:"
        return [
            name
            for (name,) in self._database.query(
                "SELECT name FROM reference WHERE name BETWEEN ?1 AND ?1 || '~' ORDER BY name",
                (prefix,),
            )
        ]

    def layers_of(self, image: ImageRow) -> list[tuple[str, DiffID, Digest, int]]:
        """Its layers' id, diff_id, blob and raw bytes, bottom first."""
        return self._database.query(
            _CHAIN
            + """
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
        from engine.oci.config import parse_config  # `ps` does without

        return parse_config(self._content.read(Digest(image.id)))

    def run_config(self, image: ImageRow) -> ImageConfig:
        """What a container takes from it. Raises NotFound, Corrupt."""
        from engine.storage import image_configs  # lists do without

        config = image_configs.find(self._database, image.id)
        if config is None:
            config = image_configs.config_of(self.config(image))
            image_configs.keep(self._database, image.id, config)
        return config

    def with_config(self, ref: str) -> tuple[ImageRow, ImageConfig]:
        """What a container is made of. Raises NotFound with the hint to pull, Corrupt."""
        row = self.get(ref)
        return row, self.run_config(row)

    def set_waste(self, image: ImageID, waste_bytes: int) -> None:
        """Remember what the layer index says, for lists."""
        with self._database.transaction() as cursor:
            cursor.execute("UPDATE image SET waste_bytes=? WHERE id=?", (waste_bytes, image))

    def replace_blobs(
        self, image: ImageID, replaced: Mapping[Digest, Digest], blobs: Iterable[Descriptor]
    ) -> None:
        """The image is made of other blobs, which are files already: `replaced` says which stands
        for which, `blobs` describes the new ones. Nothing when the image has gone meanwhile."""
        now = time.time_ns()
        pairs = [(new, old) for old, new in replaced.items()]
        with self._database.transaction(publish=True) as cursor:
            if not _column(cursor, "SELECT id FROM image WHERE id=?", image):
                return
            cursor.executemany(
                "INSERT OR IGNORE INTO blob VALUES(?,?,?,?)",
                [(blob.digest, blob.size_bytes, blob.media_type, now) for blob in blobs],
            )
            cursor.executemany(
                "INSERT OR IGNORE INTO image_blob VALUES(?,?)",
                [(image, new) for new in replaced.values()],
            )
            for column in ("manifest", "index_digest"):
                cursor.executemany(
                    f"UPDATE image SET {column}=? WHERE id=? AND {column}=?",
                    [(new, image, old) for new, old in pairs],
                )
            cursor.executemany(
                "UPDATE reference SET target=? WHERE image=? AND target=?",
                [(new, image, old) for new, old in pairs],
            )
            cursor.execute(
                "UPDATE image SET index_digest=NULL WHERE id=? AND index_digest=manifest", (image,)
            )
            cursor.executemany("UPDATE layer SET blob=? WHERE blob=?", pairs)
            cursor.executemany(
                "DELETE FROM image_blob WHERE image=? AND digest=?",
                [(image, old) for old in replaced],
            )
        self._save_names()

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
        self._save_names()

    def _save_names(self) -> None:
        from engine.storage import name_list  # lists do without

        name_list.save(self._database)

    def remove(self, ref: str, *, force: bool) -> Unlinked:
        """The rows' part of `rmi` (all of it: gc.remove_image), by docker's rules: a name goes, the
        image with its last name, and an image named by its id with its only one.

        Raises NotFound; Conflict when containers use the image, or an id has several names.
        `force` takes all names, and leaves an image that stopped containers use without one.
        """
        image = self.get(ref).id
        name = self._stored_name(ref)
        with self._database.transaction(publish=True) as cursor:
            names = _column(cursor, "SELECT name FROM reference WHERE image=? ORDER BY name", image)
            going = [name] if name in names else names
            is_last = going == names
            if not _column(cursor, "SELECT id FROM image WHERE id=?", image):
                raise NotFound(f"no such image: {ref[:200]}", "it was removed meanwhile")
            users = cursor.execute(
                "SELECT name, state FROM container WHERE image_id=? ORDER BY name", (image,)
            ).fetchall()
            if is_last:
                self._check_unmounted(image)
                self._check_removable(ref, image, name, names, users, force)
            cursor.executemany("DELETE FROM reference WHERE name=?", [(each,) for each in going])
            if not is_last or users:
                return Unlinked(tuple(going), None, frozenset())
            blobs = _column(cursor, "SELECT digest FROM image_blob WHERE image=?", image)
            cursor.execute("DELETE FROM image WHERE id=?", (image,))
            return Unlinked(tuple(going), image, frozenset(blobs))

    def drop(self, wanted: dict[str, tuple[str, ...]]) -> Dropped:
        """Images by id, each with its names (full forms), are gone from the rows. One that has
        another name by now, or a container, stays (all of it: gc.remove_images)."""
        images: list[str] = []
        kept: dict[str, str] = {}
        blobs: set[str] = set()
        with self._database.transaction(publish=True) as cursor:
            mounted = self._mounted()
            for image, expected in wanted.items():
                names = _column(cursor, "SELECT name FROM reference WHERE image=?", image)
                more = [parse_reference(name).familiar for name in names if name not in expected]
                users = _column(cursor, "SELECT name FROM container WHERE image_id=?", image)
                place = mounted.get(image)
                if place is not None:
                    kept[image] = f"it is mounted at {place}"
                elif users:
                    kept[image] = f"container {', '.join(sorted(users))} uses it"
                elif more:
                    kept[image] = f"it has a new name, {', '.join(sorted(more))}"
                elif not _column(cursor, "SELECT id FROM image WHERE id=?", image):
                    kept[image] = "it is gone already"
                else:
                    blobs.update(
                        _column(cursor, "SELECT digest FROM image_blob WHERE image=?", image)
                    )
                    cursor.execute("DELETE FROM image WHERE id=?", (image,))
                    images.append(image)
        return Dropped(tuple(images), kept, frozenset(blobs))

    def _check_unmounted(self, image: ImageID) -> None:
        place = self._mounted().get(image)
        if place is not None:
            raise Conflict(
                f"conflict: unable to delete {image.partition(':')[2][:12]} (cannot be forced): "
                f"image is mounted at {place}",
                f"pydock image unmount {place}",
            )

    def _check_removable(
        self,
        ref: str,
        image: ImageID,
        name: str | None,
        names: list[str],
        users: list[tuple[str, str]],
        force: bool,
    ) -> None:
        short = image.partition(":")[2][:12]
        busy = ", ".join(user for user, state in users if state in ("running", "paused"))
        if name in names:
            if users and not force:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{ref}" (must force): '
                    f"container {', '.join(user for user, _ in users)} is using its image {short}",
                    "remove the container first, or use --force to remove the name only",
                )
        elif busy:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced): image is being used by "
                f"running container {busy}",
                "stop and remove the container first",
            )
        elif not force and (users or len(names) > 1):
            reason = (
                f"image is being used by stopped container {', '.join(user for user, _ in users)}"
                if users
                else "image is referenced by several names: "
                + ", ".join(parse_reference(each).familiar for each in names)
            )
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced): {reason}",
                "remove the container first" if users else "remove the names, or use --force",
            )


def _column(cursor: Cursor, text: str, value: str) -> list[str]:
    return [str(found) for (found,) in cursor.execute(text, (value,))]


def _unique(
    tops: Iterable[tuple[str, str | None]], chains: Iterable[tuple[str, str | None, str, int]]
) -> dict[str, int]:
    """From the rows of `_TOPS` and `_CHAINS`."""
    unique: dict[str, int] = {}
    owners: dict[str, str] = {}  # by chain; "" where several images have it
    for image, chain in tops:
        unique[image] = 0
        if chain is not None:
            owners[chain] = image if chain not in owners else ""
    layers: dict[str, tuple[str, int]] = {}
    for chain, parent, layer, raw_bytes in chains:
        owner = owners.get(chain)
        if owner is None:  # no image leads here any more
            continue
        if parent is not None:
            owners[parent] = owner if owners.get(parent, owner) == owner else ""
        before = layers.get(layer)
        same = before is None or before[0] == owner
        layers[layer] = (owner if same else "", raw_bytes)
    for owner, raw_bytes in layers.values():
        if owner:
            unique[owner] += raw_bytes
    return unique


def _prefixed() -> str:
    return ", ".join(f"image.{column}" for column in _COLUMNS.split(", "))


def _row(found: Sequence[Any]) -> ImageRow:
    return ImageRow(*found)
