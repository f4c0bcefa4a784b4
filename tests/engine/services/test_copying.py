"""Copies between every two kinds of place, and what skopeo makes of them."""

import itertools
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.engine import Cancel
from engine.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from engine.home import Home, open_home
from engine.model.image import Pushed
from engine.model.progress import Progress
from engine.oci.platform import parse_platform
from engine.oci.reference import parse_reference
from engine.registry.hosts import Hosts
from engine.services.copying import Copying
from engine.services.places import parse_place
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support import images
from tests.support.images import MadeImage, MadeIndex, make_image, make_index, write_layout
from tests.support.pulls import FAST
from tests.support.registry import Registry
from tests.support.small_disk import small_disk

pytestmark = pytest.mark.root
S390X = {"os": "linux", "architecture": "s390x"}
KINDS = ("docker", "oci", "oci-archive", "docker-archive", "dir", "store")


class Box(NamedTuple):
    """A store, a registry and a directory."""

    home: Home
    database: Database
    content: Content
    images: ImageStore
    told: list[Progress]
    directory: Path
    registry: Registry

    def copy(self, source: str, target: str, *, platform: str = "", **more: Any) -> Pushed:
        every = more.pop("every", False)
        copying = Copying(
            self.home, self.database, self.content, self.images, self.told.append,
            more.pop("cancel", None), FAST, Hosts(str(self.directory)),
        )  # fmt: skip
        wanted = parse_platform(platform) if platform else None
        with copying:
            return copying.run(parse_place(source), parse_place(target), wanted, every=every)

    def place(self, kind: str, name: str) -> str:
        path = self.directory / name
        return {
            "docker": f"docker://{self.registry.host}/{name}:1",
            "oci": f"oci:{path}.oci:1",
            "oci-archive": f"oci-archive:{path}.oci.tar:1",
            "docker-archive": f"docker-archive:{path}.tar:localhost/{name}:1",
            "dir": f"dir:{path}.dir",
            "store": f"localhost/{name}:1",
        }[kind]

    def push(self, name: str, image: MadeImage | MadeIndex) -> str:
        return f"docker://{images.push(self.registry, name, '1', image)}"


@pytest.fixture
def box(roots: tuple[str, str], registry: Registry, tmp_path: Path) -> Iterator[Box]:
    home = open_home(*roots)
    database = Database(home)
    content = Content(home, database)
    directory = tmp_path / "places"
    directory.mkdir()
    store = ImageStore(database, content)
    yield Box(home, database, content, store, [], directory, registry)
    assert not database.query("SELECT * FROM lease")
    assert not list(Path(home.root, "staging").iterdir())
    assert not [path for path in directory.iterdir() if len(path.suffix) == 9]
    database.close()


def example(**more: Any) -> MadeImage:
    noise = random.Random(1).randbytes(100_000)
    return make_image([{"etc/": None, "etc/a": b"a"}, {"usr/noise": noise}], **more)


def skopeo(*words: object) -> str:
    done = subprocess.run(["skopeo", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pairs() -> Iterator[Any]:
    """Every kind once as what is read and once as what is written; all of them take long."""
    for first, second in itertools.product(KINDS, KINDS):
        is_next = (KINDS.index(first) + 1) % len(KINDS) == KINDS.index(second)
        yield pytest.param(first, second, marks=[] if is_next else pytest.mark.long)


@pytest.mark.parametrize(("first", "second"), list(pairs()))
def test_an_image_goes_from_each_place_to_each(box: Box, first: str, second: str) -> None:
    image = example()
    start = box.push(f"start/{first}-{second}", image)
    one, two = box.place(first, f"one-{first}-{second}"), box.place(second, f"two-{first}-{second}")
    assert box.copy(start, one).digest == image.manifest.digest
    copied = box.copy(one, two)
    if "docker-archive" not in (first, second):
        assert copied.digest == image.manifest.digest
    back = f"docker://{box.registry.host}/back-{first}-{second}:1"
    box.copy(two, back)
    config = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", back))["config"]
    assert config["digest"] == image.config.digest


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_skopeo_reads_what_we_write_and_we_what_it_writes(box: Box, kind: str) -> None:
    image = example()
    start = box.push(f"tools/{kind}", image)
    ours, theirs = box.place(kind, "ours"), box.place(kind, "theirs")
    box.copy(start, ours)
    assert json.loads(skopeo("inspect", ours))["Layers"]
    skopeo("copy", "-q", "--src-tls-verify=false", start, theirs)
    there = f"docker://{box.registry.host}/tools/back-{kind}:1"
    box.copy(theirs, there)
    config = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", there))["config"]
    assert config["digest"] == image.config.digest or kind == "docker-archive"


@pytest.mark.parametrize("kind", ["docker", "oci", "oci-archive", "dir"])
def test_all_platforms_go_when_asked(box: Box, kind: str) -> None:
    index = make_index([example(), make_image([{"x": b"1"}], platform=S390X)])
    start = box.push(f"all/{kind}", index)
    place = box.place(kind, f"all-{kind}")
    assert box.copy(start, place, every=True).digest == index.root.digest
    back = f"docker://{box.registry.host}/all/back-{kind}:1"
    assert box.copy(place, back, every=True).digest == index.root.digest
    other = f"docker://{box.registry.host}/all/s390x-{kind}:1"
    copied = box.copy(place, other, platform="linux/s390x")
    assert copied.digest == index.images[1].manifest.digest
    assert box.copy(start, box.place("oci", f"one-{kind}")).digest == (
        index.images[0].manifest.digest
    )


def test_blobs_that_are_there_are_not_copied_again(box: Box) -> None:
    image = example()
    start = box.push("again/a", image)
    layout = box.place("oci", "again")
    box.copy(start, layout)
    box.told.clear()
    box.copy(start, f"{layout}x")
    assert {step.phase for step in box.told if step.id} == {"queued", "exists"}
    index = json.loads((box.directory / "again.oci/index.json").read_text())
    names = [
        each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]
    ]
    assert names == ["1", "1x"]
    box.told.clear()
    box.copy(start, f"docker://{box.registry.host}/again/b:1")
    assert {step.phase for step in box.told if step.id} == {"queued", "mounted"}


def test_what_the_registry_knows_is_lent_to_a_copy_from_the_store(box: Box) -> None:
    box.copy(box.push("lent/start", example()), "localhost/lent:1")
    (box.directory / "other").mkdir()
    with Registry(box.directory / "other") as other:
        box.copy("localhost/lent:1", f"docker://{other.host}/lent/a:1")
        box.told.clear()
        box.copy("localhost/lent:1", f"docker://{other.host}/lent/b:1")
    assert {step.phase for step in box.told if step.id} == {"queued", "mounted"}


def test_artifacts_are_copied_too(box: Box) -> None:
    blob = images.blob("application/vnd.example.thing", b"thing")
    empty = images.blob("application/vnd.oci.empty.v1+json", b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example",
        "config": empty.descriptor(),
        "layers": [blob.descriptor()],
    }
    root = images.blob(str(document["mediaType"]), json.dumps(document).encode())
    artifact = MadeImage(root, empty, (blob,), (), {})
    place = box.place("oci", "artifact")
    assert box.copy(box.push("artifact", artifact), place).digest == root.digest


def test_a_damaged_blob_leaves_nothing_under_a_name(box: Box) -> None:
    image = example()
    layout = box.directory / "damaged"
    write_layout(layout, {"1": image})
    path = layout / "blobs/sha256" / image.layers[1].digest[7:]
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    for kind in KINDS:
        with pytest.raises(Corrupt, match=image.layers[1].digest[7:19]):
            box.copy(f"oci:{layout}:1", box.place(kind, f"damaged-{kind}"))
    assert not box.images.list_()
    with pytest.raises(NotFound):
        box.copy(box.place("docker", "damaged-docker"), box.place("dir", "none"))
    assert not (box.directory / "damaged-oci.oci/index.json").exists()
    assert not (box.directory / "damaged-docker-archive.tar").exists()


def test_a_cancelled_copy_leaves_no_archive(box: Box) -> None:
    cancel = Cancel()
    cancel.cancel()
    start = box.push("cancelled", example())
    with pytest.raises(Cancelled):
        box.copy(start, box.place("oci-archive", "cancelled"), cancel=cancel)
    assert not list(box.directory.iterdir())


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_a_full_disk_leaves_no_half_image(box: Box, tmp_path: Path, kind: str) -> None:
    noise = random.Random(2).randbytes(2_000_000)
    start = box.push(f"full/{kind}", make_image([{"a": noise}]))
    with small_disk(tmp_path, 1_500_000) as disk:
        tag = ":1" if kind == "oci" else ""
        with pytest.raises(Unavailable, match=r"no space left|disk full"):
            box.copy(start, f"{kind}:{disk}/x{tag}")
        assert not list(disk.rglob("index.json"))
        assert not list(disk.rglob("manifest.json"))
        assert all(path.is_dir() or path.stat().st_size < 1000 for path in disk.rglob("*"))


def test_mistakes_are_told(box: Box) -> None:
    start = box.push("mistakes", example())
    layout = box.place("oci", "mistakes")
    box.copy(start, layout)
    box.copy(start, f"{layout}b")
    with pytest.raises(InvalidInput, match="2 images in it") as caught:
        box.copy(layout.removesuffix(":1"), "new:1")
    assert caught.value.hint == "name one of them; its names: 1, 1b"
    with pytest.raises(NotFound, match="no image '2' in it"):
        box.copy(layout.removesuffix("1") + "2", "new:1")
    archive = box.place("docker-archive", "mistakes")
    box.copy(start, archive)
    with pytest.raises(Conflict, match="cannot be added to"):
        box.copy(start, archive)
    with pytest.raises(NotFound, match="no such image"):
        box.copy("nothing:1", layout)
    with pytest.raises(NotFound, match="no such directory"):
        box.copy(f"oci:{box.directory}/none:1", "new:1")
    with pytest.raises(NotFound, match="no such file"):
        box.copy(f"oci-archive:{box.directory}/none", "new:1")
    (box.directory / "full").mkdir()
    (box.directory / "full/file").write_text("")
    for kind in ("oci", "dir"):
        with pytest.raises(InvalidInput, match="it is there, and no"):
            box.copy(start, f"{kind}:{box.directory}/full")
    with pytest.raises(InvalidInput, match="no such directory"):
        box.copy(start, f"oci-archive:{box.directory}/none/x.tar")
    index = make_index([example(), make_image([{"x": b"1"}], platform=S390X)])
    with pytest.raises(Unsupported, match="no place for several platforms"):
        box.copy(box.push("several", index), box.place("docker-archive", "several"), every=True)


@pytest.mark.parametrize(
    ("text", "transport", "path", "name"),
    [
        ("docker://debian", "docker", "", "debian"),
        ("oci:/a/b:1", "oci", "/a/b", "1"),
        ("oci:/a/b", "oci", "/a/b", ""),
        ("oci-archive:/a.tar:v1", "oci-archive", "/a.tar", "v1"),
        ("docker-archive:/a.tar", "docker-archive", "/a.tar", ""),
        ("docker-archive:/a.tar:me/x:2", "docker-archive", "/a.tar", "docker.io/me/x:2"),
        ("dir:/a:b", "dir", "/a:b", ""),
        ("store:oci:1", "store", "", "oci:1"),
        ("localhost:5000/a:1", "store", "", "localhost:5000/a:1"),
    ],
)
def test_places_are_read(text: str, transport: str, path: str, name: str) -> None:
    assert parse_place(text)[:3] == (transport, path, name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", InvalidInput),
        ("oci:", InvalidInput),
        ("dir:", InvalidInput),
        ("docker:debian", InvalidInput),
        ("docker://UPPER", InvalidInput),
        ("docker-daemon:x", Unsupported),
        ("containers-storage:x", Unsupported),
    ],
)
def test_what_is_no_place_is_refused(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        parse_place(text)


def test_an_image_that_comes_in_has_its_new_name_only(box: Box) -> None:
    box.copy(box.push("named", example()), "store:localhost/mine:1")
    (listed,) = box.images.list_()
    assert listed.references == (parse_reference("localhost/mine:1").full,)
