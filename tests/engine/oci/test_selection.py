import json
from typing import Any

import pytest

from engine.errors import Conflict, InvalidInput, NotFound, Unsupported
from engine.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from engine.oci.digest import sha256_of
from engine.oci.platform import host_platform, parse_platform
from engine.oci.selection import select

SHA = "sha256:" + "ab" * 32
HOST = {"os": "linux", "architecture": host_platform().architecture}
S390X = {"os": "linux", "architecture": "s390x"}
WINDOWS = {"os": "windows", "architecture": "amd64"}


class Shelf:
    """Documents by digest, as a registry would hand them out; counts what was read."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.read_count = 0

    def put(self, document: Any, media_type: str, **extra: Any) -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = sha256_of(data)
        self.documents[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)} | extra

    def image(self, own: dict[str, str], name: str = "", **extra: Any) -> dict[str, Any]:
        config = own | {"comment": name, "rootfs": {"diff_ids": [SHA]}}
        layer = {"mediaType": OCI_LAYER, "digest": SHA, "size": 7}
        document = {
            "schemaVersion": 2,
            "config": self.put(config, OCI_CONFIG),
            "layers": [layer],
        }
        return self.put(document, OCI_MANIFEST, **extra)

    def index(self, *children: dict[str, Any], **extra: Any) -> dict[str, Any]:
        return self.put({"schemaVersion": 2, "manifests": children}, OCI_INDEX, **extra)

    def read(self, descriptor: Descriptor) -> bytes:
        self.read_count += 1
        return self.documents[descriptor.digest]

    def select(self, root: dict[str, Any], wanted: str = "") -> Any:
        descriptor = Descriptor(root["mediaType"], root["digest"], root["size"])
        return select(descriptor, self.read, parse_platform(wanted) if wanted else None)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_single_image_is_taken(shelf: Shelf) -> None:
    root = shelf.image(HOST)
    found = shelf.select(root)
    assert found.descriptor.digest == root["digest"]
    assert found.index_digest is None
    assert found.image_id == found.manifest.config.digest
    assert found.warning == ""


def test_index_gives_the_hosts_image(shelf: Shelf) -> None:
    mine = shelf.image(HOST, platform=HOST)
    other = shelf.image(S390X, platform=S390X)
    root = shelf.index(other, mine)
    found = shelf.select(root)
    assert (found.descriptor.digest, found.index_digest) == (mine["digest"], root["digest"])
    assert shelf.read_count == 3  # index, manifest, config: nothing of the other one


def test_asked_platform_is_taken(shelf: Shelf) -> None:
    mine = shelf.image(HOST, platform=HOST)
    other = shelf.image(S390X, platform=S390X)
    assert shelf.select(shelf.index(mine, other), "s390x").descriptor.digest == other["digest"]


def test_absent_platform_lists_what_is_there(shelf: Shelf) -> None:
    root = shelf.index(shelf.image(HOST, platform=HOST), shelf.image(S390X, platform=S390X))
    with pytest.raises(NotFound, match=r"no image for linux/riscv64, there is .*linux/s390x"):
        shelf.select(root, "linux/riscv64")


def test_attestations_are_skipped(shelf: Shelf) -> None:
    unknown = {"os": "unknown", "architecture": "unknown"}
    attestation = shelf.image(HOST, "attestation", platform=unknown)
    mine = shelf.image(HOST, platform=HOST)
    assert shelf.select(shelf.index(attestation, mine)).descriptor.digest == mine["digest"]
    with pytest.raises(NotFound, match="there is none"):
        shelf.select(shelf.index(attestation))


def test_descriptor_without_platform_is_asked_for_its_config(shelf: Shelf) -> None:
    mine = shelf.image(HOST)
    assert shelf.select(shelf.index(shelf.image(S390X), mine)).descriptor.digest == mine["digest"]


def test_nested_index_is_followed(shelf: Shelf) -> None:
    mine = shelf.image(HOST, platform=HOST)
    inner = shelf.index(mine)
    found = shelf.select(shelf.index(shelf.index(shelf.image(S390X, platform=S390X)), inner))
    assert found.descriptor.digest == mine["digest"]
    assert len(found.indexes) == 2


def test_nesting_has_a_limit(shelf: Shelf) -> None:
    root = shelf.image(HOST, platform=HOST)
    for _ in range(4):
        root = shelf.index(root)
    shelf.select(root)
    with pytest.raises(InvalidInput, match="nested deeper than 4"):
        shelf.select(shelf.index(root))


def test_index_within_itself_is_refused(shelf: Shelf) -> None:
    child = {"mediaType": OCI_INDEX, "digest": SHA, "size": 7}
    data = json.dumps({"schemaVersion": 2, "manifests": [child]}).encode()
    shelf.documents[SHA] = data  # only a broken digest check lets this happen
    with pytest.raises(InvalidInput, match="part of itself"):
        shelf.select(child)


def test_windows_only_is_unsupported(shelf: Shelf) -> None:
    with pytest.raises(Unsupported, match="Windows only"):
        shelf.select(shelf.index(shelf.image(WINDOWS, platform=WINDOWS)))
    with pytest.raises(Unsupported, match="not linux"):
        shelf.select(shelf.image(WINDOWS))


def test_config_that_contradicts_is_told_or_refused(shelf: Shelf) -> None:
    lying = shelf.image(S390X, platform=HOST)
    found = shelf.select(shelf.index(lying))
    assert "linux/s390x" in found.warning
    with pytest.raises(Conflict, match="linux/s390x"):
        shelf.select(shelf.index(lying), HOST["architecture"])


def test_manifest_called_an_index_is_refused(shelf: Shelf) -> None:
    lying = shelf.image(HOST, platform=HOST) | {"mediaType": OCI_INDEX}
    with pytest.raises(InvalidInput, match="called an index"):
        shelf.select(shelf.index(lying))
