"""Save: one tar that is an OCI layout and a docker-archive, and nothing that is not whole."""

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, Unavailable
from engine.oci.descriptor import Descriptor
from engine.oci.manifest import Manifest, parse_manifest
from engine.oci.platform import Platform
from engine.oci.reference import parse_reference
from engine.storage.archive_writer import ArchivedImage, write_archive
from tests.support.images import MadeImage, make_image
from tests.support.small_disk import small_disk

FIRST = make_image([{"etc/os": b"first"}, {"app/run": b"run"}])
SECOND = make_image([{"etc/os": b"first"}, {"app/other": b"other" * 40_000}], compression="")


def archived(image: MadeImage, *names: str) -> ArchivedImage:
    document = parse_manifest(image.manifest.data)
    assert isinstance(document, Manifest)
    made = image.manifest
    platform = Platform("linux", image.platform["architecture"])
    descriptor = Descriptor(made.media_type, made.digest, len(made.data), platform)
    return ArchivedImage(descriptor, document, tuple(parse_reference(name) for name in names))


def reader(*images: MadeImage) -> Any:
    blobs = {each.digest: each.data for image in images for each in image.blobs()}
    blobs |= {each.digest: each.data for image in images for each in image.manifests()}

    def read(blob: Descriptor) -> Iterable[bytes]:
        data = blobs[blob.digest]
        return (data[start : start + 1000] for start in range(0, len(data), 1000))

    return read


def write(*images: ArchivedImage, output: IO[bytes] | None = None, **keywords: Any) -> bytes:
    output = output or io.BytesIO()
    keywords.setdefault("cancel", Cancel())
    write_archive(output, images, reader(FIRST, SECOND), **keywords)
    return output.getvalue() if isinstance(output, io.BytesIO) else b""


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: each.read() for info in tar if (each := tar.extractfile(info))}


def test_an_archive_is_a_layout_and_a_docker_archive() -> None:
    data = members(write(archived(FIRST, "app:1", "localhost:5000/x/app:2")))
    assert json.loads(data["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    one, two = json.loads(data["index.json"])["manifests"]
    assert one["digest"] == two["digest"] == FIRST.manifest.digest
    assert one["platform"]["os"] == "linux"
    assert one["annotations"] == {
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    (entry,) = json.loads(data["manifest.json"])
    assert entry["RepoTags"] == ["app:1", "localhost:5000/x/app:2"]
    assert data[entry["Config"]] == FIRST.config.data
    assert [data[name] for name in entry["Layers"]] == [each.data for each in FIRST.layers]
    top = FIRST.layers[-1].digest.removeprefix("sha256:")
    assert json.loads(data["repositories"]) == {
        "app": {"1": top}, "localhost:5000/x/app": {"2": top}
    }  # fmt: skip
    for name, content in data.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def test_what_two_images_share_is_there_once() -> None:
    twin = make_image([{"etc/os": b"first"}, {"more": b"x"}])
    output = io.BytesIO()
    images = (archived(FIRST, "a:1"), archived(twin, "b:1"))
    write_archive(output, images, reader(FIRST, twin), cancel=Cancel())
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 7


def test_the_same_images_give_the_same_bytes() -> None:
    images = archived(FIRST, "app:1"), archived(SECOND)
    assert write(*images) == write(*images)


def test_names_by_digest_are_left_out() -> None:
    data = members(write(archived(FIRST, f"app@{FIRST.manifest.digest}")))
    assert json.loads(data["manifest.json"])[0]["RepoTags"] is None
    (entry,) = json.loads(data["index.json"])["manifests"]
    assert "annotations" not in entry


def test_a_pipe_gets_all_of_it() -> None:
    source, sink = os.pipe()
    found: list[bytes] = []

    def drain() -> None:
        with open(source, "rb") as file:
            found.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with open(sink, "wb") as pipe:
        write(archived(SECOND, "app:1"), output=pipe)
    thread.join()
    assert found == [write(archived(SECOND, "app:1"))]


def test_a_reader_that_is_gone_is_a_broken_pipe() -> None:
    source, sink = os.pipe()
    os.close(source)
    with open(sink, "wb") as pipe, pytest.raises(BrokenPipeError):
        write(archived(SECOND), output=pipe)


def test_a_cancel_is_heard_while_the_reader_sleeps() -> None:
    source, sink = os.pipe()
    cancel = Cancel()
    threading.Timer(0.05, cancel.cancel).start()
    big = make_image([{"big": bytes(3 << 20)}], compression="")
    with open(sink, "wb") as pipe, pytest.raises(Cancelled):
        write_archive(pipe, [archived(big)], reader(big), cancel=cancel)
    os.close(source)


def test_progress_counts_up_to_the_whole() -> None:
    told: list[tuple[int, int]] = []
    write(archived(SECOND), on_bytes=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert {total for _, total in told} == {told[0][1]}
    assert all(done <= total for done, total in told)


@pytest.mark.parametrize("fault", ["another byte", "too short", "too long"])
def test_a_blob_that_is_not_what_its_digest_says_never_leaves(fault: str) -> None:
    def read(blob: Descriptor) -> Iterable[bytes]:
        data = b"".join(reader(FIRST)(blob))
        if blob.digest != FIRST.layers[0].digest:
            return [data]
        return {
            "another byte": [b"!" + data[1:]], "too short": [data[:-1]], "too long": [data, b"x"]
        }[fault]  # fmt: skip

    with pytest.raises(Corrupt, match=FIRST.layers[0].digest):
        write_archive(io.BytesIO(), [archived(FIRST)], read, cancel=Cancel())


@pytest.mark.root
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    big = make_image([{"big": os.urandom(3 << 20)}], compression="")
    with (
        small_disk(tmp_path, 1 << 20) as disk,
        open(f"{disk}/out", "wb", buffering=0) as file,
        pytest.raises(Unavailable, match="no space left"),
    ):
        write_archive(file, [archived(big)], reader(big), cancel=Cancel())
