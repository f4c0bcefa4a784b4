"""The image that the benches start: busybox and nothing else."""

import shutil
from pathlib import Path

from tests.support.images import Entry, File, Symlink, layout_tar, make_image

REFERENCE = "localhost/bench:1"


def archive(directory: Path) -> Path:
    """An OCI layout as a tar, which `pydock load` and `podman load` read."""
    program = shutil.which("busybox")
    if program is None:
        raise SystemExit("busybox is not installed: apt-get install busybox-static")
    entries: dict[str, Entry] = {"bin/": None, "bin/busybox": File(Path(program).read_bytes())}
    entries |= {f"bin/{name}": Symlink("busybox") for name in ("sh", "sleep", "true")}
    path = directory / "busybox.tar"
    path.write_bytes(layout_tar(directory / "layout", {REFERENCE: make_image([entries])}))
    return path
