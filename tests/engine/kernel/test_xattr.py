"""Attributes of the entry itself, and overlayfs' own left out."""

import os
from pathlib import Path

import pytest

from engine.kernel import xattr

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_symbolic_link_itself_gets_the_attribute(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    directory = os.open(tmp_path, os.O_RDONLY)
    xattr.set_at(directory, b"link", b"trusted.x", b"1")
    os.close(directory)
    assert os.listxattr(tmp_path / "target") == []
    assert xattr.all_of(os.fsencode(tmp_path / "link")) == {b"trusted.x": b"1"}


def test_overlay_attributes_are_not_copied_but_escaped_ones_are(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path)
    os.setxattr(path, xattr.OPAQUE, b"y")
    os.setxattr(path, "trusted.overlay.overlay.opaque", b"y")
    os.setxattr(path, "user.mine", b"2")
    assert xattr.is_opaque(path)
    assert xattr.all_of(path) == {b"trusted.overlay.overlay.opaque": b"y", b"user.mine": b"2"}


def test_opaque_is_only_what_says_y(tmp_path: Path) -> None:
    assert not xattr.is_opaque(os.fsencode(tmp_path))
    os.setxattr(tmp_path, xattr.OPAQUE, b"x")
    assert not xattr.is_opaque(os.fsencode(tmp_path))
    assert not xattr.is_opaque(os.fsencode(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("release", "can"),
    [("6.18.44-fc", True), ("6.7.0", True), ("6.6.9", False), ("5.15.0-1", False), ("6.1", False)],
)
def test_escapes_came_with_linux_6_7(
    monkeypatch: pytest.MonkeyPatch, release: str, can: bool
) -> None:
    class Name:
        def __init__(self) -> None:
            self.release = release

    monkeypatch.setattr(os, "uname", Name)
    assert xattr.can_escape_overlay() is can
