"""Pushes to an empty registry on loopback: layers that are compressed already, and a raw one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench import layouts
from tests.bench.measure import Action, Sample, command, interleaved, table
from tests.support import debian, images
from tests.support.images import make_image
from tests.support.registry import Registry

BIN = Path(sys.executable).parent
ROUNDS = 5
NAME = "localhost/bench:1"


def run(directory: Path) -> None:
    """pydock, podman and skopeo, each out of its own store, into a new registry each time."""
    raw = directory / "raw"
    image = make_image([debian.debian_layer().read_bytes()], compression="")
    images.write_layout(raw, {"1": image})
    for title, layout in (
        ("Push of `big`, its layers as they are", layouts.layout("big")),
        ("Push of `flat`, its layers as they are", layouts.layout("flat")),
        ("Push of Debian bookworm out of a raw layer: compressed on the way", raw),
    ):
        bench = _Pushes(directory, f"oci:{layout}:1", is_raw=layout == raw)
        try:
            results = interleaved(bench.actions(), ROUNDS, idle_seconds=1, between=bench.prepare)
            table(title, "pydock push", results)
        finally:
            bench.end()


class _Pushes:
    """One image in every store, and a registry that is new before each push."""

    def __init__(self, directory: Path, source: str, *, is_raw: bool) -> None:
        self._source = source
        self._is_raw = is_raw
        self._registry: Registry | None = None
        self._shelf = directory / "registry"
        self._stores = directory / "stores"
        store = self._stores
        self._env = {"PYDOCK_ROOT": f"{store}/root", "PYDOCK_RUN_ROOT": f"{store}/run"}
        self._podman = ["podman", "--root", f"{store}/podman", "--runroot", f"{store}/podman-run"]
        self._storage = f"containers-storage:[overlay@{store}/podman+{store}/podman-run]{NAME}"
        self._command(["skopeo", "copy", "-q", source, self._storage])
        self._bring_in()

    def actions(self) -> dict[str, Action]:
        def push(*argv: str | Path) -> Action:
            return lambda: self._push(argv)

        to = ("--dest-tls-verify=false",)
        return {
            "pydock push": push(BIN / "pydock", "push", "-q", "{target}"),
            "podman push": push(
                *self._podman, "push", "-q", "--tls-verify=false", NAME, "{target}"
            ),
            "skopeo copy, store": push(
                "skopeo", "copy", "-q", *to, self._storage, "docker://{target}"
            ),
            "skopeo copy, layout": push(
                "skopeo", "copy", "-q", *to, self._source, "docker://{target}"
            ),
        }

    def prepare(self, name: str) -> None:
        """An empty registry. pydock keeps what it has compressed: it gets its image anew."""
        self._stop()
        shutil.rmtree(self._shelf, ignore_errors=True)
        self._shelf.mkdir()
        self._registry = Registry(self._shelf)
        if name.startswith("pydock"):
            if self._is_raw:
                self._bring_in()
            self._command([BIN / "pydock", "tag", NAME, self._target()])
        os.sync()

    def _bring_in(self) -> None:
        shutil.rmtree(self._env["PYDOCK_ROOT"], ignore_errors=True)
        self._command([BIN / "pydock", "copy", "-q", self._source, NAME])

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
        subprocess.run(["umount", "-l", self._stores / "podman/overlay"], stderr=subprocess.DEVNULL)
        shutil.rmtree(self._stores, ignore_errors=True)
