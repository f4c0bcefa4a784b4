"""Hostile manifests: each is refused with its kind, before anything is fetched or written."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, InvalidInput, Unsupported
from engine.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from engine.oci.manifest import Index, Manifest, check_runnable, parse_manifest

SHA = "sha256:" + "ab" * 32


def blob(media_type: str, size: Any = 7, digest: Any = SHA) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def image(**changes: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": blob(OCI_CONFIG),
        "layers": [blob(f"{OCI_LAYER}+gzip")],
    }
    return {key: value for key, value in (document | changes).items() if value != "absent"}


def index(**changes: Any) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [blob(OCI_MANIFEST)]}
    return {key: value for key, value in (document | changes).items() if value != "absent"}


def parse(document: Any, media_type: str = "") -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type)


def test_both_families_are_read() -> None:
    layers = [blob(f"{DOCKER_LAYER}.gzip"), blob(f"{DOCKER_LAYER}.zstd"), blob(DOCKER_LAYER)]
    docker = image(mediaType=DOCKER_MANIFEST, config=blob(DOCKER_CONFIG), layers=layers)
    for document in (image(), docker):
        parsed = parse(document, document["mediaType"])
        assert isinstance(parsed, Manifest)
        assert parsed.media_type == document["mediaType"]
        check_runnable(parsed)
    for media_type in (OCI_INDEX, DOCKER_INDEX):
        parsed = parse(index(mediaType=media_type), f"{media_type}; charset=utf-8")
        assert isinstance(parsed, Index)
        assert parsed.media_type == media_type


@pytest.mark.parametrize("media_type", ["", "application/json", "application/octet-stream"])
def test_generic_type_is_found_by_shape(media_type: str) -> None:
    assert isinstance(parse(image(mediaType="absent"), media_type), Manifest)
    assert isinstance(parse(index(mediaType="absent"), media_type), Index)


HOSTILE: list[tuple[str, Any, str, type[EngineError]]] = [
    ("brackets", b"[" * 200_000, "", InvalidInput),
    ("40 MiB", b" " * (40 << 20), "", InvalidInput),
    ("cut", json.dumps(image()).encode()[:-9], "", InvalidInput),
    ("duplicate keys", b'{"schemaVersion": 2, "layers": [], "layers": []}', "", InvalidInput),
    ("version as text", image(schemaVersion="2"), "", InvalidInput),
    ("version true", image(schemaVersion=True), "", InvalidInput),
    ("no version", image(schemaVersion="absent"), "", InvalidInput),
    ("version 3", image(schemaVersion=3), "", InvalidInput),
    ("index and image", image(manifests=[]), "", InvalidInput),
    ("index and config", index(config=blob(OCI_CONFIG)), "", InvalidInput),
    ("sent as index", image(), OCI_INDEX, InvalidInput),
    ("sent as index, untyped", image(mediaType="absent"), OCI_INDEX, InvalidInput),
    ("sent as image", index(), OCI_MANIFEST, InvalidInput),
    ("sent as docker's", image(), DOCKER_MANIFEST, InvalidInput),
    ("calls itself index", image(mediaType=OCI_INDEX), "", InvalidInput),
    ("layers null", image(layers=None), "", InvalidInput),
    ("layers absent", image(layers="absent"), "", InvalidInput),
    ("layers an object", image(layers={}), "", InvalidInput),
    ("config absent", image(config="absent"), "", InvalidInput),
    ("501 layers", image(layers=[blob(OCI_LAYER)] * 501), "", InvalidInput),
    ("size -1", image(layers=[blob(OCI_LAYER, -1)]), "", InvalidInput),
    ("size 1.5", image(layers=[blob(OCI_LAYER, 1.5)]), "", InvalidInput),
    ("size true", image(layers=[blob(OCI_LAYER, True)]), "", InvalidInput),
    ("size 2^63", image(layers=[blob(OCI_LAYER, 2**63)]), "", InvalidInput),
    ("dots", image(layers=[blob(OCI_LAYER, 7, "sha256:../../x")]), "", InvalidInput),
    ("upper case", image(layers=[blob(OCI_LAYER, 7, SHA.upper())]), "", InvalidInput),
    ("short digest", image(layers=[blob(OCI_LAYER, 7, SHA[:-1])]), "", InvalidInput),
    ("10,000 children", index(manifests=[blob(OCI_MANIFEST)] * 10_000), "", InvalidInput),
    (
        "annotation a number",
        image(config=blob(OCI_CONFIG) | {"annotations": {"a": 1}}),
        "",
        InvalidInput,
    ),
    ("an empty object", {}, "", InvalidInput),
    ("only a version", {"schemaVersion": 2}, "", InvalidInput),
    ("schema 1", {"schemaVersion": 1, "fsLayers": []}, "", Unsupported),
    (
        "schema 1 by type",
        {"schemaVersion": 2},
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        Unsupported,
    ),
    ("md5", image(layers=[blob(OCI_LAYER, 7, "md5:" + "ab" * 16)]), "", Unsupported),
    (
        "artifact manifest",
        image(mediaType="application/vnd.oci.artifact.manifest.v1+json"),
        "",
        Unsupported,
    ),
]


@pytest.mark.parametrize(
    ("document", "media_type", "kind"), [row[1:] for row in HOSTILE], ids=[r[0] for r in HOSTILE]
)
def test_hostile_manifest_is_refused(
    document: Any, media_type: str, kind: type[EngineError]
) -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(kind) as caught:
        parse_manifest(data, media_type)
    assert type(caught.value) is kind
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("document", "kind", "reason"),
    [
        (image(layers=[]), InvalidInput, "no layers"),
        (image(config=blob(OCI_EMPTY)), Unsupported, "vnd.oci.empty"),
        (image(config=blob("application/vnd.cncf.helm.config.v1+json")), Unsupported, "helm"),
        (image(artifactType="application/vnd.example.sbom"), Unsupported, "sbom"),
        (image(layers=[blob(f"{OCI_LAYER}+gzip+encrypted")]), Unsupported, "layer 1: .*encrypted"),
        (image(layers=[blob("text/plain")]), Unsupported, "layer 1"),
        (image(layers=[blob("\x1b[31m")]), Unsupported, "layer 1"),
    ],
)
def test_what_is_no_runnable_image_is_refused(
    document: Any, kind: type[EngineError], reason: str
) -> None:
    parsed = parse(document)
    assert isinstance(parsed, Manifest)
    with pytest.raises(kind, match=reason) as caught:
        check_runnable(parsed)
    assert caught.value.message.isprintable()


def test_foreign_layers_and_equal_layers_are_fine() -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    parsed = parse(image(layers=[blob(foreign), blob(foreign)]))
    assert isinstance(parsed, Manifest)
    check_runnable(parsed)


def test_sha512_is_fine() -> None:
    parsed = parse(image(layers=[blob(OCI_LAYER, 7, "sha512:" + "ab" * 64)]))
    assert isinstance(parsed, Manifest)


places = st.sampled_from(
    [("schemaVersion",), ("mediaType",), ("config",), ("config", "digest"), ("config", "size"),
     ("config", "annotations"), ("config", "platform"), ("layers",), ("layers", 0),
     ("layers", 0, "size"), ("layers", 0, "digest"), ("manifests",), ("annotations",),
     ("artifactType",), ("subject",)]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from([OCI_INDEX, DOCKER_MANIFEST, SHA, "sha256:../x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(st.tuples(places, anything), max_size=3), st.sampled_from(["", OCI_INDEX, "x/y"]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_document_is_read_or_a_clear_error(
    changes: list[tuple[tuple[str | int, ...], Any]], media_type: str
) -> None:
    document: Any = image()
    for place, value in changes:
        here = document
        try:
            for step in place[:-1]:
                here = here[step]
            here[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    said = ""
    try:
        parsed = parse(document, media_type)
        if isinstance(parsed, Manifest):
            check_runnable(parsed)
    except (InvalidInput, Unsupported) as error:
        said = error.message
    else:
        each = parsed.layers if isinstance(parsed, Manifest) else parsed.manifests
        assert all(descriptor.size_bytes >= 0 for descriptor in each)
        assert all("/" not in descriptor.digest for descriptor in each)
    assert not said or said.isprintable()
