"""The double's archives: what `save` writes and `load` reads."""

import builtins
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from typing import IO, Any

from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, Corrupt, NotFound
from engine.model.image import HistoryEntry
from engine.model.image_config import ImageConfig
from engine.model.layer import DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from engine.model.progress import Progress
from engine.oci.instructions import apply_change
from engine.oci.reference import parse_reference
from tests.support.double_world import Entry, Layer, StoredImage, World

CREATED_NS = 1_767_225_600_000_000_000  # 2026-01-01
_TYPES = {
    tarfile.DIRTYPE: DIRECTORY, tarfile.SYMTYPE: SYMLINK, tarfile.LNKTYPE: HARDLINK,
    tarfile.FIFOTYPE: FIFO,
}  # fmt: skip


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class DoubleArchives:
    """The part of the double's images that reads and writes archives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._documents: dict[str, tuple[bytes, builtins.list[bytes]]] = {}
        """Config and raw layers of what was loaded, by image id."""

    def get(self, ref: str) -> StoredImage:
        raise NotImplementedError

    def put(self, image: StoredImage, name: str | None) -> None:
        """The image is here, under the full name `name`."""
        self._world.images[image.id] = image
        if name:
            self._world.references[name] = image.id

    def save(
        self,
        refs: Sequence[str],
        output: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        chosen: dict[str, builtins.list[str]] = {}
        with self._world.lock:
            for ref in refs:
                for name, image in self._named(ref):
                    if platform and platform not in (image.os, f"{image.os}/{image.architecture}"):
                        raise NotFound(
                            f"image with reference {ref} was found but does not provide the "
                            f"specified platform ({platform})",
                            "drop --platform",
                        )
                    known = chosen.setdefault(image.id, [])
                    known += [name] if name and name not in known else []
            images = [(self._world.images[each], names) for each, names in chosen.items()]
        if cancel is not None and cancel.cancelled:
            raise Cancelled("save: cancelled")
        with tarfile.open(fileobj=output, mode="w|") as tar:
            listing = []
            for image, names in images:
                config, layers = self._documents.get(image.id) or _made_documents(image)
                paths = [_add(tar, f"blobs/sha256/{_hex(data)}", data) for data in layers]
                where = _add(tar, f"blobs/sha256/{_hex(config)}", config)
                listing.append({"Config": where, "RepoTags": names or None, "Layers": paths})
            _add(tar, "manifest.json", json.dumps(listing).encode())
        if progress is not None:
            progress(Progress("", "done"))

    def _named(self, ref: str) -> builtins.list[tuple[str, StoredImage]]:
        """Familiar names, "" for an id, and their images."""
        try:
            image = self.get(ref)
        except NotFound:
            image = None
        if image is not None and image.id.removeprefix("sha256:").startswith(
            ref.removeprefix("sha256:")
        ):
            return [("", image)]
        reference = parse_reference(ref)
        prefix = f"{reference.domain}/{reference.path}:"
        found = [
            (parse_reference(name).familiar, self._world.images[target])
            for name, target in sorted(self._world.references.items())
            if ":" not in ref.rpartition("/")[2] and name.startswith(prefix)
        ]
        return found or [(reference.familiar, self.get(ref))]

    def load(
        self,
        archive: IO[bytes],
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> builtins.list[str]:
        names = []
        try:
            with tarfile.open(fileobj=io.BytesIO(archive.read())) as tar:
                for image, name in self._read_archive(tar):
                    if cancel is not None and cancel.cancelled:
                        raise Cancelled("load: cancelled")
                    familiar = parse_reference(name).familiar if name else image.id
                    with self._world.lock:
                        self.put(image, parse_reference(name).full if name else None)
                        self._world.tell("image", "load", image.id, familiar, name=familiar)
                    names.append(familiar)
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise Corrupt(f"archive: {error}", "make it with docker save") from error
        if progress is not None:
            progress(Progress("", "done", text=f"loaded {', '.join(names)}"))
        return names

    def import_(
        self,
        archive: IO[bytes],
        target: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        if cancel is not None and cancel.cancelled:
            raise Cancelled("cancelled")
        reference = parse_reference(target) if target else None
        config: dict[str, Any] = {}
        for line in changes:
            apply_change(config, line)
        raw = archive.read()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        system, _, architecture = (platform or "linux/amd64").partition("/")
        document = {
            "os": system, "architecture": architecture, "config": config,
            "history": [{"comment": message}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_hex(raw)}"]},
        }  # fmt: skip
        data = json.dumps(document).encode()
        identity = f"sha256:{_hex(data)}"
        diff_id = f"sha256:{_hex(raw)}"
        try:
            image = self._stored(sha256(identity), identity, data, [(diff_id, raw)])
        except tarfile.TarError as error:
            raise Corrupt(f"layer: {error}", "give a tar archive") from error
        with self._world.lock:
            self.put(image, reference.full if reference else None)
            name = reference.familiar if reference else identity
            self._world.tell("image", "import", identity, name, name=name)
        return identity

    def _read_archive(self, tar: tarfile.TarFile) -> builtins.list[tuple[StoredImage, str | None]]:
        """Images and names in an OCI layout or a docker archive."""

        def read(path: str) -> bytes:
            file = tar.extractfile(path)
            assert file is not None
            return file.read()

        def blob(digest: str) -> bytes:
            return read("blobs/" + digest.replace(":", "/"))

        found: builtins.list[tuple[StoredImage, str | None]] = []
        if "index.json" in tar.getnames():
            for root in json.loads(read("index.json"))["manifests"]:
                name = root.get("annotations", {}).get("org.opencontainers.image.ref.name")
                manifest = json.loads(blob(root["digest"]))
                layers = [(each["digest"], blob(each["digest"])) for each in manifest["layers"]]
                config = manifest["config"]["digest"]
                data = blob(config)
                found.append((self._stored(root["digest"], config, data, layers), name))
        else:
            for entry in json.loads(read("manifest.json")):
                config = read(entry["Config"])
                layers = [(sha256(path), read(path)) for path in entry["Layers"]]
                digest = "sha256:" + hashlib.sha256(config).hexdigest()
                image = self._stored(sha256(digest), digest, config, layers)
                found += [(image, name) for name in entry["RepoTags"] or [None]]
        return found

    def _stored(
        self, manifest: str, image_id: str, config: bytes, layers: Sequence[tuple[str, bytes]]
    ) -> StoredImage:
        document = json.loads(config)
        self._documents[image_id] = (config, [data for _, data in layers])
        wanted = document.get("config") or {}
        history = tuple(
            HistoryEntry(CREATED_NS, step.get("created_by", ""), step.get("comment", ""),
                         step.get("empty_layer", False))
            for step in document.get("history", ())
        )  # fmt: skip
        commands = [step.created_by for step in history if not step.empty_layer]
        made = []
        for position, (digest, data) in enumerate(layers):
            entries: dict[str, Entry | None] = {}
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for info in tar:
                    path = info.name.strip("/")
                    directory, name = os.path.split(path)
                    if name.startswith(".wh."):
                        entries[os.path.join(directory, name[4:])] = None
                        continue
                    entries[path] = Entry(
                        info.size, _TYPES.get(info.type, FILE), info.mode, info.uid, info.gid,
                        int(info.mtime), info.linkname,
                    )  # fmt: skip
            command = commands[position] if position < len(commands) else ""
            diff_id = document["rootfs"]["diff_ids"][position]
            made.append(Layer(diff_id, digest, command, CREATED_NS, len(data), entries))
        return StoredImage(
            image_id, manifest, CREATED_NS, document.get("os", "linux"),
            document.get("architecture", "amd64"), document.get("variant", ""),
            ImageConfig(
                tuple(wanted.get("Env") or ()), tuple(wanted.get("Entrypoint") or ()),
                tuple(wanted.get("Cmd") or ()), wanted.get("WorkingDir", ""),
                wanted.get("User", ""),
                tuple(wanted.get("ExposedPorts") or ()), tuple(wanted.get("Volumes") or ()),
                tuple((wanted.get("Labels") or {}).items()), wanted.get("StopSignal", ""),
            ),
            history, tuple(made), "",
        )  # fmt: skip


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> str:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    return name


def _made_documents(image: StoredImage) -> tuple[bytes, builtins.list[bytes]]:
    """Of an image that a knob made: its files are full of nothing, its id is another one."""
    layers = []
    for layer in image.layers:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, entry in layer.entries.items():
                directory, name = os.path.split(path)
                if entry is None:
                    _add(tar, os.path.join(directory, f".wh.{name}"), b"")
                elif entry.kind == DIRECTORY:
                    info = tarfile.TarInfo(path)
                    info.type, info.mode = tarfile.DIRTYPE, entry.mode
                    tar.addfile(info)
                else:
                    _add(tar, path, bytes(entry.size_bytes))
        layers.append(buffer.getvalue())
    config = {
        "os": image.os, "architecture": image.architecture,
        "config": {"Cmd": image.config.command, "Env": image.config.env},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_hex(data)}" for data in layers]},
        "history": [{"created_by": layer.command} for layer in image.layers],
    }  # fmt: skip
    return json.dumps(config).encode(), layers
