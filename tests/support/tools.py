"""The tools of others, each over a store of its own below a test's directory."""

import os
import subprocess
from pathlib import Path

from tests.support.overlays import Facts, facts_of


def run(*words: str | Path, **keywords: object) -> str:
    """What the command says. Raises AssertionError with what it complains of."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=120, **keywords
    )  # type: ignore[call-overload]
    if done.returncode:
        raise AssertionError(f"{words}: {done.returncode}: {done.stderr}")
    return str(done.stdout)


class Containers:
    """podman or buildah: one library below both."""

    def __init__(self, name: str, place: Path) -> None:
        place.mkdir()
        run_root = f"/run/{os.urandom(4).hex()}"  # podman takes 50 characters at most
        self._command = (
            name, "--root", place / "root", "--runroot", run_root, "--storage-driver", "vfs",
        )  # fmt: skip
        self._is_podman = name == "podman"

    def __call__(self, *words: str | Path) -> str:
        return run(*self._command, *words)

    def bring(self, transport: str, file: Path) -> str:
        """The id of the image in the archive `file`."""
        return self("pull", "-q", f"{transport}:{file}").split()[-1]

    def facts(self, image: str) -> dict[str, Facts]:
        """Every file of the image."""
        if self._is_podman:
            place = self("image", "mount", image).strip()
            try:
                return facts_of(place)
            finally:
                self("image", "unmount", image)
        container = self("from", "--pull-never", image).strip()
        try:
            place = self("mount", container).strip()
            return facts_of(place)
        finally:
            self("umount", container)
            self("rm", container)


def umoci_facts(layout: Path, tag: str, place: Path) -> dict[str, Facts]:
    """Every file of an image in a layout, as umoci unpacks it."""
    run("umoci", "unpack", "--image", f"{layout}:{tag}", place)
    return facts_of(os.path.join(place, "rootfs"))
