"""Load: every kind of archive that people have, and those that nobody should."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from engine.engine import Cancel
from engine.errors import (
    Cancelled,
    Corrupt,
    EngineError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from engine.model.progress import Progress
from engine.oci.digest import chain_ids
from engine.oci.platform import Platform
from engine.storage import archive
from engine.storage.image_store import ImageStore
from engine.storage.repair import fsck
from engine.storage.snapshots import Snapshots
from tests.support.images import MadeImage, compress, layout_tar, make_image, make_index
from tests.support.small_disk import small_disk
from tests.support.store import Store, open_store
from tests.support.tarball import END, file, hardlink, header, padded, pax, symlink
from tests.support.trees import tree_of

pytestmark = pytest.mark.root

FIRST = make_image([{"etc/os": b"first"}, {"app/run": b"run"}])
SECOND = make_image([{"etc/os": b"first"}, {"app/other": b"other"}], family="docker")
FOREIGN = make_image([{"etc/os": b"foreign"}], platform={"os": "linux", "architecture": "s390x"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.database.close()


def load(store: Store, data: bytes | IO[bytes], **keywords: Any) -> list[str]:
    return archive.load(
        io.BytesIO(data) if isinstance(data, bytes) else data,
        home=store.home, database=store.database, content=store.content, **keywords,
    )  # fmt: skip


def tar(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                data.name = name
                out.addfile(data)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def raw_layers(image: MadeImage) -> list[bytes]:
    return [gzip.decompress(each.data) for each in image.layers]


def docker_save(images: Mapping[str, MadeImage]) -> dict[str, bytes | tarfile.TarInfo]:
    """As docker wrote before version 25: one directory a layer, a link for a repeated one."""
    members: dict[str, bytes | tarfile.TarInfo] = {}
    listing = []
    first: dict[str, str] = {}
    for number, (name, image) in enumerate(images.items()):
        config = image.config.digest[7:] + ".json"
        members[config] = image.config.data
        layers = []
        for position, data in enumerate(raw_layers(image)):
            path = f"{hashlib.sha256(f'{number} {position}'.encode()).hexdigest()}/layer.tar"
            members[path.replace("layer.tar", "VERSION")] = b"1.0"
            members[path.replace("layer.tar", "json")] = b"{}"
            diff_id = image.diff_ids[position]
            members[path] = link(f"../{first[diff_id]}") if diff_id in first else data
            first.setdefault(diff_id, path)
            layers.append(path)
        listing.append({"Config": config, "RepoTags": [name] if name else None, "Layers": layers})
    members["manifest.json"] = json.dumps(listing).encode()
    members["repositories"] = b"{}"
    return members


def layout(path: Path, images: Mapping[str, Any]) -> dict[str, bytes | tarfile.TarInfo]:
    """The members of an OCI layout, to be changed."""
    with tarfile.open(fileobj=io.BytesIO(layout_tar(path / "layout", images))) as source:
        return {
            info.name: each.read() for info in source if (each := source.extractfile(info))
        }  # fmt: skip


def add_index(members: dict[str, Any], entries: Sequence[dict[str, Any]]) -> bytes:
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return tar(members)


def seen(store: Store, reference: str) -> dict[str, bytes]:
    """Files of the image, as its layers have them, later ones over earlier ones."""
    row = ImageStore(store.database, store.content).get(reference)
    assert row.chain_id is not None
    files: dict[str, bytes] = {}
    for directory in Snapshots(store.home, store.database).layers(row.chain_id):
        for path, node in tree_of(f"{directory}/diff").items():
            if node.kind == "file":
                files[path] = node.detail
    return files


def nothing_left(store: Store) -> bool:
    """No rows, no bytes, nothing on the way."""
    assert store.database.query("SELECT id FROM image") == []
    assert store.database.query("SELECT digest FROM blob") == []
    for name in ("layers", "l", "staging", "trash", "ingest", "blobs/sha256"):
        assert os.listdir(f"{store.home.root}/{name}") == []
    return True


def test_an_oci_layout_is_loaded(store: Store, tmp_path: Path) -> None:
    data = layout_tar(tmp_path / "layout", {"localhost:5000/app:1": FIRST, "two:2": SECOND})
    assert load(store, data) == ["localhost:5000/app:1", "two:2"]
    assert seen(store, "localhost:5000/app:1") == {"etc/os": b"first", "app/run": b"run"}
    row = ImageStore(store.database, store.content).get("two:2")
    assert (row.id, row.manifest) == (SECOND.config.digest, SECOND.manifest.digest)
    assert row.chain_id == chain_ids(SECOND.diff_ids)[-1]
    for blob in (*FIRST.blobs(), *FIRST.manifests(), *SECOND.blobs(), *SECOND.manifests()):
        assert store.content.read(blob.digest) == blob.data
    assert list(fsck(store.home, store.database, repair=False)) == []
    assert os.listdir(f"{store.home.root}/staging") == []


def test_loading_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    data = layout_tar(tmp_path / "layout", {"app:1": FIRST})
    load(store, data)
    before = store.database.query("SELECT * FROM layer"), os.listdir(f"{store.home.root}/layers")
    assert load(store, data) == ["app:1"]
    after = store.database.query("SELECT * FROM layer"), os.listdir(f"{store.home.root}/layers")
    assert before == after


CODECS = {
    "gzip": lambda data: compress(data, "gzip"),
    "zstd": lambda data: compress(data, "zstd"),
    "xz": lzma.compress,
    "xz in two streams": lambda data: (
        lzma.compress(data[:700]) + bytes(4) + lzma.compress(data[700:])
    ),
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("codec", CODECS)
def test_a_compressed_archive_comes_through_a_pipe(
    store: Store, tmp_path: Path, codec: str
) -> None:
    data = CODECS[codec](layout_tar(tmp_path / "layout", {"app:1": FIRST}))
    reader, writer = os.pipe()
    thread = threading.Thread(target=write_slowly, args=(writer, data))
    thread.start()
    with open(reader, "rb") as pipe:
        assert load(store, pipe) == ["app:1"]
    thread.join()
    assert seen(store, "app:1")["app/run"] == b"run"


def write_slowly(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", buffering=0) as pipe:
        for start in range(0, len(data), 700):
            pipe.write(data[start : start + 700])


def test_an_old_docker_archive_is_loaded(store: Store) -> None:
    assert load(store, tar(docker_save({"app:1": FIRST, "docker.io/x/y:2": SECOND}))) == [
        "app:1",
        "x/y:2",
    ]
    images = ImageStore(store.database, store.content)
    assert images.get("app:1").id == FIRST.config.digest
    assert seen(store, "x/y:2") == {"etc/os": b"first", "app/other": b"other"}
    assert len(os.listdir(f"{store.home.root}/layers")) == 3  # one is shared, by a link
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_an_archive_of_podman_has_its_layers_beside_each_other(store: Store) -> None:
    members: dict[str, Any] = {"config.json": FIRST.config.data}
    names = [f"{each[7:]}.tar" for each in FIRST.diff_ids]
    members |= dict(zip(names, [each.data for each in FIRST.layers], strict=True))  # gzip
    listing = [{"Config": "config.json", "RepoTags": ["localhost/app:1"], "Layers": names}]
    members["manifest.json"] = json.dumps(listing).encode()
    assert load(store, tar(members)) == ["localhost/app:1"]
    (media_type,) = store.database.first(
        "SELECT media_type FROM blob WHERE digest=?", (FIRST.layers[0].digest,)
    )
    assert media_type.endswith("+gzip")


def test_an_archive_of_kaniko_names_its_config_by_digest(store: Store) -> None:
    """As go-containerregistry's tarball writes it; crane too."""
    members: dict[str, Any] = {FIRST.config.digest: FIRST.config.data}
    names = [f"{each.digest[7:]}.tar.gz" for each in FIRST.layers]
    members |= dict(zip(names, [each.data for each in FIRST.layers], strict=True))
    entry = {"Config": FIRST.config.digest, "RepoTags": ["app:1"], "Layers": names}
    members["manifest.json"] = json.dumps([entry]).encode()
    assert load(store, tar(members)) == ["app:1"]
    assert ImageStore(store.database, store.content).get("app:1").id == FIRST.config.digest


def test_an_index_may_name_images_that_are_not_in_it(store: Store, tmp_path: Path) -> None:
    """As docker with containerd's store saves one platform of several, attestations beside it."""
    proof = make_image([{"proof": b"x"}], platform={"os": "unknown", "architecture": "unknown"})
    index = make_index([FOREIGN, FIRST, proof])
    members = layout(tmp_path, {"docker.io/library/app:1": index})
    for other in (FOREIGN, proof):
        for blob in (other.manifest, *other.blobs()):
            members.pop(f"blobs/sha256/{blob.digest[7:]}", None)
    assert load(store, tar(members)) == ["app:1"]
    row = ImageStore(store.database, store.content).get("app:1")
    assert (row.id, row.index_digest) == (FIRST.config.digest, index.root.digest)


def test_newer_docker_writes_both_formats(store: Store, tmp_path: Path) -> None:
    members = layout(tmp_path, {"": FIRST})
    paths = [f"blobs/sha256/{each.digest[7:]}" for each in (FIRST.config, *FIRST.layers)]
    listing = [{"Config": paths[0], "RepoTags": ["app:1", "app:latest"], "Layers": paths[1:]}]
    members["manifest.json"] = json.dumps(listing).encode()
    assert load(store, tar(members)) == ["app:1", "app:latest"]
    images = ImageStore(store.database, store.content)
    assert images.get("app").manifest == images.get("app:1").manifest == FIRST.manifest.digest


def test_names_come_from_annotations(store: Store, tmp_path: Path) -> None:
    members = layout(tmp_path, {"": FIRST, "x:1": SECOND})
    named = {
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    data = add_index(
        members,
        [
            FIRST.manifest.descriptor(annotations=named),
            SECOND.manifest.descriptor(annotations={"org.opencontainers.image.ref.name": "latest"}),
        ],
    )
    assert load(store, data) == ["app:1", SECOND.config.digest]  # a tag alone is no name


def test_untagged_images_are_told_by_id(store: Store) -> None:
    assert load(store, tar(docker_save({"": FIRST}))) == [FIRST.config.digest]


def test_the_platform_of_this_host_is_chosen(store: Store, tmp_path: Path) -> None:
    index = make_index([FOREIGN, FIRST])
    assert load(store, layout_tar(tmp_path / "layout", {"app:1": index})) == ["app:1"]
    row = ImageStore(store.database, store.content).get("app:1")
    assert (row.id, row.index_digest) == (FIRST.config.digest, index.root.digest)
    assert store.content.find(FOREIGN.layers[0].digest) is None
    with pytest.raises(NotFound, match="there is linux/s390x"):
        load(store, layout_tar(tmp_path / "other", {"x:1": make_index([FOREIGN])}))


def test_a_layout_may_list_platforms_side_by_side(store: Store, tmp_path: Path) -> None:
    members = layout(tmp_path, {"": FIRST, "x:1": FOREIGN})
    entries = [each.manifest.descriptor(platform=each.platform) for each in (FOREIGN, FIRST)]
    assert load(store, add_index(members, entries)) == [FIRST.config.digest]
    other = entries[0] | {"platform": {"os": "linux", "architecture": "ppc64le"}}
    with pytest.raises(NotFound, match="there is linux/ppc64le, linux/s390x"):
        load(store, add_index(members, [entries[0], other]))
    chosen = add_index(members, entries)
    assert load(store, chosen, wanted=Platform("linux", "s390x")) == [FOREIGN.config.digest]


def test_images_without_a_name_for_one_platform_are_images_of_their_own(
    store: Store, tmp_path: Path
) -> None:
    members = layout(tmp_path, {"": FIRST, "x:1": SECOND})
    entries = [each.manifest.descriptor(platform=each.platform) for each in (FIRST, SECOND)]
    ids = [FIRST.config.digest, SECOND.config.digest]
    assert load(store, add_index(members, entries)) == ids


def test_an_image_for_another_machine_is_loaded_with_a_warning(
    store: Store, tmp_path: Path
) -> None:
    told: list[Progress] = []
    data = layout_tar(tmp_path / "layout", {"app:1": FOREIGN})
    assert load(store, data, progress=told.append) == ["app:1"]
    assert any("warning: image config says linux/s390x" in each.text for each in told)
    assert told[-1] == Progress("", "done", text="loaded app:1")


def test_what_is_here_need_not_be_in_the_archive(store: Store, tmp_path: Path) -> None:
    load(store, layout_tar(tmp_path / "layout", {"app:1": FIRST}))
    members = layout(tmp_path / "thin", {"thin:1": SECOND})
    del members[f"blobs/sha256/{SECOND.layers[0].digest[7:]}"]
    assert SECOND.diff_ids[0] == FIRST.diff_ids[0]
    assert load(store, tar(members)) == ["thin:1"]
    del members[f"blobs/sha256/{SECOND.layers[1].digest[7:]}"]
    assert load(store, tar(members)) == ["thin:1"]


def broken(path: Path, name: str) -> bytes:
    """An archive with this one fault."""
    members = layout(path, {"app:1": FIRST})
    layer = f"blobs/sha256/{FIRST.layers[1].digest[7:]}"
    config = f"blobs/sha256/{FIRST.config.digest[7:]}"
    entry = FIRST.manifest.descriptor()
    docker = docker_save({"app:1": FIRST})
    listing = json.loads(docker["manifest.json"])  # type: ignore[arg-type]
    match name:
        case "blob is not what its name says":
            members[layer] = b"!" + members[layer][1:]  # type: ignore[index,operator]
        case "layer is missing":
            del members[layer]
        case "config is missing":
            del members[config]
        case "descriptor has another size":
            return add_index(members, [entry | {"size": entry["size"] + 1}])
        case "descriptor has a path for a digest":
            return add_index(members, [entry | {"digest": "sha256:../../../../etc/passwd"}])
        case "name that is none":
            name = {"org.opencontainers.image.ref.name": "../../etc/x:1"}  # type: ignore[assignment]
            return add_index(members, [entry | {"annotations": name}])
        case "index is no index":
            members["index.json"] = b"[]"
        case "index has a key twice":
            members["index.json"] = b'{"schemaVersion": 2, "schemaVersion": 2, "manifests": []}'
        case "no image":
            return add_index(members, [])
        case "layout of version 2":
            members["oci-layout"] = b'{"imageLayoutVersion": "2.0.0"}'
        case "no layout at all":
            return tar({"readme": b"hello"})
        case "docker older than 1.10":
            return tar({"repositories": b"{}", "x/layer.tar": b""})
        case "hard link to nowhere":
            leaning = make_image([hardlink(b"etc/a", b"etc/nothing") + END])
            return layout_tar(path / "leaning", {"app:1": leaning})
        case "layers swapped":
            listing[0]["Layers"].reverse()
        case "fewer layers than diff_ids":
            listing[0]["Layers"].pop()
        case "layer named outside":
            listing[0]["Layers"][0] = "../../../../etc/passwd"
        case "layer named absolutely":
            listing[0]["Layers"][0] = "/etc/passwd"
        case "layer is a link to outside":
            docker[listing[0]["Layers"][0]] = link("/etc/passwd")
        case "layer is a link to itself":
            docker[listing[0]["Layers"][0]] = link("layer.tar")
        case "manifest.json has more than a list":
            docker["manifest.json"] = b'[], "more": 1'
            return tar(docker)
        case "cut":
            data = tar(members)
            return data[: len(data) // 2]
        case "cut gzip":
            data = gzip.compress(tar(members))
            return data[: len(data) // 2]
        case "member with a path to outside":
            return file(b"../../outside", b"x") + tar(members)
        case "sparse member":
            record = {b"GNU.sparse.size": b"999999999999", b"GNU.sparse.map": b"0,1"}
            return pax(record) + header(b"big", b"0", 1) + padded(b"x") + tar(members)
        case "not a tar":
            return b"hello, this is no archive\n" * 1000
        case "broken xz":
            return b"\xfd7zXZ\0" + bytes(100)
        case "cut bzip2":
            return bz2.compress(tar(members))[:-100]
        case "xz that wants too much memory":
            filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
            return lzma.compress(tar(members), filters=filters)
        case "empty":
            return b""
    if "Layers" in listing[0] and name.startswith(("layers", "fewer", "layer named", "layer is a")):
        docker["manifest.json"] = json.dumps(listing).encode()
        return tar(docker)
    return tar(members)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("blob is not what its name says", Corrupt, "digest mismatch"),
        ("layer is missing", InvalidInput, "is not in it"),
        ("config is missing", InvalidInput, "is not in it"),
        ("descriptor has another size", InvalidInput, "expected .* bytes"),
        ("descriptor has a path for a digest", InvalidInput, "expected sha256"),
        ("name that is none", InvalidInput, "reference"),
        ("index is no index", InvalidInput, "expected an object"),
        ("index has a key twice", InvalidInput, "there twice"),
        ("no image", InvalidInput, "no image in it"),
        ("layout of version 2", Unsupported, "version '2.0.0'"),
        ("no layout at all", InvalidInput, "neither index.json nor manifest.json"),
        ("docker older than 1.10", Unsupported, "older than 1.10"),
        ("hard link to nowhere", Corrupt, "does not exist"),
        ("layers swapped", Corrupt, "diff_id differs"),
        ("fewer layers than diff_ids", InvalidInput, "2 diff_ids for the manifest's 1"),
        ("layer named outside", InvalidInput, "which is not in it"),
        ("layer named absolutely", InvalidInput, "which is not in it"),
        ("layer is a link to outside", InvalidInput, "which is not in it"),
        ("layer is a link to itself", InvalidInput, "which is not in it"),
        ("manifest.json has more than a list", InvalidInput, "manifest.json"),
        ("cut", Corrupt, "archive entry .* ends in the middle"),
        ("cut gzip", Corrupt, "archive: gzip stream"),
        ("member with a path to outside", InvalidInput, "archive entry 1"),
        ("sparse member", InvalidInput, "sparse file"),
        ("not a tar", Corrupt, "archive entry 1"),
        ("broken xz", Corrupt, "archive: xz stream"),
        ("cut bzip2", Corrupt, "archive: bzip2 stream: it ends in the middle"),
        ("xz that wants too much memory", Unsupported, "archive: xz stream: memory"),
        ("empty", InvalidInput, "is empty"),
    ],
)
def test_a_hostile_archive_fails_and_leaves_nothing(
    store: Store, tmp_path: Path, name: str, kind: type[EngineError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        load(store, broken(tmp_path, name))
    assert "\n" not in caught.value.message
    assert nothing_left(store)


def test_a_member_that_comes_twice_counts_as_it_was_last(store: Store, tmp_path: Path) -> None:
    members = layout(tmp_path, {"app:1": FIRST})
    data = file(b"index.json", b"nonsense") + symlink(b"oci-layout", b"/etc/passwd") + tar(members)
    assert load(store, data) == ["app:1"]


def test_ids_stay_when_a_later_image_is_broken(store: Store, tmp_path: Path) -> None:
    """Each image is whole or not there; those before a broken one stay."""
    docker = docker_save({"good:1": FIRST, "bad:1": SECOND})
    listing = json.loads(docker["manifest.json"])  # type: ignore[arg-type]
    docker[listing[1]["Layers"][1]] = file(b"x", b"another layer") + END
    with pytest.raises(Corrupt, match="diff_id differs"):
        load(store, tar(docker))
    images = ImageStore(store.database, store.content)
    assert images.get("good:1").id == FIRST.config.digest
    assert images.find("bad:1") is None
    assert list(fsck(store.home, store.database, repair=False)) == []


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    image = make_image([{"big": os.urandom(6 << 20)}], compression="")
    data = layout_tar(tmp_path / "layout", {"app:1": image})
    for size in (6 << 20, 12 << 20):  # full while reading the archive, full while unpacking
        place = tmp_path / str(size)
        place.mkdir()
        with small_disk(place, size) as mount:
            store = open_store(mount)
            with pytest.raises(Unavailable, match="disk full") as caught:
                load(store, data)
            assert "\n" not in caught.value.message
            assert nothing_left(store)
            store.database.close()


def test_cancel_ends_a_load_that_waits_for_a_pipe(store: Store) -> None:
    reader, writer = os.pipe()
    cancel = Cancel()
    threading.Timer(0.2, cancel.cancel).start()
    with open(reader, "rb") as pipe, pytest.raises(Cancelled):
        load(store, pipe, cancel=cancel)
    os.close(writer)
    assert nothing_left(store)


def test_progress_tells_how_much_was_read(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(layout_tar(tmp_path / "layout", {"app:1": FIRST}))
    told: list[Progress] = []
    with path.open("rb") as opened:
        load(store, opened, progress=told.append)
    assert told[0].phase == "verifying"
    assert 0 < told[0].current <= told[0].total == path.stat().st_size
