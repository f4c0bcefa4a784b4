from pathlib import Path

import pytest

from tests.support import box


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system of this test's own, with busybox in it."""
    return box.make_root(tmp_path / "rootfs")
