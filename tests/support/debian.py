"""One real Debian image: made by debootstrap once, kept outside the tree.

Run as a module (`make test` does) it makes the layer: the child host of the tests has no network.
"""

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pydock-tests"


def debian_layer() -> Path:
    """A tar of a minimal Debian bookworm: the only layer of the image."""
    path = CACHE / "debian-bookworm.tar"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        tree = CACHE / f"debootstrap-{os.getpid()}"
        try:
            subprocess.run(
                ["debootstrap", "--variant=minbase", "bookworm", tree],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
                for file in (tree / name).glob("*.*"):
                    file.unlink()
            temporary = path.with_suffix(f".{os.getpid()}")
            subprocess.run(
                ["tar", "--numeric-owner", "--sort=name", "-C", tree, "-cf", temporary, "."],
                check=True,
            )
            temporary.rename(path)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
    return path


if __name__ == "__main__":
    debian_layer()
