"""An image of tar streams, and what is advised about it."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.model.analysis import Analysis, Finding
from engine.oci.digest import sha256_of
from engine.services.layers import LayerFiles
from tests.support.tarball import END

Step = tuple[str, bytes]
"""The command of a layer, and its entries."""


def write_image(
    path: Path, steps: Sequence[Step | bytes], config: Mapping[str, Any] | None = None
) -> str:
    """A docker-archive of these layers is at `path`. A stream alone is a RUN."""
    named = [step if isinstance(step, tuple) else ("/bin/sh -c make", step) for step in steps]
    tars = [stream + END for _, stream in named]
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [sha256_of(tar) for tar in tars]},
        "history": [{"created_by": command} for command, _ in named],
    }
    listing = [
        {
            "Config": "config.json",
            "RepoTags": ["app:1"],
            "Layers": [f"{number}.tar" for number in range(len(tars))],
        }
    ]
    with tarfile.open(path, "w") as archive:
        members = {f"{number}.tar": tar for number, tar in enumerate(tars)}
        members["config.json"] = json.dumps(document).encode()
        members["manifest.json"] = json.dumps(listing).encode()
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def analysis_of(
    directory: Path, *steps: Step | bytes, config: Mapping[str, Any] | None = None
) -> Analysis:
    path = write_image(directory / "image.tar", steps, config)
    found = LayerFiles(str(directory / "cache")).analyze(path, advice=True)
    raw = sum(finding.raw_bytes for finding in found.findings)
    assert raw <= found.size_bytes  # nothing is saved twice
    dead = [each for each in found.findings if each.safety == "S0"]
    assert sum(each.raw_bytes for each in dead) == found.waste_bytes
    return found


def findings_of(
    directory: Path, *steps: Step | bytes, config: Mapping[str, Any] | None = None
) -> dict[str, Finding]:
    """By rule; the biggest of a rule."""
    found = analysis_of(directory, *steps, config=config)
    return {each.rule: each for each in reversed(found.findings)}
