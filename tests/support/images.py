"""Small OCI and docker images, made in code: layers from dicts, configs, indexes; their push."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from engine.oci.digest import DiffID, Digest, sha256_of
from tests.support.fault_server import FaultServer
from tests.support.registry import Registry

Compression = Literal["", "gzip", "zstd"]
Family = Literal["oci", "docker"]

_TYPES = {
    "oci": {
        "index": "application/vnd.oci.image.index.v1+json",
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "config": "application/vnd.oci.image.config.v1+json",
        "layer": "application/vnd.oci.image.layer.v1.tar",
    },
    "docker": {
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "config": "application/vnd.docker.container.image.v1+json",
        "layer": "application/vnd.docker.image.rootfs.diff.tar",
    },
}
PLATFORM = {
    "os": "linux",
    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(
        os.uname().machine, os.uname().machine
    ),
}


class File(NamedTuple):
    """A regular file that is not just `bytes` with mode 0644."""

    data: bytes
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class Symlink(NamedTuple):
    target: str


class Hardlink(NamedTuple):
    target: str


Entry = bytes | File | Symlink | Hardlink | None  # None: a directory


def layer_tar(entries: Mapping[str, Entry]) -> bytes:
    """An uncompressed layer, its entries in the order of the dict, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in entries.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1_700_000_000
            data = b""
            match entry:
                case None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                case Symlink(target):
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                case Hardlink(target):
                    info.type, info.linkname = tarfile.LNKTYPE, target
                case File(data, mode, uid, gid):
                    info.size, info.mode, info.uid, info.gid = len(data), mode, uid, gid
                case bytes(data):
                    info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def compress(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.compress(data)
    return data


class Blob(NamedTuple):
    """Bytes with the name that a descriptor gives them."""

    media_type: str
    digest: Digest
    data: bytes

    def descriptor(self, **extra: Any) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
        } | extra


def blob(media_type: str, data: bytes) -> Blob:
    return Blob(media_type, sha256_of(data), data)


class MadeImage(NamedTuple):
    """One platform's image, all of it in memory."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    diff_ids: tuple[DiffID, ...]
    platform: dict[str, str]

    @property
    def root(self) -> Blob:
        return self.manifest

    def blobs(self) -> tuple[Blob, ...]:
        return (self.config, *self.layers)

    def manifests(self) -> tuple[Blob, ...]:
        """In the order of pushing: what another one names comes first."""
        return (self.manifest,)


class MadeIndex(NamedTuple):
    """An index over images."""

    root: Blob
    images: tuple[MadeImage, ...]

    def blobs(self) -> tuple[Blob, ...]:
        return tuple(each for image in self.images for each in image.blobs())

    def manifests(self) -> tuple[Blob, ...]:
        return (*(image.manifest for image in self.images), self.root)


def make_image(
    layers: Sequence[Mapping[str, Entry] | bytes],
    *,
    compression: Compression = "gzip",
    family: Family = "oci",
    config: Mapping[str, Any] | None = None,
    platform: Mapping[str, str] | None = None,
) -> MadeImage:
    """An image of `layers` (dicts, or finished tars), bottom first. `config` is the part of the
    image config that is docker's `Config`: Env, Cmd …"""
    tars = [layer if isinstance(layer, bytes) else layer_tar(layer) for layer in layers]
    diff_ids = tuple(DiffID(sha256_of(tar)) for tar in tars)
    types = _TYPES[family]
    separator = "+" if family == "oci" else "."
    layer_type = types["layer"] + (f"{separator}{compression}" if compression else "")
    blobs = tuple(blob(layer_type, compress(tar, compression)) for tar in tars)
    own_platform = dict(platform or PLATFORM)
    document = own_platform | {
        "created": "2024-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["sh"]} | dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
    }
    config_blob = blob(types["config"], json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": config_blob.descriptor(),
        "layers": [each.descriptor() for each in blobs],
    }
    manifest_blob = blob(types["manifest"], json.dumps(manifest).encode())
    return MadeImage(manifest_blob, config_blob, blobs, diff_ids, own_platform)


def make_index(images: Sequence[MadeImage], *, family: Family = "oci") -> MadeIndex:
    """An index over `images`, each with its platform."""
    media_type = _TYPES[family]["index"]
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [image.manifest.descriptor(platform=image.platform) for image in images],
    }
    return MadeIndex(blob(media_type, json.dumps(document).encode()), tuple(images))


def serve(server: FaultServer, repository: str, tag: str, image: MadeImage | MadeIndex) -> str:
    """Puts `image` on the shelf of a fault server; its reference."""
    base = f"/v2/{repository}"
    for each in image.blobs():
        path = f"{base}/blobs/{each.digest}"
        server.documents[path] = ("application/octet-stream", each.data, each.digest)
    for each in image.manifests():
        server.documents[f"{base}/manifests/{each.digest}"] = (
            each.media_type,
            each.data,
            each.digest,
        )
    root = image.root
    server.documents[f"{base}/manifests/{tag}"] = (root.media_type, root.data, root.digest)
    return f"{server.host}/{repository}:{tag}"


def push(registry: Registry, repository: str, tag: str, image: MadeImage | MadeIndex) -> str:
    """Pushes `image`; its reference."""
    for each in image.blobs():
        _push_blob(registry, repository, each.digest, io.BytesIO(each.data), len(each.data))
    for each in image.manifests():
        target = tag if each is image.root or each == image.root else each.digest
        _push_manifest(registry, repository, target, each)
    return f"{registry.host}/{repository}:{tag}"


def push_layer_tar(registry: Registry, repository: str, tag: str, path: Path) -> str:
    """Pushes an image whose only layer is the tar at `path` (compressed beside it, once)."""
    compressed = path.with_name(f"{path.name}.gz")
    if not compressed.exists() or compressed.stat().st_mtime < path.stat().st_mtime:
        temporary = path.with_name(f"{path.name}.gz.{os.getpid()}")
        with temporary.open("wb") as output:
            subprocess.run(["gzip", "-n", "-6", "-c", path], stdout=output, check=True)
        temporary.rename(compressed)
    types = _TYPES["oci"]
    layer = {
        "mediaType": f"{types['layer']}+gzip",
        "digest": _digest_of(compressed),
        "size": compressed.stat().st_size,
    }
    document = PLATFORM | {
        "created": "2024-01-02T03:04:05Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["bash"],
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest_of(path)]},
        "history": [{"created_by": f"{repository} {tag} rootfs"}],
    }
    config = blob(types["config"], json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": config.descriptor(),
        "layers": [layer],
    }
    with compressed.open("rb") as data:
        _push_blob(registry, repository, layer["digest"], data, layer["size"])
    _push_blob(registry, repository, config.digest, io.BytesIO(config.data), len(config.data))
    _push_manifest(
        registry, repository, tag, blob(types["manifest"], json.dumps(manifest).encode())
    )
    return f"{registry.host}/{repository}:{tag}"


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _push_blob(
    registry: Registry, repository: str, digest: str, data: IO[bytes], size: int
) -> None:
    connection = registry.connect()
    try:
        headers = registry.headers(repository)
        connection.request(
            "POST", f"/v2/{repository}/blobs/uploads/", headers=headers | {"Content-Length": "0"}
        )
        response = connection.getresponse()
        _expect(response.status, 202, response.read())
        location = response.headers["Location"].partition("://")[2].partition("/")[2]
        connection.request(
            "PUT",
            f"/{location}&digest={digest}",
            body=data,
            headers=headers
            | {"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        )
        response = connection.getresponse()
        _expect(response.status, 201, response.read())
    finally:
        connection.close()


def _push_manifest(registry: Registry, repository: str, target: str, manifest: Blob) -> None:
    connection = registry.connect()
    try:
        connection.request(
            "PUT",
            f"/v2/{repository}/manifests/{target}",
            body=manifest.data,
            headers=registry.headers(repository) | {"Content-Type": manifest.media_type},
        )
        response = connection.getresponse()
        _expect(response.status, 201, response.read())
    finally:
        connection.close()


def _expect(status: int, wanted: int, body: bytes) -> None:
    if status != wanted:
        raise RuntimeError(f"push: {status}, expected {wanted}: {body[:500]!r}")


def write_layout(directory: Path, images: Mapping[str, MadeImage | MadeIndex]) -> None:
    """An OCI image layout; each name becomes a `ref.name` annotation.

    https://github.com/opencontainers/image-spec/blob/main/image-layout.md
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    roots = []
    for name, image in images.items():
        for each in (*image.blobs(), *image.manifests()):
            (blobs / each.digest.removeprefix("sha256:")).write_bytes(each.data)
        annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        roots.append(image.root.descriptor(annotations=annotations))
    index = {"schemaVersion": 2, "mediaType": _TYPES["oci"]["index"], "manifests": roots}
    (directory / "index.json").write_text(json.dumps(index))


def layout_tar(directory: Path, images: Mapping[str, MadeImage | MadeIndex]) -> bytes:
    """`write_layout` below `directory`, and that as a tar: what `load` reads."""
    write_layout(directory, images)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(directory.rglob("*")):
            tar.add(path, path.relative_to(directory).as_posix(), recursive=False)
    return buffer.getvalue()
