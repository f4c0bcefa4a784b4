"""The images that pulls are measured with, as OCI layouts: built once, kept outside the tree.

    big       9 layers, 1.8 GB unpacked: package managers' files, chmod -R, chown -R, copies
    flat      200,000 small files in one layer over Debian
    big-zstd  big with its layers in zstd

Run as a module (`make bench` does) it makes them: the child host of a bench has no network. It
takes ten minutes and 8 GB, and needs buildah and skopeo.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

from tests.support import debian

IMAGES = ("big", "flat", "big-zstd")
_RECIPES = Path(__file__).parent / "images"
_SHELF = debian.CACHE / "images"


def layout(name: str) -> Path:
    """The directory of an OCI layout that holds the image under the name `1`."""
    path = _SHELF / name
    if not path.exists():
        if name == "big-zstd":
            _copy(f"oci:{layout('big')}:1", path, "--dest-compress-format", "zstd")
        else:
            _build(name, path)
    return path


def _build(name: str, path: Path) -> None:
    """buildah's store is a throw-away one; what it runs sees the host's network."""
    work = debian.CACHE / f"build-{os.getpid()}"
    (work / "context").mkdir(parents=True)
    try:
        buildah = ["buildah", "--root", work / "store", "--runroot", work / "run"]
        container = _output([*buildah, "from", "scratch"])
        _output([*buildah, "add", "-q", container, debian.debian_layer(), "/"])
        _output([*buildah, "config", "--cmd", "bash", container])
        _output([*buildah, "commit", "-q", container, "debian-min:12"])
        if name == "big":
            _write_application(work / "context" / "app")
        _output(
            [*buildah, "bud", "-q", "--layers", "--isolation", "chroot", "-t", f"{name}:1",
             "-f", _RECIPES / f"{name}.Containerfile", work / "context"]
        )  # fmt: skip
        _output([*buildah, "push", "-q", "--format", "oci", f"{name}:1", f"oci:{work}/{name}:1"])
        (work / name).rename(path)
    finally:
        subprocess.run(["umount", "-l", work / "store" / "overlay"], stderr=subprocess.DEVNULL)
        shutil.rmtree(work, ignore_errors=True)


def _copy(source: str, path: Path, *options: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    _output(["skopeo", "copy", "-q", *options, source, f"oci:{temporary}:1"])
    temporary.rename(path)


def _write_application(directory: Path) -> None:
    """400 files that do not compress, 64 MB, the same each time."""
    seed = random.Random(1)
    for number in range(400):
        part = directory / f"m{number % 20}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"f{number}.bin").write_bytes(seed.randbytes(seed.randrange(1, 320_000)))


def _output(argv: list[str | Path]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.returncode}\n{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    _SHELF.mkdir(parents=True, exist_ok=True)
    for each in IMAGES:
        layout(each)
