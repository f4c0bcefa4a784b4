"""Two images beside each other."""

from pathlib import Path

from engine.model.comparison import FileChange, PackageChange
from engine.services.layers import LayerFiles
from tests.support.advice import write_image
from tests.support.tarball import file, symlink

APK = b"P:musl\nV:%s\nF:lib\nR:ld.so\n\n"
BASE = file(b"base", b"b" * 100)


def test_layers_files_packages_and_config(tmp_path: Path) -> None:
    one = write_image(
        tmp_path / "1.tar",
        [
            BASE,
            file(b"lib/apk/db/installed", APK % b"1.1")
            + file(b"lib/ld.so", b"1" * 10)
            + file(b"gone", b"g" * 50)
            + file(b"same", b"s", mtime=1)
            + file(b"mode", b"m")
            + symlink(b"link", b"a"),
        ],
        {"Env": ["A=1", "PATH=/bin"], "Cmd": ["sh"]},
    )
    two = write_image(
        tmp_path / "2.tar",
        [
            BASE,
            file(b"lib/apk/db/installed", APK % b"1.2")
            + file(b"lib/ld.so", b"2" * 30)
            + file(b"new", b"n" * 40)
            + file(b"same", b"s", mtime=2)
            + file(b"mode", b"m", mode=0o600)
            + symlink(b"link", b"b"),
        ],
        {"Env": ["A=2", "PATH=/bin"], "User": "app", "Cmd": ["sh"]},
    )
    found = LayerFiles(str(tmp_path / "cache")).compare(one, two)
    assert (found.shared_layers, found.shared_bytes) == (((0, 0),), 100)
    assert (found.added, found.changed, found.gone) == (1, 4, 1)
    size = len(APK % b"1.1")
    assert found.files == (
        FileChange("gone", 50, -1, True),
        FileChange("new", -1, 40, True),
        FileChange("lib/ld.so", 10, 30, True),
        FileChange("lib/apk/db/installed", size, size, True),
        FileChange("link", 0, 0, True),
        FileChange("mode", 1, 1, False),
    )
    assert found.packages == (PackageChange("apk", "musl", "1.1", "1.2", 10, 30),)
    assert found.config == (("Env A", "1", "2"), ("User", "", "app"))
    assert sum(change.grown_bytes for change in found.files) == (
        found.after.live_bytes - found.before.live_bytes
    )


def test_an_image_is_itself(tmp_path: Path) -> None:
    path = write_image(tmp_path / "1.tar", [BASE, file(b"a", b"1")])
    found = LayerFiles(str(tmp_path / "cache")).compare(path, path)
    assert (found.files, found.packages, found.config) == ((), (), ())
    assert found.shared_layers == ((0, 0), (1, 1))
