"""Archives between pydock and the tools that are in use: both ways, file by file."""

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.storage.tar_diff import write_layer
from tests.engine.storage.test_tar_diff import of_every_kind
from tests.support.images import MadeImage, make_image, write_layout
from tests.support.overlays import Facts, facts_of, mounted
from tests.support.tools import Containers, run, umoci_facts

pytestmark = pytest.mark.root

NAME = "localhost/app:1"


def raw_layer(upper: Path, lower: list[Path]) -> bytes:
    root, target = os.open(upper, os.O_RDONLY), os.memfd_create("layer")
    try:
        argument = target, 1 << 30, None, root, [os.fsencode(path) for path in lower], []
        _, size, _ = write_layer(argument, lambda done: None)
        return os.pread(target, size, 0)
    finally:
        os.close(root)
        os.close(target)


class Sample:
    """An image of two layers, and every file that it shows."""

    def __init__(self, place: Path) -> None:
        base, upper = place / "base", place / "upper"
        (base / "etc/old").mkdir(parents=True)
        (base / "etc/os").write_text("first")
        (base / "etc/old/x").write_text("old")
        (base / "dir/below").mkdir(parents=True)
        with mounted([base], upper, place / "merged") as root:
            of_every_kind(root)
            (root / "dir/below").rmdir()
            (root / "dir").rmdir()
            (root / "dir").mkdir()
            self.facts = facts_of(root)
        raw = raw_layer(base, []), raw_layer(upper, [base])
        self.image: MadeImage = make_image(raw, config={"Labels": {"a": "b"}})
        self.layout = place / "layout"
        write_layout(self.layout, {NAME: self.image})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def engine(roots: tuple[str, str]) -> Iterator[Engine]:
    from engine.connect import connect

    with connect(*roots) as engine:
        yield engine


def ours(engine: Engine, ref: str) -> dict[str, Facts]:
    """Every file of the image, as it is mounted."""
    place = engine.images.mount(ref)
    try:
        return facts_of(place)
    finally:
        engine.images.unmount(ref)


def load(engine: Engine, file: Path) -> list[str]:
    with file.open("rb") as archive:
        return list(engine.images.load(archive))


def save(engine: Engine, sample: Sample, file: Path) -> Path:
    """Our archive of the sample."""
    with file.open("wb") as output:
        engine.images.save([NAME], output)
    return file


def tarred(layout: Path, file: Path) -> Path:
    with tarfile.open(file, "w") as tar:
        for path in sorted(layout.rglob("*")):
            tar.add(path, path.relative_to(layout).as_posix(), recursive=False)
    return file


@pytest.fixture
def here(engine: Engine, sample: Sample, tmp_path: Path) -> Engine:
    """An engine that has the sample."""
    assert load(engine, tarred(sample.layout, tmp_path / "sample.tar")) == [NAME]
    return engine


def test_the_sample_is_what_we_show(here: Engine, sample: Sample) -> None:
    assert ours(here, NAME) == sample.facts


# -- what they write, we read


def by_skopeo(kind: str) -> Callable[[Path, Path], Path]:
    def write(layout: Path, place: Path) -> Path:
        file = place / f"{kind}.tar"
        run("skopeo", "copy", "-q", f"oci:{layout}:{NAME}", f"{kind}:{file}:{NAME}")
        return file

    return write


def by_containers(tool: str, kind: str) -> Callable[[Path, Path], Path]:
    def write(layout: Path, place: Path) -> Path:
        containers, file = Containers(tool, place / tool), place / f"{kind}.tar"
        image = containers("pull", "-q", f"oci:{layout}:{NAME}").split()[-1]
        if tool == "podman":
            containers("tag", image, NAME)
            containers("save", "-q", "--format", kind, "-o", file, NAME)
        else:
            containers("push", "-q", image, f"{kind}:{file}:{NAME}")
        return file

    return write


def by_umoci(layout: Path, place: Path) -> Path:
    """Unpacked and packed again by umoci, so its tars are its own."""
    copy = place / "umoci"
    run("skopeo", "copy", "-q", f"oci:{layout}:{NAME}", f"oci:{copy}:one")
    run("umoci", "unpack", "--image", f"{copy}:one", place / "bundle")
    (place / "bundle/rootfs/umoci").write_text("was here")
    run("umoci", "repack", "--image", f"{copy}:one", place / "bundle")
    return tarred(copy, place / "umoci.tar")


WRITERS = {
    "skopeo, oci-archive": by_skopeo("oci-archive"),
    "skopeo, docker-archive": by_skopeo("docker-archive"),
    "podman, oci-archive": by_containers("podman", "oci-archive"),
    "podman, docker-archive": by_containers("podman", "docker-archive"),
    "buildah, oci-archive": by_containers("buildah", "oci-archive"),
    "buildah, docker-archive": by_containers("buildah", "docker-archive"),
    "umoci, layout": by_umoci,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_they_write_we_read(
    engine: Engine, sample: Sample, tmp_path: Path, writer: str
) -> None:
    (name,) = load(engine, WRITERS[writer](sample.layout, tmp_path))
    found = ours(engine, name)
    if writer.startswith("umoci"):
        assert found.pop("umoci").detail == b"was here"
    else:
        assert name == NAME
        assert engine.images.inspect(name).diff_ids == sample.image.diff_ids
        assert dict(engine.images.inspect(name).config.labels) == {"a": "b"}
    assert found == sample.facts


# -- what we write, they read


def test_skopeo_finds_the_same_image_in_either_format(
    here: Engine, sample: Sample, tmp_path: Path
) -> None:
    file = save(here, sample, tmp_path / "ours.tar")
    for source in (f"oci-archive:{file}:1", f"docker-archive:{file}:{NAME}"):
        config = json.loads(run("skopeo", "inspect", "--config", source))
        assert config["rootfs"]["diff_ids"] == list(sample.image.diff_ids)
    run("skopeo", "copy", "-q", f"oci-archive:{file}", f"dir:{tmp_path}/copy")
    manifest = json.loads((tmp_path / "copy/manifest.json").read_bytes())
    assert manifest["config"]["digest"] == sample.image.config.digest


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_what_we_write_they_read(
    here: Engine, sample: Sample, tmp_path: Path, tool: str, transport: str
) -> None:
    containers = Containers(tool, tmp_path / tool)
    image = containers.bring(transport, save(here, sample, tmp_path / "ours.tar"))
    assert f"sha256:{image}" == sample.image.config.digest
    assert common(containers.facts(image)) == common(sample.facts)


def common(found: dict[str, Facts]) -> dict[str, Facts]:
    """Without attributes that not every one of these versions unpacks."""

    def kept(facts: Facts) -> Facts:
        return facts._replace(xattrs=tuple(x for x in facts.xattrs if x[0] != "trusted.mine"))

    return {path: kept(facts) for path, facts in found.items()}


def test_umoci_unpacks_what_we_write(here: Engine, sample: Sample, tmp_path: Path) -> None:
    file = save(here, sample, tmp_path / "ours.tar")
    (tmp_path / "layout").mkdir()
    run("tar", "-xf", file, "-C", tmp_path / "layout")
    found = umoci_facts(tmp_path / "layout", "1", tmp_path / "bundle")
    assert found == sample.facts


def test_podman_loads_several_images_of_ours(here: Engine, sample: Sample, tmp_path: Path) -> None:
    here.images.tag(NAME, "localhost/app:2")
    with (tmp_path / "ours.tar").open("wb") as output:
        here.images.save(["localhost/app"], output)
    podman = Containers("podman", tmp_path / "podman")
    said = podman("load", "-q", "-i", tmp_path / "ours.tar")
    assert "localhost/app:1" in said
    assert "localhost/app:2" in said
    assert podman("images", "-q", "--no-trunc").split() == [sample.image.config.digest]
