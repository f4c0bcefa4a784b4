"""The engines that the contract is tried on, each with an image and a registry behind it."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from tests.support.double import Double
from tests.support.images import Entry, File, Symlink, layout_tar, make_image

IMAGE = "localhost/contract:1"
APPLETS = ("cat", "echo", "false", "id", "pwd", "sh", "sleep", "stty", "true")


@pytest.fixture(params=["double"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A fresh, empty engine."""
    with Double() as double:
        yield double


def archive(directory: Path, name: str = IMAGE, **files: bytes) -> bytes:
    """An OCI layout of one image: busybox below, and a second layer that changes some of it."""
    busybox = shutil.which("busybox")
    program = Path(busybox).read_bytes() if busybox else b"#!"
    base: dict[str, Entry] = {"bin/": None, "bin/busybox": File(program)}
    base |= {f"bin/{applet}": Symlink("busybox") for applet in APPLETS}
    base |= {
        "etc/": None,
        "etc/motd": b"old\n",
        "tmp/": None,
        "usr/": None,
        "usr/junk": b"x" * 5000,
    }
    upper: dict[str, Entry] = {
        "etc/": None,
        "etc/motd": b"newer\n",
        "usr/": None,
        "usr/.wh.junk": b"",
    }
    upper |= files
    config = {"Cmd": ["sh"], "Labels": {"maker": "contract"}, "ExposedPorts": {"80/tcp": {}}}
    return layout_tar(directory, {name: make_image([base, upper], config=config)})


@pytest.fixture
def image(engine: Engine, tmp_path: Path) -> str:
    """The reference of an image that is here, with busybox in it."""
    (name,) = engine.images.load(io.BytesIO(archive(tmp_path / "layout")))
    return name


Remote = Callable[[str], str]


@pytest.fixture
def remote(engine: Engine) -> Remote:
    """Puts a small image of three layers into a registry; what to pull it by."""
    assert isinstance(engine, Double)

    def put(name: str) -> str:
        reference = f"localhost:5000/{name}"
        layers = [{f"data/{number}": 200_000 + number} for number in range(3)]
        engine.add_remote(reference, layers, step_seconds=0.002)
        return reference

    return put
