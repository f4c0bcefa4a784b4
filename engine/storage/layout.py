"""An image in a directory: OCI's layout, and the flat one of skopeo's `dir:`. Read and written.

    DIR/oci-layout  DIR/index.json  DIR/blobs/<algorithm>/<hex>
    DIR/version     DIR/manifest.json  DIR/<hex of any other manifest>.manifest.json  DIR/<hex>

What is read may be a stranger's: names are looked up by `Locate`, and every document is checked.
What is written is under its name when it is whole.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md · containers-transports(5)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, Corrupt, InvalidInput, NotFound, Unavailable, Unsupported
from engine.oci import json_strict, manifest
from engine.oci.descriptor import OCI_INDEX, Descriptor
from engine.oci.digest import Digest, hasher, sha256_of
from engine.oci.manifest import Index
from engine.oci.tree import Tree
from engine.storage.archive_writer import CONTAINERD_NAME, REF_NAME
from engine.storage.content import check_digest, disk_full
from engine.storage.file_bytes import FileBytes, ReadAt

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.model.progress import Phase

_MAX_INDEX_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_DIR_VERSION = "Directory Transport Version: 1.1\n"

OpenSource = Callable[[Descriptor], ReadAt]
OnBytes = Callable[[int], None]
Locate = Callable[[str], str | None]
"""The path of the file that a layout calls so; None when it has none."""


def below(directory: str) -> Locate:
    """Finds files of a directory. Raises NotFound when it is none."""
    if not os.path.isdir(directory):
        raise NotFound(f"{directory}: no such directory", "name the directory of a layout")

    def locate(name: str) -> str | None:
        path = f"{directory}/{name}"
        return path if os.path.isfile(path) else None

    return locate


class LayoutSource:
    """An image of a layout that `name` (a tag, or a whole reference) chooses."""

    def __init__(self, locate: Locate, what: str, name: str) -> None:
        self._locate = locate
        self._what = what
        self._name = name

    def root(self) -> Descriptor:
        """Its manifest or index. Raises NotFound, InvalidInput, Unsupported."""
        marker = self._locate("oci-layout")
        if marker is None:
            raise InvalidInput(f"{self._what}: no OCI layout: there is no oci-layout in it")
        layout = json_strict.parse_object(_read(marker, "oci-layout", 4096), "oci-layout")
        version = json_strict.get_text(layout, "imageLayoutVersion", "oci-layout")
        if not version.startswith("1."):
            raise Unsupported(f"{self._what}: image layout of version {version[:20]!r}, not 1.0.0")
        entries = self._entries()
        found = [entry for entry in entries if not self._name or self._name in _names(entry)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(sorted(name for entry in entries for name in _names(entry)[:1])) or "none"
        if self._name and not found:
            raise NotFound(f"{self._what}: no image {self._name!r} in it", f"its names: {names}")
        raise InvalidInput(
            f"{self._what}: {len(found)} images in it", f"name one of them; its names: {names}"
        )

    def _entries(self) -> tuple[Descriptor, ...]:
        path = self._locate("index.json")
        if path is None:
            raise InvalidInput(f"{self._what}: no OCI layout: there is no index.json in it")
        index = manifest.parse_manifest(_read(path, "index.json", _MAX_INDEX_BYTES))
        if not isinstance(index, Index):
            raise InvalidInput(f"{self._what}: index.json: expected an index")
        return index.manifests

    def read(self, descriptor: Descriptor) -> bytes:
        """A document. Raises NotFound, Corrupt, InvalidInput (too large)."""
        data = _read(self._path(descriptor), str(descriptor.digest), descriptor.size_bytes)
        check_digest(descriptor.digest, data)
        return data

    def open(self, blob: Descriptor) -> FileBytes:
        return FileBytes(os.open(self._path(blob), os.O_RDONLY | os.O_CLOEXEC))

    def _path(self, blob: Descriptor) -> str:
        path = self._locate(f"blobs/{blob.digest.replace(':', '/', 1)}")
        if path is None:
            raise NotFound(f"{self._what}: blob {blob.digest} is not in it", "copy it again")
        return path


class FlatSource:
    """The one image of a `dir:`."""

    def __init__(self, locate: Locate, what: str) -> None:
        self._locate = locate
        self._what = what

    def root(self) -> Descriptor:
        path = self._locate("manifest.json")
        if path is None:
            raise InvalidInput(f"{self._what}: there is no manifest.json in it")
        data = _read(path, "manifest.json", manifest.MAX_BYTES)
        return Descriptor(manifest.parse_manifest(data).media_type, sha256_of(data), len(data))

    def read(self, descriptor: Descriptor) -> bytes:
        value = descriptor.digest.partition(":")[2]
        for name in ("manifest.json", f"{value}.manifest.json", value):
            path = self._locate(name)
            if path is not None:
                data = _read(path, name, _MAX_INDEX_BYTES * 2)
                if sha256_of(data) == descriptor.digest:
                    return data
        raise NotFound(f"{self._what}: document {descriptor.digest} is not in it", "copy it again")

    def open(self, blob: Descriptor) -> FileBytes:
        path = self._locate(blob.digest.partition(":")[2])
        if path is None:
            raise NotFound(f"{self._what}: blob {blob.digest} is not in it", "copy it again")
        return FileBytes(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


class LayoutTarget:
    """A layout that gets images; made when it is not there."""

    def __init__(self, directory: str, names: tuple[str, str] | None, cancel: Cancel) -> None:
        """`names` is what annotations call the image: its tag, and its full name or ""."""
        self._directory = directory
        self._names = names
        self._cancel = cancel

    def prepare(self) -> None:
        """Raises InvalidInput when something else is there."""
        marker = f"{self._directory}/oci-layout"
        with _writing(self._directory):
            if os.path.isdir(self._directory) and os.listdir(self._directory):
                if not os.path.isfile(marker):
                    raise InvalidInput(
                        f"{self._directory}: it is there, and no OCI layout",
                        "name a directory that is new, empty or a layout",
                    )
                return
            os.makedirs(f"{self._directory}/blobs/sha256", exist_ok=True)
            _write(marker, b'{"imageLayoutVersion":"1.0.0"}')

    def put_blob(self, blob: Descriptor, open_source: OpenSource, on_bytes: OnBytes) -> Phase:
        """The blob is there, checked. Raises Corrupt, Unavailable (disk full), Cancelled."""
        return _copy(blob, open_source, self._place(blob.digest), on_bytes, self._cancel)

    def put_tree(self, tree: Tree) -> None:
        """All documents are there, and the image has its name; another one loses it."""
        for document, data in tree.documents:
            with _writing(self._directory):
                _write(self._place(document.digest), data)
        path = f"{self._directory}/index.json"
        index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        if os.path.exists(path):
            index = json_strict.parse_object(_read(path, path, _MAX_INDEX_BYTES), path)
        root = tree.root
        entry: dict[str, Any] = {
            "mediaType": root.media_type, "digest": root.digest, "size": root.size_bytes,
        }  # fmt: skip
        tag, full = self._names or ("", "")
        if tag:
            entry["annotations"] = ({CONTAINERD_NAME: full} if full else {}) | {REF_NAME: tag}

        def gives_way(other: dict[str, Any]) -> bool:
            name = (other.get("annotations") or {}).get(REF_NAME, "")
            return bool(name == tag and (tag or other.get("digest") == root.digest))

        kept = [other for other in index.get("manifests") or [] if not gives_way(other)]
        index["manifests"] = [*kept, entry]
        with _writing(self._directory):
            _write(path, json.dumps(index, separators=(",", ":")).encode())

    def _place(self, digest: Digest) -> str:
        algorithm, _, value = digest.partition(":")
        directory = f"{self._directory}/blobs/{algorithm}"
        with _writing(self._directory):
            os.makedirs(directory, exist_ok=True)
        return f"{directory}/{value}"


class FlatTarget:
    """A `dir:` that becomes one image; what was in it before goes."""

    def __init__(self, directory: str, cancel: Cancel) -> None:
        self._directory = directory
        self._cancel = cancel

    def prepare(self) -> None:
        """Raises InvalidInput when something else is there."""
        with _writing(self._directory):
            os.makedirs(self._directory, exist_ok=True)
            names = os.listdir(self._directory)
            if names and "version" not in names:
                raise InvalidInput(
                    f"{self._directory}: it is there, and no dir:",
                    "name a directory that is new, empty or a dir:",
                )
            for name in names:
                os.unlink(f"{self._directory}/{name}")
            _write(f"{self._directory}/version", _DIR_VERSION.encode())

    def put_blob(self, blob: Descriptor, open_source: OpenSource, on_bytes: OnBytes) -> Phase:
        return _copy(blob, open_source, self._place(blob.digest), on_bytes, self._cancel)

    def put_tree(self, tree: Tree) -> None:
        """The manifest is there: the image is whole."""
        with _writing(self._directory):
            for document, data in tree.documents:
                if document.digest == tree.root.digest:
                    _write(f"{self._directory}/manifest.json", data)
                else:
                    _write(f"{self._place(document.digest)}.manifest.json", data)

    def _place(self, digest: Digest) -> str:
        return f"{self._directory}/{digest.partition(':')[2]}"


def _names(entry: Descriptor) -> list[str]:
    annotations = dict(entry.annotations)
    return [annotations[key] for key in (REF_NAME, CONTAINERD_NAME) if annotations.get(key)]


def _read(path: str, what: str, limit_bytes: int) -> bytes:
    with open(path, "rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise InvalidInput(f"{what}: larger than {limit_bytes} bytes")
    return data


def _has(path: str, blob: Descriptor) -> bool:
    """Whether a whole file is there that was written by us or a tool like us: by its size."""
    try:
        return os.stat(path).st_size == blob.size_bytes
    except FileNotFoundError:
        return False


def _write(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _copy(
    blob: Descriptor, open_source: OpenSource, path: str, on_bytes: OnBytes, cancel: Cancel
) -> Phase:
    if _has(path, blob):
        return "exists"
    with contextlib.closing(open_source(blob)) as source:
        _receive(blob, source, path, on_bytes, cancel)
    return "done"


def _receive(
    blob: Descriptor, source: ReadAt, path: str, on_bytes: OnBytes, cancel: Cancel
) -> None:
    algorithm = blob.digest.partition(":")[0]
    found, offset = hasher(algorithm), 0
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        with open(temporary, "xb", buffering=0) as file:
            while data := source.read_at(offset, _CHUNK_BYTES):
                if cancel.cancelled:
                    raise Cancelled("cancelled")
                found.update(data)
                offset += len(data)
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                on_bytes(offset)
        if offset != blob.size_bytes or f"{algorithm}:{found.hexdigest()}" != blob.digest:
            raise Corrupt(
                f"blob {blob.digest}: its bytes are not what its digest says",
                "the source is damaged; if that is the store: pydock fsck --repair",
            )
        os.rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise disk_full(path, blob.size_bytes - offset, error) from error
        raise


@contextlib.contextmanager
def _writing(place: str) -> Iterator[None]:
    """What the disk refuses is told."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        kind = Unavailable if error.errno in _NO_ROOM else InvalidInput
        raise kind(f"{error.filename or place}: {reason}", "name another place") from error
