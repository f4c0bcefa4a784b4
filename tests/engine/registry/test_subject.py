"""Manifests that are about others, in a registry that has no API for them."""

import io
import json
from collections.abc import Callable

import pytest

from engine.errors import Conflict, InvalidInput
from engine.oci.descriptor import OCI_MANIFEST, Descriptor
from engine.oci.digest import sha256_of
from engine.registry.subject import subject_of, with_referrer
from engine.registry.upload import Uploads
from tests.engine.registry.conftest import Open
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import make_image
from tests.support.pulls import FAST
from tests.support.registry import Registry

EMPTY = images.blob("application/vnd.oci.empty.v1+json", b"{}")


def about(subject: images.Blob, kind: str) -> tuple[Descriptor, bytes]:
    """An artifact about `subject`."""
    data = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": EMPTY.descriptor(),
            "layers": [EMPTY.descriptor()],
            "subject": subject.descriptor(),
            "annotations": {"a": "b"},
        }
    ).encode()
    return Descriptor(OCI_MANIFEST, sha256_of(data), len(data)), data


def test_the_subject_is_read() -> None:
    image = make_image([{"a": b"1"}])
    document, data = about(image.manifest, "x/y")
    assert subject_of(document, data) == image.manifest.digest
    root = image.manifest
    assert subject_of(Descriptor(root.media_type, root.digest, len(root.data)), root.data) is None
    broken = b'{"subject": {"digest": "sha256:../.."}}'
    with pytest.raises(InvalidInput):
        subject_of(document, broken)


def test_an_index_gets_each_referrer_once() -> None:
    document, data = about(make_image([{"a": b"1"}]).manifest, "x/y")
    first = with_referrer(None, document, data)
    assert first is not None
    (entry,) = json.loads(first)["manifests"]
    assert entry == {
        "mediaType": OCI_MANIFEST, "digest": document.digest, "size": len(data),
        "artifactType": "x/y", "annotations": {"a": "b"},
    }  # fmt: skip
    assert with_referrer(first, document, data) is None


def test_what_is_pushed_is_found_by_its_subject(registry: Registry, open_repository: Open) -> None:
    image = make_image([{"a": b"1"}])
    reference = images.push(registry, "subjects", "1", image)
    data = io.BytesIO(EMPTY.data)
    images._push_blob(registry, "subjects", EMPTY.digest, data, len(EMPTY.data))
    repository = open_repository(reference, actions="pull,push")
    uploads = Uploads(repository, FAST)
    for kind in ("x/first", "x/second", "x/first"):
        document, data = about(image.manifest, kind)
        uploads.put_manifest(document.digest, document, data)
    found = repository.referrers(image.manifest.digest)
    assert [each.artifact_type for each in found] == ["x/first", "x/second"]


def answering(*statuses: int, subject: bool = False) -> Callable[[Exchange], bool]:
    """Each PUT of the tag gets one of `statuses`; its index has an ETag."""
    waiting = list(statuses)

    def script(exchange: Exchange) -> bool:
        if exchange.command == "GET" and "/manifests/sha256-" in exchange.path:
            body = b'{"schemaVersion": 2, "manifests": []}'
            exchange.reply(200, {"ETag": '"1"', "Content-Type": "application/json"}, body)
        elif exchange.command == "PUT":
            exchange.rfile.read(int(exchange.headers["Content-Length"]))
            is_tag = "/manifests/sha256-" in exchange.path
            headers = {"OCI-Subject": "sha256:0"} if subject else {}
            exchange.reply(waiting.pop(0) if is_tag else 201, headers)
        else:
            exchange.reply(404)
        return True

    return script


@pytest.mark.parametrize(("statuses", "fails"), [((412, 201), False), ((412, 412, 412), True)])
def test_somebody_elses_change_is_not_lost(
    open_repository: Open, statuses: tuple[int, ...], fails: bool
) -> None:
    with FaultServer(answering(*statuses)) as server:
        uploads = Uploads(open_repository(f"{server.host}/r:1", actions="pull,push"), FAST)
        document, data = about(make_image([{"a": b"1"}]).manifest, "x/y")
        if fails:
            with pytest.raises(Conflict):
                uploads.put_manifest("1", document, data)
        else:
            uploads.put_manifest("1", document, data)
        puts = [each for each in server.requests if each.method == "PUT"]
        assert [each.headers["If-Match"] for each in puts] == [None] + ['"1"'] * len(statuses)


def test_a_registry_that_does_it_itself_is_left_alone(open_repository: Open) -> None:
    with FaultServer(answering(subject=True)) as server:
        uploads = Uploads(open_repository(f"{server.host}/r:1", actions="pull,push"), FAST)
        document, data = about(make_image([{"a": b"1"}]).manifest, "x/y")
        uploads.put_manifest("1", document, data)
        assert server.count("PUT", "sha256-") == 0
