"""What the engine of this host does to its store when it opens, and says of it."""

import io
import json
import os
from pathlib import Path

import pytest

from engine.connect import connect
from tests.support.images import layout_tar, make_image

pytestmark = pytest.mark.root


def test_a_lost_database_is_made_again_by_the_next_command(
    roots: tuple[str, str], tmp_path: Path
) -> None:
    root, run_root = roots
    archive = layout_tar(tmp_path / "image", {"localhost/lost:1": make_image([{"a": b"1"}])})
    with connect(*roots) as engine:
        engine.images.load(io.BytesIO(archive))
        before = engine.images.list()
    for name in os.listdir(root):
        if name.startswith("db.sqlite"):
            os.unlink(f"{root}/{name}")
    os.makedirs(f"{root}/upper/{'c' * 64}/diff")
    with connect(*roots) as engine:
        assert [row._replace(waste_bytes=0) for row in engine.images.list()] == [
            row._replace(waste_bytes=0) for row in before
        ]
        assert list(engine.system.fsck()) == []
        assert f"what its containers wrote is in {root}/lost" in engine.info.warnings[-1]
    lines = Path(run_root, "events.log").read_text().splitlines()
    (told,) = [each for each in map(json.loads, lines) if each["action"] == "rebuild"]
    assert told["attributes"] == {"images": "1", "layers": "1", "volumes": "0", "lost": "1"}
