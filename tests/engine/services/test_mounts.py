"""Mounts as they are asked for: of other containers, with propagation, of the host as it is."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from engine.docker_json import container as docker_json
from engine.errors import EngineError, InvalidInput, NotFound
from engine.local import LocalEngine
from engine.model.confinement import Confinement
from engine.model.container import CreateOptions, MountRequest
from tests.support.attached import run

pytestmark = pytest.mark.root


@pytest.fixture
def directory() -> Iterator[str]:
    """A shared mount of the host."""
    path = "/run/pydock-mounts"
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "x", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    os.makedirs(f"{path}/below")
    yield path
    subprocess.run(["umount", "-R", path], check=True)
    os.rmdir(path)


def test_mounts_of_another_container_are_had_too(engine: LocalEngine, image: str) -> None:
    engine.containers.create(
        CreateOptions(
            image,
            "donor",
            network="none",
            mounts=(
                MountRequest("volume", "kept", "/kept"),
                MountRequest("bind", "/run", "/host", read_only=True),
            ),
        )
    )
    ref = engine.containers.create(
        CreateOptions(
            image,
            "guest",
            command=("sh", "-c", "echo x > /kept/x && cat /data/file && touch /host/y"),
            network="none",
            volumes_from=("donor",),
            mounts=(MountRequest("volume", "mine", "/mine"),),
        )
    )
    targets = {each.target: each for each in engine.containers.inspect(ref).summary.mounts}
    assert set(targets) == {"/data", "/kept", "/host", "/mine"}
    donor = {each.target: each for each in engine.containers.inspect("donor").summary.mounts}
    assert targets["/data"].name == donor["/data"].name
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 1  # the host's is read-only
    assert next(iter(engine.containers.logs(ref))).text == b"of the image"
    assert os.path.exists(f"{donor['/kept'].source}/x")
    document = docker_json(engine.containers.inspect(ref))
    assert document["HostConfig"]["VolumesFrom"] == ["donor"]


def test_mounts_of_another_container_can_be_read_only(engine: LocalEngine, image: str) -> None:
    engine.containers.create(CreateOptions(image, "donor", network="none"))
    said = run(engine, image, "touch", "/data/x", volumes_from=("donor:ro",))
    assert "Read-only file system" in said.text
    own = (MountRequest("volume", "own", "/data"),)
    assert run(engine, image, "touch", "/data/x", volumes_from=("donor:ro",), mounts=own).code == 0


def mount(engine: LocalEngine, image: str, source: str, word: str, script: str) -> str:
    """What a container said that has `source` as /m, and may mount."""
    return run(
        engine,
        image,
        "sh",
        "-c",
        script,
        mounts=(MountRequest("bind", source, "/m", options=(word,)),),
        confinement=Confinement(cap_add=("CAP_SYS_ADMIN",)),
    ).text


def test_mounts_go_to_the_host_when_that_is_asked_for(
    engine: LocalEngine, image: str, directory: str
) -> None:
    script = "busybox mount -t tmpfs inner /m/below && echo made"
    for word, seen in (("rprivate", False), ("rslave", False), ("rshared", True)):
        assert mount(engine, image, directory, word, script) == "made\n"
        with open("/proc/self/mountinfo") as file:
            assert any(f" {directory}/below " in line for line in file) == seen
    subprocess.run(["umount", f"{directory}/below"], check=True)


def test_mounts_come_from_the_host_when_that_is_asked_for(
    engine: LocalEngine, image: str, directory: str
) -> None:
    refs = {}
    for word in ("rprivate", "rslave", "rshared"):
        refs[word] = engine.containers.create(
            CreateOptions(
                image,
                command=("sleep", "1000"),
                network="none",
                mounts=(MountRequest("bind", directory, "/m", options=(word,)),),
            )
        )
        engine.containers.start(refs[word])
    subprocess.run(["mount", "-t", "tmpfs", "later", f"{directory}/below"], check=True)
    for word, ref in refs.items():
        pid = engine.containers.inspect(ref).summary.pid
        with open(f"/proc/{pid}/mountinfo") as file:
            assert any(" /m/below " in line for line in file) == (word != "rprivate")


def test_what_is_mounted_below_is_left_out_when_that_is_asked_for(
    engine: LocalEngine, image: str, directory: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "inner", f"{directory}/below"], check=True)
    script = "busybox grep -c ' /m' /proc/mounts"
    assert mount(engine, image, directory, "rbind", script) == "2\n"
    assert mount(engine, image, directory, "bind", script) == "1\n"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"volumes_from": ("none",)}, NotFound, "no such container: none"),
        ({"volumes_from": ("donor:fast",)}, InvalidInput, "invalid mode: fast"),
        ({"volumes_from": ("",)}, InvalidInput, "volumes-from spec is empty"),
        (
            {"mounts": (MountRequest("bind", "/none", "/x", must_exist=True),)},
            InvalidInput,
            "bind source path does not exist: /none",
        ),
        (
            {"mounts": (MountRequest("bind", "/run", "/x", options=("rshared",)),)},
            InvalidInput,
            "path /run is mounted on /run but it is not a shared mount",
        ),
        (
            {"mounts": (MountRequest("bind", "/run", "/x", options=("slave",)),)},
            InvalidInput,
            "path /run is mounted on /run but it is not a shared or slave mount",
        ),
        (
            {"confinement": Confinement(tmpfs=(("/x", ""), ("/x/", "")))},
            InvalidInput,
            "duplicate mount point: /x/",
        ),
    ],
)
def test_what_cannot_be_mounted_is_told(
    engine: LocalEngine, image: str, options: dict[str, Any], kind: type[EngineError], text: str
) -> None:
    donor = engine.containers.create(CreateOptions(image, "donor", network="none"))
    with pytest.raises(kind, match=text):
        engine.containers.create(CreateOptions(image, network="none", **options))
    assert [row.id for row in engine.containers.list(all=True)] == [donor]
    assert not os.path.exists("/none")
