"""The engines that the contract is tried on, each with an image and a registry behind it."""

import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from tests.support import images
from tests.support.double import Double
from tests.support.images import Entry, File, Symlink, layout_tar
from tests.support.registry import Registry

IMAGE = "localhost/contract:1"
APPLETS = ("cat", "echo", "false", "id", "pwd", "seq", "sh", "sleep", "stty", "true")
REMOTE_LAYERS = 3


ENGINES = ("double", pytest.param("local", marks=pytest.mark.root))
# The same engine, with the storage drivers of hosts that cannot mount overlays.
DRIVEN = tuple(pytest.param(name, marks=pytest.mark.root) for name in ("fuse-overlayfs", "vfs"))


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """A fresh, empty engine."""
    if request.param == "double":
        with Double() as double:
            yield double
        return
    if request.param != "local":
        settings = tmp_path / "settings/pydock/config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'storage-driver = "{request.param}"\n')
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    from engine.connect import connect

    roots = request.getfixturevalue("roots")
    with connect(*roots) as local:
        yield local
    with connect(*roots) as local:  # a test may have closed the other one
        for row in local.containers.list(all=True):
            local.containers.remove(row.id, force=True, volumes=True)
        for network in local.networks.list():
            if network.driver == "bridge" and network.name != "bridge":
                local.networks.remove(network.id)


@functools.cache
def _busybox() -> bytes:
    path = shutil.which("busybox")
    return Path(path).read_bytes() if path else b"#!"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An OCI layout of one image: busybox below, and a second layer that changes some of it."""
    base: dict[str, Entry] = {"bin": None, "bin/busybox": File(_busybox())}
    base |= {f"bin/{applet}": Symlink("busybox") for applet in APPLETS}
    base |= {"etc": None, "etc/motd": b"old\n", "tmp": None, "usr": None, "usr/junk": b"x" * 5000}
    upper: dict[str, Entry] = {
        "etc": None, "etc/motd": b"newer\n", "usr": None, "usr/.wh.junk": b"", "usr/new": b"y" * 70,
    }  # fmt: skip
    config = {"Cmd": ["sh"], "Labels": {"maker": "contract"}, "ExposedPorts": {"80/tcp": {}}}
    image = images.make_image([base, upper], config=config)
    return layout_tar(tmp_path_factory.mktemp("layout") / "image", {IMAGE: image})


@pytest.fixture
def image(engine: Engine, archive: bytes) -> str:
    """The reference of an image that is here, with busybox in it."""
    (name,) = engine.images.load(io.BytesIO(archive))
    return name


Remote = Callable[[str], str]


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Registry | None:
    """The session's registry, where engines that need a real one are tried."""
    return request.getfixturevalue("registry") if os.geteuid() == 0 else None


@pytest.fixture
def remote(engine: Engine, server: Registry | None) -> Remote:
    """Puts an image of three layers into a registry; what to pull it by."""
    sizes = {number: 200_000 + number for number in range(REMOTE_LAYERS)}

    def put_double(name: str) -> str:
        assert isinstance(engine, Double)
        reference = f"localhost:5000/{name}"
        layers = [{f"data/{number}": size} for number, size in sizes.items()]
        engine.add_remote(reference, layers, step_seconds=0.002)
        return reference

    def push(name: str) -> str:
        repository, _, tag = name.partition(":")
        layers = [
            {"data": None, f"data/{number}": bytes([number]) * size}
            for number, size in sizes.items()
        ]
        assert server is not None
        return images.push(server, repository, tag, images.make_image(layers))

    return put_double if isinstance(engine, Double) else push
