"""An image small enough for every story."""

import shutil
from io import BytesIO
from pathlib import Path

import pytest

from engine.connect import connect
from tests.support.images import File, layout_tar, make_image


@pytest.fixture
def image(roots: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """In this test's own store: `true`, and nothing else."""
    program = shutil.which("busybox")
    assert program
    layer = {"bin": None, "bin/true": File(Path(program).read_bytes())}
    layout = layout_tar(tmp_path_factory.mktemp("layout") / "image", {"a:1": make_image([layer])})
    with connect() as engine:
        (reference,) = engine.images.load(BytesIO(layout))
    return reference
