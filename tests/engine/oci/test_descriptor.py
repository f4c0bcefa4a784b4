import pytest

from engine.errors import InvalidInput, Unsupported
from engine.oci.descriptor import Descriptor, document_kind, parse_descriptor
from engine.oci.platform import Platform

SHA = "sha256:" + "ab" * 32
VALUE = {"mediaType": "m", "digest": SHA, "size": 7}


def test_fields_are_read() -> None:
    value = VALUE | {
        "platform": {"os": "linux", "architecture": "aarch64", "os.features": ["f"]},
        "annotations": {"k": "v"},
        "urls": ["https://x"],
    }
    assert parse_descriptor(value, "layer 1") == Descriptor(
        "m", SHA, 7, Platform("linux", "arm64", "", ("f",)), (("k", "v"),)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"size": 2**63},
        {"size": None},
        {"digest": "sha256:../../../etc/passwd"},
        {"digest": SHA.upper()},
        {"digest": SHA[:-2]},
        {"digest": f"{SHA}\n"},
        {"digest": None},
        {"digest": ["x"]},
        {"mediaType": 7},
        {"annotations": {"k": 7}},
        {"annotations": ["k"]},
        {"platform": "linux"},
        {"platform": {"os.features": "f"}},
    ],
)
def test_wrong_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="layer 1"):
        parse_descriptor(VALUE | change, "layer 1")


@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="layer 1"):
        parse_descriptor(value, "layer 1")


def test_other_algorithm_is_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"layer 1: .*md5"):
        parse_descriptor(VALUE | {"digest": "md5:" + "ab" * 16}, "layer 1")


@pytest.mark.parametrize(
    "change",
    [
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"artifactType": "application/vnd.example"},
    ],
)
def test_attestations_are_never_images(change: dict[str, object]) -> None:
    assert parse_descriptor(VALUE | change, "x").is_attestation
    assert not parse_descriptor(VALUE, "x").is_attestation


def test_document_kinds_of_both_families() -> None:
    assert document_kind("application/vnd.oci.image.index.v1+json") == "index"
    docker = "application/vnd.docker.distribution.manifest"
    assert document_kind(f"{docker}.list.v2+json") == "index"
    assert document_kind(f"{docker}.v2+json") == "manifest"
    assert document_kind(f"{docker}.v1+prettyjws") == "schema 1"
    assert document_kind("application/octet-stream") is None
