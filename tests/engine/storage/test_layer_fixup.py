"""Layers seen as one, without a mount; the fix-ups themselves are in test_unpack."""

import os
from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.kernel.xattr import OPAQUE
from engine.storage.layer_fixup import Stack, is_right

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def stack(tmp_path: Path) -> list[bytes]:
    """Top first: the top hides `gone` and is opaque at `o`, the middle replaces a directory."""
    top, middle, bottom = (tmp_path / name for name in ("top", "middle", "bottom"))
    for path in (top / "o", middle, bottom / "o", bottom / "d", bottom / "usr/lib"):
        path.mkdir(parents=True)
    os.mknod(top / "gone", 0o020000, 0)
    os.setxattr(top / "o", OPAQUE, b"y")
    (bottom / "gone").write_text("x")
    (bottom / "o/hidden").write_text("x")
    (bottom / "d/below").write_text("x")
    (middle / "d").write_text("file")
    (bottom / "lib").symlink_to("/usr/./lib")
    (bottom / "loop").symlink_to("loop")
    (bottom / "up").symlink_to("../../../lib/../lib")
    return [os.fsencode(path) for path in (top, middle, bottom)]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (b"gone", None),
        (b"o", "top/o"),
        (b"o/hidden", None),
        (b"d", "middle/d"),
        (b"d/below", None),
        (b"lib", "bottom/lib"),
        (b"usr/lib", "bottom/usr/lib"),
        (b"", "top"),
        (b"nothing/at/all", None),
    ],
)
def test_lookup_sees_what_overlayfs_shows(tmp_path: Path, path: bytes, where: str | None) -> None:
    found = Stack(stack(tmp_path)).lookup(path)
    assert (found and os.fsdecode(found.path)) == (where and str(tmp_path / where))


def test_resolve_stays_inside(tmp_path: Path) -> None:
    seen = Stack(stack(tmp_path))
    assert seen.resolve(b"lib/new/file") == b"usr/lib/new/file"
    assert seen.resolve(b"up/x") == b"usr/lib/x"
    assert seen.resolve(b"../../etc") == b"etc"
    with pytest.raises(InvalidInput, match="symbolic links"):
        seen.resolve(b"loop/x")


def test_what_needs_no_fixing(tmp_path: Path) -> None:
    layers = stack(tmp_path)
    assert is_right(layers, [b"usr", b"fresh"], [], [b"usr/x"])
    assert not is_right(layers, [b"lib"], [], [])
    assert not is_right(layers, [], [(b"a", b"b")], [])
    assert not is_right(layers, [], [], [b"fresh/x"])
    os.chmod(tmp_path / "bottom/usr", 0o700)
    assert not is_right(layers, [b"usr"], [], [])
