"""Cold pulls from a registry on loopback, against podman, skopeo, containerd and docker."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.bench import layouts
from tests.bench.daemons import Containerd, Daemon, Disk, Dockerd, pss_bytes
from tests.bench.measure import Action, Sample, command, interleaved, table
from tests.support.registry import Registry

BIN = Path(sys.executable).parent
ROUNDS = 5
OURS = "pydock pull"
_SAMPLE_SECONDS = 0.05


def run(directory: Path) -> None:
    """pydock (which syncs) and the others (which do not), each into an empty store."""
    shelf = directory / "registry"
    shelf.mkdir()
    with Registry(shelf) as registry:
        for name in layouts.IMAGES:
            reference = f"{registry.host}/bench/{name}:1"
            subprocess.run(
                ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false",
                 f"oci:{layouts.layout(name)}:1", f"docker://{reference}"],
                check=True,
            )  # fmt: skip
        for name in layouts.IMAGES:
            bench = _Pulls(directory, f"{registry.host}/bench/{name}:1")
            try:
                results = interleaved(bench.actions(), ROUNDS, idle_seconds=1, between=bench.empty)
                table(f"Cold pull of `{name}`, registry on loopback", OURS, results)
                peaks = {each: bench.peak(each) >> 20 for each in bench.programs}
                print("\npeak PSS MB: " + ", ".join(f"{n} {p}" for n, p in peaks.items()))
                if name == layouts.IMAGES[-1]:
                    bench.fill()
                    again = interleaved(bench.actions(), 2 * ROUNDS)
                    table("The same again: nothing is new", OURS, again)
            finally:
                bench.end()


class _Pulls:
    """One image, and each program that can pull it, with the store that it pulls into."""

    def __init__(self, directory: Path, reference: str) -> None:
        self._disk = Disk(directory / "disk")
        store = self._disk.directory
        self._containerd = Containerd(store / "containerd")
        self._dockerd = Dockerd(store / "dockerd")
        self._env = {"PYDOCK_ROOT": f"{store}/root", "PYDOCK_RUN_ROOT": f"{store}/run"}
        self.programs: dict[str, tuple[Sequence[str | Path], Daemon | None]] = {
            OURS: ([BIN / "pydock", "pull", "-q", reference], None),
            "podman pull": (
                ["podman", "--root", store / "podman", "--runroot", store / "podman-run", "pull",
                 "-q", "--tls-verify=false", reference],
                None,
            ),
            "skopeo copy": (
                ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}",
                 f"containers-storage:[overlay@{store}/skopeo+{store}/skopeo-run]localhost/image:1"],
                None,
            ),
            "ctr images pull": (self._containerd.pull(reference), self._containerd),
            "docker pull": (self._dockerd.pull(reference), self._dockerd),
        }  # fmt: skip
        for name, (argv, _) in list(self.programs.items()):
            if not shutil.which(argv[0]) or (name == "docker pull" and "zstd" in reference):
                del self.programs[name]  # not installed; docker reads zstd from version 23 on

    def actions(self) -> dict[str, Action]:
        def action(name: str) -> Action:
            return lambda: self._run(name)

        return {name: action(name) for name in self.programs}

    def _run(self, name: str) -> Sample:
        argv, daemon = self.programs[name]
        before = daemon.cpu_seconds() if daemon else 0.0
        wall, cpu = command(argv, self._env)
        return Sample(wall, cpu + (daemon.cpu_seconds() - before if daemon else 0.0))

    def empty(self, *names: str) -> None:
        """The programs have empty stores, on a new file system."""
        self.end()
        self._disk.make()
        for name in names:
            daemon = self.programs[name][1]
            if daemon:
                daemon.start()
        os.sync()

    def fill(self) -> None:
        """Every program has the image."""
        self.empty(*self.programs)
        for name in self.programs:
            self._run(name)

    def peak(self, name: str) -> int:
        """The most memory that one more cold pull took, in all its processes (PSS, bytes)."""
        self.empty(name)
        argv, daemon = self.programs[name]
        process = subprocess.Popen(
            argv,
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak = 0
        ended = threading.Event()
        threading.Thread(target=lambda: (process.wait(), ended.set())).start()
        while not ended.wait(_SAMPLE_SECONDS):
            now = pss_bytes(process.pid) + (pss_bytes(daemon.process) if daemon else 0)
            peak = max(peak, now)
        return peak

    def end(self) -> None:
        self._containerd.stop()
        self._dockerd.stop()
        self._disk.drop()
