"""Images in files: every form that tools write, the way they write it."""

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Corrupt, EngineError, InvalidInput, NotFound, Unsupported
from engine.layers.cache import IndexCache
from engine.layers.source import FoundImage, is_root_directory, open_source
from engine.layers.tree import open_layers
from engine.layers.walk import index_directory
from engine.model.layer import HARDLINK
from engine.storage.layer_index import LayerIndex
from tests.support.images import (
    MadeImage,
    compress,
    layer_tar,
    layout_tar,
    make_image,
    make_index,
    write_layout,
)

LAYERS = (
    {"etc": None, "etc/a": b"1234", "var": None, "var/log": b"x" * 3000},
    {"etc": None, "etc/a": b"12345", "var": None, "var/.wh.log": b""},
)


def tar_of(members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def raw(image: MadeImage) -> list[bytes]:
    return [layer_tar(layer) for layer in LAYERS]


def docker_24(image: MadeImage) -> bytes:
    """`docker save` before 25: a directory for each layer; the same layer again is a link."""
    one, two = raw(image)
    config = f"{image.config.digest[7:]}.json"
    listing = [
        {"Config": config, "RepoTags": ["app:1"], "Layers": ["aa/layer.tar", "bb/layer.tar"]}
    ]
    members = {config: image.config.data, "aa/layer.tar": one, "real/layer.tar": two}
    members["manifest.json"] = json.dumps(listing).encode()
    members["repositories"] = b"{}"
    return tar_of(members, {"bb/layer.tar": "../real/layer.tar"})


def podman(image: MadeImage) -> bytes:
    """`podman save`, buildah: layers by their digest, uncompressed."""
    layers = {
        f"{each[7:]}.tar": data for each, data in zip(image.diff_ids, raw(image), strict=True)
    }
    config = f"{image.config.digest[7:]}.json"
    listing = [{"Config": config, "RepoTags": ["localhost/app:1"], "Layers": list(layers)}]
    return tar_of(
        {**layers, config: image.config.data, "manifest.json": json.dumps(listing).encode()}
    )


def kaniko(image: MadeImage) -> bytes:
    """`kaniko --tar-path`: the config by its digest, layers as they are pushed."""
    layers = {f"{each.digest[7:]}.tar.gz": each.data for each in image.layers}
    listing = [
        {"Config": image.config.digest, "RepoTags": ["registry/app:1"], "Layers": list(layers)}
    ]
    return tar_of(
        {image.config.digest: image.config.data, **layers}
        | {"manifest.json": json.dumps(listing).encode()}
    )


def docker_25(image: MadeImage, directory: Path) -> bytes:
    """Since 25 both: a layout, and manifest.json for old readers."""
    write_layout(directory, {"docker.io/library/app:1": image})
    members = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    blobs = [f"blobs/sha256/{each.digest[7:]}" for each in image.layers]
    listing = [
        {
            "Config": f"blobs/sha256/{image.config.digest[7:]}",
            "RepoTags": ["app:1"],
            "Layers": blobs,
        }
    ]
    return tar_of(members | {"manifest.json": json.dumps(listing).encode()})


def open_bytes(tmp_path: Path, data: bytes, name: str = "") -> FoundImage:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return open_source(str(path), name, scratch=str(scratch))


def numbers(tmp_path: Path, found: FoundImage) -> tuple[int, int, float]:
    cache = tmp_path / "cache"
    cache.mkdir(exist_ok=True)
    paths = IndexCache(str(cache)).indexes(found.layers)
    view = open_layers(found.name, found.image_id, paths, ())
    try:
        assert [layer.diff_id for layer in view.layers] == list(found.document.diff_ids)
        return view.size_bytes, view.waste_bytes, view.efficiency
    finally:
        view.close()


EXPECTED = (3009, 3004, pytest.approx(5 / 3009))


@pytest.mark.parametrize("form", [docker_24, podman, kaniko])
def test_a_docker_archive_is_read(tmp_path: Path, form: Any) -> None:
    image = make_image(LAYERS)
    found = open_bytes(tmp_path, form(image))
    assert found.image_id == image.config.digest
    assert found.name.endswith("app:1")
    assert numbers(tmp_path, found) == EXPECTED


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_layout_is_read(tmp_path: Path, compression: Any) -> None:
    image = make_image(LAYERS, compression=compression)
    write_layout(tmp_path / "layout", {"app:1": image})
    found = open_source(str(tmp_path / "layout"), scratch=str(tmp_path))
    assert (found.image_id, found.name) == (image.config.digest, "app:1")
    assert [layer.digest for layer in found.layers] == [each.digest for each in image.layers]
    assert numbers(tmp_path, found) == EXPECTED


def test_both_formats_in_one_archive(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    found = open_bytes(tmp_path, docker_25(image, tmp_path / "layout"))
    assert found.image_id == image.config.digest
    assert numbers(tmp_path, found) == EXPECTED


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_archive_that_is_compressed_as_a_whole(tmp_path: Path, compression: Any) -> None:
    image = make_image(LAYERS)
    found = open_bytes(tmp_path, compress(podman(image), compression))
    assert numbers(tmp_path, found) == EXPECTED


def test_skopeos_dir(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    (tmp_path / "manifest.json").write_bytes(image.manifest.data)
    for blob in image.blobs():
        (tmp_path / blob.digest[7:]).write_bytes(blob.data)
    found = open_source(str(tmp_path), scratch=str(tmp_path))
    assert numbers(tmp_path, found) == EXPECTED


def test_the_right_platform_is_chosen(tmp_path: Path) -> None:
    ours = make_image(LAYERS)
    other = make_image([{"x": b"1"}], platform={"os": "linux", "architecture": "s390x"})
    data = layout_tar(tmp_path / "layout", {"app:1": make_index([other, ours])})
    assert open_bytes(tmp_path, data).image_id == ours.config.digest


def test_one_of_several_images_is_named(tmp_path: Path) -> None:
    one, two = make_image(LAYERS), make_image([{"x": b"1"}])
    data = layout_tar(tmp_path / "layout", {"localhost/app:1": one, "localhost/app:2": two})
    with pytest.raises(InvalidInput, match="2 images are in it") as failure:
        open_bytes(tmp_path, data)
    assert "localhost/app:1, localhost/app:2" in failure.value.hint
    assert open_bytes(tmp_path, data, "app:2").image_id == two.config.digest
    assert open_bytes(tmp_path, data, "1").image_id == one.config.digest
    with pytest.raises(NotFound, match="no image 'app:3'"):
        open_bytes(tmp_path, data, "app:3")


BAD: dict[str, tuple[bytes, type[EngineError], str]] = {
    "nothing": (b"", InvalidInput, "it is empty"),
    "text": (b"hello" * 300, InvalidInput, "not a tar archive"),
    "a tar of files": (tar_of({"etc/passwd": b"x"}), InvalidInput, "no image"),
    "too old": (tar_of({"repositories": b"{}"}), Unsupported, "older than 1.10"),
    "a listing of nothing": (tar_of({"manifest.json": b"[]"}), InvalidInput, "no image in it"),
    "a listing of numbers": (tar_of({"manifest.json": b"[1]"}), InvalidInput, "list of objects"),
    "a member that is missing": (
        tar_of({"manifest.json": b'[{"Config":"c.json","Layers":[]}]'}), InvalidInput,
        "names 'c.json', which is not in it",
    ),
    "a way out": (
        tar_of({"manifest.json": b'[{"Config":"../../etc/passwd","Layers":[]}]'}), InvalidInput,
        "not in it",
    ),
    "xz": (b"\xfd7zXZ\0" + bytes(600), Unsupported, "compressed with xz"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_image_is_told(what: str, tmp_path: Path) -> None:
    data, kind, said = BAD[what]
    with pytest.raises(kind, match=said) as failure:
        open_bytes(tmp_path, data)
    assert failure.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        open_source(str(tmp_path / "none.tar"), scratch=str(tmp_path))


def test_a_damaged_document_is_told(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    write_layout(tmp_path / "layout", {"app:1": image})
    path = tmp_path / "layout/blobs/sha256" / image.config.digest[7:]
    path.write_bytes(b" " + path.read_bytes()[1:])
    with pytest.raises(Corrupt, match="is damaged"):
        open_source(str(tmp_path / "layout"), scratch=str(tmp_path))


# The cache of indexes


def test_an_index_is_made_once(tmp_path: Path) -> None:
    found = open_bytes(tmp_path, podman(make_image(LAYERS)))
    told: list[str] = []
    cache = IndexCache(str(tmp_path / "scratch"))
    paths = cache.indexes(found.layers, progress=lambda step: told.append(step.id))
    before = [os.stat(path).st_ino for path in paths]
    (tmp_path / "image.tar").unlink()  # it is not read again
    assert cache.indexes(found.layers) == paths
    assert [os.stat(path).st_ino for path in paths] == before
    assert set(told) <= {each.diff_id[7:19] for each in found.layers}


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    found = open_bytes(tmp_path, podman(make_image(LAYERS)))
    cache = IndexCache(str(tmp_path / "scratch"))
    path = cache.indexes(found.layers)[0]
    Path(path).write_bytes(b"")
    assert cache.indexes(found.layers)[0] == path
    LayerIndex(path).close()


def test_the_cache_stays_below_its_limit(tmp_path: Path) -> None:
    old = tmp_path / "scratch" / "old.pdl"
    found = open_bytes(tmp_path, podman(make_image(LAYERS)))
    old.write_bytes(bytes(10_000))
    os.utime(old, (1, 1))
    paths = IndexCache(str(tmp_path / "scratch"), limit_bytes=5000).indexes(found.layers)
    assert not old.exists()
    assert all(map(os.path.exists, paths))


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    found = open_bytes(tmp_path, podman(make_image(LAYERS)))
    stale, fresh = (tmp_path / "scratch" / f"{name}.pdl.0a1b2c3d.new" for name in ("a", "b"))
    for path in (stale, fresh):
        path.touch()
    os.utime(stale, (1, 1))
    IndexCache(str(tmp_path / "scratch")).indexes(found.layers)
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_a_broken_layer_leaves_nothing(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    data = podman(image).replace(b"x" * 3000, b"y" * 3000)
    found = open_bytes(tmp_path, data)
    with pytest.raises(Corrupt, match="diff_id differs"):
        IndexCache(str(tmp_path / "scratch")).indexes(found.layers)
    assert image.diff_ids[0][7:] not in "".join(os.listdir(tmp_path / "scratch"))


def test_cancelled_before_it_begins(tmp_path: Path) -> None:
    found = open_bytes(tmp_path, podman(make_image(LAYERS)))
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        IndexCache(str(tmp_path / "scratch")).indexes(found.layers, cancel=cancel)
    assert os.listdir(tmp_path / "scratch") == []


# A plain directory


def test_a_directory_is_one_layer(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/a").write_bytes(b"12345")
    os.link(root / "etc/a", root / "b")
    os.symlink("etc/a", root / "l")
    os.mkfifo(root / "p")
    assert is_root_directory(str(root))
    index_directory(str(root), str(tmp_path / "i.pdl"))
    index = LayerIndex(str(tmp_path / "i.pdl"))
    kinds = dict(zip(index.paths(), index.kind, strict=True))
    assert set(kinds) == {b"", b"etc", b"etc/a", b"b", b"l", b"p"}
    assert HARDLINK in (kinds[b"b"], kinds[b"etc/a"])
    assert index.facts.size_bytes == 5
    digests = {
        index.hash(row) for row, path in enumerate(index.paths()) if path in (b"b", b"etc/a")
    }
    assert len(digests) == 1
    index.close()


def test_a_directory_that_is_an_image_is_no_root(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"app:1": make_image(LAYERS)})
    assert not is_root_directory(str(tmp_path / "layout"))
    with pytest.raises(InvalidInput, match="no such file"):
        index_directory(str(tmp_path / "none"), str(tmp_path / "i.pdl"))
