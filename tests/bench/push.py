"""Pushes to an empty registry on loopback: layers that are compressed already, and raw ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import Action, Sample, command, interleaved, table
from tests.support import debian, images
from tests.support.images import make_image
from tests.support.registry import Registry

BIN = Path(sys.executable).parent
ROUNDS = 5
NAME = "localhost/bench:1"


def run(directory: Path) -> None:
    """pydock, podman and skopeo, each out of its own store, into a new registry each time."""
    raw = make_image([debian.debian_layer().read_bytes()], compression="")
    packed = make_image([debian.debian_layer().read_bytes()], compression="gzip")
    for title, image in (
        ("Push of Debian bookworm (minbase), gzip layers as they are", packed),
        ("Push of the same out of a raw layer: compressed on the way", raw),
    ):
        (directory / "archive.tar").write_bytes(
            images.layout_tar(directory / "layout", {NAME: image})
        )
        bench = _Pushes(directory)
        try:
            results = interleaved(bench.actions(), ROUNDS, idle_seconds=1, between=bench.prepare)
            table(title, "pydock push", results)
        finally:
            bench.end()
        shutil.rmtree(directory / "layout")


class _Pushes:
    """The stores, and a registry that is new before each push."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._registry: Registry | None = None
        self._shelf = directory / "registry"
        store = directory / "stores"
        self._env = {"PYDOCK_ROOT": f"{store}/root", "PYDOCK_RUN_ROOT": f"{store}/run"}
        self._podman = ["podman", "--root", f"{store}/podman", "--runroot", f"{store}/podman-run"]
        self._storage = f"containers-storage:[overlay@{store}/podman+{store}/podman-run]{NAME}"
        self._command([*self._podman, "load", "-q", "-i", directory / "archive.tar"])

    def actions(self) -> dict[str, Action]:
        def push(*argv: str | Path) -> Action:
            return lambda: self._push(argv)

        return {
            "pydock push": push(BIN / "pydock", "push", "-q", "{target}"),
            "podman push": push(
                *self._podman, "push", "-q", "--tls-verify=false", NAME, "{target}"
            ),
            "skopeo copy": push(
                "skopeo", "copy", "-q", "--dest-tls-verify=false",
                f"oci-archive:{self._directory}/archive.tar:{NAME}", "docker://{target}",
            ),
            "skopeo copy, store": push(
                "skopeo", "copy", "-q", "--dest-tls-verify=false", self._storage,
                "docker://{target}",
            ),
        }  # fmt: skip

    def prepare(self, name: str) -> None:
        """An empty registry. pydock keeps what it has compressed: it gets its image anew."""
        self._stop()
        shutil.rmtree(self._shelf, ignore_errors=True)
        self._shelf.mkdir()
        self._registry = Registry(self._shelf)
        if name.startswith("pydock"):
            shutil.rmtree(self._env["PYDOCK_ROOT"], ignore_errors=True)
            self._command([BIN / "pydock", "load", "-q", "-i", self._directory / "archive.tar"])
            self._command([BIN / "pydock", "tag", NAME, self._target()])
        os.sync()

    def _target(self) -> str:
        assert self._registry is not None
        return f"{self._registry.host}/bench:1"

    def _push(self, argv: tuple[str | Path, ...]) -> Sample:
        words = [str(word).replace("{target}", self._target()) for word in argv]
        return command(words, self._env)

    def _command(self, argv: list[str | Path]) -> None:
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=os.environ | self._env)

    def _stop(self) -> None:
        if self._registry is not None:
            self._registry.stop()
            self._registry = None

    def end(self) -> None:
        """Nothing runs or is mounted any more."""
        self._stop()
        stores = self._directory / "stores"
        subprocess.run(["umount", "-l", stores / "podman/overlay"], stderr=subprocess.DEVNULL)
        shutil.rmtree(stores, ignore_errors=True)
