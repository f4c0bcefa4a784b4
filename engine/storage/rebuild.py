"""A database that was lost, made again from what lies on the disk.

Layers say in their indexes what they are, manifests and configs say which images they make, volumes
are directories. Only names come from a list of their own (`name_list`). What containers wrote has
no owner any more; it goes to ROOT/lost, where a person finds it and no sweep does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.named_tuple import NamedTuple
from engine.oci.config import parse_config
from engine.oci.descriptor import Descriptor
from engine.oci.digest import ChainID, Digest, chain_ids
from engine.oci.manifest import MAX_BYTES, Index, Manifest, check_runnable, parse_manifest
from engine.storage import name_list
from engine.storage.content import check_digest
from engine.storage.layer_index import LayerIndex
from engine.storage.unpack import BOTTOM

if TYPE_CHECKING:
    import sqlite3

    from engine.home import Home


class Rebuilt(NamedTuple):
    """What is there again, and what was put aside."""

    images: int
    layers: int
    volumes: int
    lost: tuple[str, ...]  # ids of containers


def rebuild(home: Home, cursor: sqlite3.Cursor) -> Rebuilt:
    """The rows of an empty database, within the transaction of `cursor`."""
    work = _Rebuild(home, cursor)
    work.layers()
    work.images()
    work.names()
    return Rebuilt(len(work.known), work.count_layers, work.volumes(), tuple(work.lost()))


class _Found(NamedTuple):
    """A manifest that can be an image again: its documents and their bytes."""

    digest: Digest
    manifest: Manifest
    size_bytes: int


class _Rebuild:
    def __init__(self, home: Home, cursor: sqlite3.Cursor) -> None:
        self._home = home
        self._cursor = cursor
        self._now_ns = time.time_ns()
        self._layers: dict[tuple[str, str], str] = {}  # (diff_id, chain below or "") → id
        self.known: set[str] = set()  # ids of images
        self.count_layers = 0

    # Layers

    def layers(self) -> None:
        """Each that has an index, under the link that it had."""
        root = self._home.root
        links: dict[str, int] = {}
        for name in os.listdir(f"{root}/l"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                links[os.readlink(f"{root}/l/{name}").split("/")[-2]] = int(name)
        free = max(links.values(), default=0)
        for layer in sorted(os.listdir(f"{root}/layers")):
            try:
                index = LayerIndex(f"{self._home.layer_dir(layer)}/layer.pdl")
            except (OSError, EngineError):
                continue  # its image cannot be whole either; the sweep takes it
            facts = index.facts
            index.close()
            key = (facts.diff_id, facts.parent_chain)
            if key in self._layers:
                continue
            link = links.get(layer)
            if link is None:
                link = free = free + 1
                os.symlink(f"../layers/{layer}/diff", f"{root}/l/{link}")
            self._layers[key] = layer
            self.count_layers += 1
            self._cursor.execute(
                "INSERT INTO layer(id, link, diff_id, parent_chain, blob, raw_bytes, disk_bytes, "
                "entries, created_ns) VALUES(?,?,?,?,?,?,?,?,?)",
                (
                    layer, link, facts.diff_id, facts.parent_chain or None, facts.blob,
                    facts.size_bytes, facts.disk_bytes, facts.entries, self._now_ns,
                ),
            )  # fmt: skip

    # Images

    def images(self) -> None:
        """Every manifest whose config and layers are here."""
        for found in self._manifests():
            with contextlib.suppress(EngineError, OSError):
                self._image(found)

    def _manifests(self) -> Iterator[_Found]:
        for digest, size_bytes, data in self._documents():
            with contextlib.suppress(EngineError):
                document = parse_manifest(data)
                if isinstance(document, Manifest):
                    check_runnable(document)
                    yield _Found(digest, document, size_bytes)

    def _documents(self) -> Iterator[tuple[Digest, int, bytes]]:
        """Blobs that may be JSON, their digests right."""
        for algorithm in ("sha256", "sha512"):
            for name in sorted(os.listdir(f"{self._home.root}/blobs/{algorithm}")):
                digest = Digest(f"{algorithm}:{name}")
                with contextlib.suppress(EngineError, OSError):
                    data = self._read(digest)
                    if data[:1] == b"{":
                        check_digest(digest, data)
                        yield digest, len(data), data

    def _read(self, digest: Digest) -> bytes:
        """The blob, or its first byte when it is no document."""
        with open(self._home.blob_path(digest), "rb") as file:
            first = file.read(1)
            if first != b"{" or os.fstat(file.fileno()).st_size > MAX_BYTES:
                return b""
            return first + file.read()

    def _image(self, found: _Found) -> None:
        manifest = found.manifest
        config = self._read(manifest.config.digest)
        check_digest(manifest.config.digest, config)
        document = parse_config(config)
        chains = chain_ids(document.diff_ids)
        layers = []
        below: ChainID | str = BOTTOM
        for diff_id, chain in zip(document.diff_ids, chains, strict=True):
            layer = self._layers.get((diff_id, "")) or self._layers.get((diff_id, below))
            if layer is None:
                return
            layers.append(layer)
            below = chain
        self._chains(chains, layers)
        image = manifest.config.digest
        size_bytes = sum(
            size for (size,) in (
                self._cursor.execute("SELECT raw_bytes FROM layer WHERE id=?", (layer,)).fetchone()
                for layer in layers
            )
        )  # fmt: skip
        blobs = [
            Descriptor(manifest.media_type, found.digest, found.size_bytes),
            manifest.config,
            *manifest.layers,
        ]
        here = [blob for blob in blobs if self._has(blob)]
        self._blobs(here)
        platform = document.platform
        self._cursor.execute(
            "INSERT OR IGNORE INTO image(id, manifest, index_digest, chain_id, os, architecture, "
            "variant, created_ns, size_bytes, waste_bytes, layers) "
            "VALUES(?,?,NULL,?,?,?,?,?,?,-1,?)",
            (
                image, found.digest, chains[-1] if chains else None, platform.os,
                platform.architecture, platform.variant, document.created_ns, size_bytes,
                len(layers),
            ),
        )  # fmt: skip
        self._hold(image, here)
        self.known.add(image)

    def _chains(self, chains: list[ChainID], layers: list[str]) -> None:
        parent: ChainID | None = None
        for depth, (chain, layer) in enumerate(zip(chains, layers, strict=True), 1):
            self._cursor.execute(
                "INSERT OR IGNORE INTO chain VALUES(?,?,?,?)", (chain, parent, layer, depth)
            )
            parent = chain

    def _has(self, blob: Descriptor) -> bool:
        try:
            return os.stat(self._home.blob_path(blob.digest)).st_size == blob.size_bytes
        except FileNotFoundError:
            return False

    def _blobs(self, blobs: list[Descriptor]) -> None:
        self._cursor.executemany(
            "INSERT OR IGNORE INTO blob VALUES(?,?,?,?)",
            [(each.digest, each.size_bytes, each.media_type, self._now_ns) for each in blobs],
        )

    def _hold(self, image: str, blobs: list[Descriptor]) -> None:
        self._cursor.executemany(
            "INSERT OR IGNORE INTO image_blob VALUES(?,?)",
            [(image, each.digest) for each in blobs],
        )

    # Names, volumes, and what is left

    def names(self) -> None:
        """Those of the list that lead to an image that is here; an index that one was pulled by
        belongs to it again."""
        for name, image, target in name_list.load(self._home.root):
            if image not in self.known:
                continue
            self._cursor.execute(
                "INSERT OR IGNORE INTO reference VALUES(?,?,?,?)",
                (name, image, target, self._now_ns),
            )
            with contextlib.suppress(EngineError, OSError):
                data = self._read(Digest(target))
                check_digest(Digest(target), data)
                document = parse_manifest(data)
                if isinstance(document, Index):
                    index = [Descriptor(document.media_type, Digest(target), len(data))]
                    self._blobs(index)
                    self._hold(image, index)
                    self._cursor.execute(
                        "UPDATE image SET index_digest=? WHERE id=?", (target, image)
                    )

    def volumes(self) -> int:
        """Every directory is one; labels are gone."""
        names = os.listdir(f"{self._home.root}/volumes")
        self._cursor.executemany(
            "INSERT INTO volume(name, created_ns, anonymous, labels) VALUES(?,?,?,'{}')",
            [(name, self._now_ns, len(name) == 64) for name in names],
        )
        return len(names)

    def lost(self) -> Iterator[str]:
        """What containers wrote is in ROOT/lost/<container>."""
        for container in os.listdir(f"{self._home.root}/upper"):
            os.makedirs(f"{self._home.root}/lost", mode=0o700, exist_ok=True)
            os.rename(self._home.upper_dir(container), f"{self._home.root}/lost/{container}")
            yield container
