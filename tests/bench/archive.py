"""Archives out of a store and into an empty one, and an image made of a container."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench import layouts
from tests.bench.measure import Action, command, interleaved, table

BIN = Path(sys.executable).parent
ROUNDS = 5
NAME = "localhost/bench:1"
# A thousand files of 64 KiB over what the image has.
WRITE = "i=0; while [ $i -lt 1000 ]; do head -c 65536 /dev/urandom >/var/f$i; i=$((i + 1)); done"


def run(directory: Path) -> None:
    """pydock, podman and skopeo, each with a store of its own."""
    bench = _Stores(directory)
    try:
        for name in ("big", "flat"):
            bench.bring_in(layouts.layout(name))
            saves = interleaved(bench.saves(), ROUNDS, idle_seconds=1, between=bench.before_save)
            table(f"`{name}` out of the store, as one file", "pydock save", saves)
            loads = interleaved(bench.loads(), ROUNDS, idle_seconds=1, between=bench.before_load)
            table(f"`{name}` out of a file, into an empty store", "pydock load", loads)
        bench.bring_in(layouts.layout("big"))
        bench.start_containers()
        commits = interleaved(bench.commits(), ROUNDS, idle_seconds=1)
        table("1,000 files of 64 KiB committed over `big`", "pydock commit", commits)
    finally:
        bench.end()


class _Stores:
    def __init__(self, directory: Path) -> None:
        self._stores = directory / "stores"
        self._file = directory / "archive.tar"
        self._source = directory / "source.tar"
        self._full = self._env("full")
        self._empty = self._env("empty")

    def _env(self, name: str) -> dict[str, str]:
        place = self._stores / name
        return {"PYDOCK_ROOT": f"{place}/root", "PYDOCK_RUN_ROOT": f"{place}/run"}

    def _podman(self, name: str) -> list[str]:
        place = self._stores / name
        return ["podman", "--root", f"{place}/podman", "--runroot", f"/run/bench-{name}"]

    def _storage(self, name: str) -> str:
        return f"containers-storage:[overlay@{self._stores}/{name}/podman+/run/bench-{name}]{NAME}"

    def bring_in(self, layout: Path) -> None:
        """Both full stores have the image, and there is an archive of it."""
        self._clear("full")
        self._command(["skopeo", "copy", "-q", f"oci:{layout}:1", self._storage("full")])
        self._command([BIN / "pydock", "copy", "-q", f"oci:{layout}:1", NAME], self._full)
        self._command([BIN / "pydock", "save", "-o", self._source, NAME], self._full)

    def saves(self) -> dict[str, Action]:
        podman, storage, file = self._podman("full"), self._storage("full"), self._file
        return {
            "pydock save": lambda: command([BIN / "pydock", "save", "-o", file, NAME], self._full),
            "podman save": lambda: command([*podman, "save", "-q", "-o", file, NAME]),
            "podman save, oci-archive": lambda: command(
                [*podman, "save", "-q", "--format", "oci-archive", "-o", file, NAME]
            ),
            "skopeo copy, store": lambda: command(
                ["skopeo", "copy", "-q", storage, f"oci-archive:{file}:1"]
            ),
        }

    def before_save(self, name: str) -> None:
        self._file.unlink(missing_ok=True)
        os.sync()

    def loads(self) -> dict[str, Action]:
        source, podman = self._source, self._podman("empty")
        return {
            "pydock load": lambda: command(
                [BIN / "pydock", "load", "-q", "-i", source], self._empty
            ),
            "podman load": lambda: command([*podman, "load", "-q", "-i", source]),
            "skopeo copy, to its store": lambda: command(
                ["skopeo", "copy", "-q", f"oci-archive:{source}", self._storage("empty")]
            ),
        }

    def before_load(self, name: str) -> None:
        self._clear("empty")
        os.sync()

    def start_containers(self) -> None:
        """One in each store has written, and has ended."""
        words = ["--name", "box", "--network", "none", NAME, "sh", "-c", WRITE]
        self._command([BIN / "pydock", "run", *words], self._full)
        # As in `start`: crun wants one cgroup tree, and no more than root may have here.
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], stderr=subprocess.DEVNULL)
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        podman = [*self._podman("full"), "--cgroup-manager", "cgroupfs"]
        self._command([*podman, "run", *limits, *words])

    def commits(self) -> dict[str, Action]:
        podman = self._podman("full")
        return {
            "pydock commit": lambda: command([BIN / "pydock", "commit", "box"], self._full),
            "podman commit": lambda: command([*podman, "commit", "-q", "box"]),
        }

    def _command(
        self, argv: list[str | Path] | list[str], env: dict[str, str] | None = None
    ) -> None:
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=os.environ | (env or {}))

    def _clear(self, name: str) -> None:
        overlay = self._stores / name / "podman/overlay"
        subprocess.run(["umount", "-l", overlay], stderr=subprocess.DEVNULL)
        shutil.rmtree(self._stores / name, ignore_errors=True)

    def end(self) -> None:
        """Nothing is mounted or left any more."""
        for name in ("full", "empty"):
            self._clear(name)
        for file in (self._file, self._source):
            file.unlink(missing_ok=True)
