"""The services of this host, with an image to make containers of."""

import functools
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.connect import connect
from engine.local import LocalEngine
from tests.support import images
from tests.support.images import Entry, File, Symlink, layout_tar

IMAGE = "localhost/box:1"
APPLETS = ("cat", "echo", "false", "id", "ls", "seq", "sh", "sleep", "touch", "true")


@functools.cache
def busybox_layer() -> bytes:
    """A layer with busybox and, in /etc and /data, something for volumes."""
    path = shutil.which("busybox")
    assert path, "busybox is not installed"
    entries: dict[str, Entry] = {"bin": None, "bin/busybox": File(Path(path).read_bytes())}
    entries |= {f"bin/{applet}": Symlink("busybox") for applet in APPLETS}
    entries |= {"etc": None, "etc/motd": b"hello\n", "data": None, "data/file": b"of the image\n"}
    entries |= {"file": b"", "tmp": None}
    return images.layer_tar(entries)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An OCI layout with one image."""
    made = images.make_image([busybox_layer()], config={"Volumes": {"/data": {}}})
    return layout_tar(tmp_path_factory.mktemp("layout") / "image", {IMAGE: made})


@pytest.fixture
def engine(roots: tuple[str, str]) -> Iterator[LocalEngine]:
    """A fresh, empty engine; nothing of it runs afterwards."""
    with connect(*roots) as local:
        yield local
    with connect(*roots) as local:
        for row in local.containers.list(all=True):
            local.containers.remove(row.id, force=True, volumes=True)


@pytest.fixture
def image(engine: LocalEngine, archive: bytes) -> str:
    (name,) = engine.images.load(io.BytesIO(archive))
    return name
