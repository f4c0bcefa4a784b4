"""A cold pull of the Debian image from a registry on loopback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import Action, command, interleaved, table
from tests.support import debian, images
from tests.support.registry import Registry

BIN = Path(sys.executable).parent
ROUNDS = 5


def run(directory: Path) -> None:
    """pydock (which syncs), podman and skopeo (which do not), each into an empty store."""
    shelf = directory / "registry"
    shelf.mkdir()
    with Registry(shelf) as registry:
        reference = images.push_layer_tar(registry, "debian", "bookworm", debian.debian_layer())
        stores = {name: directory / name for name in ("pydock", "podman", "skopeo")}
        ours = {"PYDOCK_ROOT": str(stores["pydock"]), "PYDOCK_RUN_ROOT": str(directory / "run")}
        actions: dict[str, Action] = {
            "pydock pull": lambda: command([BIN / "pydock", "pull", "-q", reference], ours),
            "podman pull": lambda: command(
                ["podman", "--root", stores["podman"], "--runroot", directory / "podman-run",
                 "pull", "-q", "--tls-verify=false", reference]
            ),
            "skopeo copy": lambda: command(
                ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}",
                 f"containers-storage:[overlay@{stores['skopeo']}+{directory / 'skopeo-run'}]"
                 "localhost/debian:1"]
            ),
        }  # fmt: skip

        def empty(name: str) -> None:
            store = stores[name.partition(" ")[0]]
            if store.exists():
                # containers/storage keeps a mount of its own there.
                subprocess.run(["umount", "-l", store / "overlay"], stderr=subprocess.DEVNULL)
                shutil.rmtree(store)
            os.sync()

        results = interleaved(actions, ROUNDS, idle_seconds=1, between=empty)
    table(
        "Cold pull of Debian bookworm (minbase, gzip), registry on loopback", "pydock pull", results
    )
