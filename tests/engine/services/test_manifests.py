"""Manifest lists over real registries, and what skopeo makes of them."""

import json
import subprocess
from pathlib import Path

import pytest

from engine.errors import Corrupt, InvalidInput
from engine.home import Home, open_home
from engine.model.manifest import ManifestChange
from engine.model.progress import Progress
from engine.services.manifests import ManifestService
from engine.storage.metadata import Database
from engine.storage.repair import fsck
from tests.support import images
from tests.support.images import make_image
from tests.support.registry import Registry

pytestmark = pytest.mark.root
S390X = {"os": "linux", "architecture": "s390x"}


@pytest.fixture
def home(roots: tuple[str, str]) -> Home:
    return open_home(*roots)


def raw(reference: str) -> dict[str, object]:
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"],
        capture_output=True,
        check=True,
    )
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_images_of_two_registries_become_one_name(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    near = images.push(registry, "lists/near", "1", make_image([{"a": b"1"}]))
    (tmp_path / "other").mkdir()
    with Registry(tmp_path / "other") as other:
        far = images.push(other, "far", "1", make_image([{"b": b"2"}], platform=S390X))
        service = ManifestService(home)
        name = f"{registry.host}/lists/whole:1"
        service.create(name, [near, far])
        steps: list[Progress] = []
        service.push(name, progress=steps.append)
    phases = [step.phase for step in steps if step.phase in ("mounted", "done")]
    assert sorted(phases) == ["done", "mounted"]
    children = raw(name)["manifests"]
    assert isinstance(children, list)
    assert [child["platform"]["architecture"] for child in children][1] == "s390x"
    done = subprocess.run(
        ["skopeo", "copy", "-q", "--all", "--src-tls-verify=false", f"docker://{name}",
         f"dir:{tmp_path}/all"],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_docker_images_become_a_list_of_docker(home: Home, registry: Registry) -> None:
    image = make_image([{"a": b"1"}], family="docker")
    reference = images.push(registry, "lists/docker", "1", image)
    service = ManifestService(home)
    name = f"{registry.host}/lists/docker:all"
    service.create(name, [reference])
    service.push(name)
    assert raw(name)["mediaType"] == ("application/vnd.docker.distribution.manifest.list.v2+json")


def test_a_list_survives_a_move_of_its_store(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    reference = images.push(registry, "lists/moved", "1", make_image([{"a": b"1"}]))
    name = f"{registry.host}/lists/moved:all"
    ManifestService(home).create(name, [reference])
    change = ManifestChange(os_version="1.2", os_features=("x", "y"))
    ManifestService(home).annotate(name, reference, change)
    moved = tmp_path / "moved"
    Path(home.root).rename(moved)
    (entry,) = ManifestService(open_home(str(moved), home.run_root)).inspect(name).entries
    assert (entry.os_version, entry.os_features) == ("1.2", ("x", "y"))


def test_a_damaged_list_is_told(home: Home, registry: Registry) -> None:
    reference = images.push(registry, "lists/damaged", "1", make_image([{"a": b"1"}]))
    service = ManifestService(home)
    name = f"{registry.host}/lists/damaged:all"
    service.create(name, [reference])
    database = Database(home)
    assert list(fsck(home, database, repair=False)) == []
    database.close()
    (path,) = Path(home.root, "manifests").iterdir()
    path.write_text("[{}]")
    with pytest.raises(Corrupt, match="is damaged") as caught:
        service.inspect(name)
    assert "manifest rm" in caught.value.hint
    service.remove(name)


def test_an_image_without_a_platform_is_not_pushed(home: Home, registry: Registry) -> None:
    image = make_image([{"a": b"1"}], platform={"os": "", "architecture": ""})
    reference = images.push(registry, "lists/nowhere", "1", image)
    service = ManifestService(home)
    name = f"{registry.host}/lists/nowhere:all"
    service.create(name, [reference])
    with pytest.raises(InvalidInput, match="must have an OS and Architecture") as caught:
        service.push(name)
    assert "manifest annotate" in caught.value.hint
