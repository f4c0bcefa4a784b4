"""Pulls of hostile and of odd images: each is refused with its kind, or unpacked.

Refused means: one line that can be printed, and nothing in the store but what a next try needs.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import zstandard

from engine.errors import Corrupt, EngineError, InvalidInput, Unavailable, Unsupported
from engine.oci.descriptor import DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from engine.oci.digest import DiffID, hasher, sha256_of
from tests.support import images
from tests.support.fault_server import FaultServer
from tests.support.images import MadeImage, blob, layer_tar, make_image
from tests.support.pulls import Store

pytestmark = pytest.mark.root
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
RAW = layer_tar({"a": b"1" * 5000})
GZIP = gzip.compress(RAW, mtime=0)
ZSTD = zstandard.compress(RAW)
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
WINDOWS = {"os": "windows", "architecture": "amd64"}


class Shelf:
    """Documents in one repository of an honest server."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server

    def put(self, media_type: str, data: bytes, digest: str = "") -> dict[str, Any]:
        """A descriptor of what is there now, as a blob and as a manifest."""
        made = blob(media_type, data)
        name = digest or made.digest
        for kind, sent in (("blobs", "application/octet-stream"), ("manifests", media_type)):
            self._server.documents[f"/v2/r/{kind}/{name}"] = (sent, data, name)
        return made.descriptor() | {"digest": name}

    def json(self, media_type: str, document: Any) -> dict[str, Any]:
        return self.put(media_type, json.dumps(document).encode())

    def tag(self, media_type: str, data: bytes) -> None:
        digest = self.put(media_type, data)["digest"]
        self._server.documents["/v2/r/manifests/1"] = (media_type, data, digest)

    def tag_json(self, document: Any, media_type: str = OCI_MANIFEST) -> None:
        self.tag(media_type, json.dumps(document).encode())

    def image(self, image: MadeImage | None = None, **changes: Any) -> None:
        """`image` under the tag, its manifest's fields changed."""
        self.tag_json(self.manifest(image, **changes))

    def manifest(self, image: MadeImage | None = None, **changes: Any) -> dict[str, Any]:
        image = image or make_image([RAW])
        for each in image.blobs():
            self.put(each.media_type, each.data)
        document = json.loads(image.manifest.data) | changes
        return {key: value for key, value in document.items() if value != "absent"}

    def layers(self, *layers: tuple[bytes, bytes], media_type: str = f"{OCI_LAYER}+gzip") -> None:
        """An image of these blobs and the tars that they hold."""
        image = make_image([raw for _, raw in layers])
        blobs = [self.put(media_type, data) for data, _ in layers]
        self.image(image, layers=blobs)

    def config(self, **changes: Any) -> None:
        """An image whose config has other fields."""
        image = make_image([RAW])
        document = json.loads(image.config.data) | changes
        self.image(image, config=self.json(image.config.media_type, document))


def sized(change: Any) -> Callable[[Shelf], None]:
    """An image that says something else of its layer's size."""

    def serve(shelf: Shelf) -> None:
        (layer,) = shelf.manifest()["layers"]
        size = layer["size"] + change if type(change) is int and abs(change) < 1000 else change
        shelf.image(layers=[layer | {"size": size}])

    return serve


def named(digest: str) -> Callable[[Shelf], None]:
    """An image with this digest for its layer."""

    def serve(shelf: Shelf) -> None:
        (layer,) = shelf.manifest()["layers"]
        shelf.image(layers=[layer | {"digest": digest}])

    return serve


def typed(media_type: str) -> Callable[[Shelf], None]:
    """An image with this media type for its layer."""

    def serve(shelf: Shelf) -> None:
        (layer,) = shelf.manifest()["layers"]
        shelf.image(layers=[layer | {"mediaType": media_type}])

    return serve


def index(*children: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)}


def nested(depth: int) -> Callable[[Shelf], None]:
    def serve(shelf: Shelf) -> None:
        child = shelf.json(OCI_MANIFEST, shelf.manifest()) | {"platform": images.PLATFORM}
        for _ in range(depth):
            child = shelf.json(OCI_INDEX, index(child)) | {"platform": images.PLATFORM}
        shelf.tag_json(index(child), OCI_INDEX)

    return serve


def bomb(shelf: Shelf) -> None:
    """1.2 GiB of zeros behind a tar's end, in 40 KB: nothing of it would reach the disk."""
    packer = zstandard.ZstdCompressor(3).compressobj()
    data = packer.compress(RAW)
    for _ in range(1200):
        data += packer.compress(bytes(1 << 20))
    shelf.layers((data + packer.flush(), RAW), media_type=f"{OCI_LAYER}+zstd")


def windowed(shelf: Shelf) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    shelf.layers((packer.compress(RAW) + packer.flush(), RAW))


def swapped(shelf: Shelf) -> None:
    image = make_image([{"a": b"1"}, {"b": b"22"}])
    shelf.image(image, layers=[each.descriptor() for each in reversed(image.layers)])


def itself(shelf: Shelf) -> None:
    """By digest there are no loops, unless somebody lies."""
    name = "sha256:" + "ab" * 32
    child = {"mediaType": OCI_INDEX, "digest": name, "platform": images.PLATFORM}
    data = json.dumps(index(child | {"size": 300})).ljust(300).encode()
    shelf.put(OCI_INDEX, data, name)
    shelf.tag(OCI_INDEX, data)


def windows(shelf: Shelf) -> None:
    child = shelf.json(OCI_MANIFEST, shelf.manifest()) | {"platform": WINDOWS}
    shelf.tag_json(index(child), OCI_INDEX)


def far_away(shelf: Shelf) -> None:
    """A foreign layer that its maker keeps on a server of his own."""
    layer = blob(FOREIGN, b"elsewhere").descriptor(urls=["https://example.com/layer"])
    shelf.image(make_image([RAW]), layers=[layer])


class Refused(NamedTuple):
    name: str
    serve: Callable[[Shelf], None]
    kind: type[EngineError]
    words: str


REFUSED = [
    Refused("brackets", lambda s: s.tag(OCI_MANIFEST, b"[" * 200_000), InvalidInput, "nested"),
    Refused("40 MiB", lambda s: s.tag(OCI_MANIFEST, b" " * (40 << 20)), InvalidInput, "larger"),
    Refused("cut", lambda s: s.tag(OCI_MANIFEST, b'{"schemaVersion": 2'), InvalidInput, "JSON"),
    Refused(
        "duplicate keys",
        lambda s: s.tag(OCI_MANIFEST, b'{"schemaVersion": 2, "layers": [], "layers": []}'),
        InvalidInput,
        "twice",
    ),
    Refused("version as text", lambda s: s.image(schemaVersion="2"), InvalidInput, "schemaVersion"),
    Refused("two things at once", lambda s: s.image(manifests=[]), InvalidInput, "two things"),
    Refused(
        "sent as docker's",
        lambda s: s.tag_json(s.manifest(), DOCKER_MANIFEST),
        InvalidInput,
        "calls itself",
    ),
    Refused("layers null", lambda s: s.image(layers=None), InvalidInput, "layers"),
    Refused("no layers", lambda s: s.image(layers=[]), InvalidInput, "no layers"),
    Refused(
        "501 layers",
        lambda s: s.image(layers=s.manifest()["layers"] * 501),
        InvalidInput,
        "501 layers, the limit is 500",
    ),
    Refused(
        "a diff_id too few",
        lambda s: s.config(rootfs={"type": "layers", "diff_ids": []}),
        InvalidInput,
        "0 diff_ids",
    ),
    Refused(
        "a diff_id too many",
        lambda s: s.config(rootfs={"type": "layers", "diff_ids": [sha256_of(RAW)] * 2}),
        InvalidInput,
        "2 diff_ids for the manifest's 1 layers",
    ),
    Refused(
        "rootfs of another type",
        lambda s: s.config(rootfs={"type": "layers+base", "diff_ids": [sha256_of(RAW)]}),
        InvalidInput,
        "rootfs",
    ),
    Refused("size -1", sized(-10_000), InvalidInput, "size"),
    Refused("size 1.5", sized(1.5), InvalidInput, "size"),
    Refused("size true", sized(True), InvalidInput, "size"),
    Refused("size 2^63", sized(2**63), InvalidInput, "size"),
    Refused("digest climbs", named("sha256:../../etc/passwd"), InvalidInput, "digest"),
    Refused("digest upper case", named("sha256:" + "AB" * 32), InvalidInput, "digest"),
    Refused("digest short", named("sha256:" + "ab" * 31), InvalidInput, "digest"),
    Refused("nested too deep", nested(5), InvalidInput, "nested deeper"),
    Refused("itself", itself, Corrupt, "digest mismatch"),
    Refused(
        "10,000 children",
        lambda s: s.tag_json(index(*[s.manifest()["config"]] * 10_000), OCI_INDEX),
        InvalidInput,
        "10000 manifests",
    ),
    Refused(
        "config a list",
        lambda s: s.image(config=s.json("application/vnd.oci.image.config.v1+json", [])),
        InvalidInput,
        "expected an object",
    ),
    Refused(
        "config of 24 MiB",
        lambda s: s.image(
            config=s.put("application/vnd.oci.image.config.v1+json", b" " * (24 << 20))
        ),
        InvalidInput,
        "larger than 8 MiB",
    ),
    Refused(
        "annotation a number",
        lambda s: s.image(config=s.manifest()["config"] | {"annotations": {"a": 1}}),
        InvalidInput,
        "annotations",
    ),
    Refused("bomb", bomb, InvalidInput, "a bomb"),
    Refused("100 bytes more", sized(100), Unavailable, "ended too early"),
    Refused("50 bytes less", sized(-50), Corrupt, "longer than"),
    Refused(
        "another diff_id",
        lambda s: s.config(rootfs={"type": "layers", "diff_ids": ["sha256:" + "ab" * 32]}),
        Corrupt,
        "diff_id",
    ),
    Refused("layers swapped", swapped, Corrupt, "diff_id"),
    Refused(
        "gzip checksum",
        lambda s: s.layers((GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:], RAW)),
        Corrupt,
        "gzip stream",
    ),
    Refused(
        "garbage behind", lambda s: s.layers((GZIP + b"garbage", RAW)), Corrupt, "behind its end"
    ),
    Refused("zstd cut", lambda s: s.layers((ZSTD[:-9], RAW)), Corrupt, "layer sha256:"),
    Refused(
        "schema 1",
        lambda s: s.tag_json({"schemaVersion": 1, "fsLayers": []}),
        Unsupported,
        "schema 1",
    ),
    Refused(
        "schema 1, signed",
        lambda s: s.tag_json(
            {"schemaVersion": 1, "signatures": []},
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
        Unsupported,
        "schema 1",
    ),
    Refused("md5", named("md5:" + "ab" * 16), Unsupported, "md5"),
    Refused("encrypted", typed(f"{OCI_LAYER}+gzip+encrypted"), Unsupported, "encrypted"),
    Refused(
        "chart",
        lambda s: s.image(config=s.json("application/vnd.cncf.helm.config.v1+json", {})),
        Unsupported,
        "helm.* is an artifact, not a container image",
    ),
    Refused(
        "artifact",
        lambda s: s.image(artifactType="application/x.sbom", config=s.json(OCI_EMPTY, {})),
        Unsupported,
        "sbom.* is an artifact",
    ),
    Refused("Windows only", windows, Unsupported, "Windows only"),
    Refused("window of 1 GiB", windowed, Unsupported, "window"),
    Refused("foreign, elsewhere", far_away, Unsupported, "foreign"),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case.name for case in REFUSED])
def test_hostile_image_is_refused(store: Store, server: FaultServer, case: Refused) -> None:
    case.serve(Shelf(server))
    with pytest.raises(case.kind, match=case.words) as caught:
        store.pull(f"{server.host}/r:1")
    assert caught.value.message.isprintable()
    store.assert_nothing_half_made()


def sha512(shelf: Shelf) -> None:
    name = f"sha512:{hasher('sha512', GZIP).hexdigest()}"
    shelf.image(make_image([RAW]), layers=[shelf.put(f"{OCI_LAYER}+gzip", GZIP, name)])


def attested(shelf: Shelf) -> None:
    """What buildx pushes: the image, and a proof of how it was made."""
    proof = shelf.json(OCI_MANIFEST, shelf.manifest(layers=[shelf.put("application/json", b"{}")]))
    beside = {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    child = shelf.json(OCI_MANIFEST, shelf.manifest()) | {"platform": images.PLATFORM}
    shelf.tag_json(index(proof | beside, child), OCI_INDEX)


def equal(shelf: Shelf) -> None:
    shelf.image(make_image([RAW, {"b": b""}, RAW]))


def many_members(shelf: Shelf) -> None:
    shelf.layers((b"".join(gzip.compress(RAW[n : n + 700]) for n in range(0, len(RAW), 700)), RAW))


FINE: dict[str, Callable[[Shelf], None]] = {
    "sha512": sha512,
    "equal layers": equal,
    "an empty layer": lambda s: s.layers((gzip.compress(bytes(1024)), bytes(1024)), (GZIP, RAW)),
    "many members": many_members,
    "skippable frames": lambda s: s.layers((SKIPPABLE + ZSTD + SKIPPABLE, RAW)),
    "gzip called zstd": lambda s: s.layers((GZIP, RAW), media_type=f"{OCI_LAYER}+zstd"),
    "tar called gzip": lambda s: s.layers((RAW, RAW)),
    "no mediaType": lambda s: s.image(mediaType="absent"),
    "no platform": lambda s: s.tag_json(index(s.json(OCI_MANIFEST, s.manifest())), OCI_INDEX),
    "attestations": attested,
    "nested, not too deep": nested(3),
    "a foreign layer that is here": lambda s: s.layers((GZIP, RAW), media_type=FOREIGN),
    "escapes in labels": lambda s: s.config(config={"Labels": {"a": "\x1b[31mred"}}),
}


@pytest.mark.parametrize("name", FINE)
def test_odd_image_is_unpacked(store: Store, server: FaultServer, name: str) -> None:
    FINE[name](Shelf(server))
    store.pull(f"{server.host}/r:1")
    (directory,) = store.database.first(
        "SELECT id FROM layer WHERE diff_id=?", (DiffID(sha256_of(RAW)),)
    )
    with open(f"{store.home.layer_dir(directory)}/diff/a", "rb") as file:
        assert file.read() == b"1" * 5000
