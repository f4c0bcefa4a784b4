"""What is advised is done, and saves what was said: built by buildah, before and after."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.model.analysis import Analysis
from engine.services.layers import LayerFiles

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("buildah"), reason="needs buildah"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]

BLOATED = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /var/lib/apt/lists && dd if=/dev/urandom of=/var/lib/apt/lists/x bs=1k count=500
RUN mkdir -p /work && dd if=/dev/urandom of=/work/x bs=1k count=300
RUN rm /work/x
COPY data /data
RUN chown -R 7:8 /data
"""
DATA_BYTES = 400_000


def built(directory: Path, containerfile: str) -> Analysis:
    (directory / "Containerfile").write_text(containerfile)
    (directory / "image.tar").unlink(missing_ok=True)
    buildah = [
        "buildah", f"--root={directory}/storage", f"--runroot={directory}/run",
        "--storage-driver=vfs",
    ]  # fmt: skip
    for words in (
        ["build", "--isolation=chroot", "--layers", "--quiet", "--tag=app:1", str(directory)],
        ["push", "--quiet", "app:1", f"docker-archive:{directory}/image.tar:app:1"],
    ):
        done = subprocess.run([*buildah, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return LayerFiles(str(directory / "cache")).analyze(f"{directory}/image.tar", advice=True)


def patched(text: str, fix: str) -> str:
    """The lines of `text` with the patch in `fix` done; … stands for what no history tells."""
    old = [line[1:] for line in fix.splitlines() if line.startswith("-")]
    new = [line[1:] for line in fix.splitlines() if line.startswith("+")]
    lines = text.splitlines()
    for at in range(len(lines)):
        found = [
            re.fullmatch(re.escape(known).replace("…", "(.+?)"), line)
            for known, line in zip(old, lines[at:], strict=False)
        ]
        if all(found) and len(found) == len(old):
            unknown = next((hit[1] for hit in found if hit and hit.groups()), "")
            new = [line.replace("…", unknown) for line in new]
            return "\n".join([*lines[:at], *new, *lines[at + len(old) :]]) + "\n"
    raise AssertionError(f"no such lines: {old}")


def test_the_patches_save_what_was_predicted(tmp_path: Path) -> None:
    shutil.copy(str(shutil.which("busybox")), tmp_path / "busybox")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/blob").write_bytes(bytes(range(250)) * (DATA_BYTES // 250))
    before = built(tmp_path, BLOATED)
    chosen = {each.rule: each for each in before.findings if each.rule in ("P01", "L01", "L05")}
    assert {rule: each.raw_bytes for rule, each in chosen.items()} == {
        "P01": 512_000, "L01": 307_200, "L05": DATA_BYTES,
    }  # fmt: skip
    containerfile = BLOATED
    for finding in chosen.values():
        containerfile = patched(containerfile, finding.fix)
    assert containerfile.count("\n") == BLOATED.count("\n") - 2
    after = built(tmp_path, containerfile)
    saved = before.size_bytes - after.size_bytes
    assert saved == sum(each.raw_bytes for each in chosen.values())
    assert after.waste_bytes == 0
    assert not set(chosen) & {each.rule for each in after.findings}
