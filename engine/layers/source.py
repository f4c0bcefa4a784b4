"""Images that lie in files: which there are, and where each layer's blob is.

An OCI layout (directory or tar), what `docker save` writes (before and since 25), podman, buildah
and kaniko alike, skopeo's `dir:`, and a plain directory as a root file system. Nothing is copied:
a blob is a range of bytes of a file. Only an archive that is compressed as a whole is inflated
first.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
https://github.com/containers/image/blob/main/docs/containers-transports.5.md
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import tarfile
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Protocol

from engine.errors import Corrupt, InvalidInput, NotFound, Unsupported
from engine.layers.scan import Section
from engine.named_tuple import NamedTuple
from engine.oci import config, json_strict, manifest
from engine.oci.config import ImageDocument
from engine.oci.descriptor import OCI_INDEX, Descriptor
from engine.oci.digest import sha256_of
from engine.oci.platform import Platform
from engine.oci.selection import Selection, select
from engine.storage.archive_writer import CONTAINERD_NAME, REF_NAME
from engine.storage.compression import raw_chunks

_MAX_MEMBERS = 100_000
_MAX_LINKS = 8
_BLOB = re.compile(r"(?:.*/)?(?:blobs/sha256/|sha256:|)([0-9a-f]{64})(?:\.tar(?:\.gz)?)?")
_HINT = "give what docker save, podman save or an OCI layout writes"
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")


class Blob(NamedTuple):
    """A layer as it lies in a file."""

    path: str
    offset: int
    size_bytes: int
    digest: str  # "" when it is not known without reading it
    diff_id: str


class FoundImage(NamedTuple):
    """One image of a source."""

    name: str  # as the source calls it, "" when it does not
    image_id: str
    document: ImageDocument
    layers: tuple[Blob, ...]  # bottom first


class _Member(NamedTuple):
    path: str
    offset: int
    size_bytes: int


class _Files(Protocol):
    def find(self, name: str) -> _Member | None: ...


def open_source(
    path: str, name: str = "", *, scratch: str, wanted: Platform | None = None
) -> FoundImage:
    """The image called `name` in the archive or layout at `path`, or the only one.

    `scratch` is an empty directory that lives as long as the blobs are read. Raises NotFound (no
    such file, name or platform), InvalidInput, Unsupported, Corrupt.
    """
    files = _open_files(path, scratch)
    try:
        return _Documents(path, files).image(name, wanted)
    except OSError as error:
        raise InvalidInput(f"{path}: {(error.strerror or str(error)).lower()}", _HINT) from error


def is_root_directory(path: str) -> bool:
    """Whether `path` is a directory that holds files, and not an image."""
    return os.path.isdir(path) and not any(
        os.path.exists(f"{path}/{name}") for name in ("index.json", "manifest.json", "oci-layout")
    )


# Files of a source


class _Directory:
    def __init__(self, path: str) -> None:
        self._path = path

    def find(self, name: str) -> _Member | None:
        name = posixpath.normpath(name)
        if name.startswith(("/", "../")) or name == "..":
            return None
        path = os.path.join(self._path, name)
        if not os.path.isfile(path):
            return None
        return _Member(path, 0, os.stat(path).st_size)


class _Archive:
    """Members by name; links lead to members."""

    def __init__(self, path: str) -> None:
        self._files: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for number, member in enumerate(tar):
                    if number >= _MAX_MEMBERS:
                        raise InvalidInput(f"{path}: more than {_MAX_MEMBERS} members", _HINT)
                    self._put(path, member)
        except tarfile.TarError as error:
            raise InvalidInput(f"{path}: not a tar archive: {error}", _HINT) from error

    def _put(self, path: str, member: tarfile.TarInfo) -> None:
        name = posixpath.normpath(member.name)
        if member.isreg() and not member.issparse():
            self._files[name] = _Member(path, member.offset_data, member.size)
            self._links.pop(name, None)
        elif member.issym():
            target = posixpath.join(posixpath.dirname(name), member.linkname)
            self._links[name] = posixpath.normpath(target)
        elif member.islnk():
            self._links[name] = posixpath.normpath(member.linkname)

    def find(self, name: str) -> _Member | None:
        name = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None


def _open_files(path: str, scratch: str) -> _Files:
    if os.path.isdir(path):
        return _Directory(path)
    try:
        with open(path, "rb") as file:
            head, size = file.read(6), os.fstat(file.fileno()).st_size
            if not head:
                raise InvalidInput(f"{path}: it is empty", _HINT)
            if head.startswith(_COMPRESSED):
                path = _inflated(path, file.fileno(), size, head, f"{scratch}/archive.tar")
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file or directory", "name an archive or layout") from error
    except OSError as error:
        raise InvalidInput(f"{path}: {(error.strerror or str(error)).lower()}", _HINT) from error
    return _Archive(path)


def _inflated(path: str, descriptor: int, size: int, head: bytes, target: str) -> str:
    """The plain tar of an archive that is compressed as a whole."""
    if head.startswith(_COMPRESSED[2:]):
        tool = "xz" if head.startswith(b"\xfd") else "bzip2"
        raise Unsupported(
            f"{path}: it is compressed with {tool}", f"decompress it: {tool} -dk FILE"
        )
    with open(target, "wb") as file:
        for chunk in raw_chunks(Section(descriptor, 0, size), lambda raw, compressed: None):
            file.write(chunk)
    return target


# Documents


class _Documents:
    def __init__(self, path: str, files: _Files) -> None:
        self._path = path
        self._files = files

    def image(self, name: str, wanted: Platform | None) -> FoundImage:
        index = self._files.find("index.json")
        if index is not None and self._files.find("oci-layout") is not None:
            return self._from_layout(index, name, wanted)
        listing = self._files.find("manifest.json")
        if listing is None:
            if self._files.find("repositories") is not None:
                raise Unsupported(
                    f"{self._path}: written by a docker older than 1.10", "save the image again"
                )
            raise InvalidInput(
                f"{self._path}: neither index.json nor manifest.json is in it: no image", _HINT
            )
        data = self._read(listing, "manifest.json")
        if data.lstrip().startswith(b"{"):
            return self._from_manifest(data, wanted)
        return self._from_docker(data, name)

    # OCI layout, skopeo's dir:

    def _from_layout(self, index: _Member, name: str, wanted: Platform | None) -> FoundImage:
        data = self._read(index, "index.json")
        document = manifest.parse_manifest(data, OCI_INDEX)
        if not isinstance(document, manifest.Index):
            raise InvalidInput(f"{self._path}: index.json: expected an index", _HINT)
        entries = [entry for entry in document.manifests if not entry.is_attestation]
        names = [_names_of(entry) for entry in entries]
        if name:
            chosen = [
                each for each, known in zip(entries, names, strict=True) if _called(name, known)
            ]
            if not chosen:
                raise self._unknown(name, [known[0] for known in names if known])
        else:
            distinct = {known[0] for known in names if known}
            if len(distinct) > 1:
                raise self._several(sorted(distinct))
            chosen = entries
        if not chosen:
            raise InvalidInput(f"{self._path}: there is no image in it", _HINT)
        shown = name or next((known[0] for known in names if known), "")
        if len(chosen) == 1:
            return self._selected(select(chosen[0], self._document, wanted), shown)
        made = _index_of(chosen)
        root = Descriptor(OCI_INDEX, sha256_of(made), len(made))

        def read(descriptor: Descriptor) -> bytes:
            return made if descriptor.digest == root.digest else self._document(descriptor)

        return self._selected(select(root, read, wanted), shown)

    def _from_manifest(self, data: bytes, wanted: Platform | None) -> FoundImage:
        root = Descriptor("", sha256_of(data), len(data))

        def read(descriptor: Descriptor) -> bytes:
            return data if descriptor.digest == root.digest else self._document(descriptor)

        return self._selected(select(root, read, wanted), "")

    def _selected(self, found: Selection, name: str) -> FoundImage:
        blobs = []
        pairs = zip(found.manifest.layers, found.config.diff_ids, strict=True)
        for layer, diff_id in pairs:
            member = self._blob(layer)
            blobs.append(Blob(*member, layer.digest, diff_id))
        return FoundImage(name, found.image_id, found.config, tuple(blobs))

    def _document(self, descriptor: Descriptor) -> bytes:
        data = self._read(self._blob(descriptor), descriptor.digest)
        if descriptor.digest.startswith("sha256:") and sha256_of(data) != descriptor.digest:
            raise Corrupt(f"{self._path}: blob {descriptor.digest} is damaged", "save it again")
        return data

    def _blob(self, descriptor: Descriptor) -> _Member:
        algorithm, _, value = descriptor.digest.partition(":")
        member = self._files.find(f"blobs/{algorithm}/{value}") or self._files.find(value)
        if member is None:
            raise InvalidInput(
                f"{self._path}: blob {descriptor.digest} is not in it",
                "save the image again, as a whole",
            )
        if member.size_bytes != descriptor.size_bytes:
            raise Corrupt(
                f"{self._path}: blob {descriptor.digest}: expected {descriptor.size_bytes} bytes, "
                f"it has {member.size_bytes}",
                "save the image again",
            )
        return member

    # docker-archive

    def _from_docker(self, data: bytes, name: str) -> FoundImage:
        what = "manifest.json"
        document = json_strict.parse_object(b'{"images":' + data + b"}", what)
        entries = json_strict.get_list(document, "images", what) or []
        if len(document) != 1 or not all(isinstance(entry, dict) for entry in entries):
            raise InvalidInput(f"{self._path}: manifest.json: expected a list of objects", _HINT)
        tags = [json_strict.get_texts(entry, "RepoTags", what) for entry in entries]
        if name:
            entries = [
                entry for entry, known in zip(entries, tags, strict=True) if _called(name, known)
            ]
            if not entries:
                raise self._unknown(name, [tag for known in tags for tag in known])
        elif len(entries) > 1:
            raise self._several(
                sorted(known[0] if known else f"image {n}" for n, known in enumerate(tags))
            )
        if not entries:
            raise InvalidInput(f"{self._path}: there is no image in it", _HINT)
        return self._listed(entries[0], name)

    def _listed(self, entry: dict[str, Any], name: str) -> FoundImage:
        what = "manifest.json"
        data = self._read(self._named(json_strict.get_text(entry, "Config", what)), "config")
        document = config.parse_config(data)
        layers = json_strict.get_texts(entry, "Layers", what)
        config.check_layers(document, len(layers))
        blobs = []
        for layer, diff_id in zip(layers, document.diff_ids, strict=True):
            match = _BLOB.fullmatch(layer) if "/layer.tar" not in layer else None
            blobs.append(Blob(*self._named(layer), f"sha256:{match[1]}" if match else "", diff_id))
        tags = json_strict.get_texts(entry, "RepoTags", what)
        image_id = f"sha256:{sha256(data).hexdigest()}"
        return FoundImage(name or (tags[0] if tags else ""), image_id, document, tuple(blobs))

    def _named(self, name: str) -> _Member:
        member = self._files.find(name)
        if member is None:
            raise InvalidInput(
                f"{self._path}: manifest.json names {name[:200]!r}, which is not in it",
                "save the image again, as a whole",
            )
        return member

    def _read(self, member: _Member, what: str) -> bytes:
        if member.size_bytes > config.MAX_BYTES:
            raise InvalidInput(f"{self._path}: {what}: larger than {config.MAX_BYTES >> 20} MiB")
        with open(member.path, "rb") as file:
            return os.pread(file.fileno(), member.size_bytes, member.offset)

    def _unknown(self, name: str, known: Sequence[str]) -> NotFound:
        listed = ", ".join(known[:8]) or "none with a name"
        return NotFound(f"{self._path}: no image {name[:120]!r}", f"there is {listed}")

    def _several(self, names: Sequence[str]) -> InvalidInput:
        return InvalidInput(
            f"{self._path}: {len(names)} images are in it",
            f"name one, as in {self._path}:{names[0]}; there is {', '.join(names[:8])}",
        )


def _names_of(entry: Descriptor) -> list[str]:
    annotations = dict(entry.annotations)
    names = [annotations.get(key, "") for key in (CONTAINERD_NAME, REF_NAME)]
    return [name for name in names if name]


def _called(name: str, known: Sequence[str]) -> bool:
    """Whether one of the names is `name`, in full or by its tail: `app:1`, `1`."""
    return any(each == name or each.endswith(("/" + name, ":" + name)) for each in known)


def _index_of(entries: Sequence[Descriptor]) -> bytes:
    manifests = []
    for entry in entries:
        each: dict[str, Any] = {
            "mediaType": entry.media_type, "digest": entry.digest, "size": entry.size_bytes
        }  # fmt: skip
        if entry.platform is not None:
            each["platform"] = {
                "os": entry.platform.os, "architecture": entry.platform.architecture,
                "variant": entry.platform.variant,
            }  # fmt: skip
        manifests.append(each)
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return json.dumps(document).encode()
